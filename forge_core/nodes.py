"""Several machines that share no disk: all do what the first process found on its own, and get its files from it.

Alone, nothing here does anything; where machines share a disk, no file travels.
"""

import os
from pathlib import Path
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object

from forge_core.models.load import processes
from forge_core.results import digest

Value = TypeVar("Value")


def of_first(value: Value) -> Value:
    """The first process's value, in all of them."""
    return broadcast_object_list([value])[0] if _together() else value


def of_all(value: Value) -> list[Value]:
    """The values of all processes, in each of them."""
    return gather_object([value]) if _together() else [value]


def bring(folder: Path) -> None:
    """Make the first process's files in `folder` the same on all machines; other files there stay. All wait."""
    state = _together()
    if not state:
        return
    state.wait_for_everyone()
    here = {str(file.relative_to(folder)): digest(file) for file in sorted(folder.rglob("*")) if file.is_file()}
    there = of_first(here)
    wanted = {name for name in there if here.get(name) != there[name]} if state.is_local_main_process else set()
    for name in sorted(set().union(*of_all(wanted))):
        data = of_first((folder / name).read_bytes() if state.is_main_process else None)
        if name in wanted:
            _write(folder / name, data)
    state.wait_for_everyone()


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(file.name + ".new")
    draft.write_bytes(data)
    os.replace(draft, file)


def _together() -> PartialState | None:
    """The processes that a launcher started, None where there is but one (which may yet be about to start others)."""
    return processes() if int(os.environ.get("WORLD_SIZE", 1)) > 1 else None
