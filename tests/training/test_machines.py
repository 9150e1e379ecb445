"""Machines that share no disk, imitated by folders of their own: sky/train.yaml as bash runs it, and a restart."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from forge_core.params import load
from forge_core.training.stage import run_stage

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TASK = yaml.safe_load((ROOT / "sky" / "train.yaml").read_text())
# as on a machine with nothing but a CPU without bf16: there no number depends on how rows are batched
FP32 = """\
import sys
if "forge_core.training" in sys.orig_argv:
    import torch
    torch.cpu.get_capabilities = dict
"""
TRAIN = {"batch_size": 2, "max_steps": 3, "save_steps": 1, "held_out": 3, "num_workers": 0, "logging_steps": 1}
CHANGES = {
    "01_explore_data": {"sandbox_screens": 6, "benchmark_screens": 1},
    "02_preprocess": {"workers": 1},
    "03_train_grounding": TRAIN,
    "04_train_reasoning": TRAIN,
    "05_evaluate_screenspot": {"limit": 4, "batch_size": 2, "grounding_tokens": 8, "reasoning_tokens": 8},
}


def set_up(machine: Path) -> Path:
    """A machine as SkyPilot leaves it: the project in its working directory, and an environment with all packages."""
    (machine / ".venv").mkdir(parents=True)
    for name in ("bin", "lib"):
        (machine / ".venv" / name).symlink_to(Path(sys.prefix) / name)
    for file in (ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "constraints.txt"):
        shutil.copy2(file, machine)
    shutil.copy2(Path(sys.prefix) / "pyvenv.cfg", machine / ".venv")
    (machine / ".venv" / ".installed").touch()
    shutil.copytree(ROOT / "params" / "accelerate", machine / "params" / "accelerate")
    (machine / "params" / "tiny").mkdir()
    for name, changes in CHANGES.items():
        values = yaml.safe_load((ROOT / "params" / "embedded" / f"{name}.yaml").read_text())
        (machine / "params" / "tiny" / f"{name}.yaml").write_text(yaml.safe_dump(values | changes))
    (machine / "sitecustomize.py").write_text(FP32)
    return machine


def do(command: list[str], machines: list[Path]) -> list[str]:
    """What all machines print that run `command` at once, with the variables that SkyPilot or torchrun set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    count, started = str(len(machines)), []
    for rank, machine in enumerate(machines):
        theirs = {"SKYPILOT_NUM_NODES": count, "SKYPILOT_NODE_RANK": str(rank), "SKYPILOT_NUM_GPUS_PER_NODE": "1"}
        theirs |= {"SKYPILOT_NODE_IPS": "\n".join(["127.0.0.1"] * len(machines)), "PORT": port}
        theirs |= TASK["envs"] | TASK["secrets"] | {"PROFILE": "tiny", "EXTRAS": ""}
        if command[0] != "bash":
            theirs |= {"RANK": str(rank), "WORLD_SIZE": count, "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
            theirs |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        here = {"FORGE_HOME": str(machine), "PYTHONPATH": f"{machine}:{ROOT}", "HF_HUB_OFFLINE": "1"}
        here |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        started.append(subprocess.Popen(command, cwd=machine, env={**os.environ, **theirs, **here}, **pipes))
    try:
        said = [process.communicate(timeout=600)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    return [f"{text}\nstatus {process.returncode}" for text, process in zip(said, started, strict=True)]


def training(stage: str) -> list[str]:
    return [sys.executable, "-m", "forge_core.training", "--params", f"params/tiny/{stage}.yaml"]


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    return load_file(adapter / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def machines(tmp_path_factory) -> list[Path]:
    """Two machines after the task, and what they printed in output.txt."""
    both = [set_up(tmp_path_factory.mktemp(name)) for name in ("first", "second")]
    for machine, said in zip(both, do(["bash", "-c", TASK["run"]], both), strict=True):
        (machine / "output.txt").write_text(said)
        assert said.endswith("status 0"), said
    return both


def test_setup_installs_what_is_missing_and_asks_the_doctor(tmp_path):
    (said,) = do(["bash", "-c", TASK["setup"]], [set_up(tmp_path)])
    assert "Nothing to be done for 'setup'" in said and "ok       packages" in said and said.endswith("status 0"), said


def test_two_machines_train_the_adapters_of_one(machines, tmp_path, monkeypatch, fp32):
    first, second = machines
    parent = ""
    for name, stage in (("03_train_grounding", "grounding"), ("04_train_reasoning", "reasoning")):
        final = Path("checkpoints") / "embedded" / stage / "final"
        changes = {"batch_size": 4, "parent_adapter": parent, "output_dir": str(tmp_path / stage)}
        params = load(first / "params" / "tiny" / f"{name}.yaml").model_copy(update=changes)
        alone = run_stage(params.model_copy(update={"data_dir": str(first / params.data_dir)}))
        record = json.loads((first / final / "forge.json").read_text())
        assert record["training"]["processes"] == 2
        losses = [entry["loss"] for entry in record["history"] if "loss" in entry]
        assert losses == pytest.approx([entry["loss"] for entry in alone.history], abs=1e-4)
        ours, theirs = weights(alone.adapter), weights(first / final)
        assert all(torch.allclose(ours[key], theirs[key], atol=1e-4) for key in ours)
        assert (first / final / "forge.json").read_bytes() == (second / final / "forge.json").read_bytes()
        parent = str(alone.adapter)


def test_the_first_machine_has_the_answers_of_both(machines):
    folder = Path("runs") / "embedded" / "05_evaluate_screenspot"
    assert (machines[0] / folder / "report.html").is_file()
    for name in ("base", "stage_1", "stage_2"):
        assert len((machines[0] / folder / f"scored_{name}.jsonl").read_text().splitlines()) == 4
    assert list((machines[1] / folder).iterdir()) == []
    assert "base 3/3" in (machines[0] / "output.txt").read_text()  # the fourth was asked of the other machine


def test_a_new_second_machine_gets_the_checkpoint_and_both_end_as_before(machines, tmp_path):
    first, second = (shutil.copytree(machine, tmp_path / machine.name, symlinks=True) for machine in machines)
    before = weights(first / "checkpoints" / "embedded" / "grounding" / "final")
    shutil.rmtree(second / "checkpoints")
    shutil.rmtree(first / "checkpoints" / "embedded" / "grounding" / "final")
    shutil.rmtree(first / "checkpoints" / "embedded" / "grounding" / "checkpoints" / "checkpoint-3")
    said = do(training("03_train_grounding"), [first, second])
    assert "resuming from checkpoint-2" in said[0] and all(text.endswith("status 0") for text in said), said
    for machine in (first, second):
        after = weights(machine / "checkpoints" / "embedded" / "grounding" / "final")
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_machines_with_different_rows_are_refused_on_both(machines, tmp_path):
    first, second = (shutil.copytree(machine, tmp_path / machine.name, symlinks=True) for machine in machines)
    rows = second / "data" / "embedded" / "stage1.jsonl"
    rows.write_text("".join(rows.read_text().splitlines(keepends=True)[1:]))
    for text in do(training("03_train_grounding"), [first, second]):
        assert "the machines differ in data_sha256" in text and text.endswith("status 1")
    rows.unlink()
    here, there = do(training("03_train_grounding"), [first, second])
    assert "stage1.jsonl is missing on another machine; " in here and here.endswith("status 1")
    assert "stage1.jsonl is missing; " in there and there.endswith("status 1")
