"""SmolVLM2 from `forge run` to a merged model: stop and resume, two processes, one screenshot."""

import json
import shutil
import sys

import pytest
import torch
import yaml
from road import BIN, check_course, check_merged, start
from safetensors.torch import load_file

from forge_core.paths import ROOT

pytestmark = pytest.mark.slow
FAMILY = "smolvlm"


def test_five_lessons_end_with_two_adapters_and_a_report(walked):
    check_course(*walked[1:])


def test_merged_and_adapter_open_with_plain_libraries(home, walked, tmp_path):
    check_merged(home, walked[0], tmp_path)


def test_a_killed_stage_ends_as_an_unbroken_one(home):
    stage = home / "checkpoints/vast-16gb/grounding"
    before = load_file(stage / "final" / "adapter_model.safetensors")
    kept = shutil.copytree(stage, stage.with_name("kept"))
    shutil.rmtree(stage / "final")
    shutil.rmtree(stage / "checkpoints" / "checkpoint-2")
    run = start(home, BIN / "forge", "train", "params/vast-16gb/03_train_grounding.yaml")
    assert "resuming from checkpoint-1" in run.stdout, run.stderr
    after = load_file(stage / "final" / "adapter_model.safetensors")
    shutil.rmtree(stage)
    kept.rename(stage)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_two_processes_take_the_steps_of_one(home, tmp_path):
    losses = []
    for count in (1, 2):
        params = yaml.safe_load((home / "params/vast-16gb/03_train_grounding.yaml").read_text())
        params |= {"output_dir": str(tmp_path / str(count)), "lora_dropout": 0.0, "batch_size": 2 // count}
        file = tmp_path / "03_train_grounding.yaml"
        file.write_text(yaml.safe_dump(params | {"held_out": 0, "save_steps": 2}))
        program = ROOT / "tests" / "training" / "fp32_training.py"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
        run = start(home, sys.executable, *launcher, program, "--params", file)
        assert run.returncode == 0, run.stderr[-3000:]
        record = json.loads((tmp_path / str(count) / "final" / "forge.json").read_text())
        losses.append([entry["loss"] for entry in record["history"] if "loss" in entry])
    assert len(losses[0]) == 2 and losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_it_is_asked_about_one_screenshot(home, tmp_path):
    (image,) = (home / "data/vast-16gb/screenspot_v2/screenspotv2_image").glob("web*.png")
    options = ["--image", image, "--instruction", "Click on <jupyter_code>Save", "--out", tmp_path / "spot.png"]
    options += ["--adapter", home / "checkpoints/vast-16gb/reasoning/final"]
    run = start(home, BIN / "forge", "spot", *options)
    assert run.returncode == 0 and (tmp_path / "spot.png").is_file(), run.stderr
