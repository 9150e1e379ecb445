"""Where a model hesitates: draw several answers to the same question and see whether they click the same element.

A model that thinks first decides while it thinks: the probability of the click that follows says little about its
doubts. Drawn answers have thoughts of their own, so the share of them that agrees says how sure the model is, and the
elements that drew the others say between which it could not decide. Elements matter, not px: two clicks at both ends of
one wide button agree, two on neighbours do not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from forge_core.actions.coordinates import CoordFormat
from forge_core.data.screenspot import Bounds, Target
from forge_core.evaluation.lifts import SAMPLING, drawn
from forge_core.evaluation.score import Point, area, judge, verdict

SURE = 0.8  # agreement from which a model is called sure
NOTHING = "(nothing)"


class Element(NamedTuple):
    """Something on a screenshot that can be clicked; `box` is (left, top, right, bottom), normalised to [0, 1]."""

    name: str
    box: Bounds


class Hesitation(NamedTuple):
    """How sure a model is of one target, by several answers to it.

    `clicks`: those of the answers that click (normalised). `agreement`: the share of all answers that click the element
    most clicked; `inside`: that click inside the target's box, both in [0, 1]. `spread`: the median distance of the
    clicks from their middle, in px. `rivals`: how often what else was clicked, most clicked first; `NOTHING` is the
    space between elements.
    """

    target: Target
    clicks: list[Point]
    agreement: float
    inside: float
    spread: float
    rivals: dict[str, int]

    @property
    def state(self) -> str:
        """What it means: "sure", "mistaken" (sure of something else), or "torn"."""
        if self.agreement < SURE:
            return "torn"
        return "sure" if self.inside >= SURE else "mistaken"

    def row(self) -> dict[str, object]:
        """One line of a table."""
        rivals = ", ".join(f"{name} {count}" for name, count in self.rivals.items())
        numbers = {"agreement": self.agreement, "inside": self.inside, "spread, px": round(self.spread)}
        return {"asked": self.target.instruction, "state": self.state, **numbers, "also clicked": rivals}


def hesitations(
    targets: Sequence[Target],
    answers: Mapping[str, Sequence[str]],
    elements: Mapping[str, Sequence[Element]],
    coord_format: CoordFormat = "4-decimals",
) -> list[Hesitation]:
    """Each target with its `answers` (id -> raw answers, see `ask`), the most hesitant first.

    `elements` has what can be clicked on each screenshot, by the name of its file; the target itself need not be in it.
    Raises KeyError for a target without answers, ValueError for one whose list of answers is empty.
    """
    found = [_hesitation(t, answers[t.id], elements.get(t.image.name, ()), coord_format) for t in targets]
    return sorted(found, key=lambda each: (each.agreement, each.inside, -each.spread))


def ask(predict, targets: Sequence[Target], k: int, seed: int, out_file, name: str) -> dict[str, list[str]]:
    """`k` drawn answers a target; `predict` is `evaluation.predict.predict` with its model, as in `lifts.votes`."""
    return drawn(predict, targets, k, SAMPLING | {"seed": seed}, out_file, name)


def _hesitation(target: Target, raws: Sequence[str], elements: Sequence[Element], coord_format) -> Hesitation:
    if not raws:
        raise ValueError(f"target {target.id!r} has no answers to compare")
    found = (judge(raw, target.bbox, coord_format)[1] for raw in raws)
    clicks = [click for click in found if click]
    hit = [verdict(click, target.bbox) == "hit" for click in clicks]
    others = Counter(_clicked(click, elements) for click, inside in zip(clicks, hit, strict=True) if not inside)
    rivals = {name: count for name, count in others.most_common()}
    most = max([sum(hit), *(count for name, count in rivals.items() if name != NOTHING)])
    return Hesitation(target, clicks, most / len(raws), sum(hit) / len(raws), _spread(clicks, target), rivals)


def _clicked(click: Point, elements: Sequence[Element]) -> str:
    """The name of the smallest element there."""
    there = [element for element in elements if verdict(click, element.box) == "hit"]
    return min(there, key=lambda element: area(element.box)).name if there else NOTHING


def _spread(clicks: Sequence[Point], target: Target) -> float:
    if not clicks:
        return 0.0
    places = np.array(clicks) * (target.width, target.height)  # (k, 2) px
    return float(np.median(np.linalg.norm(places - np.median(places, axis=0), axis=1)))
