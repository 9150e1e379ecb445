"""What the runner does without a kernel: it checks the profile, tells the plan, and keeps the live log."""

import shutil

import pytest
from small_course import EMBEDDED, change_params, enter, only_defaults, write_notebook, write_project

from forge_core import course, livelog


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project that never ran."""
    write_project(tmp_path)
    enter(tmp_path, monkeypatch)
    return tmp_path


def edit(root, name, change):
    file = root / "params/tiny" / f"{name}.yaml"
    file.write_text(change(file.read_text()))


TRAIN = "03_train_grounding"
MISTAKES = {
    "unknown key": (
        lambda root: change_params(root, TRAIN, lrr=1),
        "tiny/03_train_grounding.yaml: lrr: unknown parameter",
    ),
    "string for a float": (
        lambda root: edit(root, TRAIN, lambda text: text.replace("learning_rate: 0.002", "learning_rate: 1e-4")),
        "tiny/03_train_grounding.yaml: learning_rate: Input should be a valid number, got '1e-4'",
    ),
    "missing params file": (
        lambda root: (root / "params/tiny/05_evaluate_screenspot.yaml").unlink(),
        "tiny/05_evaluate_screenspot.yaml: file is missing",
    ),
    "missing notebook": (
        lambda root: (root / "notebooks/02_preprocess.ipynb").unlink(),
        "notebooks/02_preprocess.ipynb: file is missing",
    ),
    "broken notebook": (
        lambda root: (root / "notebooks/02_preprocess.ipynb").write_text("{"),
        "notebooks/02_preprocess.ipynb: not a notebook that papermill can read",
    ),
    "no parameters cell": (
        lambda root: write_notebook(root, TRAIN, tags=()),
        "notebooks/03_train_grounding.ipynb: no cell tagged 'parameters'",
    ),
    "cell lacks a field": (
        lambda root: write_notebook(root, TRAIN, parameters=only_defaults(TRAIN, lora_rank="")),
        "notebooks/03_train_grounding.ipynb: parameters cell lacks 'lora_rank: int = ...'",
    ),
    "cell has one more": (
        lambda root: write_notebook(root, TRAIN, parameters=only_defaults(TRAIN, lrr="lrr: float = 1.0")),
        "notebooks/03_train_grounding.ipynb: parameters cell has lrr, not in GroundingParams",
    ),
    "cell has another type": (
        lambda root: write_notebook(root, TRAIN, parameters=only_defaults(TRAIN, epochs="epochs: int = 1")),
        "notebooks/03_train_grounding.ipynb: parameters cell has 'epochs: int', must be float",
    ),
    "runs differ": (
        lambda root: change_params(root, TRAIN, run="other"),
        "tiny: run must be the same in every file",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line_and_nothing_starts(root, capsys, mistake):
    make, line = MISTAKES[mistake]
    make(root)
    assert course.run("tiny") == 2
    out, err = capsys.readouterr()
    assert err.startswith(line) and len(err.splitlines()) == 1
    assert out == "" and not (root / "runs").exists()


def test_every_mistake_is_reported_at_once(root, capsys):
    for mistake in ("unknown key", "missing notebook", "missing params file"):
        MISTAKES[mistake][0](root)
    assert course.run("tiny") == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nope",), "params/nope: no such profile"),
        (("tiny", "09"), "no notebook 09; known: 01_explore_data"),
        (("tiny", "03", "05"), "--from and --only: give one of them"),
    ],
)
def test_a_wrong_command_is_explained(root, capsys, arguments, message):
    assert course.run(*arguments) == 2
    assert capsys.readouterr().err.startswith(message)


def test_the_plan_gives_minutes_and_cost_or_says_not_measured(root):
    prices, steps = course.plan("tiny", None, None)
    lines = [" ".join(line.split()) for line in course.describe("tiny", prices, steps)]
    assert lines[0].startswith("profile tiny: a test; run 'r'")
    assert lines[1] == "01_explore_data run 3.0 min $0.10"
    assert lines[2] == "02_preprocess run 1.5 min $0.05"
    assert lines[3] == "03_train_grounding run time not measured cost not measured"
    assert lines[-1] == "total to run 5 time not measured cost not measured"


CHOICES = [("3", None, "03 04 05"), (None, "05", "05"), (None, None, None)]


@pytest.mark.parametrize(("first", "only", "numbers"), CHOICES)
def test_from_and_only_choose(root, first, only, numbers):
    _, steps = course.plan("tiny", first, only)
    assert [step.notebook[:2] for step in steps] == (numbers or "01 02 03 04 05").split()
    assert {step.forced for step in steps} == {numbers is not None}


@pytest.fixture
def optional(root, monkeypatch):
    """The project with the notebook that opens pages, on a machine where nothing opens them."""
    name = "06_your_own_app"
    shutil.copyfile(EMBEDDED / f"{name}.yaml", root / "params/tiny" / f"{name}.yaml")
    change_params(root, name, run="r")
    write_notebook(root, name, "raise SystemExit")
    monkeypatch.setenv("PATH", "")
    return name


def test_an_optional_notebook_is_skipped_with_the_reason_where_it_cannot_run(optional, root, capsys):
    prices, steps = course.plan("tiny", None, None)
    assert [bool(step.obstacle) for step in steps] == [False] * 5 + [True]
    lines = [" ".join(line.split()) for line in course.describe("tiny", prices, steps)]
    assert lines[-2].startswith("06_your_own_app skip (not on this machine)") and lines[-1].startswith("total to run 5")
    assert course.run("tiny", "06") == 0
    out = capsys.readouterr().out
    assert f"{optional}: skipped: {steps[-1].obstacle}\n" in out and "install" in steps[-1].obstacle
    assert "done: 0 run, 1 skipped" in out and not (root / "runs/r" / optional / "log.txt").exists()


def test_who_asks_for_an_optional_notebook_alone_gets_it(optional):
    assert [(step.notebook, step.obstacle) for step in course.plan("tiny", None, "06")[1]] == [(optional, "")]


def test_a_profile_may_lack_an_optional_notebook_and_is_told_so(root, capsys):
    assert course.run("tiny", only="06") == 2
    assert capsys.readouterr().err.startswith("no notebook 06; known: 01_explore_data")


def test_a_silent_notebook_shows_its_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(livelog, "HEARTBEAT_SECONDS", 0)
    with livelog.LiveLog("03", 7, tmp_path / "log.txt") as log:
        log.cell = 4
        log.heartbeat()
    assert "working: cell 4/7" in capsys.readouterr().out
    assert "working: cell 4/7" in (tmp_path / "log.txt").read_text()


def test_a_talking_notebook_needs_no_heartbeat(tmp_path, capsys):
    with livelog.LiveLog("03", 7, tmp_path / "log.txt") as log:
        log.write("loss 0.5")
        log.heartbeat()
    assert [line.split(None, 2)[2] for line in capsys.readouterr().out.splitlines()] == ["loss 0.5"]
