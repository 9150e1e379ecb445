"""The whole evaluation as `forge eval` and several processes run it: models, baselines, lifts, figures, report."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from small_training import evaluate_params, train_params, write_rows
from typer.testing import CliRunner

from forge_core import paths
from forge_core.cli import app
from forge_core.data.sandbox import write_benchmark
from forge_core.evaluation import run
from forge_core.evaluation.score import read_scored
from forge_core.models.publish import merge
from forge_core.params import ReasoningParams
from forge_core.training.stage import run_stage

pytestmark = pytest.mark.slow
FOLDER = Path("runs/test/05_evaluate_screenspot")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A benchmark of 18 targets and two adapters that have seen a few rows."""
    home = tmp_path_factory.mktemp("course")
    write_benchmark(home / "benchmark", 2, 3)
    data = write_rows(home / "data")
    first = run_stage(train_params(data, home / "one", max_steps=30)).adapter
    parent = {"parent_adapter": str(first), "max_steps": 2}
    return home, first, run_stage(train_params(data, home / "two", ReasoningParams, **parent)).adapter


def params_file(home: Path, params) -> Path:
    file = home / "05_evaluate_screenspot.yaml"
    file.write_text(yaml.safe_dump(params.model_dump()))
    return file


def test_all_that_is_asked_for_is_judged_on_the_same_targets(course, tmp_path, monkeypatch):
    home, first, second = course
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    merge(second, tmp_path / "merged")
    wanted = {"baselines": ["centre", "random"], "merged_model": str(tmp_path / "merged"), "limit": 9, "zoom": True}
    asked = evaluate_params(home / "benchmark", first, second, reasoning_tokens=8, votes=2, **wanted)
    found = run.run(asked)
    lifts = [f"{model}, {lift}" for model in ("stage 1", "stage 2", "merged") for lift in ("zoom", "2 votes")]
    assert found.runs.keys() == {"centre", "base", "stage 1", "stage 2", "merged", *lifts}
    ids = [target.id for target in found.targets]
    assert len(ids) == 9 and all([row.target_id for row in rows] == ids for rows in found.runs.values())
    assert {dot.name for dot in run.dots(found)} == {*found.runs, "random click, expected"}  # nobody published these
    assert any("about" in line or "no difference" in line for line in run.summary(found)[-1:])
    kept = tmp_path / FOLDER / "answers_stage_1.jsonl"
    header, *lines = kept.read_text(encoding="utf-8").splitlines()
    answer = json.loads(lines[0]) | {"raw": "from before"}
    kept.write_text("\n".join([header, json.dumps(answer), *lines[1:], ""]), encoding="utf-8")
    again = run.run(asked).runs["stage 1"]
    assert [row.raw for row in again if row.target_id == answer["target_id"]] == ["from before"]  # not asked twice


def test_forge_eval_writes_figures_and_a_report(course, tmp_path, monkeypatch):
    home, first, second = course
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    file = params_file(tmp_path, evaluate_params(home / "benchmark", first, second, reasoning_tokens=8))
    result = CliRunner().invoke(app, ["eval", str(file), "--limit", "6"])
    assert result.exit_code == 0, result.output
    assert "stage 1 to stage 2: " in result.stdout and "(0 of 6)" in result.stdout
    page = (tmp_path / FOLDER / "report.html").read_text(encoding="utf-8")
    assert "drawn by the sandbox" in page and "You control a mobile screen" in page
    figures = {figure.stem for figure in (tmp_path / FOLDER).glob("*.png")}
    assert {"accuracy", "comparison", "flow", "sizes", "distance", "clicks_stage2", "gallery_stage2"} <= figures
    shutil.rmtree(tmp_path / FOLDER)
    wrong = CliRunner().invoke(app, ["eval", str(params_file(tmp_path, evaluate_params(tmp_path, first, second)))])
    assert wrong.exit_code == 2 and "screenspot_web_v2.json" in wrong.stderr


def test_two_processes_give_the_answers_of_one(course, tmp_path):
    home, first, second = course
    scored = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        asked = evaluate_params(home / "benchmark", first, second, reasoning_tokens=8, batch_size=3)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        command += ["-m", "forge_core.evaluation", "--params", str(params_file(folder, asked))]
        environment = os.environ | {"FORGE_HOME": str(folder), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, timeout=300)
        scored.append(
            [read_scored(folder / FOLDER / f"scored_{name}.jsonl") for name in ("base", "stage_1", "stage_2")]
        )
        answers = (folder / FOLDER / "answers_stage_1.jsonl").read_text(encoding="utf-8").splitlines()
        assert len(answers) == 1 + 18 and len({json.loads(line)["target_id"] for line in answers[1:]}) == 18
        assert not list((folder / FOLDER).glob("answers_*.jsonl.*"))  # the parts are joined
    assert scored[0] == scored[1]
