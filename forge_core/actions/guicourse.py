"""GUICourse / GUIAct (arXiv 2406.11317): 'actions:' and lines such as `click,<box> 49 292 415 328</box>`.

Coordinates are thousandths of the image; a box stands for its centre. `input, text` and `answer, text` go on until the
next line that begins with an action. `scroll, down 530 right 0` counts pixels (values above 1000 occur). `copy` is
Ctrl+C, `select_text` a drag. Read-only.
"""

import re

from forge_core.actions.calls import ActionParseError
from forge_core.actions.steps import Reading, Step, centre, pair, scrolled, split_lines, split_thought

_POINTING = {
    "click": "click",
    "tap": "click",
    "hover": "move_mouse",
    "long_press": "long_press",
    "double_click": "double_click",
}
_WORDS = {"input": ("type", "text"), "answer": ("final_answer", "answer"), "type": ("type", "text")}
_PLAIN = {
    "copy": ("press", {"keys": ["ctrl", "c"]}),
    "enter": ("press", {"keys": "enter"}),
    "go_back": ("navigate_back", {}),
    "go_home": ("navigate_home", {}),
}
_FROM_TO = {"swipe": "swipe", "select_text": "drag"}
_VERB = rf"(?:{'|'.join({*_POINTING, *_WORDS, *_FROM_TO, 'scroll', 'select'})})"
_HEAD = re.compile(r"^[ \t]*actions?:", re.MULTILINE)
SIGN = re.compile(rf"^[ \t]*actions?:\s*(?:{_VERB},|copy|enter|go_)|\A\s*<box>\s*\d", re.MULTILINE)
_LINE = re.compile(rf"^[ \t]*(?=(?:{_VERB}[ \t]*,|(?:{'|'.join(_PLAIN)})[ \t]*$|<box>))", re.MULTILINE)
_PLACE = re.compile(r"<(box|point)>([\d\s.]*)</\1>")
_SCROLL = re.compile(r"\s*down\s+(-?\d+)\s+right\s+(-?\d+)\s*")


def read(text: str) -> Reading:
    """Steps and thought of a GUICourse answer; raises `ActionParseError`."""
    thought, start = split_thought(text, _HEAD)
    lines = split_lines(text, start, _LINE)
    if lines is None:
        raise ActionParseError("expected an action such as click,<box> x1 y1 x2 y2</box>", text, start)
    steps: list[Step] = []
    for at, line in lines:
        try:
            steps += [Step(step.name, step.arguments, at) for step in _steps(line)]
        except ValueError as error:
            raise ActionParseError(str(error), text, at) from None
    return Reading(steps, thought)


def _steps(line: str) -> list[Step]:
    verb, _, rest = line.partition(",")
    verb = verb.strip()
    if verb in _PLAIN and not rest.strip():
        name, arguments = _PLAIN[verb]
        return [Step(name, arguments)]
    if verb in _WORDS:
        name, parameter = _WORDS[verb]
        return [Step(name, {parameter: rest.removeprefix(" ")})]
    places = [[float(number) for number in match[2].split()] for match in _PLACE.finditer(line)]
    if line.startswith("<box>"):
        return [Step("click", centre(*places))]
    if verb in _POINTING and len(places) == 1 and not _PLACE.sub("", rest).strip():
        return [Step(_POINTING[verb], centre(places[0]))]
    if verb in _FROM_TO and len(places) == 2:
        return [Step(_FROM_TO[verb], {"from_coord": pair(places[0]), "to_coord": pair(places[1])})]
    if verb == "select" and len(places) == 1:
        value = rest[_PLACE.search(rest).end() :]
        return [Step("select_option", centre(places[0]) | {"value": value.removeprefix(",").strip()})]
    scroll = _SCROLL.fullmatch(rest)
    if verb == "scroll" and scroll:
        return scrolled(int(scroll[2]), int(scroll[1]), "pixels")
    raise ValueError(f"{verb:.40}: not what belongs after it")
