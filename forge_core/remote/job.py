"""The course on a rented host: send the project, set it up, start it under tmux, watch it, fetch what it made.

What a host says is read by a strict model and shown without control characters; what is fetched is named by this side.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forge_core import course, paths
from forge_core.json_files import first_wrong
from forge_core.remote import rent, ssh, vast
from forge_core.remote.rental import Rental
from forge_core.remote.ssh import Host, HostFailed, Unreachable
from forge_core.text import printable

KEYS = ("HF_TOKEN", "WANDB_API_KEY")  # what the course needs; the account key of Vast never goes to a host
KEYS_FILE = '"${FORGE_KEYS_FILE:-$HOME/.config/churninator-forge/keys.env}"'
SETUP = 60 * 60.0  # s that the set-up may take
POLL = 10.0  # s between looks of `watch`
LATE = 300  # s that the guard has to stop it after the deadline
NO_GUARD = "no guard runs on the host, so nothing stops it at the deadline: end it with forge vast down"
STEP = re.compile(r"step (\d{1,9}/\d{1,9})[^\n]{0,200}?(\d{1,9}) s left")
GPU = re.compile(r"(\d{1,3}), (\d{1,7}), (\d{1,7}), (\d{1,3})")  # %, MiB, MiB, degrees Celsius


class Report(BaseModel):
    """What `host/report.py` answers. `log` is what the course printed since, `offset` where the next look goes on."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    running: bool
    status: int | None  # of the course, once it has ended
    log: str
    offset: Annotated[int, Field(ge=0)]
    gpus: list[str]
    checkpoints: list[str]  # complete ones; told apart, never used as names
    guard: bool
    deadline: float  # s since 1970
    disk_free_gib: float


def run(rental: Rental) -> None:
    """Send the project (and what the profile trained so far), set up, check with `forge doctor`, start the course.

    Run again, it sends what changed and does the rest only where it is not done. Raises OSError.
    """
    _, trained = wanted(rental)  # wrong params are found here, not on a rented host
    host = rent.reach(rental)
    host.push(*([trained] if paths.resolve(trained).is_dir() else []))
    send_keys(host)
    host.script("setup.sh", timeout=SETUP, show=True)
    host.script("job.sh", "start", rental.profile, show=True)
    if not report(host, 0).guard:
        print(NO_GUARD, flush=True)


def send_keys(host: Host) -> None:
    """Write the keys that are set here into a file of mode 600 on the host, by ssh's stdin. Raises ValueError."""
    found = {name: os.environ[name] for name in KEYS if os.environ.get(name)}
    for name, value in found.items():
        if not re.fullmatch(r"[\w.\-]+", value):
            raise ValueError(f"{name} has characters that no such key has; not sent")
    script = f'umask 077; file={KEYS_FILE}; mkdir -p "$(dirname "$file")"; rm -f "$file"; cat > "$file"'
    host.run(script, stdin="".join(f"{name}={value}\n" for name, value in found.items()))
    print(f"keys on the host: {', '.join(found) or 'none (HF_TOKEN and WANDB_API_KEY are not set here)'}", flush=True)


def wanted(rental: Rental) -> tuple[str, str]:
    """The two folders that a run of the profile makes, below runs and checkpoints: all that is ever fetched."""
    _, steps = course.plan(rental.profile, None, None)
    name = steps[0].params.run
    return f"runs/{name}", f"checkpoints/{name}"


def report(host: Host, offset: int) -> Report:
    """`host/report.py`'s answer. Raises HostFailed where it is none, Unreachable."""
    answer = host.script("report.py", str(offset), timeout=40)
    try:
        return Report.model_validate_json(answer)
    except ValidationError as error:
        name, wrong, value = first_wrong(error)
        raise HostFailed(f"the host answers {name or 'report'} = {value!r:.80}: {wrong}") from None


def watch(rental: Rental, show: Callable[[str], None] = print) -> int:
    """Follow the course to its end: log, GPU, step, money; each new checkpoint is fetched. Returns its exit status.

    A broken connection is made again, an outbid instance waited for; Ctrl-C leaves all as it is. Raises OSError.
    """

    def say(text: str) -> None:
        show(printable(text, lines=True))

    _, trained = wanted(rental)
    offset, fetched, came, failed = 0, set(), set(), 0
    host = rent.reach(rental)
    while True:
        try:
            now = report(host, offset)
        except (Unreachable, HostFailed) as error:
            failed += isinstance(error, HostFailed)  # once or twice: it was stopped while it answered
            if failed == 3:
                raise
            say(f"connection lost ({error}); the course goes on under tmux, trying again")
            time.sleep(POLL)
            host = _again(rental, say)
            continue
        failed, offset = 0, now.offset
        if now.log:
            say(now.log.rstrip("\n"))
        say(summary(rental, now))
        _drop(came, now.checkpoints)
        if not fetched.issuperset(now.checkpoints) and _fetch(host, trained, came, say):
            fetched.update(now.checkpoints)
        if not _stop_late(rental, say) and not now.guard:
            say(NO_GUARD)
        if now.status is not None and not now.running:
            return now.status
        if not now.running:
            say("the course does not run on the host; forge vast run starts it")
            return 1
        time.sleep(POLL)


def _again(rental: Rental, say: Callable[[str], None]) -> Host:
    """The host, once it can be reached again. Raises VastError where it is gone, or stopped on purpose."""
    told = ""
    while True:
        try:
            found = vast.instance(rental.instance)
        except vast.VastError as error:
            found, state = None, str(error)
        else:
            if found is None:
                rental.end()
                raise vast.VastError(f"instance {rental.instance} is gone: destroyed, or taken by its host")
            if found.intended == "stopped":
                why = "by its guard or by you" if not rental.interruptible else "by its guard, by you, or outbid"
                disk = found.disk_usd_per_hour
                state = f"stopped {why}; {'?' if disk is None else f'${disk:.3f}'}/h for its disk"
                if not rental.interruptible:
                    raise vast.VastError(f"instance {rental.instance} is {state}: forge vast pull, then down")
            else:
                state = found.status or "provisioning"
        if found and found.intended != "stopped" and _stop_late(rental, say):
            pass  # it is seen to be stopped at the next look
        elif found and found.status == "running" and found.address:
            try:
                host = Host(ssh.config(rental, found.address))
                host.run("true", timeout=30)
                return host
            except Unreachable as error:
                state = str(error)
        if state != told:
            say(f"instance {rental.instance}: {state}; waiting")
            told = state
        time.sleep(POLL)


def _stop_late(rental: Rental, say: Callable[[str], None]) -> bool:
    """Stop it from here if its guard has not done so, whatever the host says or does not say."""
    late = time.time() > rental.deadline + LATE
    if late:
        say("the guard has not stopped it at the deadline: stopping it from here")
        try:
            vast.stop(rental.instance)
        except vast.VastError as error:  # asked again at the next look
            say(str(error))
    return late


def _fetch(host: Host, trained: str, came: set[Path], say: Callable[[str], None]) -> bool:
    """Fetch what was trained; the checkpoints that were not here before join `came`."""
    before = _saved(trained)
    try:
        host.pull(trained)
    except HostFailed as error:
        say(f"{trained} was not fetched now ({error}); trying again")
        return False
    came |= _saved(trained) - before
    return True


def _saved(trained: str) -> set[Path]:
    return set((paths.ROOT / trained).glob("*/checkpoints/checkpoint-*"))


def _drop(came: set[Path], there: list[str]) -> None:
    """Remove those of `came` that training has removed on its host: it keeps the best and the last.

    A host that has none of that training any more has lost them.
    """
    kept = {paths.ROOT / name for name in there}
    training = {checkpoint.parent for checkpoint in kept}
    for checkpoint in {each for each in came - kept if each.parent in training}:
        shutil.rmtree(checkpoint, ignore_errors=True)
        came.remove(checkpoint)


def summary(rental: Rental, now: Report) -> str:
    """One line: state, step and time left of the training, GPU, money, how long the guard waits."""
    steps = STEP.findall(now.log)
    hours = (time.time() - rental.began) / 3600
    parts = [f"status {now.status}" if now.status is not None else "running" if now.running else "not running"]
    parts += [f"step {steps[-1][0]}, {int(steps[-1][1]) / 60:.0f} min left"] if steps else []
    for busy, used, total, heat in GPU.findall("\n".join(now.gpus)):
        parts.append(f"GPU {busy}%, {used}/{total} MiB, {heat} C")
    parts.append(f"at most ${hours * rental.usd_per_hour:.2f} in {hours:.1f} h")
    parts.append(f"guard in {max(0, min(now.deadline, rental.deadline) - time.time()) / 3600:.1f} h")
    parts.append(f"{now.disk_free_gib:.0f} GiB free")
    return "-- " + " · ".join(parts)


def tunnel(rental: Rental, port: int) -> None:
    """JupyterLab of the host at http://127.0.0.1:PORT, until Ctrl-C. Raises OSError."""
    host = rent.reach(rental)
    lab = re.fullmatch(r"(\d{1,5}) ([0-9a-f]{16,128})\s*", said := host.script("lab.sh", timeout=120))
    if not lab:
        raise HostFailed(f"the host should name JupyterLab's port and token, not {said!r:.80}")
    print(f"http://127.0.0.1:{port}/lab?token={lab[2]}   (Ctrl-C ends the tunnel, not JupyterLab)", flush=True)
    host.forward(port, int(lab[1]))
