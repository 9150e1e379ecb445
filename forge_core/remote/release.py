"""Fetch what was made, give the machine back, and say what is still billed."""

from __future__ import annotations

import posixpath
import shlex
import time
from collections import defaultdict

from forge_core import paths
from forge_core.remote import billed, rent, vast
from forge_core.remote.job import report, wanted
from forge_core.remote.rental import PREFIX, Rental, choose, records, rentals
from forge_core.remote.ssh import ALIAS, Host, HostFailed


def pull(rental: Rental, running_too: bool = True) -> None:
    """Fetch the runs and checkpoints of the rental's profile, verified; while the course runs, its checkpoints alone.

    A stopped instance is started for it, which costs its price for these minutes.

    Raises:
        OSError: not all could be fetched.
        ValueError: the course runs, and not `running_too`.
    """
    found = next((each for each in billed.find(rental) if each.id == rental.instance), None)
    if found is None:
        raise rent.Lost(f"{rental.label} is not on the account's list: nothing is billed")
    if found.intended == "stopped":
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
    if not running_too and (others := _others(host, runs, trained)):
        raise HostFailed(
            f"the host also has {others}, which the profile's run ({runs}) does not name; "
            f"./sync_from_vast.sh -F {paths.relative(host.config)} {ALIAS} fetches all, --force is right then"
        )


def _others(host: Host, *known: str) -> str:
    """What else lies where results do, a run before its params were changed say; for people, never used as names."""
    said = host.run(
        f"for folder in {' '.join(map(posixpath.dirname, known))}; do ls -d $folder/*; done 2> /dev/null || true"
    )
    return ", ".join(sorted(set(said.splitlines()) - set(known))[:5])[:500]


def _there(host: Host, *names: str) -> list[str]:
    """Those of `names`, files and folders, that the host has; whatever else it says is no name."""
    said = host.run(f"ls -d -- {' '.join(map(shlex.quote, names))} 2> /dev/null || true").splitlines()
    return [name for name in names if name in said]


def chosen(number: int | None) -> Rental:
    """`choose`; where the records do not say, the account's list does. Raises ValueError with that list."""
    try:
        return choose(number)
    except ValueError:
        listed = "\n".join(status())
    try:
        return choose(number)
    except ValueError as error:
        raise ValueError(f"{error}; the account has:\n{listed}") from None


def down(rental: Rental, force: bool = False) -> str:
    """Destroy all that the account has under the rental's label, after a verified pull unless `force`; what it cost.

    Raises:
        OSError: nothing was destroyed, and is billed on; or (VastError) its end was not seen.
    """
    try:
        found = billed.find(rental)
    except vast.VastError as error:
        name = f"instance {rental.instance or '?'} ({rental.label})"
        raise vast.VastError(f"{error}; nothing was destroyed, and {name} may be billed") from None
    if found:
        if not force:
            _pull_first(rental)
        billed.destroy(rental)
    return cost(rental)


def _pull_first(rental: Rental) -> None:
    kept = f"instance {rental.instance} ({rental.label}): nothing was destroyed, and it is billed on"
    try:
        pull(rental, running_too=False)
    except KeyboardInterrupt:
        print(f"broken off: {kept}", flush=True)
        raise
    except (OSError, ValueError) as error:
        raise HostFailed(
            f"{error}\n{kept}: mend that and run `forge vast down` again, or lose what is there with --force"
        ) from error


def cost(rental: Rental) -> str:
    """What an ended rental cost: Vast's charges where they are there already, else hours times price."""
    if rental.instance is None:
        return f"{rental.label} was never rented: nothing is billed"
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
    """All that the account is billed for, and what was rented from here and is not seen there. Updates records."""
    known = records()
    try:
        found = vast.instances()
    except vast.VastError as error:
        return _without_list(error, known)
    lines = _not_listed(found, known)
    _note(found, known)
    lines = [_line(each, known) for each in found] + lines
    lines += [f"  {each}" for each in known.values() if isinstance(each, str)]
    prices = [each.billed_per_hour for each in found]
    total = sum(price for price in prices if price is not None)
    unknown = f", and {prices.count(None)} of them at a price that Vast does not say" if None in prices else ""
    return [*lines, f"{len(found)} on the account, ${total:.3f} billed each hour now{unknown}"]


def _without_list(error: vast.VastError, known: dict[str, Rental | str]) -> list[str]:
    lines = [f"Vast does not answer ({error}); rented from here and not seen to end, so perhaps billed:"]
    lines += [f"  {each.instance or '?'} {each.label}: ${each.usd_per_hour:.3f}/h" for each in rentals()]
    return lines + [f"  ? {label}: {each}" for label, each in known.items() if isinstance(each, str)]


def _not_listed(found: list[vast.Instance], known: dict[str, Rental | str]) -> list[str]:
    """A line for each rental that one look at the list did not show; what another look shows is added to `found`."""
    labels, numbers = {each.label for each in found}, {each.id for each in found}
    lines = []
    for label, rental in known.items():
        if label in labels or isinstance(rental, str) or rental.ended is not None:
            continue
        name = f"  {rental.instance or '?'} {label}"
        try:
            seen = billed.find(rental)
        except vast.VastError as error:
            lines.append(f"{name}: {error}; perhaps billed, ${rental.usd_per_hour:.3f}/h")
            continue
        found += [each for each in seen if each.id not in numbers]
        if not seen:
            lines.append(f"{name}: not on Vast's list any more, no longer billed")
        elif rental.instance in numbers:
            lines.append(f"{name}: billed as {rental.instance} above, which Vast lists without its label")
    return lines


def _note(found: list[vast.Instance], known: dict[str, Rental | str]) -> None:
    numbers = defaultdict(list)
    for each in found:
        numbers[each.label].append(each.id)
    for label, rental in known.items():
        if label in numbers and isinstance(rental, Rental):
            rental.seen(numbers[label])


def _line(found: vast.Instance, known: dict[str, Rental | str]) -> str:
    rental = known.get(found.label)
    whose = "" if rental else " (not rented from here)" if found.label.startswith(PREFIX) else " (not the Forge's)"
    price = found.billed_per_hour
    line = f"  {found.id or '?'} {found.label or 'no label'}{whose}: {found.gpu}, {found.status or 'provisioning'}"
    line += ", price not known" if price is None else f", ${price:.3f}/h"
    if isinstance(rental, Rental):
        agreed = rental.usd_per_hour
        line += f" (${agreed:.3f}/h were agreed)" if price is not None and price > agreed * rent.MARGIN else ""
        hours = (time.time() - rental.began) / 3600
        line += f", {hours:.1f} h, guard at {time.strftime('%m-%d %H:%M UTC', time.gmtime(rental.deadline))}"
        line += f"; a second one: the record has {rental.instance}" if found.id != rental.instance else ""
    return f"{line}; not readable: {found.odd}" if found.odd else line
