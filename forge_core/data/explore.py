"""Look at raw rows before anything is written: how many there are, how many repeat, and a random sample of them.

A pass over a whole set reads each row once, on all cores; images are opened for the sample only.
"""

import os
import re
from array import array
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel

from forge_core.actions.calls import ActionParseError
from forge_core.actions.dialects import parse
from forge_core.actions.unified import render
from forge_core.data import engines
from forge_core.data.chunks import read
from forge_core.data.convert import Task, TurnRow, convert
from forge_core.data.images import image_size, join
from forge_core.data.preprocess import image_root, limited_chunks, raw_files
from forge_core.data.rows import Box, from_smolagents
from forge_core.data.schema import Example, RowError, Turn
from forge_core.data.sources import Subset, subsets
from forge_core.data.special import special_pattern, tokens_of_base
from forge_core.params import ExploreParams, PreprocessParams
from forge_core.paths import resolve


class RawCounts(BaseModel):
    """What one subset holds: rows, different screenshots, instructions that can be read, repeats among them, broken.

    A repeat has screenshot, instruction and history of an earlier one; a near repeat but for case and punctuation.
    """

    stage: int
    subset: str
    platform: str
    rows: int = 0
    screenshots: int = 0
    turns: int = 0
    repeats: int = 0
    near_repeats: int = 0
    broken: int = 0


class Sample(NamedTuple):
    """A raw row as an Example, with the target box of each turn, normalised (None: the row does not say)."""

    example: Example
    boxes: list[Box | None]


def look(params: ExploreParams, stage: int, sample: int) -> tuple[list[RawCounts], list[Sample]]:
    """Counts of each subset of a stage, and up to `sample` random rows of each; paths are relative to data_dir."""
    counts, samples = [], []
    raw, out = resolve(params.raw_dir) / f"stage{stage}", resolve(params.data_dir)
    special = special_pattern(tokens_of_base(params.base_model, params.base_revision))
    with engines.local() as each:
        for subset in subsets(stage, params.stage1_subsets if stage == 1 else params.stage2_subsets):
            found, turns = _pass(subset, raw, out, special, each, Random(params.seed), sample)
            counts.append(found)
            samples += filter(None, (_sample(subset, rows, raw, out) for rows in turns))
    return counts, samples


def raw_inputs(params: ExploreParams | PreprocessParams) -> list[Path]:
    """The files that stand for the raw data: the note that the download left, or the conversations that were drawn."""
    files = []
    for stage, names in ((1, params.stage1_subsets), (2, params.stage2_subsets)):
        raw = resolve(params.raw_dir) / f"stage{stage}"
        note = raw / "source.json"
        files += [note] if note.is_file() else [raw / subset.json for subset in subsets(stage, names)]
    return files


def _pass(
    subset: Subset, raw: Path, out: Path, special: re.Pattern[str], each: engines.Map, lot: Random, sample: int
) -> tuple[RawCounts, list[list[TurnRow]]]:
    """Read a subset to its end: its counts, and the turns of `sample` random rows, row by row."""
    files = raw_files(raw, subset)
    parquet = files[0].suffix == ".parquet"
    images = image_root(subset, raw, out)[1] if parquet else None
    chunks = list(limited_chunks(files, 0))
    counts = RawCounts(
        stage=subset.stage, subset=subset.name, platform=subset.platform, rows=sum(chunk.count for chunk in chunks)
    )
    chosen = {row: [] for row in sorted(lot.sample(range(counts.rows), min(sample, counts.rows)))}
    screens, same, near = array("q"), array("Q"), array("Q")
    tasks = (Task(chunk, subset.stage, subset.name, 1.0, 0, special, images) for chunk in chunks)
    for result in each(convert, tasks):
        counts.broken += len(result.rejected)
        for turn in map(TurnRow._make, result.turns):
            screens.append(hash(turn.image))
            same.append(int.from_bytes(turn.same[:8], "big"))
            near.append(int.from_bytes(turn.near[:8], "big"))
            if turn.row in chosen:
                chosen[turn.row].append(turn)
    counts.turns, counts.screenshots = len(same), len(np.unique(screens))
    counts.repeats, counts.near_repeats = (len(same) - len(np.unique(keys)) for keys in (same, near))
    return counts, [turns for turns in chosen.values() if turns]


def _sample(subset: Subset, rows: list[TurnRow], raw: Path, out: Path) -> Sample | None:
    root, first = image_root(subset, raw, out)[0], rows[0]
    try:
        width, height = image_size(root, first.image)
    except RowError:
        return None  # notebook 02 lists what is broken, and why
    example = Example(
        id=f"{subset.name}-{first.row:06d}", source=subset.name, platform=subset.platform,
        image=join(os.path.relpath(root, out), first.image), width=width, height=height,
        turns=[Turn.model_validate_json(row.turn) for row in rows],
    )  # fmt: skip
    return Sample(example, [None if row.left is None else row[-4:] for row in rows])


def raw_example(params: ExploreParams | PreprocessParams, stage: int) -> dict:
    """The first raw row of a stage, as it lies in its file (of parquet, without the image's bytes)."""
    names = params.stage1_subsets if stage == 1 else params.stage2_subsets
    file = raw_files(resolve(params.raw_dir) / f"stage{stage}", subsets(stage, names)[0])[0]
    (row,) = read(next(limited_chunks([file], 1)))[:1]
    return from_smolagents(row, "(embedded)") if file.suffix == ".parquet" else row


def by_subset(stage: int, examples: list[Example]) -> dict[str, list[Example]]:
    """The examples of each subset, under a name such as "1 guienv"."""
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(f"{stage} {example.source}", []).append(example)
    return groups


def verdict(code: str, dialect: str = "aguvis") -> tuple[str, str]:
    """What preprocessing makes of a raw answer: (the canonical calls, ""), or ("", why it is refused)."""
    try:
        return render(parse(code, dialect)), ""
    except ActionParseError as error:
        return "", str(error)
