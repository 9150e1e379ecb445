"""Training as other programs start, stop and read it: signals, several processes, plain libraries."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_training import train_params
from typer.testing import CliRunner

from forge_core.cli import app
from forge_core.paths import EMBEDDED_BASE
from forge_core.training.stage import launch, run_stage

pytestmark = pytest.mark.slow


def write_params(folder: Path, params) -> Path:
    """The params as a file for notebook 03."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "03_train_grounding.yaml"
    file.write_text(yaml.safe_dump(params.model_dump()))
    return file


def test_sigterm_saves_and_the_next_run_ends_as_an_unbroken_one(grounded, data, tmp_path):
    file = write_params(tmp_path, train_params(data, tmp_path / "out"))
    command = [sys.executable, "-m", "forge_core.training", "--params", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("step 3/10"):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
    assert process.returncode == 143
    assert "stopped and saved at step" in rest and "step 10/10" not in rest
    assert not (tmp_path / "out" / "final").exists()
    result = CliRunner().invoke(app, ["train", str(file)])
    assert result.exit_code == 0 and "resuming from checkpoint-" in result.stdout
    ours, theirs = (load_file(f / "adapter_model.safetensors") for f in (grounded.adapter, tmp_path / "out" / "final"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_disk_that_fills_up_is_named_and_the_next_run_continues(data, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True, text=True)
    if mount.returncode:
        pytest.skip(f"no small disk can be mounted here: {mount.stderr.strip()}")
    try:
        file = write_params(tmp_path, train_params(data, disk / "out", save_steps=2, max_steps=20))
        command = [Path(sys.executable).with_name("forge"), "train", file]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("step 3/20"):
                    fill(disk / "other")
                    break
            said = process.communicate()[1]
        assert process.returncode == 2
        assert "MiB are needed for checkpoints; make room" in said and "the last whole checkpoint is kept" in said
        (disk / "other").unlink()
        result = CliRunner().invoke(app, ["train", str(file)])
        assert result.exit_code == 0 and "resuming from checkpoint-" in result.stdout
    finally:
        subprocess.run(["umount", disk], check=True)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with pytest.raises(OSError, match="No space left"), file.open("wb", buffering=0) as other:
        while other.write(bytes(4096)):
            pass


def test_two_processes_take_the_steps_of_one(data, tmp_path):
    changes = {"lora_dropout": 0.0, "max_steps": 4}
    histories = []
    for count in (1, 2):
        output = tmp_path / str(count)
        file = write_params(output, train_params(data, output, batch_size=4 // count, **changes))
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        program = str(Path(__file__).with_name("fp32_training.py"))
        command = [sys.executable, *launcher, program, "--params", str(file)]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
        record = json.loads((output / "final" / "forge.json").read_text())
        assert record["training"]["processes"] == count
        histories.append([entry["loss"] for entry in record["history"] if "loss" in entry])
    assert len(histories[0]) == 4 and histories[0] == pytest.approx(histories[1], abs=1e-4)


def test_the_adapter_folder_opens_with_plain_libraries(grounded):
    program = f"""
import sys, torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor
base = AutoModelForImageTextToText.from_pretrained({str(EMBEDDED_BASE)!r})
model = PeftModel.from_pretrained(base, {str(grounded.adapter)!r})
processor = AutoProcessor.from_pretrained({str(grounded.adapter)!r})
assert processor.image_processor.size == {{"longest_edge": 512}} and model.peft_config["default"].r == 8
assert sum(value.abs().sum() for name, value in model.named_parameters() if "lora_B" in name) > 0
assert "forge_core" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_card_says_base_data_score_hardware_and_cost(data, tmp_path):
    stage = run_stage(train_params(data, tmp_path, max_steps=1, held_out=3, usd_per_hour=36_000.0))
    card, training = (stage.adapter / "README.md").read_text(), stage.record["training"]
    for said in (
        'base_model: "embedded"\n', "Data: `sandbox_web, sandbox_desktop, sandbox_mobile`; sha256 ", "1 x cpu, ",
        f"held-out screenshots (within 5% of the point): {training['held_out_clicks']:.1%}", f"${training['usd']:.2f}",
    ):  # fmt: skip
        assert said in card, card
    assert training["usd"] == pytest.approx(10 * training["seconds"], rel=0.1)
    assert json.loads((stage.adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "embedded"
    entry = stage.history[0]
    assert entry["train_tokens_per_second"] > 0 and 0 < entry["memory_gib"] < 8


def test_params_of_another_notebook_are_refused():
    result = CliRunner().invoke(app, ["train", "params/embedded/02_preprocess.yaml"])
    assert result.exit_code == 2 and "not the params of a training notebook" in result.stderr


def test_a_notebook_trains_on_all_gpus_in_processes_of_its_own(data, tmp_path, monkeypatch, capsys):
    params = train_params(data, tmp_path / "out", batch_size=4, max_steps=2, save_steps=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)  # the processes themselves find none and take the CPU
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    run = launch(params)
    assert run.record["training"]["processes"] == 2 and "step 2/2" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="forge_core.training on 2 GPUs ended with status 1"):
        launch(params.model_copy(update={"data_dir": str(tmp_path)}))
    assert "notebook 02_preprocess writes it" in capsys.readouterr().out
