"""Copies of an adapter and of a base, to be damaged."""

import shutil
from pathlib import Path

import pytest
from hostile import write_adapter

from forge_core.paths import EMBEDDED_BASE


@pytest.fixture(scope="session")
def adapter_folder(tmp_path_factory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("hostile") / "final")


@pytest.fixture
def copy(adapter_folder, tmp_path) -> Path:
    return Path(shutil.copytree(adapter_folder, tmp_path / "copy"))


@pytest.fixture
def base(tmp_path) -> Path:
    return Path(shutil.copytree(EMBEDDED_BASE, tmp_path / "base"))
