"""A place somewhere in prose, for scoring models that were never trained to act: 'The icon is at about (935, 260).'

Only these count: `(x, y)`, `[x, y]`, `(x1, y1, x2, y2)`, `x=.., y=..`, `<point>x y</point>`. What the numbers count is
not said, so the size has to be given. Several different places leave no single reading and are refused. Read-only.
"""

import re

from forge_core.actions.calls import ActionParseError, check_length
from forge_core.actions.steps import Reading, Step, centre

_NUMBER = r"[ \t]{0,4}(-?\d{1,8}(?:\.\d{1,12})?)[ \t]{0,4}"
_PLACE = re.compile(
    rf"[(\[]{_NUMBER},{_NUMBER}(?:,{_NUMBER},{_NUMBER})?[)\]]"
    rf"|<point>{_NUMBER}[ ,]{_NUMBER}</point>"
    rf"|\bx[\"']?\s{{0,2}}[=:] ?[\"']?{_NUMBER}[\"']?,?\s{{0,2}}[\"']?y[\"']?\s{{0,2}}[=:] ?[\"']?{_NUMBER}"
)
SIGN = _PLACE


def read(text: str) -> Reading:
    """A click at the one place that the text names; raises `ActionParseError` on none or several."""
    check_length(text)
    found = list(_PLACE.finditer(text))
    places = {
        tuple(centre([float(number) for number in match.groups() if number is not None]).items()) for match in found
    }
    if len(places) != 1:
        raise ActionParseError(
            f"expected one place such as (x, y), found {len(places)}", text, found[0].start() if found else 0
        )
    return Reading([Step("click", dict(places.pop()), found[0].start())])
