"""`forge data`: the notebooks' params files, clear errors, exit status."""

import json

import pytest
import yaml
from raw_rows import preprocess_params, stage1, write_subset
from typer.testing import CliRunner

from forge_core.cli import app
from forge_core.params import load
from forge_core.paths import ROOT


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def params(tmp_path):
    """The params files of both notebooks, for a sandbox of four screens below a temporary folder."""
    where = {"raw_dir": str(tmp_path / "raw"), "data_dir": str(tmp_path / "data"), "workers": 1}
    small = {"sandbox_screens": 4, "benchmark_screens": 1, "benchmark_dir": str(tmp_path / "benchmark")}
    for name in ("01_explore_data", "02_preprocess"):
        values = load(ROOT / f"params/embedded/{name}.yaml").model_dump()
        values |= {key: value for key, value in (where | small).items() if key in values}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return tmp_path


def test_download_and_preprocess_do_what_the_notebooks_do(params):
    done = run("download", params / "01_explore_data.yaml")
    assert done.exit_code == 0 and (params / "benchmark/screenspot_web_v2.json").is_file()
    done = run("preprocess", params / "02_preprocess.yaml", "--stage", 2)
    assert done.exit_code == 0 and "stage 2 sandbox_web: 4 rows -> " in done.stdout
    assert not (params / "data/stage1.jsonl").exists()
    assert len((params / "data/stage2.jsonl").read_text().splitlines()) == 12
    assert run("preprocess", params / "02_preprocess.yaml").exit_code == 0
    assert len((params / "data/stage1.jsonl").read_text().splitlines()) == 12
    again = run("preprocess", params / "02_preprocess.yaml")
    assert "stage1.jsonl is up to date, 12 examples" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["preprocess", "{0}/01_explore_data.yaml"], "01_explore_data.yaml: expected a file 02_preprocess.yaml"),
        (["preprocess", "{0}/02_preprocess.yaml"], "sandbox_web.json is missing; notebook 01 or"),
        (["preprocess", "{0}/02_preprocess.yaml", "--stage", "3"], "stage 3: "),
        (["preprocess", "{0}/none/02_preprocess.yaml"], "none/02_preprocess.yaml: file is missing"),
        (["benchmark", "screenspot_v9", "{0}/b"], "no benchmark 'screenspot_v9'; there are screenspot_v1, "),
        (["benchmark", "screenspot_pro", "{0}/b", "--mirror", "{0}/none"], "the mirror has no folder"),
    ],
)
def test_what_the_user_can_mend_is_one_line(params, arguments, message):
    done = run(*(argument.format(params) for argument in arguments))
    assert done.exit_code == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_an_unknown_engine_is_refused(params):
    done = run("preprocess", params / "02_preprocess.yaml", "--engine", "spark")
    assert done.exit_code == 2 and "local or ray" in done.stderr


def test_too_many_rejected_turns_end_with_status_2(tmp_path):
    rows = [stage1("a.png", ("Go", "I go"))]
    values = preprocess_params(write_subset(tmp_path / "raw", 1, rows), tmp_path, max_rejected_share=0.5).model_dump()
    (tmp_path / "02_preprocess.yaml").write_text(yaml.safe_dump(values))
    done = run("preprocess", tmp_path / "02_preprocess.yaml", "--stage", 1)
    assert done.exit_code == 2 and "100.0% of the turns are rejected" in done.stderr
    assert json.loads((tmp_path / "stage1.rejected.jsonl").read_text())["reason"] == "bad action"
