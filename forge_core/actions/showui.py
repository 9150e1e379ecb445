"""ShowUI (arXiv 2411.17465): Python dicts, `{'action': 'CLICK', 'value': None, 'position': [0.49, 0.40]}`.

Coordinates are fractions of the image. `position` is a point or two points; several dicts are separated by commas or
lines. INPUT at a position is a click and then typing; SCROLL and a SWIPE without positions say a direction only.
"""

import re

from forge_core.actions.calls import ActionParseError, read_literal
from forge_core.actions.steps import Reading, Step, centre, pair

SIGN = re.compile(r"\A\s*(?:\[\s*)?\{\s*['\"]action['\"]\s*:\s*['\"][A-Z_ ]+['\"]")
_POINTING = {"CLICK": "click", "TAP": "click", "HOVER": "move_mouse", "LONG_PRESS": "long_press"}
_PLAIN = {
    "ENTER": ("press", {"keys": "enter"}),
    "PRESS ENTER": ("press", {"keys": "enter"}),
    "COPY": ("press", {"keys": ["ctrl", "c"]}),
    "PRESS BACK": ("navigate_back", {}),
    "PRESS HOME": ("navigate_home", {}),
    "STATUS TASK COMPLETE": ("final_answer", {"answer": "success"}),
    "STATUS TASK IMPOSSIBLE": ("final_answer", {"answer": "failure"}),
}
_BETWEEN = re.compile(r"\}\s*\n\s*\{")


def read(text: str) -> Reading:
    """Steps of ShowUI's dicts; raises `ActionParseError`."""
    value = read_literal(_BETWEEN.sub("}, {", text.strip().rstrip(",")))
    items = value if isinstance(value, list) else [value]
    steps: list[Step] = []
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("action"), str):
            raise ActionParseError(f"expected a dict with an action, found {item!r:.60}", text, 0)
        steps += _steps(item["action"].upper().replace("_", " "), item)
    return Reading(steps)


def _steps(action: str, item: dict) -> list[Step]:
    value, position = item.get("value"), item.get("position")
    if unknown := sorted(map(str, set(item) - {"action", "value", "position"})):
        raise ValueError(f"{action}: unknown key {unknown[0]!r}")
    if action in _POINTING or action.replace(" ", "_") in _POINTING:
        return [Step(_POINTING[action.replace(" ", "_")], centre(position))]
    if action == "INPUT":
        return [*([Step("click", centre(position))] if position else []), Step("type", {"text": value})]
    if action == "SELECT":
        return [Step("select_option", centre(position) | {"value": value})]
    if action in ("SELECT TEXT", "SWIPE") and position:
        start, end = position
        return [Step("drag" if action != "SWIPE" else "swipe", {"from_coord": pair(start), "to_coord": pair(end)})]
    if action in ("SCROLL", "SWIPE"):
        return [Step("scroll", {"direction": str(value).lower()})]
    if action == "ANSWER":
        return [Step("final_answer", {"answer": value})]
    if action in _PLAIN:
        name, arguments = _PLAIN[action]
        return [Step(name, arguments)]
    raise ValueError(f"{action:.40}: not an action of ShowUI")


def write(reading: Reading) -> str:
    """Dicts separated by commas; raises ValueError on a thought and on what the dialect lacks."""
    if reading.thought:
        raise ValueError("ShowUI has no place for a thought")
    return ", ".join(
        repr(dict(zip(("action", "value", "position"), _row(step), strict=True))) for step in reading.steps
    )


def _row(step: Step) -> tuple[str, str | None, list | None]:
    arguments = step.arguments
    for action, name in _POINTING.items():
        if name == step.name and set(arguments) == {"x", "y"}:
            return action, None, [arguments["x"], arguments["y"]]
    for action, form in _PLAIN.items():
        if form == (step.name, arguments):
            return action, None, None
    if step.name in ("drag", "swipe") and set(arguments) == {"from_coord", "to_coord"}:
        return "SELECT_TEXT" if step.name == "drag" else "SWIPE", None, [arguments["from_coord"], arguments["to_coord"]]
    if step.name == "scroll" and set(arguments) == {"direction"}:
        return "SCROLL", arguments["direction"].upper(), None
    if step.name == "select_option" and set(arguments) == {"x", "y", "value"}:
        return "SELECT", arguments["value"], [arguments["x"], arguments["y"]]
    if step.name in ("type", "final_answer"):
        return ("INPUT", arguments["text"], None) if step.name == "type" else ("ANSWER", arguments["answer"], None)
    raise ValueError(f"{step.name}({', '.join(arguments)}): ShowUI has no word for it")
