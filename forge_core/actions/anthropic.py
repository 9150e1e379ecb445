"""Anthropic's computer-use tool (versions 2024-10-22 to 2025-11-24): `{"action": "left_click", "coordinate": [x, y]}`.

Coordinates are pixels of the screen as it was shown to the model. `scroll_amount` counts wheel clicks. What has no
counterpart (screenshot, cursor_position, left_mouse_down, hold_key, zoom) is kept whole as call_tool.
"""

import json
import re

from forge_core.actions.jsontext import read_objects, write_objects
from forge_core.actions.steps import Reading, Step, centre, only_unit, pair

SIGN = re.compile(
    r"\"action\"\s*:\s*\"(?:left_click|right_click|middle_click|double_click|triple_click|mouse_move|left_click_drag|key|type"
    r"|scroll|wait|screenshot|cursor_position|left_mouse_down|left_mouse_up|hold_key|zoom)\""
)
_POINTING = {
    "left_click": "click",
    "double_click": "double_click",
    "triple_click": "triple_click",
    "right_click": "right_click",
    "middle_click": "middle_click",
    "mouse_move": "move_mouse",
}
_TOOLS = ("screenshot", "cursor_position", "left_mouse_down", "left_mouse_up", "hold_key", "zoom")


def read(text: str) -> Reading:
    """Steps of one JSON object or a list of them; raises `ActionParseError`, and ValueError on an unknown key."""
    return Reading(
        [_step({key: value for key, value in item.items() if value is not None}) for item in read_objects(text)]
    )


def _step(item: dict) -> Step:
    action = item.pop("action", None)
    step = _converted(action, item)
    if item and step.name != "call_tool":
        raise ValueError(f"{action}: no counterpart for {sorted(item)[0]!r}")
    return step


def _converted(action: object, item: dict) -> Step:
    """The step; what it takes from `item` is taken out."""
    if action in _POINTING:
        return Step(_POINTING[action], centre(item.pop("coordinate")) if "coordinate" in item else {})
    if action == "left_click_drag":
        start = {"from_coord": pair(item.pop("start_coordinate"))} if "start_coordinate" in item else {}
        return Step("drag", start | {"to_coord": pair(item.pop("coordinate", None))})
    if action == "key":
        keys = str(item.pop("text", ""))
        return Step("press", {"keys": keys.split("+") if "+" in keys.strip("+") else keys})
    if action == "type":
        return Step("type", {"text": item.pop("text", None)})
    if action == "scroll":
        place = centre(item.pop("coordinate")) if "coordinate" in item else {}
        distance = {"direction": item.pop("scroll_direction", None), "amount": item.pop("scroll_amount", None)}
        return Step("scroll", distance | {"unit": "clicks"} | place)
    if action == "wait":
        return Step("wait", {"seconds": item.pop("duration")} if "duration" in item else {})
    if action in _TOOLS:
        return Step("call_tool", {"tool": action, "arguments": json.dumps(item, ensure_ascii=False)})
    raise ValueError(f"{action!r:.40} is not an action of the computer-use tool")


def write(reading: Reading) -> str:
    """One JSON object, or a list of several; raises ValueError on a thought and on what the tool lacks."""
    return write_objects(reading, _item)


def _item(step: Step) -> dict:
    arguments = step.arguments
    place = {"coordinate": [arguments["x"], arguments["y"]]} if "x" in arguments else {}
    for action, name in _POINTING.items():
        if name == step.name and "element" not in arguments:
            return {"action": action} | place
    if step.name == "drag" and "to_coord" in arguments and not any("element" in name for name in arguments):
        start = {"start_coordinate": arguments["from_coord"]} if "from_coord" in arguments else {}
        return {"action": "left_click_drag"} | start | {"coordinate": arguments["to_coord"]}
    if step.name == "press":
        keys = arguments["keys"]
        return {"action": "key", "text": keys if isinstance(keys, str) else "+".join(keys)}
    if step.name == "type":
        return {"action": "type", "text": arguments["text"]}
    if step.name == "scroll" and "amount" in arguments:
        only_unit(arguments, "clicks")
        distance = {"scroll_direction": arguments["direction"], "scroll_amount": arguments["amount"]}
        return {"action": "scroll"} | place | distance
    if step.name == "wait":
        return {"action": "wait"} | ({"duration": arguments["seconds"]} if arguments else {})
    if step.name == "call_tool" and arguments["tool"] in _TOOLS:
        return {"action": arguments["tool"]} | json.loads(arguments["arguments"])
    raise ValueError(f"{step.name}({', '.join(arguments)}): the tool has no word for it")
