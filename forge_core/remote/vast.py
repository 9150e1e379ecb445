"""Vast.ai through its own command line, `vastai --raw`: offers, instances, charges.

`vastai` pins packages that clash with the training environment, so `make vast` puts it into `.venv-vast`. It finds the
account key by itself (VAST_API_KEY or `vastai set api-key`); the key never passes through here. rows.py reads the
answers. Another server than Vast's: VAST_URL.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from forge_core import paths
from forge_core.params import Rent
from forge_core.remote import rows
from forge_core.remote.rows import Instance, Offer
from forge_core.text import printable

Model = TypeVar("Model", bound=BaseModel)

TRIES, PAUSE = 4, 2.0  # of a question that may be asked again; s, doubled each time
TIMEOUT = 180  # s
LIMIT = 20  # offers shown
PAGE, PAGES = 25, 1000  # instances, the most that Vast gives at once; pages of a list
CUDA = 13.0  # of IMAGE; the host's driver must know it
# PyTorch's own image with the torch of constraints.txt, by digest
IMAGE = (
    "pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime"
    "@sha256:db80a41f8428644cebcb3d75b0b62df334ab6c0e75785951eb25f48bfbd42407"
)


class VastError(OSError):
    """Vast.ai refused, or could not be asked. `status`: of HTTP, 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0):
        super().__init__(printable(message))
        self.status = status


class OfferGone(VastError):
    """Somebody else took the offer; nothing was rented."""


def search(needs: Rent, disk_gb: int, bid: float | None = None) -> list[Offer]:
    """Offers that meet `needs` and have that much disk, cheapest first: on demand, or such as `bid` ($/h) would win.

    One whose fields cannot be read, without a price say, is named and left out.
    """
    price = f"dph_total<={needs.max_usd_per_hour}" if bid is None else f"min_bid<={bid}"
    query = (
        f"num_gpus=1 gpu_ram>={needs.gpu_ram_gb} compute_cap>={needs.compute_cap} cuda_max_good>={CUDA} "
        f"disk_space>={disk_gb} inet_down>={needs.inet_down_mbps} reliability>={needs.reliability} "
        f"direct_port_count>=1 rented=false {price}"
    )
    kind, order = ("on-demand", "dph_total") if bid is None else ("bid", "min_bid")
    options = ["--type", kind, "--order", order, "--limit", str(LIMIT), "--storage", str(disk_gb)]
    answer = _ask("search", "offers", query, *options)
    if not isinstance(answer, list):
        raise VastError(f"vastai search offers: not a list of offers: {answer!r:.200}")
    return [offer for row in answer if (offer := _offer(row)) and _asked_for(offer, needs, bid)]


def _offer(row: object) -> Offer | None:
    try:
        return Offer.model_validate(rows.present(row))
    except ValidationError as error:
        number = row.get("id") if isinstance(row, dict) else None
        print(printable(f"offer {number!r:.20} is left out: {rows.why(error)}"), flush=True)
        return None


def _asked_for(offer: Offer, needs: Rent, bid: float | None) -> bool:
    return offer.usd_per_hour <= needs.max_usd_per_hour if bid is None else offer.least_bid <= bid


def create(offer: Offer, label: str, disk_gb: int, onstart: str, bid: float | None) -> int:
    """Rent it; the number of the instance. Never asked twice: `label` tells whether a lost answer was a yes.

    Raises:
        OfferGone: nothing was rented.
        VastError: also where nobody knows.
    """
    options = ["--image", IMAGE, "--disk", str(disk_gb), "--ssh", "--direct", "--label", label, "--cancel-unavail"]
    options += ["--onstart-cmd", onstart] + ([] if bid is None else ["--bid_price", str(bid)])
    try:
        answer = _vastai("create", "instance", str(offer.id), *options, "--retry", "1")  # vastai asks three times
    except VastError as error:
        if error.status in (404, 410) or "no_such_ask" in str(error) or "not available" in str(error):
            raise OfferGone(f"offer {offer.id} is gone: {error}", error.status) from None
        raise
    return _read(rows.Created, answer, f"vastai create instance {offer.id}").new_contract


def instances() -> list[Instance]:
    """All of the account, whoever rented them. Raises VastError where the answer is no such list."""
    # by pages: where vastai gathers them itself, it takes an answer without a list for an empty one
    pages = _pages(rows.Page, "show", "instances", "--limit", str(PAGE))
    return [rows.instance(row) for page in pages for row in page.instances]


def instance(number: int) -> Instance | None:
    """One of them; None where it is no more: neither on the account's list nor known by its number."""
    found = next((each for each in instances() if each.id == number), None)
    return found or by_number(number)


def by_number(number: int) -> Instance | None:
    """Ask for this one alone. None where Vast says that there is none; VastError where it says anything else."""
    try:
        answer = _ask("show", "instance", str(number))
    except VastError as error:
        if error.status != 404:
            raise
        # 404 has other reasons too, an expired session say: the list a second time
        return next((each for each in instances() if each.id == number), None)
    if answer == {"instances": None}:
        return None
    found = rows.instance(answer)
    if found.id != number:
        raise VastError(f"vastai show instance {number}: answered {answer!r:.200}")
    return found


def attach_key(number: int, public_key: str) -> None:
    """Let the owner of an ssh key in."""
    _ask("attach", "ssh", str(number), public_key)


def start(number: int) -> None:
    """Start a stopped instance; it runs when its GPU is free."""
    _ask("start", "instance", str(number))


def stop(number: int) -> None:
    """Stop an instance: its GPU is billed no more, its disk is kept and billed."""
    _ask("stop", "instance", str(number))


def destroy(number: int) -> None:
    """Ask for its end, with all that is on its disk. `instance` tells whether it came."""
    _ask("destroy", "instance", str(number), "--yes")


def charged(number: int, since: float) -> float | None:
    """$ on the account's list of charges for an instance since a time; None where it is not there yet."""
    start = time.strftime("%Y-%m-%d", time.gmtime(since))
    end = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400))
    options = ["--charges", "--charge-type", "instance", "--start-date", start, "--end-date", end, "--limit", "100"]
    pages = _pages(rows.Charges, "show", "invoices-v1", *options)
    found = [row for page in pages for row in page.results if row.get("source") == f"instance-{number}"]
    return sum(_read(rows.Charge, row, f"charges of instance {number}").amount for row in found) if found else None


def _pages(model: type[Model], *arguments: str) -> Iterator[Model]:
    """Each page of a list. Raises VastError where one is odd, or they have no end."""
    tokens = [""]
    while True:
        more = [f"--next-token={tokens[-1]}"] if tokens[-1] else []
        page = _read(model, _ask(*arguments, *more), f"vastai {' '.join(arguments[:2])}")
        yield page
        if not page.next_token:
            return
        if page.next_token in tokens or len(tokens) == PAGES:
            raise VastError(f"vastai {' '.join(arguments[:2])}: the pages have no end")
        tokens.append(page.next_token)


def _read(model: type[Model], answer: object, what: str) -> Model:
    try:
        return model.model_validate(answer)
    except ValidationError as error:
        raise VastError(f"{what}: {rows.why(error)}: the answer was {answer!r:.200}") from None


def _ask(*arguments: str):
    """`_vastai`, again after a pause where Vast was busy or could not be reached."""
    for left in reversed(range(TRIES)):
        try:
            return _vastai(*arguments)
        except VastError as error:
            if not left or (error.status and error.status != 429 and error.status < 500):
                raise
            time.sleep(PAUSE * 2 ** (TRIES - 1 - left))


def _vastai(*arguments: str):
    """What `vastai ARGUMENTS --raw` answers, as JSON, else None. Its exit status is 0 even for errors."""
    command = [program(), *arguments, "--raw"]
    shown = f"vastai {' '.join(arguments[:2])}"
    environment = os.environ | {"VASTAI_NO_UPDATE_CHECK": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT, env=environment
        )
    except subprocess.TimeoutExpired:
        raise VastError(f"{shown}: no answer in {TIMEOUT} s") from None
    problem = _error(done.stderr)
    if problem:
        status, message = int(problem.get("status_code") or 0), problem.get("msg") or "no reason given"
        hint = "; set the key: .venv-vast/bin/vastai set api-key KEY" if status == 401 else ""
        raise VastError(f"{shown}: {f'HTTP {status}: ' if status else ''}{message!s:.500}{hint}", status)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        odd = "the answer cannot be read: " if "Traceback" in done.stderr and "Connection" not in last else ""
        raise VastError(f"{shown}: {odd}{last:.300}")
    try:
        return json.loads(done.stdout)
    except (ValueError, RecursionError):
        return None  # `attach` and others answer in words


def _error(text: str) -> dict | None:
    """The error among the lines that vastai wrote to stderr."""
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if record.get("error"):
                return record
    return None


def program() -> str:
    """The vastai command. Raises VastError where it is not here."""
    own = paths.ROOT / ".venv-vast" / "bin" / "vastai"
    found = str(own) if own.is_file() else shutil.which("vastai")
    if not found:
        raise VastError("vastai is not here; `make vast` puts it into .venv-vast")
    return found
