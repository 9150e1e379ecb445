"""The whole road with a real base's classes: `forge run` of the smallest GPU profile, on archives with the real names.

Only the numbers of params/vast-16gb that decide how long it takes are changed, and base and hub stand in as folders.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from bases import FAMILIES
from mirror import NAMES, write_mirror
from safetensors.torch import load_file

from forge_core.paths import ROOT

pytestmark = pytest.mark.slow
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


@pytest.fixture(scope="session")
def road(base, tmp_path_factory):
    """(project folder, finished `forge run vast-16gb`)."""
    folder = tmp_path_factory.mktemp(f"road_{base.name}")
    home = write_project(folder / "home", base, write_mirror(folder / "mirror"))
    return home, start(home, BIN / "forge", "run", "vast-16gb")


@pytest.fixture
def adapters(road) -> Path:
    home, run = road
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr
    return home / "checkpoints" / "vast-16gb"


def test_five_lessons_end_with_two_adapters_and_a_report(road, adapters, base):
    home, run = road
    assert "done: 5 run, 0 skipped" in run.stdout
    folder = home / "runs" / "vast-16gb" / "05_evaluate_screenspot"
    record = json.loads((folder / "results.json").read_text())
    assert {row["model"] for row in record["metrics"]["accuracy"]} == {"centre", "base", "stage 1", "stage 2"}
    assert (folder / "report.html").is_file()
    for stage in ("grounding", "reasoning"):
        weights = load_file(adapters / stage / "final" / "adapter_model.safetensors")
        assert len(weights) == 2 * 2 * 7 and all(weight.abs().sum() > 0 for weight in weights.values())
    again = start(home, BIN / "forge", "run", "vast-16gb")
    assert "done: 0 run, 5 skipped" in again.stdout


def test_a_killed_stage_ends_as_an_unbroken_one(road, adapters):
    stage = adapters / "grounding"
    before = load_file(stage / "final" / "adapter_model.safetensors")
    kept = shutil.copytree(stage, stage.with_name("kept"))
    shutil.rmtree(stage / "final")
    shutil.rmtree(stage / "checkpoints" / "checkpoint-2")
    run = start(road[0], BIN / "forge", "train", "params/vast-16gb/03_train_grounding.yaml")
    assert "resuming from checkpoint-1" in run.stdout, run.stderr
    after = load_file(stage / "final" / "adapter_model.safetensors")
    shutil.rmtree(stage)
    kept.rename(stage)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_two_processes_take_the_steps_of_one(road, adapters, tmp_path):
    losses = []
    for count in (1, 2):
        params = yaml.safe_load((road[0] / "params/vast-16gb/03_train_grounding.yaml").read_text())
        params |= {"output_dir": str(tmp_path / str(count)), "lora_dropout": 0.0, "batch_size": 2 // count}
        file = tmp_path / "03_train_grounding.yaml"
        file.write_text(yaml.safe_dump(params | {"held_out": 0, "save_steps": 2}))
        program = ROOT / "tests" / "training" / "fp32_training.py"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
        run = start(road[0], sys.executable, *launcher, program, "--params", file)
        assert run.returncode == 0, run.stderr[-3000:]
        record = json.loads((tmp_path / str(count) / "final" / "forge.json").read_text())
        losses.append([entry["loss"] for entry in record["history"] if "loss" in entry])
    assert len(losses[0]) == 2 and losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_it_is_asked_about_one_screenshot(road, adapters, tmp_path):
    (image,) = (road[0] / "data/vast-16gb/screenspot_v2/screenspotv2_image").glob("web*.png")
    options = ["--image", image, "--instruction", "Click on <jupyter_code>Save", "--out", tmp_path / "spot.png"]
    run = start(road[0], BIN / "forge", "spot", *options, "--adapter", adapters / "reasoning" / "final")
    assert run.returncode == 0 and (tmp_path / "spot.png").is_file(), run.stderr


def test_merged_and_adapter_open_with_plain_libraries(road, adapters, base, tmp_path):
    adapter, out = adapters / "reasoning" / "final", tmp_path / "merged"
    benchmark = road[0] / "data/vast-16gb/screenspot_v2"
    run = start(road[0], BIN / "forge", "merge", adapter, out, "--benchmark", benchmark, "--limit", 2)
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
    opened = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert opened.stdout.split() == json.loads((base / "config.json").read_text())["architectures"], opened.stderr
