"""What a notebook measured: `runs/<run>/<notebook>/results.json`, written last, so that its presence means success.

In a notebook:

    results = start(run, "03_train_grounding", params)
    results.metrics["loss"] = 0.12
    results.figure(fig, "loss")                      # saved as loss.png; what it returns shows it, with alt text
    results.finish(inputs=["data/x.jsonl"], outputs=["checkpoints/x/final"])
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from forge_core import __version__, paths
from forge_core.json_files import Outside, read_model

FILE = "results.json"


class Record(Outside):
    """results.json as it is read again, written perhaps by another version or on another machine."""

    status: str
    params: dict
    metrics: dict
    inputs: dict[str, str]  # path -> sha256
    outputs: dict[str, str]
    seconds: float
    environment: dict[str, str | None]


def start(run: str, notebook: str, params: BaseModel | Mapping) -> Results:
    """Begin to record one notebook. Removes its old results.json, so that a run that dies can't look finished."""
    (paths.notebook_dir(run, notebook) / FILE).unlink(missing_ok=True)
    return Results(run, notebook, params.model_dump() if isinstance(params, BaseModel) else dict(params))


@dataclass
class Results:
    """Recorder of one notebook; `metrics` takes any JSON value (numpy scalars and pydantic models too)."""

    run: str
    notebook: str
    params: dict
    metrics: dict = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)  # paths relative to ROOT
    started: float = field(default_factory=time.monotonic)

    def figure(self, fig, name: str, alt: str = ""):
        """Save a matplotlib figure as `<name>.png` in the notebook's folder; returns a `plots.Picture` for display.

        `alt` says what it shows to those who do not see it; by default its titles and axes do.
        """
        from forge_core import plots

        path = plots.save(fig, paths.notebook_dir(self.run, self.notebook) / f"{name}.png")
        if paths.relative(path) not in self.figures:
            self.figures.append(paths.relative(path))
        return plots.Picture(path.read_bytes(), alt or plots.describe(fig) or name, round(fig.get_figwidth() * 100))

    def finish(self, inputs: Iterable[str | Path] = (), outputs: Iterable[str | Path] = ()) -> None:
        """Write results.json with status "ok" and the sha256 of every input and output (files or folders).

        Raises:
            FileNotFoundError: an input or output does not exist; nothing is written.
        """
        record = {
            "notebook": self.notebook,
            "status": "ok",
            "params": self.params,
            "metrics": self.metrics,
            "inputs": {paths.relative(path): digest(path) for path in inputs},
            "outputs": {paths.relative(path): digest(path) for path in outputs},
            "figures": self.figures,
            "seconds": round(time.monotonic() - self.started, 2),
            **_peak_memory(),
            "environment": environment(),
        }
        target = paths.notebook_dir(self.run, self.notebook) / FILE
        write_json(target, record)
        print(f"{paths.relative(target)}: ok in {record['seconds']:.1f} s, peak {record['peak_memory_gib']:.2f} GiB")


def read_results(run: str, notebook: str) -> dict:
    """The record that `notebook` left in `run`.

    Raises:
        FileNotFoundError: it has not finished; the message says which notebook to run.
        ValueError: it is damaged; the message names the file and the field.
    """
    path = paths.ROOT / "runs" / run / notebook / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{paths.relative(path)} is missing: run notebook {notebook} of run '{run}' first")
    return read_model(Record, path).model_dump()


def write_json(path: Path, record: Mapping) -> None:
    """Write atomically: a reader, or the next run, sees the whole file or none."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(record, indent=2, default=_plain) + "\n")
    os.replace(temporary, path)


def files_of(path: str | Path) -> list[Path]:
    """The file itself, or every file below a folder, sorted. Raises FileNotFoundError."""
    path = paths.resolve(path)
    if not path.exists():
        raise FileNotFoundError(f"{paths.relative(path)} does not exist")
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def digest(path: str | Path) -> str:
    """sha256 of a file; of a folder, over the names and sha256 of all its files. Raises FileNotFoundError."""
    files, root = files_of(path), paths.resolve(path)
    if files == [root]:
        return _sha256(root)
    lines = (f"{file.relative_to(root).as_posix()} {_sha256(file)}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def environment() -> dict[str, str | None]:
    """Versions that a number depends on, the device, and the git commit (`+` where the tree had changes)."""
    versions = {name: _version(name) for name in ("torch", "transformers", "peft", "bitsandbytes")}
    return {
        "forge": __version__,
        "python": platform.python_version(),
        **versions,
        "device": _device(),
        "git": _git(),
    }


def _plain(value):
    """JSON form of what metrics hold besides plain values."""
    if isinstance(value, BaseModel):
        return value.model_dump()
    if hasattr(value, "tolist"):  # numpy and torch scalars and arrays
        return value.tolist()
    if isinstance(value, Path):
        return paths.relative(value)
    raise TypeError(f"a metric of type {type(value).__name__} can't be written to {FILE}: {value!r}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda():
    """torch.cuda where this process has loaded torch and sees a GPU, else None; never loads torch itself."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _device() -> str:
    cuda = _cuda()
    return cuda.get_device_name() if cuda else f"cpu ({os.cpu_count()} cores)"


def _peak_memory() -> dict[str, float | None]:
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB on Linux
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    cuda = _cuda()
    return {
        "peak_memory_gib": round(resident / 2**30, 3),
        "peak_gpu_memory_gib": round(cuda.max_memory_allocated() / 2**30, 3) if cuda else None,
    }


def _git() -> str | None:
    command = ["git", "-C", str(paths.ROOT), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
