"""AndroidControl (arXiv 2406.03679): JSON actions, `{"action_type": "click", "x": 1027, "y": 209}`.

Coordinates are pixels of the screenshot. Planners (UGround) name an `element` instead of a place and say `type_text`.
`direction` of a scroll is where the content's window goes: 'down' shows what is below, as everywhere here.
"""

import re

from forge_core.actions.jsontext import read_objects, write_objects
from forge_core.actions.steps import Reading, Step

SIGN = re.compile(r"\"action_type\"\s*:")
_POINTING = {"click": "click", "long_press": "long_press", "double_tap": "double_click"}
_PLAIN = {"navigate_back": "navigate_back", "navigate_home": "navigate_home", "wait": "wait"}
_KEYS = {"action_type", "x", "y", "element", "text", "direction", "app_name", "goal_status", "keycode"}


def read(text: str) -> Reading:
    """Steps of one JSON object or a list of them; raises `ActionParseError`, and ValueError on an unknown key."""
    return Reading([step for item in read_objects(text) for step in _steps(item)])


def _steps(item: dict) -> list[Step]:
    action = item.get("action_type")
    if unknown := sorted(set(item) - _KEYS):
        raise ValueError(f"{action}: unknown key {unknown[0]!r}")
    place = {name: item[name] for name in ("x", "y", "element") if item.get(name) is not None}
    if action in _POINTING:
        return [Step(_POINTING[action], place)]
    if action in ("input_text", "type_text"):
        return [*([Step("click", place)] if place else []), Step("type", {"text": item.get("text")})]
    if action == "scroll":
        return [Step("scroll", {"direction": item.get("direction")} | place)]
    if action == "open_app":
        return [Step("open_app", {"app_name": item.get("app_name")})]
    if action == "keyboard_enter":
        return [Step("press", {"keys": "enter"})]
    if action == "status":
        return [Step("final_answer", {"answer": item.get("goal_status", "successful")})]
    if action == "answer":
        return [Step("final_answer", {"answer": item.get("text")})]
    if action in _PLAIN:
        return [Step(_PLAIN[action], {})]
    raise ValueError(f"{action!r:.40} is not an action of AndroidControl")


def write(reading: Reading) -> str:
    """One JSON object, or a list of several; raises ValueError on a thought and on what the dialect lacks."""
    return write_objects(reading, _item)


def _item(step: Step) -> dict:
    arguments = step.arguments
    for action, name in (_POINTING | _PLAIN).items():
        if name == step.name and (arguments or action in _PLAIN):
            return {"action_type": action} | arguments
    if step.name == "scroll" and "amount" not in arguments:
        return {"action_type": "scroll"} | arguments
    if step.name == "type":
        return {"action_type": "input_text", "text": arguments["text"]}
    if step.name == "open_app":
        return {"action_type": "open_app", "app_name": arguments["app_name"]}
    if step.name == "press" and arguments == {"keys": "enter"}:
        return {"action_type": "keyboard_enter"}
    if step.name == "final_answer":
        return {"action_type": "answer", "text": arguments["answer"]}
    raise ValueError(f"{step.name}({', '.join(arguments)}): AndroidControl has no word for it")
