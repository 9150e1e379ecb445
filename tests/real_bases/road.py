"""The whole road with a real base's classes: `forge run` of the smallest GPU profile, on archives with the real names.

Only the numbers of params/vast-16gb that decide how long it takes are changed, and base and hub stand in as folders.
Each family has a file of tests, so that two workers can share them.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from bases import FAMILIES
from mirror import NAMES, write_mirror
from safetensors.torch import load_file

from forge_core.paths import ROOT

BIN = Path(sys.executable).parent
SMALL = {
    "wandb": False, "max_steps": 2, "save_steps": 1, "logging_steps": 1, "batch_size": 2, "gradient_accumulation": 1,
    "held_out": 2, "num_workers": 1, "workers": 1, "limit": 3, "grounding_tokens": 4, "reasoning_tokens": 4,
    "baselines": ["centre"], "stage1_subsets": [*NAMES[1].values()], "stage2_subsets": [*NAMES[2].values()],
}  # fmt: skip


def write_project(home: Path, base: Path, mirror: Path) -> Path:
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    shutil.copytree(ROOT / "params" / "vast-16gb", home / "params" / "vast-16gb")
    tile = FAMILIES[base.name][1]
    stands_in = {"base_model": str(base), "base_revision": "main", "mirror": str(mirror), "image_size": 2 * tile}
    for file in (home / "params" / "vast-16gb").glob("0*.yaml"):
        values = yaml.safe_load(file.read_text())
        changes = SMALL | stands_in
        file.write_text(yaml.safe_dump(values | {name: changes[name] for name in changes.keys() & values.keys()}))
    return home


def start(home: Path, *command) -> subprocess.CompletedProcess:
    environment = os.environ | {"FORGE_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(list(map(str, command)), env=environment, cwd=home, capture_output=True, text=True)


def walk(base: Path, folder: Path) -> tuple[Path, subprocess.CompletedProcess]:
    """(project folder, finished `forge run vast-16gb`) with a base, below `folder`."""
    home = write_project(folder / "home", base, write_mirror(folder / "mirror"))
    return home, start(home, BIN / "forge", "run", "vast-16gb")


def check_course(home: Path, run: subprocess.CompletedProcess) -> None:
    """Five lessons end with two adapters and a report, and again with nothing to do."""
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
    assert "done: 5 run, 0 skipped" in run.stdout
    folder = home / "runs" / "vast-16gb" / "05_evaluate_screenspot"
    record = json.loads((folder / "results.json").read_text())
    assert {row["model"] for row in record["metrics"]["accuracy"]} == {"centre", "base", "stage 1", "stage 2"}
    assert (folder / "report.html").is_file()
    for stage in ("grounding", "reasoning"):
        weights = load_file(home / f"checkpoints/vast-16gb/{stage}/final/adapter_model.safetensors")
        assert len(weights) == 2 * 2 * 7 and all(weight.abs().sum() > 0 for weight in weights.values())
    again = start(home, BIN / "forge", "run", "vast-16gb")
    assert "done: 0 run, 5 skipped" in again.stdout


def check_merged(home: Path, base: Path, folder: Path) -> None:
    """The merged model and the adapter open with plain transformers and peft, as the base's class, and agree."""
    adapter, out = home / "checkpoints/vast-16gb/reasoning/final", folder / "merged"
    benchmark = home / "data/vast-16gb/screenspot_v2"
    run = start(home, BIN / "forge", "merge", adapter, out, "--benchmark", benchmark, "--limit", 2)
    assert "click accuracy on screenspot_v2: " in run.stdout, run.stderr
    program = f"""
import sys, torch
from peft import PeftModel
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

def logits(model, folder):
    images = AutoImageProcessor.from_pretrained(folder)
    assert images.size["longest_edge"] == {2 * FAMILIES[base.name][1]}
    read = images([[Image.new("RGB", (640, 400), "navy")]], return_tensors="pt")
    count = read["pixel_values"].shape[1] * {81 if base.name == "smolvlm" else 64}
    ids = AutoTokenizer.from_pretrained(folder)("<image>" * count + " Save", return_tensors="pt").input_ids
    with torch.no_grad():
        return model.eval()(input_ids=ids, pixel_values=read["pixel_values"]).logits[0, -1].softmax(-1)

merged = AutoModelForImageTextToText.from_pretrained({str(out)!r}, dtype=torch.float32)
plain = AutoModelForImageTextToText.from_pretrained({str(base)!r}, dtype=torch.float32)
adapted = PeftModel.from_pretrained(plain, {str(adapter)!r})
assert torch.allclose(logits(merged, {str(out)!r}), logits(adapted, {str(adapter)!r}), atol=1e-4)
assert "forge_core" not in sys.modules
print(type(merged).__name__)
"""
    opened = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True)
    assert opened.stdout.split() == json.loads((base / "config.json").read_text())["architectures"], opened.stderr
