"""How much disk a profile needs, in GB (1e9 bytes), by the table of sizes in `data.sources`.

    print(*lines("vast-24gb"), sep="\\n")

It decides what disk is rented. What a download really needs, its look-up on the hub says (`data.room`).
"""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import NamedTuple

from forge_core import paths
from forge_core.data import archives
from forge_core.data.sources import ARCHIVES, BENCHMARKS, on_hub, weights
from forge_core.params import ExploreParams, TrainParams, load, load_profile

ENVIRONMENT = 12.0  # allowance: packages with CUDA's libraries, 8, and pip's cache of their wheels, 4
BASE = 4.5  # 2.25 G parameters of SmolVLM2-2.2B in bf16, in the hub's cache; the embedded base comes with the package
# LoRA parameters for each unit of rank: 18.1 M at rank 16 on SmolVLM2-2.2B's language model (docs/oom.md); the vision
# tower has 27 layers of (1152 + 1152) * 4 + (1152 + 4304) * 2, less than half of that, the connector 12,416
PER_RANK = {"none": 1_130_496, "connector": 1_142_912, "lora": 1_686_368}
CHECKPOINTS = 3  # of a stage at a time: the best, the last, and the one being written
MARGIN = 0.1  # of all: clean rows, the work file, runs, logs, and sizes that have grown
STEP = 10  # GB, to which the sum is rounded up


class Need(NamedTuple):
    """One part of the sum."""

    what: str
    gb: float
    estimated: bool = False


def needs(profile: str) -> list[Need]:
    """What `params/<profile>/` takes of a disk, part by part.

    Raises ParamsError, and ValueError for a subset that is unknown, or not on the hub.
    """
    folder = paths.ROOT / "params" / profile
    explore = load(folder / "01_explore_data.yaml")
    train = [load(folder / f"{name}.yaml") for name in ("03_train_grounding", "04_train_reasoning")]
    base = 0.0 if train[0].base_model == "embedded" else BASE
    checkpoints = sum(map(_checkpoints, train))
    rows = [Need("environment", ENVIRONMENT, True), Need("base weights", base), Need("checkpoints", checkpoints)]
    parts = [*_data(explore), *rows]
    return [*parts, Need("margin", MARGIN * sum(part.gb for part in parts), True)]


def gb(profile: str) -> int:
    """The disk to ask for: all needs together, rounded up to 10 GB. Raises as `needs`."""
    return math.ceil(sum(need.gb for need in needs(profile)) / STEP) * STEP


def gb_after_setup(profile: str) -> int:
    """The same, not rounded to tens, where the packages are installed already."""
    return math.ceil(sum(need.gb for need in needs(profile) if need.what != "environment"))


def problem(profile: str) -> str:
    """Why a new run of the profile would fill its disk, by the table of sizes, and what to do; "" where it would not.

    Not asked where raw data is there already, or comes from a mirror: then the look-up of what is missing decides.
    """
    explore = load(paths.ROOT / "params" / profile / "01_explore_data.yaml")
    raw = paths.resolve(explore.raw_dir)
    if explore.source in ("sandbox", "capture") or explore.mirror or raw.exists():
        return ""
    parts = [need for need in needs(profile) if need.what not in ("environment", "margin")]
    needed, free = sum(need.gb for need in parts), shutil.disk_usage(existing(raw)).free / 1e9
    if needed <= free:
        return ""
    largest = ", ".join(f"{need.what} {need.gb:.0f}" for need in sorted(parts, key=lambda need: -need.gb)[:3])
    return (
        f"download, unpacking, base and checkpoints need {needed:.0f} GB ({largest}, ...), {free:.0f} GB are free in "
        f"{existing(raw)}; make room, set raw_dir and data_dir to another disk, or name fewer subsets"
    )


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def lines(profile: str) -> list[str]:
    """The needs as a table in text, their sum last; ~ marks allowances, and archives whose size is not published."""
    shown = [f"{need.what:40} {'~' * need.estimated:>1}{need.gb:7.1f} GB" for need in needs(profile) if need.gb]
    return [*shown, f"{'disk to ask for':40} {gb(profile):7} GB"]


def after_setup() -> tuple[dict[str, int], list[str]]:
    """`gb_after_setup` of each profile that says what to rent, the smallest first; why that of others isn't known."""
    known, unknown = {}, []
    for file in sorted((paths.ROOT / "params").glob("*/profile.yaml")):
        name = file.parent.name
        try:
            if load_profile(file).rent:
                known[name] = gb_after_setup(name)
        except ValueError as error:
            unknown.append(f"{name}: {str(error).splitlines()[0]}")
    return dict(sorted(known.items(), key=lambda item: item[1])), unknown


def _data(explore: ExploreParams) -> list[Need]:
    """The downloads, and the most that is unpacked beside them: the largest tar.gz, and the benchmark's images."""
    if explore.source in ("sandbox", "capture"):
        return []
    chosen = [*on_hub(1, explore.stage1_subsets), *on_hub(2, explore.stage2_subsets)]
    benchmark = BENCHMARKS["screenspot_v2"].gb
    fetched = {} if explore.mirror else weights(chosen)
    tars = [ARCHIVES[name].gb for name in dict.fromkeys(subset.archive for subset in chosen) if ARCHIVES[name].tar]
    go = not explore.mirror and archives.belongs(paths.resolve(explore.raw_dir), paths.resolve(explore.data_dir))
    largest = max(tars, default=0.0) if go else sum(tars)  # the others stay beside what is unpacked
    if explore.source == "smolagents":
        largest = sum(weights(chosen).values())  # parquet: all images are written out
    return [
        *(Need(f"download {name}", size, "archive" in ARCHIVES[name].estimated) for name, size in fetched.items()),
        Need("download screenspot_v2", 0.0 if explore.mirror else benchmark),
        Need("unpacked, at most at a time", largest + benchmark, True),
    ]


def _checkpoints(train: TrainParams) -> float:
    """GB of a stage's checkpoints and of its adapter."""
    trained = 0 if train.base_model == "embedded" else PER_RANK[train.train_vision] * train.lora_rank
    return checkpoint_bytes(trained) / 1e9


def checkpoint_bytes(trained: int, checkpoints: int = CHECKPOINTS) -> int:
    """Bytes of that many checkpoints (`trained` weights and Adam's two moments, fp32) and of the adapter."""
    return (3 * checkpoints + 1) * 4 * trained
