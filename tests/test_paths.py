"""Paths do not depend on the working directory."""

import subprocess
import sys
from pathlib import Path

from forge_core import paths


def root_of(environment: dict, cwd: Path) -> str:
    command = [sys.executable, "-c", "from forge_core import paths; print(paths.ROOT)"]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=True).stdout.strip()


def test_root_is_the_project_from_any_directory(tmp_path):
    project = Path(__file__).resolve().parents[1]
    assert root_of({"PYTHONPATH": str(project)}, tmp_path) == str(project)


def test_forge_home_moves_the_root(tmp_path):
    project = Path(__file__).resolve().parents[1]
    home = {"PYTHONPATH": str(project), "FORGE_HOME": str(tmp_path / "elsewhere")}
    assert root_of(home, tmp_path) == str(tmp_path.resolve() / "elsewhere")


def test_resolve_keeps_absolute_paths_and_anchors_relative_ones(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paths.resolve("data/x") == paths.ROOT / "data/x"
    assert paths.resolve(tmp_path / "x") == tmp_path / "x"
    assert paths.resolve("~/x") == Path.home() / "x"


def test_relative_undoes_resolve(tmp_path):
    assert paths.relative(paths.ROOT / "data" / "x") == "data/x"
    assert paths.relative("data/x") == "data/x"
    assert paths.relative(tmp_path / "x") == (tmp_path / "x").as_posix()


def test_notebook_dir_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    folder = paths.notebook_dir("r", "01_explore_data")
    assert folder == tmp_path / "runs" / "r" / "01_explore_data" and folder.is_dir()
