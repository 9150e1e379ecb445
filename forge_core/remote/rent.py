"""Rent a machine: offers in a table, what the course would cost on them, a yes, and an instance that answers by ssh.

Whatever goes wrong after Vast was asked, the instance is destroyed, or named as still billed.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path

from forge_core import paths
from forge_core.data import disk
from forge_core.params import MODELS, OPTIONAL, Profile, load_profile
from forge_core.remote import ssh, vast
from forge_core.remote.rental import Rental, new
from forge_core.remote.ssh import Host, Unreachable

POLL = 10.0  # s between looks at an instance that starts, or ends
LOADING = 20 * 60  # s that the image may take
ENDING = 6  # times that an instance is told to end
LOST = ("exited", "unknown", "offline")  # an instance in these states never comes to run
HOST_SCRIPTS = Path(__file__).with_name("host")
ONSTART_LIMIT = 4048  # characters, of Vast


class Lost(vast.VastError):
    """The instance is gone, or in a state from which it never comes to run."""


def profile_of(name: str) -> Profile:
    """The profile with its `rent` section. Raises ValueError."""
    profile = load_profile(paths.ROOT / "params" / name / "profile.yaml")
    if profile.rent is None:
        raise ValueError(f"params/{name}/profile.yaml has no 'rent:' section, so nothing says what to rent")
    return profile


def hours_of(price: float, max_hours: float, max_dollars: float | None) -> float:
    """After how many hours the guard ends a rental at `price` $ per hour."""
    return max_hours if max_dollars is None else min(max_hours, max_dollars / price)


def offers_table(
    offers: list[vast.Offer], profile: Profile, bid: float | None, max_hours: float, max_dollars: float | None
) -> str:
    """The offers, one a line; what the course would cost by the profile's measured minutes, and the most it can."""
    minutes = [profile.minutes.get(name) for name in MODELS if name not in OPTIONAL]  # hosts have no Chromium
    hours = None if None in minutes else sum(minutes) / 60
    lines = [
        f"{'offer':>10}  {'GPU':18} {'GB':>4} {'$/h':>7} {'course':>13} {'at most':>8} {'Mb/s':>6} {'kept':>6}  place"
    ]
    for offer in offers:
        price = offer.usd_per_hour if bid is None else bid
        course = "not measured" if hours is None else f"${hours * price:.2f}"
        most = f"${hours_of(price, max_hours, max_dollars) * price:.2f}"
        lines.append(
            f"{offer.id:>10}  {offer.gpu:18.18} {offer.gpu_ram_gb:4.0f} {price:7.3f} {course:>13} {most:>8} "
            f"{offer.inet_down_mbps:6.0f} {offer.reliability:6.1%}  {offer.place}"
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
        ValueError: no offer, or the answer was no; nothing is rented.
        VastError: nothing is rented, unless the message says so.
    """
    profile, disk_gb = profile_of(name), disk.gb(name)
    gone: set[int] = set()
    while True:
        offers = [offer for offer in vast.search(profile.rent, disk_gb, bid) if offer.id not in gone]
        if offer_id is not None:
            offers = [offer for offer in offers if offer.id == offer_id]
        if not offers:
            wanted = _wanted(name, profile, disk_gb, bid)
            raise ValueError(f"no offer {'fits' if offer_id is None else offer_id}; {wanted}")
        print(offers_table(offers, profile, bid, max_hours, max_dollars), flush=True)
        offer = offers[0]
        price = offer.usd_per_hour if bid is None else bid
        hours = hours_of(price, max_hours, max_dollars)
        kind = "on demand" if bid is None else f"interruptible, bid ${bid:.3f}/h"
        if not confirm(
            f"Rent offer {offer.id}, {offer.gpu}, {kind}, ${price:.3f}/h, stopped by itself after {hours:.1f} h "
            f"(${hours * price:.2f} and traffic)?"
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
        rental.instance = vast.create(offer, rental.label, disk_gb, onstart(rental), bid)
    except vast.OfferGone:
        rental.end()
        raise
    except vast.VastError as error:
        rental.instance = _find(rental, error)  # the answer was lost, or it was a no
    rental.save()
    print(f"instance {rental.instance} ({rental.label}) is rented and billed", flush=True)
    try:
        reach(rental)
    except KeyboardInterrupt:
        print(f"instance {rental.instance} is rented and billed all the same: forge vast run, or down", flush=True)
        raise
    except vast.VastError as error:
        print(f"{error}; giving it back", flush=True)
        destroy(rental)
        raise vast.VastError(f"instance {rental.instance} did not come up ({error}); it is destroyed") from None
    return rental


def onstart(rental: Rental) -> str:
    """The script that the host runs at every start: its guard, which goes on with a course that was broken off."""
    head = f"FORGE_FOLDER={shlex.quote(ssh.remote_folder())} FORGE_DEADLINE={rental.deadline:.0f} "
    head += f"FORGE_SECONDS={rental.deadline - rental.began:.0f}\n"
    guard = (HOST_SCRIPTS / "guard.py").read_text().split('"""', 2)[2]  # without its docstring
    script = head + (HOST_SCRIPTS / "onstart.sh").read_text() + guard + "GUARD\n"
    if len(script) > ONSTART_LIMIT:
        raise ValueError(f"onstart has {len(script)} characters, Vast takes {ONSTART_LIMIT}")
    return script


def _find(rental: Rental, error: vast.VastError) -> int:
    """The instance with the rental's label, where `create` answered with `error`; raises that where there is none."""
    try:
        found = _labelled(rental)
        if not found:
            time.sleep(POLL)  # Vast's list may be behind
            found = _labelled(rental)
    except vast.VastError:
        raise vast.VastError(
            f"{error}; whether {rental.label} was rented is not known: ask `forge vast status` again", error.status
        ) from None
    if not found:
        rental.end()
        raise error
    return found[0]


def _labelled(rental: Rental) -> list[int]:
    return [each.id for each in vast.instances() if each.label == rental.label]


def reach(rental: Rental) -> Host:
    """Wait until the instance runs and answers by ssh. Raises Lost, or VastError where it takes longer than LOADING."""
    adopt(rental)
    give_up, shown, attached = time.monotonic() + LOADING, None, False
    while True:
        try:
            found = _alive(rental)
            state, why = found.status or "provisioning", found.message
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
            print(f"instance {rental.instance}: {state} {why:.120}", flush=True)
            shown = state
        if time.monotonic() > give_up:
            raise vast.VastError(f"instance {rental.instance} still {state} after {LOADING / 60:.0f} min: {why}")
        time.sleep(POLL)


def _alive(rental: Rental) -> vast.Instance:
    found = vast.instance(rental.instance)
    if found is None:
        raise Lost(f"instance {rental.instance} is not on the account's list")
    if found.status == found.intended == "stopped":
        raise Lost(f"instance {rental.instance} is stopped, by its guard or by you")
    if found.status in LOST:
        raise Lost(f"instance {rental.instance} is {found.status}: {found.message or 'no reason given'}")
    return found


def adopt(rental: Rental) -> None:
    """Find the instance of a rental whose answer was lost. Raises Lost where there is none; the rental ends then."""
    if rental.instance is not None:
        return
    rental.instance = next(iter(_labelled(rental)), None)
    if rental.instance is None:
        rental.end()
        raise Lost(f"{rental.label} was never rented: nothing is billed")
    rental.save()


def destroy(rental: Rental) -> None:
    """Destroy the instance and ask until it is gone. Raises VastError where it is not seen to go."""
    for _ in range(ENDING):
        try:
            vast.destroy(rental.instance)
        except vast.VastError as error:
            if error.status != 404:  # gone already
                print(error, flush=True)
        try:
            if vast.instance(rental.instance) is None:
                rental.end()
                return
        except vast.VastError as error:
            print(error, flush=True)
        time.sleep(POLL)
    raise vast.VastError(
        f"instance {rental.instance} was told to end, but Vast still lists it, or does not answer: IT MAY BE BILLED; "
        "run `forge vast down --force` again, and look at Vast's own list of instances"
    )
