"""Rent a machine: offers in a table, what the course would cost on them, a yes, and an instance that answers by ssh.

Whatever goes wrong after Vast was asked, the instance is destroyed, or named as still billed.
"""

from __future__ import annotations

import math
import re
import shlex
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from forge_core import paths
from forge_core.data import disk
from forge_core.params import MODELS, OPTIONAL, Profile, load_profile
from forge_core.remote import ssh, vast
from forge_core.remote.billed import destroy, find, held
from forge_core.remote.rental import NAME, Rental, home, new
from forge_core.remote.ssh import Host, Unreachable
from forge_core.text import printable

POLL = 10.0  # s between looks at an instance that starts
LOADING = 20 * 60  # s that the image may take
MARGIN = 1.02  # of an instance's price over the agreed one: Vast's rounding
STOPPING = 240  # s that the guard may take to stop: one look, and a checkpoint
LOST = ("exited", "unknown", "offline")  # an instance in these states never comes to run
HOST_SCRIPTS = Path(__file__).with_name("host")
WHAT_TO_DO = "`forge vast status` tells, as soon as Vast lists it; `forge vast down` ends it"
ONSTART_LIMIT = 4048  # characters, of Vast


class Lost(vast.VastError):
    """The instance is gone, in a state from which it never comes to run, or not what was agreed."""


def profile_of(name: str) -> Profile:
    """The profile with its `rent` section. Raises ValueError."""
    if not re.fullmatch(NAME, name):
        known = ", ".join(sorted(folder.name for folder in (paths.ROOT / "params").glob("*/")))
        raise ValueError(f"--profile: {name!r} is not the plain name of a folder under params/ ({known})")
    profile = load_profile(paths.ROOT / "params" / name / "profile.yaml")
    if profile.rent is None:
        raise ValueError(f"params/{name}/profile.yaml has no 'rent:' section, so nothing says what to rent")
    return profile


def check_here() -> None:
    """What would fail only after renting. Raises ValueError or VastError."""
    vast.program()
    missing = [name for name in ("ssh", "ssh-keygen", "rsync") if not shutil.which(name)]
    if missing:
        raise ValueError(f"not installed: {', '.join(missing)}; nothing rented")
    folder = str(home())
    if bad := sorted({character for character in folder if character in '"\\$' or not character.isprintable()}):
        raise ValueError(f"ssh cannot take {', '.join(map(repr, bad))} in a path: {folder!r}; nothing rented")
    words = {"FORGE_REMOTE_DIR": ssh.remote_folder(), "FORGE_REMOTE_USER": ssh.remote_user()}
    for name, value in words.items():
        if not re.fullmatch(r"[A-Za-z0-9/._][A-Za-z0-9/._-]*", value):
            raise ValueError(f"{name}: {value!r} may have letters, digits and / . _ - only")


def hours_of(price: float, max_hours: float, max_dollars: float | None) -> float:
    """After how many hours the guard ends a rental at `price` $ per hour: then `most` is within both limits."""
    return max_hours if max_dollars is None else min(max_hours, max_dollars / (price * MARGIN) - STOPPING / 3600)


def most(price: float, hours: float) -> float:
    """The most $ that a rental with a guard at `hours` can cost, without traffic, and its disk once it is stopped."""
    return (hours + STOPPING / 3600) * price * MARGIN


def offers_table(
    offers: list[vast.Offer], profile: Profile, prices: list[float], max_hours: float, max_dollars: float | None
) -> str:
    """The offers, one a line; what the course would cost by the profile's measured minutes, and the most it can."""
    minutes = [profile.minutes.get(name) for name in MODELS if name not in OPTIONAL]  # hosts have no Chromium
    hours = None if None in minutes else sum(minutes) / 60
    lines = [
        f"{'offer':>10}  {'GPU':18} {'GB':>4} {'$/h':>7} {'course':>13} {'at most':>8} {'Mb/s':>6} {'kept':>6}  place"
    ]
    for offer, price in zip(offers, prices, strict=True):
        course = "not measured" if hours is None else f"${hours * price:.2f}"
        at_most = f"${most(price, hours_of(price, max_hours, max_dollars)):.2f}"
        lines.append(
            f"{offer.id:>10}  {offer.gpu:18.18} {offer.gpu_ram_mb / 1000:4.0f} {price:7.3f} {course:>13} {at_most:>8} "
            f"{offer.inet_down_mbps:6.0f} {offer.reliability:6.1%}  {offer.place:.40}"
        )
    return "\n".join(lines)


def up(
    name: str,
    confirm: Callable[[str], bool],
    bid: float | None = None,
    offer_id: int | None = None,
    max_hours: float = 24.0,
    max_dollars: float | None = None,
) -> Rental:
    """Rent a machine for profile `name`: the cheapest offer that fits, or `offer_id`, after `confirm` said yes.

    Raises:
        ValueError: no offer, the answer was no, or something here would make the rental fail; nothing is rented.
        VastError: nothing is rented, unless the message says so.
    """
    if not all(math.isfinite(limit) for limit in (bid, max_hours, max_dollars) if limit is not None):
        raise ValueError("--bid, --max-hours and --max-dollars are finite numbers; nothing rented")
    profile, disk_gb = profile_of(name), disk.gb(name)
    check_here()
    gone: set[int] = set()
    while True:
        offers = [offer for offer in vast.search(profile.rent, disk_gb, bid) if offer.id not in gone]
        if offer_id is not None:
            offers = [offer for offer in offers if offer.id == offer_id]
        if not offers:
            wanted = _wanted(name, profile, disk_gb, bid)
            raise ValueError(f"no offer {'fits' if offer_id is None else offer_id}; {wanted}")
        prices = [offer.price(bid, disk_gb) for offer in offers]
        print(offers_table(offers, profile, prices, max_hours, max_dollars), flush=True)
        offer, price = offers[0], prices[0]
        hours = hours_of(price, max_hours, max_dollars)
        if hours <= 0:
            raise ValueError(f"${max_dollars:.2f} buys no hours at ${price:.3f}/h; nothing rented")
        kind = "on demand" if bid is None else f"interruptible, bid ${bid:.3f}/h"
        if not confirm(
            f"Rent offer {offer.id}, {offer.gpu}, {kind}, ${price:.3f}/h, stopped by itself after {hours:.1f} h "
            f"(${most(price, hours):.2f} and traffic)?"
        ):
            raise ValueError("nothing rented")
        try:
            return _rent(name, disk_gb, offer, price, bid, hours)
        except vast.OfferGone as error:
            gone.add(offer.id)
            print(f"{error}; looking again", flush=True)


def _wanted(name: str, profile: Profile, disk_gb: int, bid: float | None) -> str:
    rent = profile.rent
    price = f"${rent.max_usd_per_hour:.2f}/h" if bid is None else f"a bid of ${bid:.3f}/h"
    return (
        f"asked for {rent.gpu_ram_gb} GB, compute capability {rent.compute_cap / 100:.1f}, {disk_gb} GB of disk, "
        f"{rent.inet_down_mbps} Mb/s, reliability {rent.reliability}, {price}: params/{name}/profile.yaml, 'rent:'"
    )


def _rent(name: str, disk_gb: int, offer: vast.Offer, price: float, bid: float | None, hours: float) -> Rental:
    ssh.key()
    rental = new(name, offer.gpu, price, bid is not None, hours)
    try:
        rental.instance = _create(rental, offer, disk_gb, bid)
    except KeyboardInterrupt:
        print(f"broken off: whether {rental.label} was rented is not known. {WHAT_TO_DO}", flush=True)
        raise
    try:
        print(f"instance {rental.instance} ({rental.label}) is rented and billed", flush=True)
        rental.save()
        reach(rental, price * MARGIN)
    except KeyboardInterrupt:
        name = f"instance {rental.instance} ({rental.label})"
        print(f"{name} is rented and billed all the same: forge vast run, or down", flush=True)
        raise
    except Exception as error:
        name = f"instance {rental.instance} ({rental.label})"  # the list may have said another number
        print(printable(f"{error}; giving {name} back"), flush=True)
        destroy(rental)
        raise vast.VastError(f"{name} did not come up ({error}); it is destroyed") from error
    return rental


def _create(rental: Rental, offer: vast.Offer, disk_gb: int, bid: float | None) -> int:
    """Rent it; where the answer was no yes, the list decides: by the label. Raises VastError, OfferGone."""
    try:
        return vast.create(offer, rental.label, disk_gb, onstart(rental), bid)
    except vast.VastError as error:
        refused = 400 <= error.status < 500 and error.status not in (408, 429)
        try:
            numbers = [each.id for each in held(rental) if each.id]
        except vast.VastError as unread:
            numbers, refused = [], False
            print(unread, flush=True)
        if numbers:
            return numbers[0]
        if refused:
            rental.end()
            raise
        raise vast.VastError(f"{error}; whether {rental.label} was rented is not known. {WHAT_TO_DO}") from None


def onstart(rental: Rental) -> str:
    """The script that the host runs at every start: its guard, which goes on with a course that was broken off."""
    head = f"FORGE_FOLDER={shlex.quote(ssh.remote_folder())} FORGE_DEADLINE={rental.deadline:.0f} "
    head += f"FORGE_SECONDS={rental.deadline - rental.began:.0f}\n"
    guard = (HOST_SCRIPTS / "guard.py").read_text().split('"""', 2)[2]  # without its docstring
    starter = re.sub("(?m)^#.*\n", "", (HOST_SCRIPTS / "onstart.sh").read_text())
    script = head + starter + guard + "GUARD\n"
    if len(script) > ONSTART_LIMIT:
        raise ValueError(f"onstart has {len(script)} characters, Vast takes {ONSTART_LIMIT}")
    return script


def reach(rental: Rental, most_per_hour: float | None = None) -> Host:
    """Wait until the instance runs and answers by ssh.

    Raises Lost, also where it costs more than `most_per_hour`, or VastError where it takes longer than LOADING.
    """
    adopt(rental)
    give_up, shown, attached = time.monotonic() + LOADING, None, False
    while True:
        try:
            found = _alive(rental)
            if most_per_hour is not None:
                _agreed(rental, found, most_per_hour)
            state, why = found.status or "provisioning", " ".join(filter(None, (found.message, found.odd)))
            if not attached:
                vast.attach_key(rental.instance, ssh.key().with_suffix(".pub").read_text().strip())
                attached = True
            if found.status == "running" and found.address:
                host = Host(ssh.config(rental, found.address))
                host.run("true", timeout=30)
                print(
                    f"instance {rental.instance} answers: ssh -F {paths.relative(host.config)} {ssh.ALIAS}", flush=True
                )
                return host
        except Lost:
            raise
        except vast.VastError as error:  # Vast may answer later
            state, why = "not known", str(error)
        except Unreachable as error:
            state, why = "running", str(error)
        if state != shown:
            print(printable(f"instance {rental.instance}: {state} {why:.120}"), flush=True)
            shown = state
        if time.monotonic() > give_up:
            raise vast.VastError(f"instance {rental.instance} still {state} after {LOADING / 60:.0f} min: {why}")
        time.sleep(POLL)


def _agreed(rental: Rental, found: vast.Instance, most_per_hour: float) -> None:
    """Compare its own price with the agreed one: the guard's deadline, and so the budget, follow from that."""
    if found.usd_per_hour is None:
        raise Lost(f"Vast does not say what instance {found.id} costs ({found.odd or 'no dph_total'})")
    if found.usd_per_hour > most_per_hour:
        agreed = f"${rental.usd_per_hour:.3f}/h were agreed"
        raise Lost(f"instance {found.id} costs ${found.usd_per_hour:.3f}/h, where {agreed}")
    if time.time() > rental.deadline:
        raise Lost(f"the agreed hours of instance {found.id} are over")
    if found.usd_per_hour > rental.usd_per_hour:
        rental.usd_per_hour = found.usd_per_hour
        rental.save()


def _alive(rental: Rental) -> vast.Instance:
    listed = find(rental)
    found = next((each for each in listed if each.id == rental.instance), None)
    if found is None:
        raise Lost(f"instance {rental.instance} ({rental.label}) is not on the account's list")
    if found.status == found.intended == "stopped":
        raise Lost(f"instance {found.id} is stopped, by its guard or by you")
    if found.status in LOST:
        raise Lost(f"instance {found.id} is {found.status}: {found.message or 'no reason given'}")
    return found


def adopt(rental: Rental) -> None:
    """Find the instance of a rental whose answer was lost. Raises Lost where there is none; the rental ends then."""
    if rental.instance is None and not find(rental):
        raise Lost(f"{rental.label} was never rented: nothing is billed")
