"""Fixtures of all tests, and what each worker of `pytest -n` takes."""

from collections import Counter
from pathlib import Path

import pytest
from small_profile import forge, write_project


def pytest_collection_modifyitems(items) -> None:
    """A worker takes a whole folder, whose tests share what was trained; folders with most slow tests come first."""

    def group(item) -> str:
        return "course" if "course" in item.fixturenames else item.path.relative_to(Path(__file__).parent).parts[0]

    slow = Counter(group(item) for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[group(item)], group(item)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))


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
