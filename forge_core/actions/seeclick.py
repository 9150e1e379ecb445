"""SeeClick (arXiv 2401.10935): a point `(0.49,0.40)` or a box `(0.41,0.30,0.57,0.50)`, fractions of the image.

An answer is the place alone, as a rule with two decimals; a box stands for its centre.
`<box>(120,300),(200,340)</box>`, the form of the Qwen-VL that it was made from, counts thousandths.
"""

import re

from forge_core.actions.calls import ActionParseError
from forge_core.actions.steps import Reading, Step, centre

_NUMBER = r"\s*(-?(?:\d{1,9}(?:\.\d{1,12})?|\.\d{1,12}))\s*"
_PLACE = re.compile(rf"\s*[(\[]{_NUMBER},{_NUMBER}(?:,{_NUMBER},{_NUMBER})?[)\]]\s*(?:\.\s*)?")
_BOX = re.compile(r"\s*<box>\((\d{1,4}),(\d{1,4})\),\((\d{1,4}),(\d{1,4})\)</box>\s*")
SIGN = re.compile(rf"\A(?:{_PLACE.pattern}|{_BOX.pattern})\Z")


def read(text: str) -> Reading:
    """A click at the place; raises `ActionParseError` on anything else."""
    box = _BOX.fullmatch(text)
    if box is not None:
        return Reading([Step("click", centre([int(number) / 1000 for number in box.groups()]))])
    place = _PLACE.fullmatch(text)
    if place is None:
        raise ActionParseError("expected (x,y) or (x1,y1,x2,y2)", text, 0)
    return Reading([Step("click", centre([float(number) for number in place.groups() if number is not None]))])


def write(reading: Reading) -> str:
    """`(x,y)` of one click; raises ValueError on anything else."""
    if (
        len(reading.steps) != 1
        or reading.thought
        or reading.steps[0].name != "click"
        or set(reading.steps[0].arguments) != {"x", "y"}
    ):
        raise ValueError("SeeClick says one click with its place, and nothing else")
    arguments = reading.steps[0].arguments
    return f"({arguments['x']:.4f},{arguments['y']:.4f})"
