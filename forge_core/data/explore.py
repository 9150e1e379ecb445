"""Look at raw AGUVIS rows before anything is written: how many there are, and a random sample read as Examples."""

from pathlib import Path
from random import Random

from pydantic import BaseModel

from forge_core.data.preprocess import image_root, read_rows
from forge_core.data.rows import RowError, image_size, read_turn, split
from forge_core.data.schema import Example
from forge_core.data.sources import Subset, subsets
from forge_core.params import ExploreParams, PreprocessParams
from forge_core.paths import resolve


class RawCounts(BaseModel):
    """What one subset's JSON holds: rows, different screenshots, instructions, and rows that can't be read."""

    stage: int
    subset: str
    platform: str
    rows: int
    screenshots: int
    turns: int
    broken: int


def look(raw_dir: Path, data_dir: Path, stage: int, names: list[str], sample: int, seed: int):
    """(RawCounts of each subset, up to `sample` random rows of each as Examples).

    Images are unpacked below `data_dir`, where preprocessing finds them; `Example.image` is relative to it.
    """
    counts, examples = [], []
    for subset in subsets(stage, names):
        raw = Path(raw_dir) / f"stage{stage}"
        rows = read_rows(raw / subset.json)
        counts.append(_count(subset, rows))
        root = image_root(subset, raw, Path(data_dir))
        chosen = Random(seed).sample(range(len(rows)), min(sample, len(rows)))
        examples += filter(None, (_example(subset, index, rows[index], root, Path(data_dir)) for index in chosen))
    return counts, examples


def raw_files(params: ExploreParams | PreprocessParams) -> list[Path]:
    """The conversation files of both stages: they stand for the raw data, whose archives are too large to hash."""
    named = ((1, params.stage1_subsets), (2, params.stage2_subsets))
    raw_dir = resolve(params.raw_dir)
    return [raw_dir / f"stage{stage}" / subset.json for stage, names in named for subset in subsets(stage, names)]


def _count(subset: Subset, rows: list) -> RawCounts:
    turns, broken, screenshots = 0, 0, set()
    for row in rows:
        try:
            image, exchanges = split(row)
        except RowError:
            broken += 1
        else:
            turns += len(exchanges)
            screenshots.add(image)
    return RawCounts(
        stage=subset.stage, subset=subset.name, platform=subset.platform, rows=len(rows),
        screenshots=len(screenshots), turns=turns, broken=broken,
    )  # fmt: skip


def _example(subset: Subset, index: int, row: object, root: Path, data_dir: Path) -> Example | None:
    try:
        name, exchanges = split(row)
        width, height = image_size(root, name)
        turns = [read_turn(exchange, subset.stage)[0] for exchange in exchanges]
    except RowError:
        return None  # notebook 02 lists what is broken, and why
    return Example(
        id=f"{subset.name}-{index:06d}", source=subset.name, platform=subset.platform,
        image=(root / name).relative_to(data_dir).as_posix(), width=width, height=height, turns=turns,
    )  # fmt: skip
