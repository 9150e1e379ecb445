"""Android in the Wild (arXiv 2307.10088) and CoAT: JSON, `{"result_action_type": 4, "result_touch_yx": "[0.54, 0.5]"}`.

Coordinates are fractions in the order (y, x); -1 is 'none'. Action type 4 is a dual-point gesture: a tap where the
two points are within 0.04 of each other, else a swipe from touch to lift (the rule of AITW's own evaluation).
Read-only.
"""

import json
import math
import re

from forge_core.actions.jsontext import read_objects
from forge_core.actions.steps import Reading, Step, pair

SIGN = re.compile(r"\"result_action_type\"\s*:")
_TAP = 0.04
_PLAIN = {
    5: ("navigate_back", {}),
    6: ("navigate_home", {}),
    7: ("press", {"keys": "enter"}),
    10: ("final_answer", {"answer": "success"}),
    11: ("final_answer", {"answer": "failure"}),
}


def read(text: str) -> Reading:
    """Steps of one JSON object or a list of them; raises `ActionParseError`, and ValueError on an unknown type."""
    return Reading([_step(item) for item in read_objects(text)])


def _step(item: dict) -> Step:
    kind = item.get("result_action_type")
    if kind in _PLAIN:
        name, arguments = _PLAIN[kind]
        return Step(name, arguments)
    if kind == 3:
        return Step("type", {"text": item.get("result_action_text")})
    if kind != 4:
        raise ValueError(f"result_action_type {kind!r:.40} is not known (3 to 7, 10, 11)")
    touch, lift = _point(item, "result_touch_yx"), _point(item, "result_lift_yx")
    if math.dist(touch, lift) <= _TAP:
        return Step("click", {"x": touch[1], "y": touch[0]})
    return Step("swipe", {"from_coord": touch[::-1], "to_coord": lift[::-1]})


def _point(item: dict, name: str) -> list[float]:
    value = item.get(name)
    point = pair(json.loads(value) if isinstance(value, str) else value)
    if -1 in point:
        raise ValueError(f"{name}: a gesture needs its point, found {value!r:.60}")
    return point
