"""Two ways to ask a model more than once for the same click, without training it: `zoom` and `votes`.

`zoom` looks a second time, at the part of the screenshot round the first click. `votes` draws several answers and
clicks where most of them agree (region consistency: GUI-RC, arXiv 2508.05615). Both cost time, both can hurt, and a
model that saw screens at one scale has never seen a crop: report them beside the plain score, with `Lifted.seconds`.

Both take an `Ask`, whatever answers it. `predict_zoomed` and `predict_voted` ask a model and keep its verbatim answers
in a file of `evaluation.predict`'s form, so that a killed run continues.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import label

from forge_core.actions.coordinates import COORD_FORMATS, PLACES, CoordFormat
from forge_core.actions.prompts import answer_text, read_answer
from forge_core.actions.steps import Step
from forge_core.actions.unified import render
from forge_core.data.images import open_image
from forge_core.data.schema import Turn
from forge_core.data.screenspot import Target
from forge_core.evaluation.predict import _digest, _header, _Progress, _resume, continue_texts, prompt
from forge_core.evaluation.score import Point, Prediction, judge
from forge_core.models.load import autocast

SHARE = 0.5  # of width and height that the second look shows
BOX = 0.04  # side of a vote's square, of the longer side of the screenshot: GUI-RC's 50 px on a screen of 1280
TEMPERATURE = 0.7  # GUI-RC's
Look = tuple[Image.Image, Target]
Ask = Callable[[Sequence[Look]], list[str]]  # raw answers; a sampler gives k for the first look, then k for the next


class Lifted(NamedTuple):
    """Answers by target id, and what they cost: this run asked `looks` pictures in `seconds` (a file's are free)."""

    answers: dict[str, str]
    looks: int
    seconds: float


def zoom(
    targets: Sequence[Target],
    first: Mapping[str, str],
    ask: Ask,
    coord_format: CoordFormat = "4-decimals",
    share: float = SHARE,
    batch_size: int = 16,
) -> dict[str, str]:
    """Ask again on a crop round each click of `first` (target id -> raw answer); places of the whole screen come back.

    The first answer stands where it points nowhere, so that there is nothing to crop, or where the second does.
    """
    answers = {target.id: first[target.id] for target in targets}
    for batch in _batches(_pointing(targets, first, coord_format), batch_size):
        windows = [
            window(judge(first[t.id], t.bbox, coord_format)[1], (t.width, t.height), share) for t in batch
        ]  # px of the screenshot
        crops = [open_image(target.image).crop(part) for target, part in zip(batch, windows, strict=True)]
        for target, part, raw in zip(batch, windows, ask(list(zip(crops, batch, strict=True))), strict=True):
            if judge(raw, target.bbox, coord_format)[1]:
                answers[target.id] = _moved(raw, _out_of(part, target), coord_format)
    return answers


def window(point: Point, size: tuple[int, int], share: float = SHARE) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in px of `share` of a screenshot of `size` px round `point` in [0, 1], kept inside."""
    sides = [max(1, round(share * whole)) for whole in size]
    corner = [
        min(max(round(place * whole - side / 2), 0), whole - side)
        for place, whole, side in zip(point, size, sides, strict=True)
    ]
    return (*corner, corner[0] + sides[0], corner[1] + sides[1])


def votes(
    targets: Sequence[Target],
    ask: Ask,
    k: int,
    coord_format: CoordFormat = "4-decimals",
    box: float = BOX,
    batch_size: int = 16,
) -> dict[str, str]:
    """Click in the middle of the region that most of `k` answers point to; `ask` gives k answers for each look.

    The text is that of the first answer that voted for the region, its click moved to the middle. Answers that point
    nowhere do not vote; where none does, the first one stands. ValueError where `ask` gives another number of answers.
    """
    answers = {}
    for batch in _batches(targets, batch_size):
        raws = ask([(open_image(target.image), target) for target in batch])
        if len(raws) != k * len(batch):
            raise ValueError(f"{len(raws)} answers to {len(batch)} looks, {k} each were asked for")
        for number, target in enumerate(batch):
            answers[target.id] = _elected(raws[number * k : (number + 1) * k], target, coord_format, box)
    return {target.id: answers[target.id] for target in targets}


def _elected(raws: Sequence[str], target: Target, coord_format: CoordFormat, box: float) -> str:
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


def predict_zoomed(
    model,
    processor,
    targets: Sequence[Target],
    stage: int,
    first: Mapping[str, str],
    out_file: str | Path,
    fingerprint: str,
    batch_size: int = 16,
    max_new_tokens: int = 32,
    coord_format: CoordFormat = "4-decimals",
    share: float = SHARE,
    name: str = "zoom",
) -> Lifted:
    """`zoom` with a model, greedily, after `predict` gave `first`; `out_file` keeps what it said of the crops."""
    asked = _pointing(targets, first, coord_format)
    header = _header(processor, asked, stage, fingerprint, max_new_tokens, coord_format)
    header |= {"zoom": share, "first": _digest([first[target.id] for target in asked])}

    def greedy(looks: Sequence[Look]) -> list[str]:
        texts = [prompt(processor, stage, t.platform, t.instruction, coord_format) for _, t in looks]
        return continue_texts(model, processor, texts, [image for image, _ in looks], max_new_tokens)

    model.eval()
    kept = Kept(greedy, out_file, header, _names, len(asked), name)
    return Lifted(zoom(targets, first, kept, coord_format, share, batch_size), kept.looks, kept.seconds)


def predict_voted(
    model,
    processor,
    targets: Sequence[Target],
    stage: int,
    out_file: str | Path,
    fingerprint: str,
    k: int = 8,
    temperature: float = TEMPERATURE,
    seed: int = 0,
    batch_size: int = 16,
    max_new_tokens: int = 32,
    coord_format: CoordFormat = "4-decimals",
    box: float = BOX,
    name: str | None = None,
) -> Lifted:
    """`votes` with `k` answers of a model at a temperature; `batch_size` answers at once, `out_file` keeps them all."""
    pictures = max(1, batch_size // k)
    header = _header(processor, targets, stage, fingerprint, max_new_tokens, coord_format)
    header |= {"votes": k, "temperature": temperature, "seed": seed, "pictures": pictures}

    def sampled(looks: Sequence[Look]) -> list[str]:
        texts = [prompt(processor, stage, t.platform, t.instruction, coord_format) for _, t in looks]
        drawn = _seed(seed, looks)
        return sample_texts(model, processor, texts, [i for i, _ in looks], max_new_tokens, k, temperature, drawn)

    model.eval()
    kept = Kept(sampled, out_file, header, lambda id: _names(id, k), len(targets), name or f"votes {k}")
    return Lifted(votes(targets, kept, k, coord_format, box, pictures), kept.looks, kept.seconds)


def sample_texts(
    model,
    processor,
    texts: Sequence[str],
    images: Sequence[Image.Image],
    max_new_tokens: int,
    k: int,
    temperature: float,
    seed: int,
) -> list[str]:
    """`k` texts that the model may write after each text with its image: k of the first, then k of the second, ...

    Drawn from the whole distribution at `temperature` (no top-k, no top-p); the seed decides them, and the state of
    torch's random numbers is left as it was.
    """
    device = next(model.parameters()).device
    inputs = processor(
        text=list(texts),
        images=[[image] for image in images],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    ).to(device)
    tokenizer = processor.tokenizer
    with torch.no_grad(), autocast(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        ids = model.generate(
            **inputs,
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            num_return_sequences=k,
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.convert_tokens_to_ids("<end_of_utterance>"),
            pad_token_id=tokenizer.pad_token_id,
        )  # (B * k, prompt + new)
    new = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


class Kept:
    """An `Ask` whose answers are kept in a file, under `names` of each target's id; `looks` and `seconds` of this run.

    A batch that is not whole in the file is asked again as a whole: draws depend on who else is in the batch.
    """

    def __init__(
        self, ask: Ask, out_file: str | Path, header: dict, names: Callable[[str], list[str]], total: int, name: str
    ) -> None:
        self.ask, self.out_file, self.names = ask, Path(out_file), names
        self.have = _resume(self.out_file, header)
        self.looks, self.seconds = 0, 0.0
        self.done, self.progress = 0, _Progress(name, 0, total, every=5.0)

    def __call__(self, looks: Sequence[Look]) -> list[str]:
        names = [name for _, target in looks for name in self.names(target.id)]
        if not all(name in self.have for name in names):
            self._ask(looks, names)
        self.done += len(looks)
        self.progress.show(self.done)
        return [self.have[name] for name in names]

    def _ask(self, looks: Sequence[Look], names: list[str]) -> None:
        start = time.perf_counter()
        new = dict(zip(names, self.ask(looks), strict=True))
        self.seconds += time.perf_counter() - start
        self.looks += len(looks)
        self.have |= new
        with self.out_file.open("a", encoding="utf-8") as file:
            file.writelines(Prediction(target_id=name, raw=raw).model_dump_json() + "\n" for name, raw in new.items())


def _names(target_id: str, k: int = 1) -> list[str]:
    return [target_id] if k == 1 else [f"{target_id}#{draw}" for draw in range(k)]


def _seed(seed: int, looks: Sequence[Look]) -> int:
    """One seed for a batch, from the run's and the targets in it, so that a continued run draws the same."""
    text = " ".join([str(seed), *(target.id for _, target in looks)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _pointing(targets: Sequence[Target], answers: Mapping[str, str], coord_format: CoordFormat) -> list[Target]:
    return [target for target in targets if judge(answers[target.id], target.bbox, coord_format)[1]]


def _batches(targets: Sequence[Target], size: int) -> Iterator[list[Target]]:
    """Batches of neighbours, as `predict` makes them: a platform's pictures need little padding."""
    ordered = sorted(targets, key=lambda target: (target.platform, str(target.image), target.id))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


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
