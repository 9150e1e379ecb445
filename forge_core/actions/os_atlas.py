"""OS-Atlas (arXiv 2410.23218): 'thoughts:', 'actions:', then lines such as `CLICK <point>[[950,87]]</point>`.

Coordinates are thousandths of the image. Square brackets are the quotes of `TYPE [text]`, `OPEN_APP [name]` and
`SCROLL [UP]`; a text goes on until the bracket that ends a line before the next action.
"""

import re

from forge_core.actions.calls import ActionParseError
from forge_core.actions.steps import Reading, Step, centre, split_lines, split_thought

_POINTING = {
    "CLICK": "click",
    "DOUBLE_CLICK": "double_click",
    "RIGHT_CLICK": "right_click",
    "LONG_PRESS": "long_press",
    "MOVETO": "move_mouse",
}
_WORDS = {"TYPE": ("type", "text"), "OPEN_APP": ("open_app", "app_name"), "PRESS": ("press", "keys")}
_PLAIN = {
    "PRESS_BACK": ("navigate_back", {}),
    "PRESS_HOME": ("navigate_home", {}),
    "WAIT": ("wait", {}),
    "ENTER": ("press", {"keys": "enter"}),
    "COMPLETE": ("final_answer", {"answer": "success"}),
}
_VERB = rf"(?:{'|'.join(sorted({*_POINTING, *_WORDS, *_PLAIN, 'SCROLL', 'HOTKEY'}, key=len, reverse=True))})"
SIGN = re.compile(rf"^[ \t]*(?:{_VERB} ?[<\[]|(?:COMPLETE|WAIT|PRESS_BACK|PRESS_HOME)[ \t]*$)", re.MULTILINE)
_HEAD = re.compile(r"^[ \t]*actions?:", re.MULTILINE | re.IGNORECASE)
_LINE = re.compile(rf"^[ \t]*(?={_VERB}(?:\s|[<\[]|\Z))", re.MULTILINE)
_ACTION = re.compile(rf"({_VERB})\s*(?:<(point|box)>(.*?)</\2>|\[(.*)\])?\s*", re.DOTALL)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def read(text: str) -> Reading:
    """Steps and thought of an OS-Atlas answer; raises `ActionParseError`."""
    thought, start = split_thought(text, _HEAD)
    lines = split_lines(text, start, _LINE)
    if lines is None:
        raise ActionParseError("expected an action such as CLICK <point>[[x,y]]</point>", text, start)
    steps = []
    for at, line in lines:
        action = _ACTION.fullmatch(line)
        try:
            steps.append(_step(action, at))
        except ValueError as error:
            raise ActionParseError(str(error), text, at) from None
    return Reading(steps, thought)


def _step(action: re.Match | None, at: int) -> Step:
    if action is None:
        raise ValueError("expected one action a line")
    verb, _, place, words = action.groups()
    if verb in _POINTING and place is not None:
        return Step(_POINTING[verb], centre([float(number) for number in _NUMBER.findall(place)]), at)
    if verb == "SCROLL" and words is not None:
        return Step("scroll", {"direction": words.strip().lower()}, at)
    if verb == "HOTKEY" and words is not None:
        return Step("press", {"keys": words.split("+")}, at)
    if verb in _WORDS and words is not None:
        name, parameter = _WORDS[verb]
        return Step(name, {parameter: words}, at)
    if verb in _PLAIN and place is None and words is None:
        name, arguments = _PLAIN[verb]
        return Step(name, arguments, at)
    raise ValueError(f"{verb}: not what belongs after it")


def write(reading: Reading) -> str:
    """'thoughts:' where there is one, 'actions:' and a line an action; raises ValueError on what the dialect lacks."""
    head = f"thoughts:\n{reading.thought}\n" if reading.thought else ""
    return head + "actions:\n" + "\n".join(_line(step) for step in reading.steps)


def _line(step: Step) -> str:
    arguments = step.arguments
    for verb, name in _POINTING.items():
        if name == step.name and set(arguments) == {"x", "y"}:
            return f"{verb} <point>[[{arguments['x']},{arguments['y']}]]</point>"
    for verb, form in _PLAIN.items():
        if form == (step.name, arguments):
            return verb
    if step.name == "scroll" and set(arguments) == {"direction"}:
        return f"SCROLL [{arguments['direction'].upper()}]"
    if step.name == "press" and isinstance(arguments["keys"], list):
        return f"HOTKEY [{'+'.join(arguments['keys'])}]"
    for verb, (name, parameter) in _WORDS.items():
        if name == step.name:
            return f"{verb} [{arguments[parameter]}]"
    raise ValueError(f"{step.name}({', '.join(arguments)}): OS-Atlas has no word for it")
