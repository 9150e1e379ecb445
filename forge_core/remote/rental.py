"""What was rented, on this side: `.vast/<label>/` has rental.json and what ssh needs to get there.

The record is written before Vast is asked, so that an answer lost on the way is not an instance forgotten.
"""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from forge_core import paths
from forge_core.results import write_json

PREFIX = "forge-"


class Rental(BaseModel):
    """One rented machine. Times are seconds since 1970; `usd_per_hour` includes the disk."""

    model_config = ConfigDict(extra="forbid")

    label: str  # forge-<profile>-<UTC time>, on Vast's list too
    profile: str
    gpu: str
    usd_per_hour: float
    interruptible: bool
    began: float
    deadline: float  # the host stops itself then
    instance: int | None = None  # None: asked for, but no answer came
    ended: float | None = None

    @property
    def folder(self) -> Path:
        return home() / self.label

    def save(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "rental.json", self.model_dump())

    def end(self) -> None:
        """Note that Vast has it no more."""
        self.ended = time.time()
        self.save()


def home() -> Path:
    """`.vast/` of the project, for its owner alone: ssh key, host keys, records, files on their way."""
    folder = paths.ROOT / ".vast"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def new(profile: str, gpu: str, usd_per_hour: float, interruptible: bool, hours: float) -> Rental:
    """A rental that begins now and whose guard ends it after `hours`; written down."""
    now = time.time()
    label = f"{PREFIX}{profile}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}"
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


def rentals() -> list[Rental]:
    """All that were not seen to end, oldest first."""
    files = sorted(home().glob(f"{PREFIX}*/rental.json"))
    found = [Rental.model_validate_json(file.read_text()) for file in files]
    return sorted((each for each in found if each.ended is None), key=lambda rental: rental.began)


def choose(number: int | None = None) -> Rental:
    """The rental with this instance number, or the only one there is. Raises ValueError."""
    found = rentals()
    if number is not None:
        found = [each for each in found if each.instance == number]
    if len(found) == 1:
        return found[0]
    if not found:
        what = "nothing is rented from here" if number is None else f"instance {number} was not rented from here"
        raise ValueError(f"{what}; forge vast status lists what the account has")
    listed = ", ".join(f"{each.instance} ({each.label})" for each in found)
    raise ValueError(f"several are rented, name one with --instance: {listed}")
