"""Where things lie, independent of the working directory (notebooks, papermill and tests all start elsewhere).

`ROOT` is the project's root: the environment variable FORGE_HOME where set, else the folder that holds `forge_core/`
(right for the editable install that `make setup` does).
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(os.environ.get("FORGE_HOME") or Path(__file__).resolve().parents[1]).resolve()

EMBEDDED_BASE = Path(__file__).resolve().parent / "models" / "embedded_base"  # the tiny VLM that ships with the package


def locate(base: str) -> str:
    """The folder or hub name behind a `base_model` of the params."""
    return str(EMBEDDED_BASE) if base == "embedded" else base


def resolve(path: str | Path) -> Path:
    """Absolute path of a params value: relative ones lie under `ROOT`, `~` is the home folder."""
    return ROOT / Path(path).expanduser()


def relative(path: str | Path) -> str:
    """How a path is written into records: posix and relative to `ROOT` where it lies under it, else absolute."""
    absolute = resolve(path)
    return (absolute.relative_to(ROOT) if absolute.is_relative_to(ROOT) else absolute).as_posix()


def notebook_dir(run: str, notebook: str) -> Path:
    """`ROOT/runs/<run>/<notebook>`: executed copy, results.json, figures and log of one notebook. Made on call."""
    folder = ROOT / "runs" / run / notebook
    folder.mkdir(parents=True, exist_ok=True)
    return folder
