"""The runner, on small notebooks that the tests write: checks before, truth after, skipping, and being killed."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from forge_core import course, livelog, paths, results
from forge_core.params import MODELS

EMBEDDED = paths.ROOT / "params" / "embedded"
NAMES = list(MODELS)
# counts its executions, reads in.txt, writes <name>.txt
BODY = """\
import os
from forge_core import paths, results
NAME = "{name}"
recorder = results.start(run, NAME, dict(seed=seed))
with open(paths.ROOT / "count.txt", "a") as count:
    print(NAME, file=count)
print("seed", seed, "in", os.getcwd(), "with", os.environ["OMP_WAIT_POLICY"])
(paths.ROOT / f"{{NAME}}.txt").write_text(str(seed))
recorder.finish(inputs=["in.txt"], outputs=[NAME + ".txt"])
"""


def parameters_cell(name: str) -> str:
    """The cell that a notebook's author writes: one annotated default a line."""
    values = yaml.safe_load((EMBEDDED / f"{name}.yaml").read_text())
    return "\n".join(f"{key}: {type(value).__name__} = {value!r}  # default" for key, value in values.items())


def write_notebook(root: Path, name: str, *code: str, parameters: str | None = None, tags=("parameters",)) -> None:
    first = nbformat.v4.new_code_cell(parameters_cell(name) if parameters is None else parameters)
    first.metadata["tags"] = list(tags)
    cells = [nbformat.v4.new_markdown_cell("# title"), first, *(nbformat.v4.new_code_cell(text) for text in code)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), root / "notebooks" / f"{name}.ipynb")


def change_params(root: Path, name: str, **changes) -> None:
    file = root / "params" / "tiny" / f"{name}.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))


def write_project(root: Path) -> None:
    (root / "notebooks").mkdir(parents=True)
    shutil.copytree(EMBEDDED, root / "params" / "tiny")
    (root / "in.txt").write_text("input")
    for name in NAMES:
        write_notebook(root, name, BODY.format(name=name))
        change_params(root, name, run="r")
    minutes = {NAMES[0]: 3.0, NAMES[1]: 1.5, NAMES[2]: None}
    (root / "params/tiny/profile.yaml").write_text(
        yaml.safe_dump({"machine": "a test", "usd_per_hour": 2.0, "minutes": minutes})
    )


def executed(root: Path) -> list[str]:
    """Names of the notebooks executed so far, in order."""
    count = root / "count.txt"
    return count.read_text().split() if count.exists() else []


def enter(root: Path, monkeypatch) -> None:
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setenv("FORGE_HOME", str(root))


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A project that never ran."""
    write_project(tmp_path)
    enter(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    root = tmp_path_factory.mktemp("finished") / "project"
    write_project(root)
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(root, monkeypatch)
        assert course.run("tiny") == 0
    return root


@pytest.fixture
def finished(finished_once, tmp_path, monkeypatch):
    """A copy of a project whose five notebooks ran."""
    root = shutil.copytree(finished_once, tmp_path / "project")
    enter(root, monkeypatch)
    return root


# Before anything starts


def edit(root, name, change):
    file = root / "params/tiny" / f"{name}.yaml"
    file.write_text(change(file.read_text()))


def only_defaults(name, **changes):
    lines = {line.split(":")[0]: line for line in parameters_cell(name).splitlines()} | changes
    return "\n".join(line for line in lines.values() if line)


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


# Skipping


def unchanged(name: str) -> bool:
    steps = course.plan("tiny", None, None)[1]
    return course.unchanged(next(step for step in steps if step.notebook == name))


@pytest.mark.slow
def test_a_second_run_skips_everything(finished, capsys):
    assert executed(finished) == NAMES
    assert course.run("tiny") == 0
    out = capsys.readouterr().out
    assert executed(finished) == NAMES
    assert out.count("skip (unchanged)") == 5 and "done: 0 run, 5 skipped" in out


@pytest.mark.slow
def test_changed_params_rerun_only_that_notebook(finished, capsys):
    change_params(finished, "02_preprocess", seed=99)
    assert course.run("tiny") == 0
    assert executed(finished) == [*NAMES, "02_preprocess"]
    assert (finished / "02_preprocess.txt").read_text() == "99"
    assert capsys.readouterr().out.count("skip, unless its inputs change") == 3


@pytest.mark.slow
def test_only_runs_for_certain(finished):
    assert course.run("tiny", only="05") == 0
    assert executed(finished) == [*NAMES, "05_evaluate_screenspot"]


def touch(root):
    os.utime(root / "in.txt", (1, 1))


def rewrite_text_cell(root):
    book = nbformat.read(root / "notebooks/02_preprocess.ipynb", as_version=4)
    book.cells[0].source = "# another title"
    nbformat.write(book, root / "notebooks/02_preprocess.ipynb")


@pytest.mark.slow
@pytest.mark.parametrize("harmless", [touch, rewrite_text_cell])
def test_harmless_changes_do_not_rerun(finished, harmless):
    harmless(finished)
    assert unchanged("02_preprocess")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "in.txt").write_text("inpuT"),
        lambda root: (root / "in.txt").unlink(),
        lambda root: (root / "02_preprocess.txt").unlink(),
        lambda root: (root / "02_preprocess.txt").write_text("damaged"),
        lambda root: (root / "runs/r/02_preprocess/results.json").unlink(),
        lambda root: (root / "runs/r/02_preprocess/fingerprint.json").unlink(),
        lambda root: write_notebook(root, "02_preprocess", "1 + 1"),
        lambda root: change_params(root, "02_preprocess", max_rows=5),
    ],
    ids=["input", "no input", "no output", "output", "no results", "no fingerprint", "code", "params"],
)
def test_every_real_change_reruns(finished, change):
    assert unchanged("02_preprocess")
    change(finished)
    assert not unchanged("02_preprocess")


# While it runs


@pytest.mark.slow
def test_a_notebook_runs_at_the_root_with_its_params_and_is_logged(finished):
    folder = finished / "runs/r/03_train_grounding"
    log = (folder / "log.txt").read_text()
    seed = yaml.safe_load((EMBEDDED / "03_train_grounding.yaml").read_text())["seed"]
    assert f"seed {seed} in " in log and "/project with passive" in log
    assert json.loads((folder / "results.json").read_text())["status"] == "ok"
    book = nbformat.read(folder / "03_train_grounding.ipynb", as_version=4)
    assert ["injected-parameters"] in [cell.metadata.get("tags") for cell in book.cells]


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


FAILURES = {
    "an exception": ("raise ValueError('bad row 7')", "ValueError: bad row 7"),
    "a dead kernel": ("import os; os._exit(1)", "Kernel died"),
    "sys.exit(0)": ("import sys; sys.exit(0)", "no exception, but no results.json: the cell called sys.exit"),
    "no finish": ("print('done')", "no exception, but no results.json"),
}


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_notebook_is_never_taken_for_finished(finished, capsys, failure):
    code, message = FAILURES[failure]
    write_notebook(finished, "02_preprocess", "x = 1", code)
    assert course.run("tiny") == 1  # the results.json of the earlier, good run lies there at the start
    out, err = capsys.readouterr()
    assert "02_preprocess failed in cell 5/5" in err and message in err
    assert str(finished / "runs/r/02_preprocess/02_preprocess.ipynb") in err
    assert "03_train_grounding: started" not in out and "03_train_grounding: unchanged" not in out
    assert not unchanged("02_preprocess")


@pytest.mark.slow
def test_a_status_other_than_ok_is_a_failure(root, capsys):
    code = f"from forge_core import paths, results\nfolder = paths.notebook_dir(run, '{NAMES[0]}')\n"
    write_notebook(root, NAMES[0], code + "results.write_json(folder / 'results.json', {'status': 'partial'})")
    assert course.run("tiny", only="01") == 1
    assert "results.json has status 'partial'" in capsys.readouterr().err


# Being killed

# tells its process id, then waits at a gate that nobody opens, unless resume.txt exists
WAITING = """\
import os
from forge_core import paths
if not (paths.ROOT / "resume.txt").exists():
    with open(paths.ROOT / "pid.fifo", "w") as pipe:
        pipe.write(str(os.getpid()))
    open(paths.ROOT / "gate.fifo").read()
"""


@pytest.fixture
def waiting_runner(finished):
    """A runner whose notebook 02 is in the middle of a cell, and the process id of that kernel."""
    write_notebook(finished, "02_preprocess", WAITING, BODY.format(name="02_preprocess"))
    os.mkfifo(finished / "pid.fifo")
    os.mkfifo(finished / "gate.fifo")
    command = [sys.executable, "-c", "from forge_core.cli import app; app()", "run", "tiny"]
    runner = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # FORGE_HOME is in the environment
    try:
        yield runner, os.pidfd_open(int((finished / "pid.fifo").read_text()))
    finally:
        runner.kill()
        runner.wait()


def ended(pidfd: int) -> bool:
    """Waits until the process is gone, at most a minute."""
    return bool(select.select([pidfd], [], [], 60)[0])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's pidfd to watch a process")
def test_a_killed_runner_leaves_no_kernel_and_the_next_run_resumes(finished, waiting_runner, capsys):
    runner, kernel = waiting_runner
    runner.send_signal(signal.SIGKILL)
    assert ended(kernel)
    (finished / "resume.txt").write_text("")
    assert course.run("tiny") == 0
    assert executed(finished) == [*NAMES, "02_preprocess"]
    assert "01_explore_data: unchanged, skipped" in capsys.readouterr().out
    assert results.read_results("r", "02_preprocess")["status"] == "ok"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's pidfd to watch a process")
def test_ctrl_c_ends_the_kernel_and_exits_130(waiting_runner):
    runner, kernel = waiting_runner
    runner.send_signal(signal.SIGINT)
    assert ended(kernel)
    _, err = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert err.splitlines() == ["02_preprocess: interrupted; the same command again continues here"]
