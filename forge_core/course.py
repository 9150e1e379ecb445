"""Run the notebooks of a profile with papermill, check them before and believe them after: behind `forge run`.

    forge run embedded               # runs what changed, skips what did not
    forge run vast-24gb --from 03    # 03, 04 and 05 for certain
    forge run embedded --only 05

Exit status: 0 all done, 1 a notebook failed, 2 the profile is wrong (nothing was started), 130 interrupted.
Each notebook leaves runs/<run>/<notebook>/ with its executed copy, log.txt, figures, results.json and fingerprint.json.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_origin

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from papermill.exceptions import PapermillExecutionError

from forge_core import __version__, paths, results, shared_memory
from forge_core.data import disk
from forge_core.evaluation.browser import find_chromium
from forge_core.json_files import Outside, read_model
from forge_core.livelog import LiveLog
from forge_core.params import (
    MODELS,
    OPTIONAL,
    NotebookParams,
    ParamsError,
    Profile,
    TrainParams,
    load,
    load_profile,
)

FINGERPRINT = "fingerprint.json"
KERNEL_ENVIRONMENT = {
    "TQDM_MININTERVAL": "30",  # s between lines of a progress bar, which a log shows one by one
    "OMP_WAIT_POLICY": "passive",  # idle OpenMP threads sleep: far faster where cores are few or shared
    "TOKENIZERS_PARALLELISM": "false",  # no warning from forked data loader workers
}


class Fingerprint(Outside):
    """fingerprint.json: what decided the last run, and size and time of its inputs and outputs then."""

    fingerprint: str
    files: dict[str, list[int]]


class NotebookFailed(RuntimeError):
    """A notebook raised, lost its kernel, or ended without results."""


@dataclass(frozen=True)
class Step:
    """One notebook of the course with the parameters of the profile."""

    notebook: str
    params: NotebookParams
    minutes: float | None  # measured on the profile's machine
    forced: bool  # named by --from or --only: never skipped as unchanged
    obstacle: str = ""  # why it cannot run on this machine

    @property
    def source(self) -> Path:
        return _source(self.notebook)

    @property
    def folder(self) -> Path:
        return paths.notebook_dir(self.params.run, self.notebook)

    @property
    def executed(self) -> Path:
        return self.folder / f"{self.notebook}.ipynb"


def run(profile: str, first: str | None = None, only: str | None = None) -> int:
    """Run a profile's notebooks in order; returns the exit status. `first` and `only` are numbers such as "03"."""
    logging.getLogger("papermill").propagate = False  # its messages go to LiveLog alone
    try:
        prices, steps = plan(profile, first, only)
        check_machine(profile, steps)
    except ParamsError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(describe(profile, prices, steps)), flush=True)
    for name, value in KERNEL_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["FORGE_HOME"] = str(paths.ROOT)
    return _run_steps(steps)


def plan(profile: str, first: str | None, only: str | None) -> tuple[Profile, list[Step]]:
    """Check the profile's files, whatever machine this is, and choose the notebooks.

    Raises:
        ParamsError: with every problem of every file, one line each.
    """
    folder = paths.ROOT / "params" / profile
    if not folder.is_dir():
        known = ", ".join(sorted(path.name for path in folder.parent.glob("*/"))) or "none"
        raise ParamsError([f"params/{profile}: no such profile under {paths.ROOT}; known: {known}"])
    problems: list[str] = []
    names = [name for name in MODELS if name not in OPTIONAL or (folder / f"{name}.yaml").is_file()]
    values = {name: _collect(problems, load, folder / f"{name}.yaml") for name in names}
    prices = _collect(problems, load_profile, folder / "profile.yaml")
    chosen = _collect(problems, _choose, names, first, only)
    for name in names:
        problems += cell_problems(name)
    runs = {name: params.run for name, params in values.items() if params}
    if len(set(runs.values())) > 1:
        listed = ", ".join(f"{name} has '{value}'" for name, value in runs.items())
        problems.append(f"{profile}: run must be the same in every file: {listed}")
    if problems:
        raise ParamsError(problems)
    forced = bool(first or only)
    minutes = prices.minutes
    steps = [Step(name, values[name], minutes.get(name), forced, "" if only else obstacle(name)) for name in chosen]
    return prices, steps


def check_machine(profile: str, steps: list[Step]) -> None:
    """Raise ParamsError where this machine lacks the shared memory or the disk that the steps need."""
    problems = [f"{profile}/{step.notebook}.yaml: {why}" for step in steps if (why := _short_of_memory(step))]
    if any(step.notebook == "01_explore_data" for step in steps) and (why := _short_of_disk(profile)):
        problems.append(f"{profile}/01_explore_data.yaml: {why}")
    if problems:
        raise ParamsError(problems)


def _short_of_disk(profile: str) -> str:
    """Why what a new run of the profile needs does not fit the disk, or is not known."""
    try:
        return disk.problem(profile)
    except ValueError as error:  # a subset that is not in the table
        return str(error)


def _short_of_memory(step: Step) -> str:
    """Why the workers of a training that is to run lack shared memory: said before hours are spent on its data."""
    why = shared_memory.problem(step.params) if isinstance(step.params, TrainParams) else ""
    return why if why and (step.forced or not unchanged(step)) else ""


def cell_problems(notebook: str) -> list[str]:
    """Where the notebook's parameters cell and its pydantic model disagree, one line each."""
    source, model = _source(notebook), MODELS[notebook]
    where = f"notebooks/{source.name}"
    if not source.is_file():
        return [f"{where}: file is missing"]
    try:
        found = papermill.inspect_notebook(source)
    except ValueError as error:  # not JSON, or no kernelspec
        return [f"{where}: not a notebook that papermill can read: {error}"]
    if not found:
        return [f"{where}: no cell tagged 'parameters', or nothing in it that papermill can read"]
    cell = {name: value["inferred_type_name"].split("[")[0].strip() for name, value in found.items()}
    fields = {name: _type_name(field.annotation) for name, field in model.model_fields.items()}
    lacking = [f"{where}: parameters cell lacks '{name}: {fields[name]} = ...'" for name in fields if name not in cell]
    unknown = [f"{where}: parameters cell has {name}, not in {model.__name__}" for name in cell if name not in fields]
    wrong = [
        f"{where}: parameters cell has '{name}: {cell[name]}', must be {fields[name]}"
        for name in fields
        if name in cell and cell[name] != fields[name]
    ]
    return lacking + unknown + wrong


def describe(profile: str, prices: Profile, steps: list[Step]) -> list[str]:
    """The plan as text: what runs, for how many minutes, at what cost on the profile's machine."""
    lines = [f"profile {profile}: {prices.machine}; run '{steps[0].params.run}' in {paths.ROOT / 'runs'}"]
    minutes: list[float | None] = []
    for step in steps:
        skipped = step.obstacle or (not step.forced and unchanged(step))
        state = "run" if not skipped else "skip (unchanged)" if not minutes else "skip, unless its inputs change"
        state = "skip (not on this machine)" if step.obstacle else state
        lines.append(f"  {step.notebook:24} {state:32} {_price(step.minutes, prices.usd_per_hour)}")
        if not skipped:
            minutes.append(step.minutes)
    total = None if None in minutes else sum(minutes)
    return [*lines, f"  {'total to run':24} {len(minutes):<32} {_price(total, prices.usd_per_hour)}"]


def unchanged(step: Step) -> bool:
    """True where the last run succeeded with the same parameters, code and inputs and its outputs are still there."""
    try:
        saved = read_model(Fingerprint, step.folder / FINGERPRINT)
        record = results.read_results(step.params.run, step.notebook)
    except (OSError, ValueError):
        return False
    if record["status"] != "ok" or saved.fingerprint != fingerprint(step, record["inputs"]):
        return False
    recorded = record["inputs"] | record["outputs"]
    return all(_same(path, sha256, saved.files.get(path)) for path, sha256 in recorded.items())


def fingerprint(step: Step, inputs: dict[str, str]) -> str:
    """sha256 over parameters, code cells (not text, not outputs), package version and the inputs' hashes."""
    cells = nbformat.read(step.source, as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    parts = [step.params.model_dump(), code, __version__, inputs]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def execute(step: Step) -> None:
    """Run one notebook to its end and record its fingerprint.

    Raises:
        NotebookFailed: with the failing cell's error and where to read more.
    """
    for stale in (results.FILE, FINGERPRINT):
        (step.folder / stale).unlink(missing_ok=True)
    cells = len(nbformat.read(step.source, as_version=4).cells) + 1  # papermill injects one
    with LiveLog(step.notebook[:2], cells, step.folder / "log.txt") as log:
        try:
            papermill.execute_notebook(
                step.source,
                step.executed,
                parameters=step.params.model_dump(),
                kernel_name="python3",
                cwd=paths.ROOT,
                log_output=True,
                progress_bar=False,
                extra_arguments=["--log-level=CRITICAL"],  # the kernel's own notices; not what the notebook prints
            )
        except PapermillExecutionError as error:
            raise _failure(step, log, f"{error.ename}: {error.evalue}") from error
        except (RuntimeError, NoSuchKernel) as error:  # nbclient's DeadKernelError is a RuntimeError
            raise _failure(step, log, f"{error} (a kernel that dies is most often out of memory)") from error
        _verify(step, log)
    record = results.read_results(step.params.run, step.notebook)
    recorded = [*record["inputs"], *record["outputs"]]
    saved = {"fingerprint": fingerprint(step, record["inputs"]), "files": {path: _stamp(path) for path in recorded}}
    results.write_json(step.folder / FINGERPRINT, saved)


def _run_steps(steps: list[Step]) -> int:
    started, ran = time.monotonic(), 0
    for step in steps:
        if step.obstacle:
            print(f"{step.notebook}: skipped: {step.obstacle}", flush=True)
            continue
        if not step.forced and unchanged(step):
            print(f"{step.notebook}: unchanged, skipped", flush=True)
            continue
        print(f"{step.notebook}: started, log in {paths.relative(step.folder / 'log.txt')}", flush=True)
        try:
            execute(step)
        except NotebookFailed as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # nbclient's unfinished tasks complain at exit
            print(f"{step.notebook}: interrupted; the same command again continues here", file=sys.stderr)
            return 130
        ran += 1
    minutes = (time.monotonic() - started) / 60
    print(f"done: {ran} run, {len(steps) - ran} skipped, {minutes:.1f} min; results in runs/{steps[0].params.run}/")
    return 0


def _collect(problems: list[str], function, *arguments):
    """function(*arguments), or None with its problems noted."""
    try:
        return function(*arguments)
    except ParamsError as error:
        problems += error.problems
        return None


def obstacle(notebook: str) -> str:
    """Why an optional notebook, which opens pages, cannot run on this machine; "" where it can."""
    if notebook in OPTIONAL:
        try:
            find_chromium()
        except (ImportError, OSError) as error:
            return str(error)
    return ""


def _choose(names: list[str], first: str | None, only: str | None) -> list[str]:
    if first and only:
        raise ParamsError(["--from and --only: give one of them"])
    wanted = first or only
    if not wanted:
        return names
    found = [name for name in names if name == wanted or name[:2] == wanted.zfill(2)]
    if not found:
        raise ParamsError([f"no notebook {wanted}; known: {', '.join(names)}"])
    return found if only else names[names.index(found[0]) :]


def _source(notebook: str) -> Path:
    return paths.ROOT / "notebooks" / f"{notebook}.ipynb"


def _type_name(annotation) -> str:
    """The type as a parameters cell writes it: int, float, str, bool or list."""
    origin = get_origin(annotation) or annotation
    return "str" if origin is Literal else origin.__name__


def _price(minutes: float | None, usd_per_hour: float | None) -> str:
    time_text = "time not measured" if minutes is None else f"{minutes:.1f} min"
    cost = None if minutes is None or usd_per_hour is None else minutes / 60 * usd_per_hour
    return f"{time_text:18} {'cost not measured' if cost is None else f'${cost:.2f}'}"


def _same(path: str, sha256: str, stamp: list | None) -> bool:
    """True where a file or folder still has its recorded content; hashed only if its stamp changed."""
    if not (paths.resolve(path).is_file() or paths.resolve(path).is_dir()):
        return False
    return _stamp(path) == stamp or results.digest(path) == sha256


def _stamp(path: str) -> list[int]:
    """[bytes, newest mtime in ns] of a file, or of a folder with all that is in it."""
    root = paths.resolve(path)
    stats = [item.stat() for item in (root, *root.rglob("*"))]
    return [sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)]


def _verify(step: Step, log: LiveLog) -> None:
    """papermill reports success for a notebook that ended by sys.exit(0): only results.json tells."""
    try:
        record = results.read_results(step.params.run, step.notebook)
    except FileNotFoundError:
        reason = f"no exception, but no {results.FILE}: the cell called sys.exit, or no cell calls finish()"
        raise _failure(step, log, reason) from None
    except ValueError as error:
        raise _failure(step, log, str(error)) from None
    if record["status"] != "ok":
        raise _failure(step, log, f"{results.FILE} has status {record['status']!r}")


def _failure(step: Step, log: LiveLog, reason: str) -> NotebookFailed:
    what = f"{step.notebook} failed in cell {log.cell}/{log.cells}: {reason}"
    return NotebookFailed(f"{what}\n  executed notebook: {step.executed}\n  log: {log.path}")
