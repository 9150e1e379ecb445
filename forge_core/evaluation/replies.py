"""Where a model's reply clicks, as the scorers of published logs read it.

`forge actions` mends what models do to a form. The published scorers do not, and count what they can't read as
wrong_format. So that a log gives the numbers that it was published with, `READERS` has their rules, where these differ
from the dialect's own reader; boxes count by their centre.

- qwen25vl, qwen3vl: `coordinate` of the first tool call, whose JSON has to be whole; or a bare place as the whole reply
  (likaixin2000/ScreenSpot-Pro-GUI-Grounding, models/qwen2_5vl.py; the fork Han1018/..., models/qwen_gui.py).
- qwen2vl: the last box between its marks; without marks the two or four numbers of the reply (models/qwen2vl.py there).
- aguvis: the first `pyautogui.click`, wherever it stands (the fork ZeonLap/..., models/aguvis.py).
- osatlas: the first box between the marks of Qwen2-VL, else an action (models/osatlas7b.py there).
- freetext: the last place (ideachoi337/Screenspot_GPT4o).
"""

import json
import math
import re
from collections.abc import Callable

from forge_core.actions import dialects, free_text, os_atlas
from forge_core.actions.coordinates import extent, to_fractions
from forge_core.actions.prompts import read_answer
from forge_core.actions.steps import centre
from forge_core.actions.unified import click_point

Point = tuple[float, float]
_END = ("<|im_end|>", "<|endoftext|>", "</s>")
_BOX = re.compile(r"<\|box_start\|>\((\d{1,9}),(\d{1,9})\),\((\d{1,9}),(\d{1,9})\)<\|box_end\|>")
_MARKED = re.compile(r"<\|box_start\|>(.{0,80}?)<\|box_end\|>")
_NUMBER = re.compile(r"-?\d+(?:\.\d*)?")
_XY = r"\s{0,4}(-?(?:\d{1,12}(?:\.\d{0,20})?|\.\d{1,20}))\s{0,4}"
_CLICK = re.compile(rf"pyautogui\.click\(\s{{0,4}}(?:x=)?{_XY},\s{{0,4}}(?:y=)?{_XY}[,)]")


def click(raw: str, dialect: str, size: tuple[float, float] | None = None, published: bool = True) -> Point | None:
    """(x, y) of the click of a reply, as fractions of the screenshot, unrounded; None where there is none.

    `size` is that of `dialects.parse`. `published=False` reads all that the dialect's own reader does. Raises
    ValueError on an unknown dialect, and where a size is needed and missing.
    """
    if dialect not in dialects.DIALECTS:
        raise ValueError(f"unknown dialect {dialect!r}; there are {', '.join(dialects.DIALECTS)}")
    corner = extent(dialects.DIALECTS[dialect].units, size)
    read = READERS.get(dialect) if published else None
    for mark in _END:
        raw = raw.rstrip().removesuffix(mark)
    try:
        if read is None:
            point = dialects.read_point(raw, dialect, size)
        else:
            place = to_fractions(read(raw), corner)
            point = float(place["x"]), float(place["y"])
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
    return point if point and all(map(math.isfinite, point)) else None


def _tool_call(raw: str) -> dict:
    if "<tool_call>" not in raw:
        return centre(json.loads(raw.replace("(", "[").replace(")", "]")))
    call = json.loads(raw.split("<tool_call>")[1].split("</tool_call>")[0])
    return centre(call["arguments"]["coordinate"])


def _last_box(raw: str) -> dict:
    if "<|box_start|>" in raw and "<|box_end|>" in raw:
        return centre([int(edge) for edge in _BOX.findall(raw)[-1]])
    return centre([float(number) for number in _NUMBER.findall(raw)])


def _first_box(raw: str) -> dict:
    box = _MARKED.search(raw)
    if box:
        return centre([float(number) for number in _NUMBER.findall(box[1])])
    return [step.arguments for step in os_atlas.read(raw).steps if "x" in step.arguments][0]


def _first_click(raw: str) -> dict:
    found = _CLICK.search(raw)
    if found:
        return {"x": float(found[1]), "y": float(found[2])}
    return [action.arguments for action in dialects.parse(raw, "aguvis") if action.name == "click"][0]


def _last_place(raw: str) -> dict:
    *_, last = free_text.SIGN.finditer(raw)
    return centre([float(number) for number in last.groups() if number is not None])


def _own(raw: str) -> dict:
    """As `score.judge` reads this project's answers: a place off the screen is none."""
    return dict(zip("xy", click_point(read_answer(raw).actions), strict=True))


READERS: dict[str, Callable[[str], dict]] = {
    "unified": _own,
    "qwen25vl": _tool_call,
    "qwen3vl": _tool_call,
    "qwen2vl": _last_box,
    "osatlas": _first_box,
    "aguvis": _first_click,
    "freetext": _last_place,
}
