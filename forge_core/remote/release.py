"""Fetch what was made, give the machine back, and say what is still billed."""

from __future__ import annotations

import shlex
import time

from forge_core.remote import rent, vast
from forge_core.remote.job import report, wanted
from forge_core.remote.rental import PREFIX, Rental, rentals
from forge_core.remote.ssh import Host, HostFailed


def pull(rental: Rental, running_too: bool = True) -> None:
    """Fetch the runs and checkpoints of the rental's profile, verified; while the course runs, its checkpoints alone.

    A stopped instance is started for it, which costs its price for these minutes.

    Raises:
        OSError: not all could be fetched.
        ValueError: the course runs, and not `running_too`.
    """
    rent.adopt(rental)
    found = vast.instance(rental.instance)
    if found and found.intended == "stopped":
        print(
            f"instance {found.id} is stopped; starting it, at ${rental.usd_per_hour:.3f}/h, to fetch what is there",
            flush=True,
        )
        vast.start(rental.instance)
    host = rent.reach(rental)
    if not _there(host, "forge_core/remote/host/report.py"):
        print("nothing was sent there, so there is nothing to fetch", flush=True)
        return
    now = report(host, 0)
    if now.running and not running_too:
        raise ValueError("the course still runs there; wait for its end (forge vast watch), or lose it with --force")
    if now.running and not now.checkpoints:
        raise HostFailed("the course runs there and has saved no checkpoint yet; its logs can be fetched when it ends")
    runs, trained = wanted(rental)
    if folders := _there(host, *([trained] if now.running else [runs, trained])):
        host.pull(*folders)
    else:
        print("the course has made nothing there", flush=True)


def _there(host: Host, *names: str) -> list[str]:
    """Those of `names`, files and folders, that the host has; whatever else it says is no name."""
    said = host.run(f"ls -d -- {' '.join(map(shlex.quote, names))} 2> /dev/null || true").splitlines()
    return [name for name in names if name in said]


def down(rental: Rental, force: bool = False) -> str:
    """Destroy the instance, after a verified pull unless `force`; returns what it cost.

    Raises:
        ValueError: the course still runs.
        OSError: nothing was destroyed, and is billed on; or (VastError) its end was not seen.
    """
    rent.adopt(rental)
    if vast.instance(rental.instance) is None:
        rental.end()
    else:
        if not force:
            _pull_first(rental)
        rent.destroy(rental)
    return cost(rental)


def _pull_first(rental: Rental) -> None:
    try:
        pull(rental, running_too=False)
    except OSError as error:
        raise HostFailed(
            f"{error}\nnothing was destroyed, and it is billed on: mend that and run `forge vast down` again, "
            "or lose what is there with --force"
        ) from error


def cost(rental: Rental) -> str:
    """What an ended rental cost: Vast's charges where they are there already, else hours times price."""
    hours = ((rental.ended or time.time()) - rental.began) / 3600
    try:
        charged = vast.charged(rental.instance, rental.began)
    except vast.VastError as error:
        charged = None
        print(error, flush=True)
    if charged is not None:
        return f"instance {rental.instance} is gone; Vast charged ${charged:.2f} for it"
    return (
        f"instance {rental.instance} is gone; its charge is not on Vast's list yet: "
        f"{hours:.2f} h at ${rental.usd_per_hour:.3f}/h make at most ${hours * rental.usd_per_hour:.2f}, and traffic"
    )


def status() -> list[str]:
    """All that the account is billed for, and what was rented from here and can't be seen there."""
    known = {each.label: each for each in rentals()}
    try:
        found = vast.instances()
    except vast.VastError as error:
        lines = [f"Vast does not answer ({error}); rented from here and not seen to end, so perhaps billed:"]
        return lines + [f"  {each.instance or '?'} {each.label}: ${each.usd_per_hour:.3f}/h" for each in known.values()]
    lines = [_line(each, known.pop(each.label, None)) for each in found]
    for lost in known.values():
        lines.append(f"  {lost.instance or '?'} {lost.label}: not on Vast's list any more, no longer billed")
        lost.end()
    total = sum(each.billed_per_hour for each in found)
    return [*lines, f"{len(found)} on the account, ${total:.3f} billed each hour now"]


def _line(found: vast.Instance, rental: Rental | None) -> str:
    if rental is not None and rental.instance is None:  # its answer was lost
        rental.instance = found.id
        rental.save()
    whose = "" if rental else " (not rented from here)" if found.label.startswith(PREFIX) else " (not the Forge's)"
    line = f"  {found.id} {found.label or 'no label'}{whose}: {found.gpu}, {found.status or 'provisioning'}"
    line += f", ${found.billed_per_hour:.3f}/h"
    if rental:
        hours = (time.time() - rental.began) / 3600
        line += f", {hours:.1f} h, guard at {time.strftime('%m-%d %H:%M UTC', time.gmtime(rental.deadline))}"
    return line
