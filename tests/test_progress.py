"""Long work prints lines where no page looks on, and moves one bar in JupyterLab."""

import multiprocessing

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from forge_core.progress import Progress, in_jupyterlab


def work() -> None:
    progress = Progress()
    progress.show(1, 4, "1 of 4 <rows>")
    progress.show(2, 4, "2 of 4 <rows>")
    Progress().show(7, 0, "7 rows")


@pytest.fixture
def shell():
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_a_terminal_gets_lines(capsys, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")  # a terminal inside JupyterLab, say
    work()
    assert capsys.readouterr().out == "1 of 4 <rows>\n2 of 4 <rows>\n7 rows\n"


def test_papermill_gets_lines(shell, capsys, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    work()
    assert capsys.readouterr().out == "1 of 4 <rows>\n2 of 4 <rows>\n7 rows\n"


def test_jupyterlab_gets_one_bar_that_moves_and_one_without_an_end(shell, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")
    with capture_output() as seen:
        work()
    pages = [output.data["text/html"] for output in seen.outputs]
    assert seen.stdout == ""
    assert pages == [
        '<progress value="1" max="4"></progress> 1 of 4 &lt;rows&gt;',
        '<progress value="2" max="4"></progress> 2 of 4 &lt;rows&gt;',
        "<progress ></progress> 7 rows",
    ]
    first, second, third = (output.transient["display_id"] for output in seen.outputs)
    assert first == second != third and [output.update for output in seen.outputs] == [False, True, False]


def test_a_forked_process_prints_lines(shell, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "lesson.ipynb")
    assert in_jupyterlab()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert not pool.apply(in_jupyterlab)
