"""Fixtures of all tests."""

from pathlib import Path

import pytest
from small_profile import forge, write_project


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that lies beside the repository (../shared/data); it is not part of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """A project folder with the real notebooks and a profile that needs seconds; the finished run of it."""
    home = write_project(tmp_path_factory.mktemp("course"))
    return home, forge(home)
