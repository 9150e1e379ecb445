"""The AGUVIS dialect (arXiv 2412.04454, section 3): pyautogui, mobile and browser calls, one a line.

Coordinates are fractions of the screenshot. The vertical scroll follows pyautogui: negative is down. `page` is a
fraction of a page and becomes per cent; a whole number without `page` counts wheel clicks and is marked so. How long a
gesture or a keystroke takes has no place in the action space and is left out. A stage 2 turn may carry its thought
before the calls ('Thought: ...', then 'assistantos' or a new line).
"""

import re
from collections.abc import Callable
from functools import partial

from forge_core.actions.calls import ActionParseError, Call, bind, read_calls_over_lines
from forge_core.actions.steps import Reading, Step, distances, is_number, only_unit
from forge_core.actions.types import MAX_AMOUNT

SIGN = re.compile(
    r"^[ \t]*(?:Action:[ \t]*)?(?:(?:pyautogui|mobile|browser|computer)\.\w+|answer|terminate)\(", re.MULTILINE
)
_NOISE = re.compile(r"\A\s*Action:|^import (?:pyautogui|time)[ \t]*$", re.MULTILINE)
_PROSE = re.compile(r"\s*(?:Observation|Thought|Action):")
_ROLE = re.compile(
    r"(?:<\|im_start\|>)?assistant(?:<\|recipient\|>)?(?:all|os)*\s*(?:assistant(?:<\|recipient\|>)?os)?\s*\Z"
)
_CLICKS = {
    ("left", "1"): "click",
    ("left", "2"): "double_click",
    ("left", "3"): "triple_click",
    ("right", "1"): "right_click",
    ("middle", "1"): "middle_click",
}


def read(text: str, calls: dict | None = None) -> Reading:
    """Steps of an AGUVIS answer. `moveTo` followed by `dragTo` is one drag; nothing is guessed or dropped.

    Raises `ActionParseError` on an unknown call, a scroll without a distance, prose that is not marked as a thought.
    """
    table = calls or CALLS
    thought, code = _split(text)
    steps: list[Step] = []
    for call in read_calls_over_lines(_NOISE.sub(lambda match: " " * len(match[0]), code)):
        if call.name not in table:
            raise ActionParseError(f"expected a call of the dialect, found {call.name}", text, call.offset)
        try:
            steps = _extend(steps, call, table)
        except ValueError as error:
            raise ActionParseError(f"{call.name}: {error}", text, call.offset) from None
    return Reading(steps, thought)


def _split(text: str) -> tuple[str | None, str]:
    """The thought, where one is marked, and the code with everything before it blanked, so that offsets stay."""
    code = SIGN.search(text) if _PROSE.match(text) else None
    if code is None or _NOISE.match(text[: code.end()]):
        return None, text
    thought = _ROLE.sub("", text[: code.start()].strip()).strip()
    return thought or None, " " * code.start() + text[code.start() :]


def _extend(steps: list[Step], call: Call, table: dict) -> list[Step]:
    names, convert = table[call.name]
    if call.name == "pyautogui.hotkey" and all(isinstance(key, str) for key in call.positional) and call.positional:
        call = Call(call.name, [call.positional], call.keywords, call.offset)  # hotkey('ctrl', 'c')
    arguments = {name: value for name, value in bind(call, names).items() if value is not None}
    if call.name == "pyautogui.dragTo":
        return _drag(steps, arguments)
    return steps + [Step(step.name, step.arguments, call.offset) for step in convert(arguments)]


def _number(value: object) -> float | int:
    """A number, also where the data writes it as text."""
    number = float(value) if isinstance(value, str) and len(value) < 40 else value
    if not is_number(number) or not -MAX_AMOUNT <= number <= MAX_AMOUNT:
        raise ValueError(f"expected a number, found {value!r:.80}")
    return number


def _xy(arguments: dict) -> dict[str, float]:
    """x and y, both given, both left out (at the cursor), or as one pair."""
    x, y = arguments.get("x"), arguments.get("y")
    if isinstance(x, list) and len(x) == 2 and y is None:
        x, y = x
    place = {name: _number(value) for name, value in (("x", x), ("y", y)) if value is not None}
    return place | ({"element": arguments["element"]} if "element" in arguments else {})


def _click(arguments: dict, clicks: int = 1, button: str = "left") -> list[Step]:
    button, clicks = arguments.get("button", button), arguments.get("clicks", clicks)
    if (str(button), str(clicks)) not in _CLICKS:
        raise ValueError(f"no action for {clicks!r} clicks of the {button!r} button")
    return [Step(_CLICKS[str(button), str(clicks)], _xy(arguments))]


def _drag(steps: list[Step], arguments: dict) -> list[Step]:
    """A drag from `from_coord`, else from where the cursor is; the `moveTo` that led there becomes part of it."""
    if str(arguments.get("button", "left")) != "left":
        raise ValueError(f"no action for a drag with the {arguments['button']!r} button")
    ends = {name: arguments[name] for name in ("from_coord", "to_coord") if name in arguments}
    if ends:
        return [*steps, Step("drag", ends)]
    end = _xy(arguments)
    if not end:
        raise ValueError("expected the place to drag to")
    drag = {"to_element": end["element"]} if "element" in end else {"to_coord": [end.get("x"), end.get("y")]}
    before = steps[-1].arguments if steps else {}
    start = before.get("to_coord") or ([before["x"], before["y"]] if "x" in before else None)
    if start is not None:
        drag["from_coord"] = start
    element = before.get("to_element") or before.get("element")
    if element is not None:
        drag["from_element"] = element
    return [*(steps[:-1] if steps and steps[-1].name == "move_mouse" else steps), Step("drag", drag)]


def _scroll(arguments: dict, positive: str, negative: str) -> list[Step]:
    if ("page" in arguments) == ("clicks" in arguments):
        raise ValueError("expected one amount: page, or wheel clicks")
    value = _number(arguments["page"] if "page" in arguments else arguments["clicks"])
    is_share = "page" in arguments or isinstance(value, float)
    distance = {"amount": round(abs(value) * 100)} if is_share else {"amount": abs(value), "unit": "clicks"}
    scroll = Step("scroll", {"direction": negative if value < 0 else positive, **distance})
    return [Step("move_mouse", _xy(arguments)), scroll] if "x" in arguments else [scroll]


def _press(arguments: dict) -> list[Step]:
    presses = arguments.get("presses", 1)
    if not isinstance(presses, int) or not 1 <= presses <= 100:
        raise ValueError(f"expected 1 to 100 presses, found {presses!r}")
    return _renamed(arguments, name="press", keys="keys") * presses


def _terminate(arguments: dict) -> list[Step]:
    words = [arguments.get("status", "success"), *([arguments["reason"]] if arguments.get("reason") else [])]
    return [Step("final_answer", {"answer": ": ".join(map(str, words))})]


def _answer(arguments: dict) -> list[Step]:
    words = arguments.get("text")
    return [Step("final_answer", {"answer": str(words) if is_number(words) or isinstance(words, bool) else words})]


def _pointing(arguments: dict, name: str) -> list[Step]:
    return [Step(name, _xy(arguments))]


def _select_option(arguments: dict) -> list[Step]:
    return [Step("select_option", _xy(arguments) | {key: arguments[key] for key in ("value",) if key in arguments})]


def _wait(arguments: dict) -> list[Step]:
    return [Step("wait", {"seconds": _number(arguments["seconds"])} if arguments else {})]


def _renamed(arguments: dict, name: str, **parameters: str) -> list[Step]:
    """A call that differs in names only: `parameters` maps theirs to ours; a typing interval has no counterpart."""
    return [Step(name, {ours: arguments[theirs] for theirs, ours in parameters.items() if theirs in arguments})]


# Dialect call -> (its parameters in order, what makes actions of them).
CALLS: dict[str, tuple[tuple[str, ...], Callable[[dict], list[Step]]]] = {
    "pyautogui.click": (("x", "y", "clicks", "interval", "button"), _click),
    "pyautogui.doubleClick": (("x", "y", "interval", "button"), partial(_click, clicks=2)),
    "pyautogui.tripleClick": (("x", "y", "interval", "button"), partial(_click, clicks=3)),
    "pyautogui.rightClick": (("x", "y"), partial(_click, button="right")),
    "pyautogui.middleClick": (("x", "y"), partial(_click, button="middle")),
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
    "computer.triple_click": (("x", "y"), partial(_click, clicks=3)),
    "computer.wait": (("seconds",), _wait),
    "terminate": (("status", "reason"), _terminate),
    "browser.select_option": (("x", "y", "value"), _select_option),
    "answer": (("text",), _answer),
    "time.sleep": (("seconds",), _wait),
}

_NAMES = {
    "click": "pyautogui.click",
    "double_click": "pyautogui.doubleClick",
    "triple_click": "pyautogui.tripleClick",
    "right_click": "pyautogui.rightClick",
    "middle_click": "pyautogui.middleClick",
    "move_mouse": "pyautogui.moveTo",
    "long_press": "mobile.long_press",
    "swipe": "mobile.swipe",
    "select_option": "browser.select_option",
    "wait": "mobile.wait",
    "open_app": "mobile.open_app",
    "navigate_home": "mobile.home",
    "navigate_back": "mobile.back",
}


def write(reading: Reading, lines_of: Callable[[Step], list[str]] | None = None) -> str:
    """AGUVIS calls of the steps, one a line, after the thought; raises ValueError on what the dialect lacks."""
    lines = [line for step in reading.steps for line in (lines_of or write_step)(step)]
    return "\n".join([f"Thought: {reading.thought}", *lines] if reading.thought else lines)


def write_step(step: Step) -> list[str]:
    """The lines of one step."""
    arguments = step.arguments
    if step.name == "drag":
        if "to_coord" not in arguments or any("element" in name for name in arguments):
            raise ValueError("drag: the dialect needs a place, not an element")
        if "from_coord" not in arguments:
            return [_line("pyautogui.dragTo", dict(zip("xy", arguments["to_coord"], strict=True)))]
        return [_line("pyautogui.dragTo", arguments)]
    if step.name == "scroll":
        return [_write_scroll(arguments)]
    if step.name == "press":
        several = isinstance(arguments["keys"], list)
        return [_line("pyautogui.hotkey" if several else "pyautogui.press", arguments)]
    if step.name == "type":
        return [_line("pyautogui.write", {"message": arguments["text"]})]
    if step.name == "final_answer":
        return [_line("answer", {"text": arguments["answer"]})]
    if step.name not in _NAMES or "element" in arguments:
        raise ValueError(
            f"{step.name}: the dialect has no word for it" + (" with an element" if "element" in arguments else "")
        )
    return [_line(_NAMES[step.name], arguments)]


def _write_scroll(arguments: dict) -> str:
    right, down = distances(arguments)
    distance, call = (right, "pyautogui.hscroll") if right else (-down, "pyautogui.scroll")
    if arguments.get("unit") == "clicks":
        return f"{call}({distance})"
    only_unit(arguments, None)
    return f"{call}(page={distance / 100})"


def _line(name: str, arguments: dict) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
