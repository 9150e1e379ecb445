"""Score answers on ScreenSpot: hit, miss or wrong format, and accuracy by group with Wilson intervals.

A hit is a click inside the target's box, edges included (SeeClick's rule). All three outcomes stay in the denominator.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
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


class Prediction(BaseModel, extra="forbid"):
    """What the model wrote for one target, verbatim."""

    target_id: str
    raw: str


class Scored(Prediction):
    """A judged prediction; `point` is the click, normalised to [0, 1], None where there is none.

    `coord_format` is how `raw` counts its coordinates.
    """

    platform: str
    kind: str
    outcome: Outcome
    point: Point | None
    coord_format: CoordFormat = "4-decimals"


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
        asked = {"platform": target.platform, "kind": target.kind, "coord_format": coord_format}
        scored.append(Scored(target_id=target.id, raw=raw, outcome=outcome, point=point, **asked))
    return scored


def accuracy(k: int, n: int) -> Rate:
    """`k` hits of `n`, with the 95% Wilson score interval (Wilson 1927, as scipy computes it)."""
    if not 0 <= k <= n or n == 0:
        raise ValueError(f"{k} hits of {n} is no rate")
    interval = binomtest(k, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Rate(k, n, k / n, float(interval.low), float(interval.high))


def table(scored: Sequence[Scored], by: Sequence[str] = ("platform", "kind")) -> list[Row]:
    """Accuracy overall (micro), as the mean of the cells of `by` (macro), and for every value of each field in `by`.

    Empty cells are left out of the macro mean. Raises ValueError on an empty list.
    """
    values = {field: list(dict.fromkeys(getattr(row, field) for row in scored)) for field in by}
    rows = [_row("overall", "micro", scored)]
    cells = [[row for row in scored if all(getattr(row, f) == v for f, v in zip(by, cell, strict=True))]
             for cell in product(*values.values())]  # fmt: skip
    shares = [_rate(cell).value for cell in cells if cell]
    macro = {"group": "overall", "name": "macro", "value": sum(shares) / len(shares), "low": None, "high": None}
    rows.append(rows[0].model_copy(update=macro))
    for field in by:
        rows += [_row(field, value, [row for row in scored if getattr(row, field) == value]) for value in values[field]]
    return rows


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
