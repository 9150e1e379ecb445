"""Folders of somebody else: an adapter to damage, a value to change, code that leaves a mark if it runs."""

import json
from pathlib import Path

import pytest
import torch
from small_training import train_params

from forge_core.models.load import attach_lora, load_base, load_processor
from forge_core.paths import EMBEDDED_BASE
from forge_core.results import digest
from forge_core.training.adapter import save_adapter

CONFIG, RECORD, WEIGHTS = "adapter_config.json", "forge.json", "adapter_model.safetensors"
EVIL = "import pathlib\npathlib.Path({marker!r}).write_text('ran')\n\n\nclass Evil:\n    pass\n"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
BACKTRACKING = r"(.*.*)*(.*.*)*(.*.*)*nothing"


def write_adapter(folder: Path) -> Path:
    """An untrained adapter of the embedded base, saved as training saves it."""
    torch.manual_seed(0)
    model = attach_lora(load_base("embedded", load_in_4bit=False), rank=8, alpha=16, dropout=0.0)
    save_adapter(model, load_processor("embedded", image_size=512), record(), folder)
    return folder


def record(**changes) -> dict:
    """forge.json of stage 1 on the embedded base, with other parameters."""
    params = train_params(Path("data"), Path("out"), load_in_4bit=False).model_dump() | changes
    identity = {
        "stage": 1, "base_sha256": digest(EMBEDDED_BASE), "params": params, "data_sha256": "0" * 64,
        "parent_adapter": None, "parent_sha256": None,
    }  # fmt: skip
    training = {
        "data": "sandbox_web", "rows": 1, "steps": 1, "best_step": 1, "held_out_clicks": None, "processes": 1,
        "device": "cpu", "precision": "torch.float32", "seconds": 1.0, "usd": 0.0,
    }  # fmt: skip
    return {"identity": identity, "forge": "test", "training": training, "history": []}


def edit(file: Path, path: str, value: object) -> None:
    """Set the value at a path of keys, as in a.b.c; ... removes the key."""
    content = json.loads(file.read_text())
    *way, last = path.split(".")
    part = content
    for key in way:
        part = part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    file.write_text(json.dumps(content))


def one_line(found: pytest.ExceptionInfo, *said: object) -> None:
    text = str(found.value)
    assert "\n" not in text and all(str(each) in text for each in said), text


def leave_code(folder: Path, marker: Path) -> None:
    """Write a module `evil` that writes `marker` when it is imported."""
    (folder / "evil.py").write_text(EVIL.format(marker=str(marker)))


class Pickled:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)
