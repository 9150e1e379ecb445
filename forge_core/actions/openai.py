"""OpenAI's computer-use actions (Responses API): `{"type": "click", "x": 100, "y": 200, "button": "left"}`.

Coordinates are pixels of the screenshot; `scroll_x` and `scroll_y` are pixels, positive to the right and down. A drag
is its path, of which the two ends are kept. `screenshot` and the buttons back, forward and wheel: back and forward
have no counterpart and are kept as call_tool, wheel is a middle click.
"""

import json
import re

from forge_core.actions.jsontext import read_objects, write_objects
from forge_core.actions.steps import Reading, Step, distances, only_unit, scrolled

SIGN = re.compile(r"\"type\"\s*:\s*\"(?:click|double_click|scroll|keypress|drag|move|type|wait|screenshot)\"")
_BUTTONS = {"left": "click", "right": "right_click", "wheel": "middle_click"}


def read(text: str) -> Reading:
    """Steps of one JSON object or a list; raises `ActionParseError`, and ValueError on what is not an action."""
    return Reading([step for item in read_objects(text) for step in _steps(item)])


def _steps(item: dict) -> list[Step]:
    kind = item.get("type")
    place = {name: item[name] for name in ("x", "y") if item.get(name) is not None}
    if kind == "click" and item.get("button", "left") in _BUTTONS:
        return [Step(_BUTTONS[item.get("button", "left")], place)]
    if kind == "screenshot" or (kind == "click" and item["button"] in ("back", "forward")):
        rest = {key: value for key, value in item.items() if key != "type"}
        return [Step("call_tool", {"tool": kind, "arguments": json.dumps(rest, ensure_ascii=False)})]
    if kind == "double_click":
        return [Step("double_click", place)]
    if kind == "move":
        return [Step("move_mouse", place)]
    if kind == "scroll":
        return scrolled(item.get("scroll_x", 0), item.get("scroll_y", 0), "pixels", place)
    if kind == "drag":
        path = [[point["x"], point["y"]] if isinstance(point, dict) else point for point in item.get("path", [])]
        if len(path) < 2:
            raise ValueError(f"drag: expected a path of at least two points, found {len(path)}")
        return [Step("drag", {"from_coord": path[0], "to_coord": path[-1]})]
    if kind == "keypress":
        keys = item.get("keys")
        return [Step("press", {"keys": keys[0] if isinstance(keys, list) and len(keys) == 1 else keys})]
    if kind == "type":
        return [Step("type", {"text": item.get("text")})]
    if kind == "wait":
        return [Step("wait", {})]
    raise ValueError(f"{kind!r:.40} is not an action of the computer-use tool")


def write(reading: Reading) -> str:
    """One JSON object, or a list of several; raises ValueError on a thought and on what the tool lacks."""
    return write_objects(reading, _item)


def _item(step: Step) -> dict:
    arguments = step.arguments
    for button, name in _BUTTONS.items():
        if name == step.name and set(arguments) == {"x", "y"}:
            return {"type": "click", "button": button} | arguments
    if step.name in ("double_click", "move_mouse") and set(arguments) == {"x", "y"}:
        return {"type": "move" if step.name == "move_mouse" else step.name} | arguments
    if step.name == "scroll" and "x" in arguments:
        only_unit(arguments, "pixels")
        right, down = distances(arguments)
        return {"type": "scroll", "x": arguments["x"], "y": arguments["y"], "scroll_x": right, "scroll_y": down}
    if step.name == "drag" and set(arguments) == {"from_coord", "to_coord"}:
        ends = (arguments["from_coord"], arguments["to_coord"])
        return {"type": "drag", "path": [{"x": x, "y": y} for x, y in ends]}
    if step.name == "press":
        keys = arguments["keys"]
        return {"type": "keypress", "keys": [keys] if isinstance(keys, str) else keys}
    if step.name == "type":
        return {"type": "type", "text": arguments["text"]}
    if step.name == "wait" and not arguments:
        return {"type": "wait"}
    if step.name == "call_tool" and arguments["tool"] in ("screenshot", "click"):
        return {"type": arguments["tool"]} | json.loads(arguments["arguments"])
    raise ValueError(f"{step.name}({', '.join(arguments)}): the tool has no word for it")
