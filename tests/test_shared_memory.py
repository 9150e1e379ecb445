"""/dev/shm: what workers put there is counted, and a container with too little is told before anything starts."""

import shutil
from types import SimpleNamespace

import pytest
import torch
import yaml
from PIL import Image
from torch.utils.data import DataLoader

from forge_core import course, paths, shared_memory
from forge_core.data.schema import Example, Turn
from forge_core.models.load import load_processor
from forge_core.params import ParamsError, load
from forge_core.training.collate import Collator
from forge_core.training.stage import check_device


def params_of(profile, **changes):
    return load(paths.ROOT / f"params/{profile}/03_train_grounding.yaml").model_copy(update=changes)


@pytest.fixture
def container(monkeypatch):
    """One as it is by default: 64 MB of shared memory."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=64e6))


def test_a_batch_takes_no_more_than_is_counted(tmp_path):
    Image.new("RGB", (512, 512)).save(tmp_path / "a.png")
    turns = [Turn(instruction="Save", actions=["click(x=0.41, y=0.178)"])]
    row = Example(id="a", source="s", platform="web", image="a.png", width=512, height=512, turns=turns)
    processor = load_processor("embedded")
    processor.image_processor.do_image_splitting = True
    collate = Collator(processor, 1, tmp_path, 64)
    (batch,) = DataLoader([row] * 4, batch_size=4, num_workers=1, collate_fn=collate.compact, prefetch_factor=2)
    sent = sum(value.nbytes for value in batch.values() if isinstance(value, torch.Tensor))
    params = params_of("embedded", batch_size=4, num_workers=1, max_length=batch["input_ids"].shape[1])
    assert sent <= shared_memory.needed(params) / shared_memory.PREFETCH <= 2 * sent


def test_too_many_workers_are_told_what_to_do(container):
    params = params_of("vast-24gb")
    why = shared_memory.problem(params)
    assert "/dev/shm has 64 MB free, 4 data loader workers need 154 MB" in why and "--shm-size=1g" in why
    fits = int(why.rpartition("num_workers: ")[2])
    assert not shared_memory.problem(params.model_copy(update={"num_workers": fits}))
    assert shared_memory.problem(params.model_copy(update={"num_workers": fits + 1}))
    with pytest.raises(OSError, match="--shm-size"):
        check_device(params)


def test_each_process_that_trains_here_has_its_workers(container, monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert "16 data loader workers need 617 MB" in shared_memory.problem(params_of("vast-24gb"))


def test_forge_run_says_so_before_it_downloads(container, monkeypatch, tmp_path):
    for name in ("params/vast-80gb", "notebooks"):
        shutil.copytree(paths.ROOT / name, tmp_path / name)
    file = tmp_path / "params/vast-80gb/01_explore_data.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"mirror": "/mirror"}))
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    with pytest.raises(ParamsError, match=r"vast-80gb/03_train_grounding.yaml: /dev/shm has 64 MB"):
        course.check_machine("vast-80gb", course.plan("vast-80gb", None, None)[1])
    course.check_machine("vast-80gb", course.plan("vast-80gb", None, "02")[1])


def test_without_workers_none_is_needed(container):
    assert not shared_memory.problem(params_of("vast-80gb", num_workers=0))
