"""A project of the small notebooks that every profile has, in a temporary folder, for the tests of the runner."""

import shutil
from pathlib import Path

import nbformat
import yaml

from forge_core import paths
from forge_core.params import MODELS, OPTIONAL

EMBEDDED = paths.ROOT / "params" / "embedded"
NAMES = [name for name in MODELS if name not in OPTIONAL]
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
    for name in OPTIONAL:
        (root / "params" / "tiny" / f"{name}.yaml").unlink()
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


def only_defaults(name, **changes):
    lines = {line.split(":")[0]: line for line in parameters_cell(name).splitlines()} | changes
    return "\n".join(line for line in lines.values() if line)
