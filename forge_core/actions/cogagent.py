"""CogAgent (arXiv 2312.08914; Action_space_en.md of its repository): `CLICK(box=[[219,186,311,207]], ...)`.

Boxes are thousandths of the image with leading zeros and stand for their centre; `element_info` is kept as the element.
An answer may hold 'Status', 'Plan', 'Action' and 'Grounded Operation:' sections. `LLM`, `QUOTE_TEXT` and the like
have no counterpart and are kept whole as call_tool. Read-only.
"""

import json
import re

from forge_core.actions.calls import ActionParseError, Call, bind, read_calls
from forge_core.actions.steps import Reading, Step, centre, split_thought

_POINTING = {
    "CLICK": "click",
    "DOUBLE_CLICK": "double_click",
    "RIGHT_CLICK": "right_click",
    "MIDDLE_CLICK": "middle_click",
    "HOVER": "move_mouse",
    "LONG_PRESS": "long_press",
}
_TOOLS = ("LLM", "QUOTE_TEXT", "QUOTE_CLIPBOARD")
_NAMES = (
    *_POINTING,
    *_TOOLS,
    "TYPE",
    "SCROLL_UP",
    "SCROLL_DOWN",
    "SCROLL_LEFT",
    "SCROLL_RIGHT",
    "KEY_PRESS",
    "GESTURE",
    "LAUNCH",
    "END",
)
SIGN = re.compile(rf"^[ \t]*(?:Grounded Operation:[ \t]*)?(?:{'|'.join(_NAMES)})\(", re.MULTILINE)
_HEAD = re.compile(r"^[ \t]*Grounded Operation:", re.MULTILINE)
_ZEROS = re.compile(r"(?<=[\[,\s])0+(?=\d)")
_BOXES = re.compile(r"box=\[\[[\d,\s]*\]\]")


def read(text: str) -> Reading:
    """Steps of a CogAgent answer; all before 'Grounded Operation:' is the thought. Raises `ActionParseError`."""
    thought, start = split_thought(text, _HEAD)
    code = " " * start + text[start:].rstrip()
    if code.endswith(">>") and "<<" in code:  # '<<General Operation>>', said last
        code = code[: code.rfind("<<")]
    code = _BOXES.sub(lambda box: _ZEROS.sub(lambda zeros: " " * len(zeros[0]), box[0]), code)
    steps: list[Step] = []
    for call in read_calls(code):
        try:
            steps += [Step(step.name, step.arguments, call.offset) for step in _steps(call)]
        except ValueError as error:
            raise ActionParseError(f"{call.name}: {error}", text, call.offset) from None
    return Reading(steps, thought)


def _steps(call: Call) -> list[Step]:
    if call.name in _TOOLS:
        return [Step("call_tool", {"tool": call.name, "arguments": json.dumps(call.keywords, ensure_ascii=False)})]
    if call.name == "GESTURE":
        return [Step("press", {"keys": _keys(bind(call, ("actions",)).get("actions"))})]
    if call.name == "KEY_PRESS":
        return [Step("press", {"keys": bind(call, ("key",)).get("key")})]
    if call.name == "LAUNCH":
        arguments = {
            name: value for name, value in bind(call, ("app", "url")).items() if value not in (None, "None", "")
        }
        if set(arguments) == {"app"}:
            return [Step("open_app", {"app_name": arguments["app"]})]
        return [Step("call_tool", {"tool": "LAUNCH", "arguments": json.dumps(arguments, ensure_ascii=False)})]
    if call.name == "END":
        bind(call, ())
        return [Step("final_answer", {"answer": "success"})]
    arguments = bind(call, ("box", "element_type", "element_info", "text", "step_count"))
    place = centre(arguments.get("box"))
    element = {"element": arguments["element_info"]} if arguments.get("element_info") else {}
    if call.name in _POINTING:
        return [Step(_POINTING[call.name], place | element)]
    if call.name == "TYPE":
        return [Step("click", place | element), Step("type", {"text": arguments.get("text")})]
    if call.name.startswith("SCROLL_") and call.name in _NAMES:
        direction = call.name.removeprefix("SCROLL_").lower()
        distance = {"amount": arguments["step_count"], "unit": "clicks"} if "step_count" in arguments else {}
        return [Step("scroll", {"direction": direction} | distance | place)]
    raise ValueError("not an action of CogAgent")


def _keys(actions: object) -> list[str]:
    """The keys of a gesture that holds some down, presses others and lets go in reverse order."""
    if not isinstance(actions, list) or not all(isinstance(action, Call) for action in actions):
        raise ValueError("expected a list of KEY_DOWN, KEY_PRESS and KEY_UP")
    keys: dict[str, list] = {"KEY_DOWN": [], "KEY_PRESS": [], "KEY_UP": []}
    for action in actions:
        if action.name not in keys:
            raise ValueError(f"{action.name} in a gesture has no counterpart")
        keys[action.name].append(bind(action, ("key",)).get("key"))
    if sorted(map(str, keys["KEY_DOWN"])) != sorted(map(str, keys["KEY_UP"])):
        raise ValueError("expected each key that goes down to come up again")
    return keys["KEY_DOWN"] + keys["KEY_PRESS"]
