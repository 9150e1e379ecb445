"""The checkpoints of a stage: whose they are, which one a killed run continues from, and the room they need."""

import json
import shutil
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError, safe_open

from forge_core.data.disk import CHECKPOINTS, checkpoint_bytes
from forge_core.params import TrainParams
from forge_core.paths import locate, resolve
from forge_core.results import digest

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
    """The folder for checkpoints; those of another training are removed."""
    folder, mark = output / "checkpoints", output / "checkpoints" / "identity.json"
    if folder.is_dir() and (not mark.is_file() or json.loads(mark.read_text()) != identity):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps(identity, indent=1))
    return folder


def newest_complete(folder: Path) -> str | None:
    """The name of the newest checkpoint that can be resumed; the Trainer writes `trainer_state.json` last."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        if complete(checkpoint):
            print(f"resuming from {checkpoint.name}", flush=True)
            return checkpoint.name
    return None


def complete(checkpoint: Path) -> bool:
    """Whether state and optimizer are there and the adapter can be read to its end."""
    if not all((checkpoint / name).is_file() for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt")):
        return False
    try:
        with safe_open(checkpoint / "adapter_model.safetensors", "pt"):
            return True
    except (OSError, SafetensorError) as error:
        print(f"{checkpoint.name} is broken ({error}); trying the one before", flush=True)
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
