"""Fixtures of all tests, and what each worker of `pytest -n` takes."""

import json
import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock
from small_profile import forge, write_project


def pytest_collection_modifyitems(items) -> None:
    """Files with most slow tests come first: `pytest -n` gives a worker a file, and none should be left at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: (-slow[item.path], item.path))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that lies beside the repository (../shared/data); it is not part of the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def course(tmp_path_factory):
    """A project folder with the real notebooks and a profile that needs seconds; the finished run of it.

    Of several workers (`pytest -n`) one runs it, and each has a copy.
    """
    own = tmp_path_factory.mktemp("course") / "home"
    shared = own if "PYTEST_XDIST_WORKER" not in os.environ else tmp_path_factory.getbasetemp().parent / "course"
    with FileLock(f"{shared}.lock"):
        if not (shared / "said.json").is_file():
            run = forge(write_project(shared))
            (shared / "said.json").write_text(json.dumps([run.args, run.returncode, run.stdout, run.stderr]))
    if shared != own:
        shutil.copytree(shared, own)
    return own, subprocess.CompletedProcess(*json.loads((own / "said.json").read_text()))
