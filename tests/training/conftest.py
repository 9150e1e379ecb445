"""What the tests of training share: rows, and one finished stage 1."""

from pathlib import Path

import pytest
import torch
from small_training import train_params, write_rows

from forge_core.models.load import compute_dtype
from forge_core.training.stage import StageRun, run_stage


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def grounded(data, tmp_path_factory) -> StageRun:
    return run_stage(train_params(data, tmp_path_factory.mktemp("grounding")))


@pytest.fixture
def fp32(monkeypatch):
    """As on a machine with nothing but a CPU without bf16: there no number depends on how rows are batched."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    compute_dtype.cache_clear()
    yield
    compute_dtype.cache_clear()
