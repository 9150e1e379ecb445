"""The AGUVIS dialect (arXiv 2412.04454): pyautogui, mobile and browser calls, turned into the unified action space.

Coordinates are already fractions of the screenshot. The vertical scroll follows pyautogui: negative is down. `page` is
a fraction of a page and becomes per cent; a whole number without `page` counts wheel clicks and stays as it is.
"""

import re
from collections.abc import Callable
from functools import partial

from forge_core.actions.calls import ActionParseError, Call, bind, read_calls
from forge_core.actions.types import Action, is_number

_STRING = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_NOISE = re.compile(r"\A\s*Action:|^import pyautogui[ \t]*$", re.MULTILINE)
_CLICKS = {("left", "1"): "click", ("left", "2"): "double_click", ("right", "1"): "right_click"}
_LIMIT = 1e6  # far above any scroll of the data; keeps infinities out


def parse(text: str) -> list[Action]:
    """Actions of an AGUVIS answer. `moveTo` followed by `dragTo` is one drag; nothing is guessed or dropped.

    Raises `ActionParseError` on an unknown call, a coordinate outside [0, 1], a scroll without a direction, prose.
    """
    actions: list[Action] = []
    for call in _calls(_NOISE.sub(lambda match: " " * len(match[0]), text)):
        if call.name not in CALLS:
            raise ActionParseError(f"expected a call of the AGUVIS dialect, found {call.name}", text, call.offset)
        try:
            actions = _extend(actions, call)
        except ValueError as error:
            raise ActionParseError(f"{call.name}: {error}", text, call.offset) from None
    return actions


def _calls(text: str) -> list[Call]:
    """The calls; where a string holds a real line break, which Python refuses, it is read as an escaped one."""
    try:
        return read_calls(text)
    except ActionParseError:
        repaired = _STRING.sub(lambda match: match[0].replace("\n", "\\n"), text)
        if repaired == text:
            raise
        return read_calls(repaired)


def _extend(actions: list[Action], call: Call) -> list[Action]:
    names, convert = CALLS[call.name]
    if call.name == "pyautogui.hotkey" and all(isinstance(key, str) for key in call.positional) and call.positional:
        call = Call(call.name, [call.positional], call.keywords, call.offset)  # hotkey('ctrl', 'c')
    arguments = bind(call, names)
    if call.name == "pyautogui.dragTo":
        return _drag(actions, arguments)
    return actions + convert(arguments)


def _number(value: object) -> float | int:
    """A number, also where the data writes it as text."""
    number = float(value) if isinstance(value, str) else value
    if not is_number(number) or not -_LIMIT <= number <= _LIMIT:
        raise ValueError(f"expected a finite number, found {value!r:.80}")
    return number


def _xy(arguments: dict) -> dict[str, float]:
    """x and y, both given, both left out (at the cursor), or as one pair."""
    x, y = arguments.get("x"), arguments.get("y")
    if isinstance(x, list) and len(x) == 2 and y is None:
        x, y = x
    return {name: _number(value) for name, value in (("x", x), ("y", y)) if value is not None}


def _click(arguments: dict, clicks: int = 1, button: str = "left") -> list[Action]:
    button, clicks = arguments.get("button", button), arguments.get("clicks", clicks)
    if (str(button), str(clicks)) not in _CLICKS:
        raise ValueError(f"no action for {clicks!r} clicks of the {button!r} button")
    return [Action(_CLICKS[str(button), str(clicks)], _xy(arguments))]


def _drag(actions: list[Action], arguments: dict) -> list[Action]:
    """A drag from `from_coord`, else from where the cursor was left; the `moveTo` that led there becomes part of it."""
    if str(arguments.get("button", "left")) != "left":
        raise ValueError(f"no action for a drag with the {arguments['button']!r} button")
    ends = {name: arguments[name] for name in ("from_coord", "to_coord") if name in arguments}
    if ends:
        return [*actions, Action("drag", ends)]
    before = actions[-1].arguments if actions else {}
    start = before.get("to_coord") or ([before["x"], before["y"]] if "x" in before else None)
    if start is None:
        raise ValueError("expected a moveTo before it, or from_coord and to_coord")
    end = _xy(arguments)
    drag = Action("drag", {"from_coord": start, "to_coord": [end.get("x"), end.get("y")]})
    return [*(actions[:-1] if actions[-1].name == "move_mouse" else actions), drag]


def _scroll(arguments: dict, positive: str, negative: str) -> list[Action]:
    if ("page" in arguments) == ("clicks" in arguments):
        raise ValueError("expected one amount: page, or wheel clicks")
    value = _number(arguments["page"] if "page" in arguments else arguments["clicks"])
    is_share = "page" in arguments or isinstance(value, float)
    distance = round(abs(value) * 100) if is_share else abs(value)  # per cent of a page, or wheel clicks
    scroll = Action("scroll", {"direction": negative if value < 0 else positive, "amount": distance})
    return [Action("move_mouse", _xy(arguments)), scroll] if "x" in arguments else [scroll]


def _press(arguments: dict) -> list[Action]:
    presses = arguments.get("presses", 1)
    if not isinstance(presses, int) or not 1 <= presses <= 100:
        raise ValueError(f"expected 1 to 100 presses, found {presses!r}")
    return _renamed(arguments, name="press", keys="keys") * presses


def _terminate(arguments: dict) -> list[Action]:
    words = [arguments.get("status", "success"), *([arguments["reason"]] if arguments.get("reason") else [])]
    return [Action("final_answer", {"answer": ": ".join(map(str, words))})]


def _pointing(arguments: dict, name: str) -> list[Action]:
    return [Action(name, _xy(arguments))]


def _select_option(arguments: dict) -> list[Action]:
    return [Action("select_option", _xy(arguments) | {key: arguments[key] for key in ("value",) if key in arguments})]


def _wait(arguments: dict) -> list[Action]:
    return [Action("wait", {"seconds": _number(arguments["seconds"])} if arguments else {})]


def _renamed(arguments: dict, name: str, **parameters: str) -> list[Action]:
    """A call that differs in names only: `parameters` maps theirs to ours; a typing interval has no counterpart."""
    return [Action(name, {ours: arguments[theirs] for theirs, ours in parameters.items() if theirs in arguments})]


# Dialect call -> (its parameters in order, what makes actions of them).
CALLS: dict[str, tuple[tuple[str, ...], Callable[[dict], list[Action]]]] = {
    "pyautogui.click": (("x", "y", "clicks", "interval", "button"), _click),
    "pyautogui.doubleClick": (("x", "y", "interval", "button"), partial(_click, clicks=2)),
    "pyautogui.rightClick": (("x", "y"), partial(_click, button="right")),
    "pyautogui.moveTo": (("x", "y", "duration"), partial(_pointing, name="move_mouse")),
    "pyautogui.dragTo": (("x", "y", "duration", "button", "from_coord", "to_coord"), _drag),
    "pyautogui.scroll": (("clicks", "x", "y", "page"), partial(_scroll, positive="up", negative="down")),
    "pyautogui.hscroll": (("clicks", "x", "y", "page"), partial(_scroll, positive="right", negative="left")),
    "pyautogui.write": (("message", "interval"), partial(_renamed, name="type", message="text")),
    "pyautogui.press": (("keys", "presses", "interval"), _press),
    "pyautogui.hotkey": (("keys",), _press),
    "mobile.home": ((), partial(_renamed, name="navigate_home")),
    "mobile.back": ((), partial(_renamed, name="navigate_back")),
    "mobile.open_app": (("app_name",), partial(_renamed, name="open_app", app_name="app_name")),
    "mobile.swipe": (
        ("from_coord", "to_coord"),
        partial(_renamed, name="swipe", from_coord="from_coord", to_coord="to_coord"),
    ),
    "mobile.long_press": (("x", "y", "duration"), partial(_pointing, name="long_press")),
    "mobile.wait": (("seconds",), _wait),
    "mobile.terminate": (("status", "reason"), _terminate),
    "computer.terminate": (("status", "reason"), _terminate),
    "terminate": (("status", "reason"), _terminate),
    "browser.select_option": (("x", "y", "value"), _select_option),
    "answer": (("text",), partial(_renamed, name="final_answer", text="answer")),
}
