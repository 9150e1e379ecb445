"""OmniACT planner scripts (arXiv 2402.17553, as UGround's planners write them): pyautogui calls on elements in words.

`pyautogui.click("Search box at the top right")` names its target; a grounding model finds the place afterwards. No
coordinates. Read-only.
"""

import re

from forge_core.actions import aguvis
from forge_core.actions.steps import Reading

SIGN = re.compile(r"pyautogui\.\w+\(\s*[\"']")
_POINTING = {"click", "doubleClick", "tripleClick", "rightClick", "middleClick", "moveTo", "dragTo"}
CALLS = {
    name: ((("element", "button") if name.split(".")[-1] in _POINTING else names), convert)
    for name, (names, convert) in aguvis.CALLS.items()
    if name.startswith("pyautogui.")
}


def read(text: str) -> Reading:
    """Steps whose targets are elements; raises `ActionParseError` as `aguvis.read` does."""
    return aguvis.read(text, CALLS)
