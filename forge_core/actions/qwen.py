"""Qwen-VL: boxes of Qwen2-VL, tool calls of Qwen2.5-VL and Qwen3-VL (`computer_use` and `mobile_use`).

    <|object_ref_start|>Save<|object_ref_end|><|box_start|>(200,10),(344,143)<|box_end|>          Qwen2-VL, thousandths
    <tool_call>\\n{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [548, 503]}}\\n</...>

Qwen2.5-VL counts pixels of the resized image, Qwen3-VL 0 to 999. Grammar: the function definitions of Qwen's
computer-use and mobile-agent cookbooks. `pixels` of a scroll: positive is up. Read besides: a JSON list of `bbox_2d`,
a bare [x, y], and what models do to the form (the action in `name`, `arguments` a bare point, a missing or surplus
brace). The time of a long press, and what follows a call, are left out.
"""

import json
import re

from forge_core.actions.calls import ActionParseError
from forge_core.actions.jsontext import read_json
from forge_core.actions.steps import Reading, Step, centre, distances, is_number, only_unit, pair, scrolled

SIGN = re.compile(r"<tool_call>|\"arguments\"\s*:|\"bbox_2d\"|\A\s*\[\s*-?\d+(?:\.\d+)?\s*,")
BOX_SIGN = re.compile(r"<\|box_start\|>\s*\(\s*\d+\s*,\s*\d+\s*(?:,|\)\s*,)")
_BOX = re.compile(r"<\|box_start\|>\s*\((\d+),\s*(\d+)(?:\),\s*\(|,\s*)(\d+),\s*(\d+)\)\s*<\|box_end\|>")
_POINTING = {
    "left_click": "click",
    "click": "click",
    "double_click": "double_click",
    "triple_click": "triple_click",
    "right_click": "right_click",
    "middle_click": "middle_click",
    "mouse_move": "move_mouse",
    "long_press": "long_press",
}
_WORDS = {"type": ("type", "text"), "open": ("open_app", "app_name"), "answer": ("final_answer", "answer")}
_BUTTONS = {"Home": "navigate_home", "Back": "navigate_back"}
_KEYS = {"action", "coordinate", "coordinate2", "keys", "text", "pixels", "time", "status", "button", "type"}
_TOOLS = ("computer_use", "mobile_use", "function")
_MOBILE = {"long_press", "swipe", "open_app", "navigate_home", "navigate_back"}


def read_boxes(text: str) -> Reading:
    """A click at the centre of the box of a Qwen2-VL answer; one box, however often it is repeated."""
    boxes = list(dict.fromkeys(match.groups() for match in _BOX.finditer(text)))
    if len(boxes) != 1:
        raise ActionParseError(f"expected one box, found {len(boxes)}", text, 0)
    return Reading([Step("click", centre([int(edge) for edge in boxes[0]]), text.index("<|box_start|>"))])


def read(text: str) -> Reading:
    """Steps and thought of tool calls, of `bbox_2d` JSON or of a bare point; raises `ActionParseError`."""
    parts = text.split("<tool_call>")
    if len(parts) == 1:
        return Reading(_boxes(text))
    steps, offset = [], len(parts[0])
    for part in parts[1:]:
        offset += len("<tool_call>")
        steps += [Step(step.name, step.arguments, offset) for step in _call(part, text, offset)]
        offset += len(part)
    thought = parts[0].strip().removeprefix("Thought:").strip()
    return Reading(steps, thought or None)


def _boxes(text: str) -> list[Step]:
    value = read_json(text.replace("</tool_call>", ""))
    if isinstance(value, list) and value and all(map(is_number, value)):
        return [Step("click", centre(value))]
    if isinstance(value, dict) and "name" in value:
        return _call(text, text, 0)
    items = value if isinstance(value, list) else [value]
    if len(items) != 1 or not isinstance(items[0], dict) or "bbox_2d" not in items[0]:
        raise ActionParseError(f"expected one object with bbox_2d, found {value!r:.60}", text, 0)
    return [Step("click", centre(items[0]["bbox_2d"]))]


def _call(part: str, text: str, offset: int) -> list[Step]:
    try:
        call = read_json(part.split("</tool_call>")[0])
    except ActionParseError as error:
        raise ActionParseError(error.expected, text, min(offset + error.offset, len(text))) from None
    if isinstance(call, dict) and "bbox_2d" in call:
        return [Step("click", centre(call["bbox_2d"]))]
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise ActionParseError("expected an object with a name", text, offset)
    arguments = call.get("arguments", {})
    if isinstance(arguments, list) and arguments and all(map(is_number, arguments)):
        arguments = {"coordinate": arguments}
    if isinstance(arguments, list) and len(arguments) == 1 and isinstance(arguments[0], dict):
        arguments = arguments[0]
    if not isinstance(arguments, dict):
        raise ActionParseError(f"expected arguments as an object, found {arguments!r:.60}", text, offset)
    action = arguments.get("action", "left_click" if "coordinate" in arguments else None)
    if call["name"] not in _TOOLS:
        action = call["name"]
    if unknown := [key for key in arguments if key not in _KEYS]:
        raise ActionParseError(f"{action}: unknown argument {unknown[0]!r:.60}", text, offset)
    try:
        return _steps(action, {key: value for key, value in arguments.items() if key != "action"})
    except (ValueError, KeyError) as error:
        missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ActionParseError(f"{action}: {missing}", text, offset) from None


def _steps(action: object, arguments: dict) -> list[Step]:
    if action in _POINTING:
        return [Step(_POINTING[action], centre(arguments["coordinate"]) if "coordinate" in arguments else {})]
    if action == "left_click_drag":
        return [Step("drag", {"to_coord": pair(arguments["coordinate"])})]
    if action == "swipe":
        return [
            Step("swipe", {"from_coord": pair(arguments["coordinate"]), "to_coord": pair(arguments["coordinate2"])})
        ]
    if action in ("scroll", "hscroll"):
        pixels = arguments["pixels"]
        place = centre(arguments["coordinate"]) if "coordinate" in arguments else {}
        down, right = (-pixels, 0) if action == "scroll" else (0, pixels)
        return scrolled(right, down, "pixels", place)
    if action == "key":
        return [Step("press", {"keys": arguments["keys"] if "keys" in arguments else arguments["text"]})]
    if action in _WORDS:
        name, parameter = _WORDS[action]
        return [Step(name, {parameter: arguments["text"]})]
    if action == "system_button":
        button = arguments["button"]
        return [Step(_BUTTONS[button], {})] if button in _BUTTONS else [Step("press", {"keys": str(button).lower()})]
    if action == "wait":
        return [Step("wait", {"seconds": arguments["time"]} if "time" in arguments else {})]
    if action == "terminate":
        return [Step("final_answer", {"answer": arguments.get("status", "success")})]
    raise ValueError("not an action of computer_use or mobile_use")


def write(reading: Reading) -> str:
    """Tool calls, `mobile_use` where an action needs it, else `computer_use`; raises ValueError on what neither has."""
    tool = "mobile_use" if any(step.name in _MOBILE for step in reading.steps) else "computer_use"
    calls = [
        "<tool_call>\n" + json.dumps({"name": tool, "arguments": arguments}, ensure_ascii=False) + "\n</tool_call>"
        for arguments in (_arguments(step, tool) for step in reading.steps)
    ]
    return "\n".join([f"Thought: {reading.thought}", *calls] if reading.thought else calls)


def _arguments(step: Step, tool: str) -> dict:
    arguments = step.arguments
    if "element" in arguments:
        raise ValueError(f"{step.name}: a tool call has no element")
    for theirs, ours in _POINTING.items():
        if ours == step.name:
            action = "click" if tool == "mobile_use" and theirs == "left_click" else theirs
            return {"action": action} | ({"coordinate": [arguments["x"], arguments["y"]]} if arguments else {})
    if step.name == "drag" and set(arguments) == {"to_coord"}:
        return {"action": "left_click_drag", "coordinate": arguments["to_coord"]}
    if step.name == "swipe":
        return {"action": "swipe", "coordinate": arguments["from_coord"], "coordinate2": arguments["to_coord"]}
    if step.name == "scroll":
        only_unit(arguments, "pixels")
        right, down = distances(arguments)
        distance = {"action": "hscroll", "pixels": right} if right else {"action": "scroll", "pixels": -down}
        return distance | ({"coordinate": [arguments["x"], arguments["y"]]} if "x" in arguments else {})
    if step.name == "press":
        return {"action": "key", "keys": arguments["keys"]}
    for theirs, (ours, parameter) in _WORDS.items():
        if ours == step.name:
            return {"action": theirs, "text": arguments[parameter]}
    for button, ours in _BUTTONS.items():
        if ours == step.name:
            return {"action": "system_button", "button": button}
    if step.name == "wait":
        return {"action": "wait"} | ({"time": arguments["seconds"]} if arguments else {})
    raise ValueError(f"{step.name}: computer_use and mobile_use have no word for it")
