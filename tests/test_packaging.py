"""pyproject.toml, constraints.txt, environment.yml, Makefile and the tools agree with each other and with the code."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIRED = [Requirement(text) for text in sum(EXTRAS.values(), PROJECT["dependencies"])]
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
PINS = {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in LINES}


def test_every_constraint_is_one_exact_pin():
    assert len(PINS) == len(LINES)
    assert [line for line in LINES if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line)] == []
    assert PINS["torch"] == "2.13.0"


@pytest.mark.parametrize("requirement", REQUIRED, ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_within_its_bounds(requirement):
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_pins_are_closed_what_pinned_packages_need_is_pinned_too():
    unmet = []
    for name in PINS:
        for text in importlib.metadata.requires(name) or []:
            need = Requirement(text)
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                pin = PINS.get(canonicalize_name(need.name))
                if pin is None or not need.specifier.contains(pin, prereleases=True):
                    unmet.append(f"{name} needs {need}, pinned {pin}")
    assert unmet == []


def test_this_environment_is_the_pinned_one():
    installed = {name: importlib.metadata.version(name).split("+")[0] for name in PINS}
    assert installed == {name: PINS[name] for name in installed}


def test_conda_resolves_to_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    # conda gives Python and pip only; pip reads the same two files as `make test`
    assert conda == ["python=3.11", "pip"]
    assert pip == {"pip": ["--constraint constraints.txt", "--editable .[dev]"]}
    assert "3.11" in SpecifierSet(PROJECT["requires-python"])
    makefile = (ROOT / "Makefile").read_text()
    assert "install -c constraints.txt -e" in makefile and "$(INSTALL) '.[dev]'" in makefile


def sources() -> list[str]:
    code = [path.read_text() for folder in ("forge_core", "tests") for path in (ROOT / folder).rglob("*.py")]
    notebooks = [nbformat.read(path, as_version=4) for path in (ROOT / "notebooks").rglob("*.ipynb")]
    return code + ["\n".join(c.source for c in book.cells if c.cell_type == "code") for book in notebooks]


def imported() -> set[str]:
    names = set()
    for text in sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.split(".")[0])
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"forge_core", "tests", "benchmarks"}
    return names - sys.stdlib_module_names - own


def test_every_import_is_a_declared_dependency():
    distributions = importlib.metadata.packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in REQUIRED}
    undeclared = {
        name
        for name in imported()
        if not {canonicalize_name(owner) for owner in distributions.get(name, [name])} & declared
    }
    assert undeclared == set()


def ignored(path: str) -> bool:
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "check-ignore", "--quiet", "--no-index", path]
    return subprocess.run(command).returncode == 0


MADE = [".venv/x", "runs/a/b", "data/x", "checkpoints/x", "wandb/x", ".vast/x", "forge_core/__pycache__/b"]
MADE += [".env", ".env.local"]
in_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


@in_git
@pytest.mark.parametrize("path", MADE)
def test_git_ignores_what_the_course_makes(path):
    assert ignored(path)


@in_git
@pytest.mark.parametrize("path", ["forge_core/data/schema.py", "tests/data/test_schema.py", "params/embedded/x.yaml"])
def test_git_keeps_the_sources(path):
    assert not ignored(path)


def test_hooks_and_make_clean_notebooks_alike():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]  # no network
    entries = {hook["id"]: hook for hook in hooks[0]["hooks"]}
    assert {hook["language"] for hook in entries.values()} == {"system"}
    assert entries["nbstripout"]["entry"] in (ROOT / "Makefile").read_text()


def make(*arguments: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(["make", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def clone(tmp_path):
    """The files that setup looks at, and a Python whose pip only notes what it was asked for."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> calls.txt\n')
    python.chmod(0o755)
    (tmp_path / ".venv" / "pyvenv.cfg").write_text("")
    return tmp_path


def test_make_setup_installs_only_when_something_changed(clone):
    calls = clone / "calls.txt"
    assert make("setup", cwd=clone).returncode == 0
    assert calls.read_text() == "-m pip install -c constraints.txt -e .\n"
    assert make("setup", cwd=clone).returncode == 0
    assert len(calls.read_text().splitlines()) == 1
    newer = (clone / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(clone / "constraints.txt", (newer, newer))
    assert make("setup", cwd=clone).returncode == 0
    assert len(calls.read_text().splitlines()) == 2


def test_make_refuses_an_old_python_with_advice(clone):
    (clone / ".venv" / "pyvenv.cfg").unlink()
    old = clone / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make("setup", f"PYTHON={old}", cwd=clone)
    assert done.returncode != 0 and "Python 3.11 or newer is needed" in done.stdout


def test_ci_runs_the_tests():
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o100
    assert "set -euo pipefail" in script.read_text() and "\nmake test\n" in script.read_text()
