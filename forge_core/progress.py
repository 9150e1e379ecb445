"""How far a long piece of work is: a bar in JupyterLab, a printed line everywhere else (papermill, terminals, logs)."""

import multiprocessing
import os
from html import escape

from IPython import get_ipython
from IPython.display import HTML, display


class Progress:
    """One piece of work. Each `show` prints its text; in JupyterLab it moves one bar instead, the text beside it."""

    def __init__(self) -> None:
        self.bar = None

    def show(self, done: float, total: float, text: str) -> None:
        """`done` of `total` in any one unit; total 0: not known."""
        if not in_jupyterlab():
            print(text, flush=True)
            return
        value = f'value="{done}" max="{total}"' if total else ""
        page = HTML(f"<progress {value}></progress> {escape(text)}")
        if self.bar:
            self.bar.update(page)
        else:
            self.bar = display(page, display_id=True)


def in_jupyterlab() -> bool:
    """Whether a page shows this process' outputs: Jupyter's server names the page's session to the kernel it starts.

    papermill does not, and what the kernel forks has no page of its own: both print lines.
    """
    return "JPY_SESSION_NAME" in os.environ and get_ipython() is not None and not multiprocessing.parent_process()
