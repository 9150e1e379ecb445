"""The real notebooks in a project folder of their own, on a copy of the embedded profile that needs seconds."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "sandbox_screens": 6, "benchmark_screens": 2, "max_steps": 2, "logging_steps": 1, "save_steps": 1, "held_out": 2,
    "grounding_tokens": 8, "reasoning_tokens": 8, "num_workers": 0,
    "viewports": ["512x384"], "themes": ["light"], "pages": 3, "draws": 2, "live_steps": 1,
}  # fmt: skip


def write_project(home: Path) -> Path:
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    shutil.copytree(ROOT / "params" / "embedded", home / "params" / "embedded")
    for file in (home / "params" / "embedded").glob("0*.yaml"):
        values = yaml.safe_load(file.read_text())
        file.write_text(yaml.safe_dump(values | {key: SMALL[key] for key in SMALL.keys() & values.keys()}))
    return home


def forge(home, *options):
    return start(home, str(Path(sys.executable).parent / "forge"), "run", "embedded", *options)


def start(home, *command, cwd=ROOT):
    return subprocess.run(command, env=os.environ | {"FORGE_HOME": str(home)}, cwd=cwd, capture_output=True, text=True)


def put_into_cells(home: Path) -> None:
    """Make the small values the notebooks' own defaults, for whoever opens them and runs all cells."""
    for file in (home / "notebooks").glob("*.ipynb"):
        notebook = nbformat.read(file, as_version=4)
        cell = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
        for name, value in SMALL.items():
            cell.source = re.sub(rf"^({name}: int =) \S+", rf"\1 {value}", cell.source, flags=re.MULTILINE)
        nbformat.write(notebook, file)
