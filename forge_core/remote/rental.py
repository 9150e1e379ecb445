"""What was rented, on this side: `.vast/<label>/` has rental.json and what ssh needs to get there.

The record is written before Vast is asked, so that an answer lost on the way is not an instance forgotten.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forge_core import paths
from forge_core.remote.rows import why
from forge_core.results import write_json

PREFIX = "forge-"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"  # of a profile, as a folder, in a label and on a host

Time = Annotated[float, Field(gt=0, lt=1e11)]


class Rental(BaseModel):
    """One rented machine. Times are seconds since 1970; `usd_per_hour` includes the disk."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    # forge-<profile>-<UTC time>-<random>, on Vast's list too
    label: Annotated[str, Field(pattern=rf"^{PREFIX}[A-Za-z0-9._-]+$")]
    profile: Annotated[str, Field(pattern=f"^{NAME}$")]
    gpu: str
    usd_per_hour: Annotated[float, Field(ge=0)]
    interruptible: bool
    began: Time
    deadline: Time  # the host stops itself then
    instance: Annotated[int, Field(gt=0)] | None = None  # None: asked for, but no answer came
    ended: Time | None = None

    @property
    def folder(self) -> Path:
        return home() / self.label

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "rental.json", self.model_dump())

    def end(self) -> None:
        """Note that Vast has it no more."""
        self.ended = time.time()
        self._note()

    def seen(self, numbers: list[int]) -> None:
        """Note what the account lists under the label: it has not ended, and its instance is one of these numbers."""
        known = [number for number in numbers if number]
        number = self.instance if self.instance in known or not known else known[0]
        if self.ended is not None or number != self.instance:
            self.ended, self.instance = None, number
            self._note()

    def _note(self) -> None:
        """`save`, where what is to be said about the bill matters more than that the disk is full."""
        try:
            self.save()
        except OSError as error:
            print(f"{self.label}: its record could not be written: {error}", flush=True)


def home() -> Path:
    """`.vast/` of the project, for its owner alone: ssh key, host keys, records, files on their way."""
    folder = paths.ROOT / ".vast"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def new(profile: str, gpu: str, usd_per_hour: float, interruptible: bool, hours: float) -> Rental:
    """A rental that begins now and whose guard ends it after `hours`; written down."""
    now = time.time()
    # the account may be used from several laptops at the same second
    label = f"{PREFIX}{profile}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}-{secrets.token_hex(3)}"
    rental = Rental(
        label=label,
        profile=profile,
        gpu=gpu,
        usd_per_hour=usd_per_hour,
        interruptible=interruptible,
        began=now,
        deadline=now + hours * 3600,
    )
    rental.save()
    return rental


def records() -> dict[str, Rental | str]:
    """All that was ever rented, by label; of a record that cannot be read, the reason."""
    return {file.parent.name: _record(file) for file in sorted(home().glob(f"{PREFIX}*/rental.json"))}


def _record(file: Path) -> Rental | str:
    try:
        rental = Rental.model_validate_json(file.read_bytes())
    except ValidationError as error:
        return f"{paths.relative(file)} is damaged: {why(error)}"
    except OSError as error:
        return f"{paths.relative(file)} cannot be read: {error.strerror}"
    return rental if rental.label == file.parent.name else f"{paths.relative(file)} has the label of another folder"


def rentals() -> list[Rental]:
    """All that were not seen to end, oldest first."""
    found = [each for each in records().values() if isinstance(each, Rental) and each.ended is None]
    return sorted(found, key=lambda rental: rental.began)


def choose(number: int | None = None) -> Rental:
    """The rental with this instance number, or the only one there is. Raises ValueError."""
    found = rentals()
    if number is not None:
        found = [each for each in found if each.instance == number]
    if len(found) == 1:
        return found[0]
    if not found:
        what = "nothing is rented from here" if number is None else f"instance {number} was not rented from here"
        damaged = "".join(f"\n{each}" for each in records().values() if isinstance(each, str))
        raise ValueError(f"{what}; forge vast status lists what the account has{damaged}")
    listed = ", ".join(f"{each.instance} ({each.label})" for each in found)
    raise ValueError(f"several are rented, name one with --instance: {listed}")
