"""Score answers on ScreenSpot: hit, miss or wrong format, and accuracy by group with Wilson intervals.

A hit is a click inside the target's box, edges included (SeeClick's rule). All three outcomes stay in the denominator.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ValidationError
from scipy.stats import binomtest

from forge_core.actions.calls import ActionParseError
from forge_core.actions.coordinates import CoordFormat
from forge_core.actions.prompts import read_answer
from forge_core.actions.unified import click_point
from forge_core.data.screenspot import Target

Outcome = Literal["hit", "miss", "wrong_format"]
Point = tuple[float, float]
# Share of the screen up to which a target is small, medium: 32 x 32 px and 100 x 100 px of 1920 x 1080. Published boxes
# fall into small, medium, large by 1, 37, 62% in ScreenSpot-v2 and by 59, 40, 1% in Pro.
SIZES = (("small", 0.0005), ("medium", 0.005))


class Prediction(BaseModel, extra="forbid"):
    """What the model wrote for one target, verbatim."""

    target_id: str
    raw: str


class Scored(Prediction):
    """A judged prediction; `point` is the click, normalised to [0, 1], None where there is none.

    `coord_format` is how `raw` counts its coordinates. `application` and `group` are those of the target, `area` is the
    share of the screen that its box covers; 0 where it is not known.
    """

    platform: str
    kind: str
    outcome: Outcome
    point: Point | None
    coord_format: CoordFormat = "4-decimals"
    application: str = ""
    group: str = ""
    area: float = 0.0

    @property
    def size(self) -> str:
        """Whether the target is small, medium or large on its screen (`SIZES`); "" where its area is not known."""
        if not self.area:
            return ""
        return next((name for name, limit in SIZES if self.area <= limit), "large")


class Rate(NamedTuple):
    """`k` of `n`, as `value`, with its 95% Wilson interval `low`, `high` (all three in [0, 1])."""

    k: int
    n: int
    value: float
    low: float
    high: float


class Row(BaseModel, extra="forbid"):
    """One line of an accuracy table; `low` and `high` are None for the macro mean, which has no Wilson interval."""

    group: str
    name: str
    k: int
    n: int
    wrong_format: int
    value: float
    low: float | None
    high: float | None


def verdict(point: Sequence[float] | None, bbox: Sequence[float]) -> Outcome:
    """Hit rule for a point and a (left, top, right, bottom) box in the same unit; no point is a wrong format."""
    if point is None:
        return "wrong_format"
    x, y = point
    left, top, right, bottom = bbox
    return "hit" if left <= x <= right and top <= y <= bottom else "miss"


def judge(raw: str, bbox: Sequence[float], coord_format: CoordFormat = "4-decimals") -> tuple[Outcome, Point | None]:
    """Outcome and click of one answer; `bbox` normalised xyxy. Text that is no action, or points nowhere, is wrong."""
    try:
        point = click_point(read_answer(raw, coord_format).actions)
    except ActionParseError:
        point = None
    return verdict(point, bbox), point


def score(
    targets: Iterable[Target], answers: Mapping[str, str], coord_format: CoordFormat = "4-decimals"
) -> list[Scored]:
    """Judge `answers` (target id -> raw text) in the order of `targets`; KeyError names a target without an answer."""
    scored = []
    for target in targets:
        if target.id not in answers:
            raise KeyError(f"no answer for target {target.id!r}")
        raw = answers[target.id]
        outcome, point = judge(raw, target.bbox, coord_format)
        asked = target.model_dump(include={"platform", "kind", "application", "group"})
        asked |= {"area": area(target.bbox), "coord_format": coord_format}
        scored.append(Scored(target_id=target.id, raw=raw, outcome=outcome, point=point, **asked))
    return scored


def area(bbox: Sequence[float]) -> float:
    """Share of the screen that a normalised (left, top, right, bottom) box covers."""
    left, top, right, bottom = bbox
    return (right - left) * (bottom - top)


def accuracy(k: int, n: int) -> Rate:
    """`k` hits of `n`, with the 95% Wilson score interval (Wilson 1927, as scipy computes it)."""
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"{k} hits of {n} is no rate")
    interval = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Rate(k, n, k / n, float(interval.low), float(interval.high))


def table(scored: Sequence[Scored], by: Sequence[str] = ("platform", "kind")) -> list[Row]:
    """Accuracy overall (micro), as the mean of platforms x kinds (macro), and for every value of each field in `by`.

    `by` names fields of `Scored`, or `size`. The macro mean is the one of the literature, over 3 platforms x 2 kinds;
    cells without a row are left out of it. Raises ValueError on an empty list.
    """
    rows = [_row("overall", "micro", scored)]
    shares = [_rate(cell).value for cell in _groups(scored, "platform", "kind").values()]
    macro = {"group": "overall", "name": "macro", "value": sum(shares) / len(shares), "low": None, "high": None}
    rows.append(rows[0].model_copy(update=macro))
    return rows + [_row(field, name, group) for field in by for (name,), group in _groups(scored, field).items()]


def _groups(scored: Sequence[Scored], *fields: str) -> dict[tuple[str, ...], list[Scored]]:
    """The rows by their values of `fields`, in the order in which these come up; sizes from small to large."""
    if "size" in fields:
        scored = sorted(scored, key=lambda row: row.area)
    groups: dict[tuple[str, ...], list[Scored]] = {}
    for row in scored:
        groups.setdefault(tuple(getattr(row, field) for field in fields), []).append(row)
    return groups


def _rate(scored: Sequence[Scored]) -> Rate:
    return accuracy(sum(row.outcome == "hit" for row in scored), len(scored))


def _row(group: str, name: str, scored: Sequence[Scored]) -> Row:
    wrong_format = sum(row.outcome == "wrong_format" for row in scored)
    return Row(group=group, name=name, wrong_format=wrong_format, **_rate(scored)._asdict())


def write_scored(path: str | Path, scored: Iterable[Scored]) -> None:
    """One JSON line per row; the file appears only once it is complete."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    part.write_text("".join(row.model_dump_json() + "\n" for row in scored), encoding="utf-8")
    os.replace(part, path)


def read_scored(path: str | Path) -> list[Scored]:
    """Rows of `write_scored`; ValueError names the file and line that does not fit."""
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            rows.append(Scored.model_validate(json.loads(line)))
        except (ValidationError, json.JSONDecodeError) as error:
            raise ValueError(f"{path}:{number}: no scored prediction: {error}") from None
    return rows
