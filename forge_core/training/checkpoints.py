"""The checkpoints of a stage: whose they are, which one a killed run continues from, and the room they need."""

import re
import shutil
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated

import torch
from peft import PeftModel
from pydantic import Field
from safetensors import SafetensorError, safe_open

from forge_core.data.disk import CHECKPOINTS, checkpoint_bytes
from forge_core.json_files import Outside, read_model, read_object
from forge_core.params import TrainParams
from forge_core.paths import locate, resolve
from forge_core.results import digest, write_json
from forge_core.text import printable

NAME = re.compile(r"checkpoint-\d{1,9}")
STATES = ("optimizer.pt", "scheduler.pt")

# Parameters that do not change what is learned.
WHERE = (
    *("run", "output_dir", "data_dir", "parent_adapter", "logging_steps", "save_steps", "num_workers", "wandb"),
    *("usd_per_hour", "eval_batch_size"),
)


def describe(params: TrainParams, rows_file: Path) -> dict:
    """What decides the outcome of a stage: parameters, and by hash the data, the parent, and a base in a folder."""
    parent = resolve(params.parent_adapter) / "adapter_model.safetensors" if params.parent_adapter else None
    if parent and not parent.is_file():
        raise FileNotFoundError(f"{parent} is missing; the stage before this one writes it")
    base = Path(locate(params.base_model))
    return {
        "stage": params.stage,
        "base_sha256": digest(base) if base.is_dir() else None,  # from the hub, the revision tells
        "params": {name: value for name, value in params.model_dump().items() if name not in WHERE},
        "data_sha256": digest(rows_file),
        "parent_adapter": params.parent_adapter or None,
        "parent_sha256": digest(parent) if parent else None,
    }


def checkpoints(output: Path, identity: dict) -> Path:
    """The folder for checkpoints; those of another training are removed.

    Raises ValueError, and removes nothing, where identity.json is damaged.
    """
    folder, mark = output / "checkpoints", output / "checkpoints" / "identity.json"
    if folder.is_dir() and (not mark.exists() or read_object(mark) != identity):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, identity)
    return folder


def newest_complete(folder: Path) -> str | None:
    """The name of the newest checkpoint that can be resumed; the Trainer writes `trainer_state.json` last."""
    steps = {path: int(path.name.split("-")[1]) for path in folder.iterdir() if NAME.fullmatch(path.name)}
    for checkpoint in sorted(steps, key=lambda path: -steps[path]):
        if complete(checkpoint):
            print(f"resuming from {checkpoint.name}", flush=True)
            return checkpoint.name
    return None


class State(Outside):
    """trainer_state.json: where the Trainer goes on, and the folder of the best checkpoint, which it would load."""

    global_step: Annotated[int, Field(ge=0)]
    best_model_checkpoint: str | None = None


def complete(checkpoint: Path) -> bool:
    """Whether state and optimizer are there, and can be read to their end as what they are."""
    names = ("adapter_model.safetensors", "trainer_state.json", *STATES)
    if not all((checkpoint / name).is_file() for name in names):
        return False
    try:
        state = read_model(State, checkpoint / "trainer_state.json")
        best = Path(state.best_model_checkpoint or checkpoint)
        if best.parent.name != checkpoint.parent.name or not NAME.fullmatch(best.name):
            raise ValueError(f"trainer_state.json: best_model_checkpoint is {str(best)[:200]!r}")
        if folders := [path.name for path in checkpoint.iterdir() if path.is_dir()]:
            raise ValueError(f"{folders[0]} is a folder; the Trainer would load it as another adapter")
        with safe_open(checkpoint / "adapter_model.safetensors", "pt"):
            pass
        for name in STATES:
            torch.load(checkpoint / name, map_location="cpu", weights_only=True, mmap=True)
        return True
    except (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError) as error:
        said = next(iter(str(error).splitlines()), type(error).__name__)
        print(printable(f"{checkpoint.name} is broken ({said}); trying the one before"), flush=True)
        return False


def check_space(model: PeftModel, folder: Path, checkpoints: int = CHECKPOINTS, after: str = "") -> None:
    """Raise OSError where that many checkpoints and the adapter would not fit."""
    needed = checkpoint_bytes(sum(p.numel() for p in model.parameters() if p.requires_grad), checkpoints)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder}: {free / 2**20:,.0f} MiB are free, {needed / 2**20:,.0f} MiB are needed for checkpoints; make "
            f"room, name another output_dir, or lower lora_rank{after}"
        )
