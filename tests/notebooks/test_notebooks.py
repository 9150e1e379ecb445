"""The notebooks keep the house rules, and all five run headless on a small copy of the embedded profile."""

import ast
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from forge_core.params import MODELS, cell_values

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = [ROOT / "notebooks" / f"{name}.ipynb" for name in MODELS]
SMALL = {
    "sandbox_screens": 6, "benchmark_screens": 2, "max_steps": 2, "logging_steps": 1, "save_steps": 1, "held_out": 2,
    "grounding_tokens": 8, "reasoning_tokens": 8, "num_workers": 0,
}  # fmt: skip


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def code(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_schema_ids_kernel_and_tag(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])]
    assert tags.count("parameters") == 1 and set(tags) <= {"parameters", "exercise"}


def test_no_output_in_git(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None


def test_size_budgets(notebook):
    lines = [len(source.splitlines()) for source in code(notebook)]
    assert len(lines) <= 25 and sum(lines) <= 150 and max(lines) <= 40
    assert statistics.median(lines) <= 6
    assert sum(isinstance(node, ast.FunctionDef) for s in code(notebook) for node in ast.walk(ast.parse(s))) <= 2


@pytest.mark.parametrize("name", MODELS)
def test_run_all_without_a_file_is_the_embedded_profile(name):
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    namespace = {}
    exec(next(cell.source for cell in cells if cell.metadata.get("tags")), namespace)
    assert cell_values(namespace) == yaml.safe_load((ROOT / "params" / "embedded" / f"{name}.yaml").read_text())


def test_nothing_that_breaks_headless(notebook):
    for source in code(notebook):
        assert not re.search(r"^\s*[!%]|sys\.exit|\binput\(|notebook_login|os\.chdir|sys\.path", source, re.MULTILINE)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A project folder with the real notebooks and a profile that needs seconds; the finished run of it."""
    home = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    shutil.copytree(ROOT / "params" / "embedded", home / "params" / "embedded")
    for file in (home / "params" / "embedded").glob("0*.yaml"):
        values = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump(values | {key: SMALL[key] for key in SMALL.keys() & values.keys()}))
    return home, forge(home)


def forge(home, *options):
    return start(home, str(Path(sys.executable).parent / "forge"), "run", "embedded", *options)


def start(home, *command, cwd=ROOT):
    return subprocess.run(command, env=os.environ | {"FORGE_HOME": str(home)}, cwd=cwd, capture_output=True, text=True)


@pytest.mark.slow
def test_the_course_runs_whole_and_leaves_its_results(course):
    home, done = course
    assert done.returncode == 0, done.stdout + done.stderr
    records = {name: json.loads((home / "runs/embedded" / name / "results.json").read_text()) for name in MODELS}
    assert all(record["status"] == "ok" for record in records.values())
    assert all((home / figure).stat().st_size > 5000 for record in records.values() for figure in record["figures"])
    assert records["04_train_reasoning"]["metrics"]["steps"] == 2
    scores = records["05_evaluate_screenspot"]["metrics"]["accuracy"]
    assert {row["model"] for row in scores} == {"centre", "base", "stage 1", "stage 2"}
    assert all(row["k"] == 0 for row in scores if row["model"] == "base")


@pytest.mark.slow
def test_a_second_run_skips_everything(course):
    home, _ = course
    again = forge(home)
    assert again.returncode == 0 and "done: 0 run, 5 skipped" in again.stdout


@pytest.mark.slow
def test_plain_papermill_works_from_another_directory(course, tmp_path):
    home, _ = course
    command = [sys.executable, "-m", "papermill", str(ROOT / "notebooks/02_preprocess.ipynb"), "out.ipynb"]
    command += ["-f", str(home / "params/embedded/02_preprocess.yaml")]
    done = subprocess.run(
        command, env=os.environ | {"FORGE_HOME": str(home)}, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "up to date" in (tmp_path / "out.ipynb").read_text()
