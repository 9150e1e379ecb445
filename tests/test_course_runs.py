"""The runner with real kernels: skipping, truth about failures, being killed and resuming."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from functools import partial

import nbformat
import pytest
import yaml
from small_course import BODY, EMBEDDED, NAMES, change_params, enter, executed, write_notebook, write_project

from forge_core import course, results

pytestmark = pytest.mark.slow


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
    """A copy of a project whose notebooks ran."""
    root = shutil.copytree(finished_once, tmp_path / "project")
    enter(root, monkeypatch)
    return root


def unchanged(name: str) -> bool:
    steps = course.plan("tiny", None, None)[1]
    return course.unchanged(next(step for step in steps if step.notebook == name))


def test_a_second_run_skips_everything(finished, capsys):
    assert executed(finished) == NAMES
    assert course.run("tiny") == 0
    out = capsys.readouterr().out
    assert executed(finished) == NAMES
    assert out.count("skip (unchanged)") == 5 and "done: 0 run, 5 skipped" in out


def test_changed_params_rerun_only_that_notebook(finished, capsys):
    change_params(finished, "02_preprocess", seed=99)
    assert course.run("tiny") == 0
    assert executed(finished) == [*NAMES, "02_preprocess"]
    assert (finished / "02_preprocess.txt").read_text() == "99"
    assert capsys.readouterr().out.count("skip, unless its inputs change") == 3


def test_only_runs_for_certain(finished):
    assert course.run("tiny", only="05") == 0
    assert executed(finished) == [*NAMES, "05_evaluate_screenspot"]


def touch(root):
    os.utime(root / "in.txt", (1, 1))


def rewrite_text_cell(root):
    book = nbformat.read(root / "notebooks/02_preprocess.ipynb", as_version=4)
    book.cells[0].source = "# another title"
    nbformat.write(book, root / "notebooks/02_preprocess.ipynb")


@pytest.mark.parametrize("harmless", [touch, rewrite_text_cell])
def test_harmless_changes_do_not_rerun(finished, harmless):
    harmless(finished)
    assert unchanged("02_preprocess")


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


def test_a_notebook_runs_at_the_root_with_its_params_and_is_logged(finished):
    folder = finished / "runs/r/03_train_grounding"
    log = (folder / "log.txt").read_text()
    seed = yaml.safe_load((EMBEDDED / "03_train_grounding.yaml").read_text())["seed"]
    assert f"seed {seed} in " in log and "/project with passive" in log
    assert json.loads((folder / "results.json").read_text())["status"] == "ok"
    book = nbformat.read(folder / "03_train_grounding.ipynb", as_version=4)
    assert ["injected-parameters"] in [cell.metadata.get("tags") for cell in book.cells]


FAILURES = {
    "an exception": ("raise ValueError('bad row 7')", "ValueError: bad row 7"),
    "a dead kernel": ("import os; os._exit(1)", "Kernel died"),
    "sys.exit(0)": ("import sys; sys.exit(0)", "no exception, but no results.json: the cell called sys.exit"),
    "no finish": ("print('done')", "no exception, but no results.json"),
}


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


@pytest.mark.parametrize(
    ("change", "why"), [({"status": "partial"}, "has status 'partial'"), ({"params": 1}, "params: ")]
)
def test_a_record_that_says_otherwise_is_a_failure(finished, capsys, change, why):
    file = finished / "runs" / "r" / NAMES[0] / "results.json"
    text = json.dumps(json.loads(file.read_text()) | change)
    write_notebook(finished, NAMES[0], f"open({str(file)!r}, 'w').write({text!r})")
    assert course.run("tiny", only="01") == 1
    assert "results.json" in (said := capsys.readouterr().err) and why in said


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
    # FORGE_HOME is in the environment; a test run in the background hands down an ignored SIGINT
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    runner = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=hear)
    try:
        yield runner, os.pidfd_open(int((finished / "pid.fifo").read_text()))
    finally:
        runner.kill()
        runner.wait()


def ended(pidfd: int) -> bool:
    """Waits until the process is gone, at most a minute."""
    return bool(select.select([pidfd], [], [], 60)[0])


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


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux's pidfd to watch a process")
def test_ctrl_c_ends_the_kernel_and_exits_130(waiting_runner):
    runner, kernel = waiting_runner
    runner.send_signal(signal.SIGINT)
    assert ended(kernel)
    _, err = runner.communicate(timeout=60)
    assert runner.returncode == 130
    assert err.splitlines() == ["02_preprocess: interrupted; the same command again continues here"]
