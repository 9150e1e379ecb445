"""Two ways to ask a model more than once for the same click, without training it: `zoom` and `votes`.

`zoom` looks a second time, at the part of the screenshot round the first click. `votes` draws several answers and
clicks where most of them agree (region consistency: GUI-RC, arXiv 2508.05615). Both cost time, both can hurt, and a
model that saw screens at one scale has never seen a crop: report them beside the plain score.

Both ask by `evaluation.predict.predict`, so that a killed run continues and several processes share the work.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import label

from forge_core.actions.coordinates import COORD_FORMATS, PLACES, CoordFormat
from forge_core.actions.prompts import answer_text, read_answer
from forge_core.actions.steps import Step
from forge_core.actions.unified import render
from forge_core.data.schema import Turn
from forge_core.data.screenspot import Target
from forge_core.evaluation.predict import Window
from forge_core.evaluation.score import Point, judge

SHARE = 0.5  # of width and height that the second look shows
BOX = 0.04  # side of a vote's square, of the longer side of the screenshot: GUI-RC's 50 px on a screen of 1280
TEMPERATURE = 0.7  # GUI-RC's
SAMPLING = {"temperature": TEMPERATURE, "top_k": 0, "top_p": 1.0}  # from the whole distribution
Ask = Callable[..., dict[str, str]]  # `predict` with its model: targets, out_file, name, and crops or sampling


def zoom(
    ask: Ask,
    targets: Sequence[Target],
    first: Mapping[str, str],
    out_file: Path,
    name: str,
    coord_format: CoordFormat = "4-decimals",
) -> dict[str, str]:
    """Answers of a second look after `first` (target id -> raw answer), in places of the whole screen."""
    crops = windows(targets, first, coord_format)
    asked = [target for target in targets if target.id in crops]
    second = ask(asked, out_file=out_file, name=name, crops=crops) if asked else {}
    return zoomed(targets, first, second, crops, coord_format)


def windows(
    targets: Sequence[Target],
    first: Mapping[str, str],
    coord_format: CoordFormat = "4-decimals",
    share: float = SHARE,
) -> dict[str, Window]:
    """The part of its screenshot (px) round each target's first click; none where that answer points nowhere."""
    clicks = {target: judge(first[target.id], target.bbox, coord_format)[1] for target in targets}
    return {t.id: window(point, (t.width, t.height), share) for t, point in clicks.items() if point}


def zoomed(
    targets: Sequence[Target],
    first: Mapping[str, str],
    second: Mapping[str, str],
    crops: Mapping[str, Window],
    coord_format: CoordFormat = "4-decimals",
) -> dict[str, str]:
    """The second answers with places of the whole screen; the first stands where there is none, or no place in it."""
    answers = {}
    for target in targets:
        raw = second.get(target.id)
        placed = raw is not None and judge(raw, target.bbox, coord_format)[1] is not None
        whole = placed and _moved(raw, _out_of(crops[target.id], target), coord_format)
        answers[target.id] = whole or first[target.id]
    return answers


def votes(
    ask: Ask,
    targets: Sequence[Target],
    k: int,
    seed: int,
    out_file: Path,
    name: str,
    coord_format: CoordFormat = "4-decimals",
) -> dict[str, str]:
    """Answers that click where most of `k` drawn ones agree."""
    found = drawn(ask, targets, k, SAMPLING | {"seed": seed}, out_file, name)
    return {target.id: elected(found[target.id], target, coord_format) for target in targets}


def drawn(
    ask: Ask, targets: Sequence[Target], k: int, sampling: Mapping[str, object], out_file: Path, name: str
) -> dict[str, list[str]]:
    """`k` answers to each target (id -> raw answers); `sampling` are arguments of `generate`, with a `seed`."""
    copies = [target.model_copy(update={"id": f"{target.id}#{draw}"}) for target in targets for draw in range(k)]
    found = ask(copies, out_file=out_file, name=name, sampling=sampling)
    return {target.id: [found[f"{target.id}#{draw}"] for draw in range(k)] for target in targets}


def window(point: Point, size: tuple[int, int], share: float = SHARE) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in px of `share` of a screenshot of `size` px round `point` in [0, 1], kept inside."""
    sides = [max(1, round(share * whole)) for whole in size]
    corner = [
        min(max(round(place * whole - side / 2), 0), whole - side)
        for place, whole, side in zip(point, size, sides, strict=True)
    ]
    return (*corner, corner[0] + sides[0], corner[1] + sides[1])


def elected(raws: Sequence[str], target: Target, coord_format: CoordFormat = "4-decimals", box: float = BOX) -> str:
    """The first answer that votes for the region which most answers point to, its click moved to the region's middle.

    Answers that point nowhere do not vote; where none does, the first one stands.
    """
    clicks = [judge(raw, target.bbox, coord_format)[1] for raw in raws]
    voters = [index for index, click in enumerate(clicks) if click]
    if not voters:
        return raws[0]
    middle, first = consensus([clicks[index] for index in voters], (target.width, target.height), box)
    clicked = clicks[voters[first]]
    return _moved(raws[voters[first]], lambda place: middle if place == clicked else place, coord_format)


def consensus(points: Sequence[Point], size: tuple[int, int], box: float = BOX) -> tuple[Point, int]:
    """(middle of the region with the most votes, index of the first point that voted for it).

    Each point, normalised to [0, 1], votes for a square round it whose side is `box` of the longer side of the screen
    of `size` px. Of several regions with as many votes the largest is taken, of equals the one first voted for. The
    grid has its lines where squares begin and end, so no resolution has to be chosen.
    """
    whole = np.array(size)
    places, half = np.array(points) * whole, box * max(size) / 2  # (k, 2) px
    low, high = (np.round(np.clip(places + side, 0, whole), 3) for side in (-half, half))
    xs, ys = (np.unique([low[:, axis], high[:, axis]]) for axis in (0, 1))
    across, down = (
        (low[:, axis, None] <= lines[:-1]) & (lines[1:] <= high[:, axis, None]) for axis, lines in ((0, xs), (1, ys))
    )
    inside = down[:, :, None] & across[:, None, :]  # (k, rows, columns): which vote covers which cell
    areas = np.outer(np.diff(ys), np.diff(xs))  # px^2
    counted = inside.sum(axis=0)
    names, count = label(counted == counted.max())
    regions = [names == name for name in range(1, count + 1)]
    firsts = [int((inside & region).any(axis=(1, 2)).argmax()) for region in regions]
    best = max(range(count), key=lambda index: (round(areas[regions[index]].sum(), 2), -firsts[index]))
    weights = areas * regions[best] / areas[regions[best]].sum()
    x, y = weights.sum(axis=0) @ (xs[:-1] + xs[1:]) / 2, weights.sum(axis=1) @ (ys[:-1] + ys[1:]) / 2
    return (float(x / whole[0]), float(y / whole[1])), firsts[best]


def _out_of(part: tuple[int, int, int, int], target: Target) -> Callable[[Point], Point]:
    """From places in a crop (px box `part`) to places on its screenshot, both normalised to [0, 1]."""
    left, top, right, bottom = part
    return lambda place: (
        (left + place[0] * (right - left)) / target.width,
        (top + place[1] * (bottom - top)) / target.height,
    )


def _moved(raw: str, move: Callable[[Point], Point], coord_format: CoordFormat) -> str:
    """The answer with each place moved, in the same units and form; at most four decimals, in 0-1000 too.

    More decimals than the model was taught: rounding to its own steps would undo half of what a crop gains.
    """
    answer = read_answer(raw, coord_format)
    corner = COORD_FORMATS[coord_format].corner
    calls = render([Step(action.name, _places(action.arguments, move, corner)) for action in answer.actions])
    turn = Turn.model_construct(instruction="", thought=answer.thought, actions=[calls])
    return answer_text(turn, stage=2 if answer.thought else 1)


def _places(arguments: dict, move: Callable[[Point], Point], corner: Point) -> dict:
    """`arguments` (fractions) with their places moved and counted in units of `corner`."""

    def units(place: Point) -> list[float]:
        return [part * limit for part, limit in zip(move(tuple(place)), corner, strict=True)]

    moved = {name: units(value) for name, value in arguments.items() if name in PLACES and name not in ("x", "y")}
    if "x" in arguments:
        moved["x"], moved["y"] = units((arguments["x"], arguments["y"]))
    return arguments | moved
