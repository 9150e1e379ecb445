"""Mind2Web operations (arXiv 2306.06070): `{"operation": "TYPE", "value": "Kansas", "bbox": [[162, 292, 361, 48]]}`.

Boxes are [left, top, width, height] in pixels of the page; the first one is the target and stands for its centre.
`TYPE` is a click and then typing. What else a row holds (`previous_actions`) is context, not an action. Read-only.
Planners write `[button]  Sign in -> CLICK` and `[textbox]  City -> TYPE: Kansas`, one a line: the element is in words.
"""

import re

from forge_core.actions.calls import ActionParseError
from forge_core.actions.jsontext import read_objects
from forge_core.actions.steps import Reading, Step, is_number

_LINE = re.compile(r"[ \t]*\[\w+\][ \t]+(.*?)[ \t]*->[ \t]*(CLICK|TYPE|SELECT|HOVER|ENTER)(?::[ \t]?(.*))?")
SIGN = re.compile(r"\A\s*\[\w+\][ \t]+[^\n]*->|\"operation\"\s*:\s*\"(?:CLICK|TYPE|SELECT|HOVER|ENTER)\"")


def read(text: str) -> Reading:
    """Steps of one JSON object or a list of them; raises `ActionParseError`, and ValueError on an unknown operation."""
    if _LINE.match(text):
        return Reading([step for line in text.splitlines() if line.strip() for step in _steps(_item(line, text))])
    return Reading([step for item in read_objects(text) for step in _steps(item)])


def _item(line: str, text: str) -> dict:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ActionParseError("expected [tag]  element -> OPERATION", text, text.index(line))
    element, operation, value = found.groups()
    return {"operation": operation, "value": value, "element": element}


def _steps(item: dict) -> list[Step]:
    operation, value = item.get("operation"), item.get("value")
    if isinstance(operation, dict):  # as Mind2Web's own files nest it
        operation, value = operation.get("op"), operation.get("value")
    place = {"element": item["element"]} if "element" in item else _centre(item.get("bbox"))
    if operation == "CLICK":
        return [Step("click", place)]
    if operation == "HOVER":
        return [Step("move_mouse", place)]
    if operation == "TYPE":
        return [Step("click", place), Step("type", {"text": value})]
    if operation == "SELECT":
        return [Step("select_option", place | {"value": value})]
    if operation == "ENTER":
        return [Step("press", {"keys": "enter"})]
    raise ValueError(f"{operation!r:.40} is not an operation of Mind2Web")


def _centre(boxes: object) -> dict[str, float]:
    box = boxes[0] if isinstance(boxes, list) and boxes and isinstance(boxes[0], list) else boxes
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise ValueError(f"expected bbox [left, top, width, height], found {boxes!r:.60}")
    left, top, width, height = box
    return {"x": left + width / 2, "y": top + height / 2}
