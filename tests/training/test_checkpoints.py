"""Checkpoints that are damaged, or that somebody else made."""

from pathlib import Path

import pytest
import torch
from hostile import WEIGHTS, Pickled, one_line
from safetensors.torch import save_file

from forge_core.training.checkpoints import checkpoints, complete


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "checkpoints" / "checkpoint-5"
    folder.mkdir(parents=True)
    save_file({"a": torch.zeros(2)}, folder / WEIGHTS)
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.save({"state": torch.zeros(2)}, folder / name)
    (folder / "trainer_state.json").write_text('{"global_step": 5, "best_model_checkpoint": null}')
    return folder


def test_a_whole_checkpoint_is_complete(checkpoint):
    assert complete(checkpoint)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("trainer_state.json", b"{torn"),
        ("trainer_state.json", b'{"global_step": "5"}'),
        ("trainer_state.json", b'{"global_step": 5, "best_model_checkpoint": "/tmp/elsewhere"}'),
        ("optimizer.pt", b""),
        ("optimizer.pt", b"PK\x03\x04torn"),
        ("scheduler.pt", b"cos\nsystem\n(S'true'\ntR."),
        ("adapter_model.safetensors", b"torn"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_in_one_line(checkpoint, name, content, capsys):
    (checkpoint / name).write_bytes(content)
    assert not complete(checkpoint)
    assert capsys.readouterr().out.count("\n") == 1


def test_a_checkpoint_runs_no_pickle_and_loads_no_other_adapter(checkpoint, tmp_path):
    torch.save(Pickled(tmp_path / "ran"), checkpoint / "optimizer.pt")
    assert not complete(checkpoint) and not (tmp_path / "ran").exists()
    torch.save({}, checkpoint / "optimizer.pt")
    assert complete(checkpoint)
    (checkpoint / "other").mkdir()
    assert not complete(checkpoint)


def test_a_damaged_identity_loses_no_checkpoint(checkpoint, tmp_path):
    (tmp_path / "checkpoints" / "identity.json").write_text("{torn")
    with pytest.raises(ValueError) as found:
        checkpoints(tmp_path, {"stage": 1})
    one_line(found, tmp_path / "checkpoints" / "identity.json", "not JSON")
    assert complete(checkpoint)
