"""What the account is billed for under a rental's label: found, destroyed, and seen to be gone.

The account's own list decides, not the record here. A label has a random part, so all that has it is the rental's. One
list without it is no proof: gone is what two answers in different words say.
"""

from __future__ import annotations

import time

from forge_core.remote import vast
from forge_core.remote.rental import Rental

POLL = 10.0  # s between looks
ENDING = 6  # looks at an instance that was told to end
UNSURE = 15 * 60  # s after which a rental without an answer, and not on the list, never came about


def held(rental: Rental) -> list[vast.Instance]:
    """What the account has under the rental's label. [] was seen twice, the second time by its number if that is known.

    Raises VastError, also where the number belongs to something else, or a row that cannot be read may be it.
    """
    for look in range(2):
        listed = vast.instances()
        found = [each for each in listed if each.label == rental.label]
        if found:
            return found
        if rental.instance is not None:
            return _by_number(rental, listed)
        if not look:
            time.sleep(POLL)  # the list may be behind
    if odd := [each.odd for each in listed if not each.id or "label:" in each.odd]:
        raise vast.VastError(f"Vast's list has rows that cannot be read ({'; '.join(odd)}): one may be {rental.label}")
    return []


def _by_number(rental: Rental, listed: list[vast.Instance]) -> list[vast.Instance]:
    number = rental.instance
    found = next((each for each in listed if each.id == number), None) or vast.by_number(number)
    if found and found.label not in ("", rental.label):
        raise vast.VastError(f"instance {number} is {found.label} on Vast's list, not {rental.label}: not touched")
    return [found] if found else []


def find(rental: Rental) -> list[vast.Instance]:
    """`held`, noted in the record; the rental ends where there is nothing.

    Raises VastError as `held`, and where nobody answered for it, it is not listed, and that is not long ago.
    """
    found = held(rental)
    if found:
        rental.seen([each.id for each in found])
    elif rental.instance is None and time.time() - rental.began < UNSURE:
        raise vast.VastError(
            f"{rental.label} was asked for without an answer, and Vast does not list it yet: ask again"
        )
    elif rental.ended is None:
        rental.end()
    return found


def destroy(rental: Rental) -> None:
    """Destroy what the account has under the label, until it is seen gone. Raises VastError where that is not seen."""
    billed = f"instance {rental.instance} ({rental.label}) MAY BE BILLED: `forge vast down --force` ends it"
    try:
        for attempt in range(ENDING):
            time.sleep(POLL if attempt > 1 else 0)
            found = _look(rental)
            if found == [] and attempt:
                rental.end()
                return
            if found is not None:
                # at first also what the list does not have yet
                _tell_to_end({each.id for each in found if each.id} or {rental.instance} - {None})
    except KeyboardInterrupt:
        print(f"broken off before the end was seen: {billed}", flush=True)
        raise
    raise vast.VastError(f"told to end, but Vast still lists it, or does not answer: {billed}, see `forge vast status`")


def _look(rental: Rental) -> list[vast.Instance] | None:
    """`held`; None where Vast does not say, which is printed."""
    try:
        return held(rental)
    except vast.VastError as error:
        print(error, flush=True)
        return None


def _tell_to_end(numbers: set[int]) -> None:
    for number in sorted(numbers):
        try:
            vast.destroy(number)
        except vast.VastError as error:
            if error.status != 404:  # gone already
                print(error, flush=True)
