"""Vast.ai through its own command line, `vastai --raw`: offers, instances, charges.

`vastai` pins packages that clash with the training environment, so `make vast` puts it into `.venv-vast`. It finds the
account key by itself (VAST_API_KEY or `vastai set api-key`); the key never passes through here. Fields and statuses are
those of https://docs.vast.ai (API reference, instances). Another server than Vast's: VAST_URL.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass

from forge_core import paths
from forge_core.params import Rent

TRIES, PAUSE = 4, 2.0  # of a question that may be asked again; s, doubled each time
TIMEOUT = 180  # s
LIMIT = 20  # offers shown
CUDA = 13.0  # of IMAGE; the host's driver must know it
# PyTorch's own image with the torch of constraints.txt, by digest
IMAGE = (
    "pytorch/pytorch:2.13.0-cuda13.0-cudnn9-runtime"
    "@sha256:db80a41f8428644cebcb3d75b0b62df334ab6c0e75785951eb25f48bfbd42407"
)
HOURS_A_MONTH = 730  # as Vast counts the price of disks


class VastError(OSError):
    """Vast.ai refused, or could not be asked. `status`: of HTTP, 0 where there was no answer."""

    def __init__(self, message: str, status: int = 0):
        super().__init__(message)
        self.status = status


class OfferGone(VastError):
    """Somebody else took the offer; nothing was rented."""


@dataclass(frozen=True)
class Offer:
    """A machine to rent. Prices in $ per hour, disk included; `least_bid` where it is interruptible."""

    id: int
    gpu: str
    gpu_ram_gb: float
    usd_per_hour: float
    least_bid: float
    inet_down_mbps: float
    reliability: float
    place: str


@dataclass(frozen=True)
class Instance:
    """A rented machine as Vast sees it. `status`: running, loading, stopped, exited, offline, unknown, ... or ""."""

    id: int
    label: str
    gpu: str
    status: str
    intended: str
    message: str
    usd_per_hour: float
    disk_usd_per_hour: float
    started: float  # s since 1970
    address: tuple[str, int] | None  # of ssh

    @property
    def billed_per_hour(self) -> float:
        """$ per hour at this moment: all of it while it runs, the disk alone while it is stopped."""
        return self.disk_usd_per_hour if self.status in ("stopped", "exited") else self.usd_per_hour


def search(needs: Rent, disk_gb: int, bid: float | None = None) -> list[Offer]:
    """Offers that meet `needs` and have that much disk, cheapest first: on demand, or such as `bid` ($/h) would win."""
    price = f"dph_total<={needs.max_usd_per_hour}" if bid is None else f"min_bid<={bid}"
    query = (
        f"num_gpus=1 gpu_ram>={needs.gpu_ram_gb} compute_cap>={needs.compute_cap} cuda_max_good>={CUDA} "
        f"disk_space>={disk_gb} inet_down>={needs.inet_down_mbps} reliability>={needs.reliability} "
        f"direct_port_count>=1 rented=false {price}"
    )
    kind, order = ("on-demand", "dph_total") if bid is None else ("bid", "min_bid")
    options = ["--type", kind, "--order", order, "--limit", str(LIMIT), "--storage", str(disk_gb)]
    return [_offer(row) for row in _ask("search", "offers", query, *options)]


def create(offer: Offer, label: str, disk_gb: int, onstart: str, bid: float | None) -> int:
    """Rent it; the number of the instance. Never asked twice: `label` tells whether a lost answer was a yes.

    Raises:
        OfferGone: nothing was rented.
        VastError: also where nobody knows.
    """
    options = ["--image", IMAGE, "--disk", str(disk_gb), "--ssh", "--direct", "--label", label, "--cancel-unavail"]
    options += ["--onstart-cmd", onstart] + ([] if bid is None else ["--bid_price", str(bid)])
    try:
        answer = _vastai("create", "instance", str(offer.id), *options)
    except VastError as error:
        if error.status in (404, 410) or "no_such_ask" in str(error) or "not available" in str(error):
            raise OfferGone(f"offer {offer.id} is gone: {error}", error.status) from None
        raise
    if not (isinstance(answer, dict) and answer.get("success") and answer.get("new_contract")):
        raise VastError(f"vastai create instance {offer.id}: answered {answer!r:.200}")
    return int(answer["new_contract"])


def instances() -> list[Instance]:
    """All of the account, whoever rented them."""
    return [_instance(row) for row in _ask("show", "instances")]


def instance(number: int) -> Instance | None:
    """One of them; None where it is no more."""
    return next((each for each in instances() if each.id == number), None)


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
    rows, token = [], None
    while True:
        page = _ask("show", "invoices-v1", *options, *(["--next-token", token] if token else []))
        rows += [row for row in page.get("results", []) if str(row.get("source")) == f"instance-{number}"]
        token = page.get("next_token")
        if not token:
            return sum(float(row["amount"]) for row in rows) if rows else None


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
    """What `vastai ARGUMENTS --raw` answers, as JSON; None without any. Its exit status is 0 even for errors."""
    command = [_program(), *arguments, "--raw"]
    shown = f"vastai {' '.join(arguments[:2])}"
    environment = os.environ | {"VASTAI_NO_UPDATE_CHECK": "1"}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=environment)
    except subprocess.TimeoutExpired:
        raise VastError(f"{shown}: no answer in {TIMEOUT} s") from None
    problem = _error(done.stderr)
    if problem:
        status, message = int(problem.get("status_code") or 0), problem.get("msg") or "no reason given"
        hint = "; set the key: .venv-vast/bin/vastai set api-key KEY" if status == 401 else ""
        raise VastError(f"{shown}: HTTP {status}: {message}{hint}", status)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()[-1]
        raise VastError(f"{shown}: {last:.300}")
    try:
        return json.loads(done.stdout) if done.stdout.strip().startswith(("{", "[")) else None
    except json.JSONDecodeError:
        return None


def _error(text: str) -> dict | None:
    """The error among the lines that vastai wrote to stderr."""
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if record.get("error"):
                return record
    return None


def _program() -> str:
    own = paths.ROOT / ".venv-vast" / "bin" / "vastai"
    found = str(own) if own.is_file() else shutil.which("vastai")
    if not found:
        raise VastError("vastai is not here; `make vast` puts it into .venv-vast")
    return found


def _offer(row: dict) -> Offer:
    return Offer(
        id=int(row["id"]),
        gpu=str(row.get("gpu_name", "?")),
        gpu_ram_gb=float(row.get("gpu_ram") or 0) / 1000,
        usd_per_hour=float(row["dph_total"]),
        least_bid=float(row.get("min_bid") or 0),
        inet_down_mbps=float(row.get("inet_down") or 0),
        reliability=float(row.get("reliability2") or row.get("reliability") or 0),
        place=str(row.get("geolocation") or "?"),
    )


def _instance(row: dict) -> Instance:
    disk = float(row.get("storage_cost") or 0) * float(row.get("disk_space") or 0) / HOURS_A_MONTH
    return Instance(
        id=int(row["id"]),
        label=row.get("label") or "",
        gpu=str(row.get("gpu_name", "?")),
        status=row.get("actual_status") or "",
        intended=row.get("intended_status") or "",
        message=(row.get("status_msg") or "").strip(),
        usd_per_hour=float(row.get("dph_total") or 0),
        disk_usd_per_hour=float(row.get("storage_total_cost") or disk),
        started=float(row.get("start_date") or 0),
        address=_address(row),
    )


def _address(row: dict) -> tuple[str, int] | None:
    """Its own port where it has one, else Vast's relay."""
    direct = (row.get("ports") or {}).get("22/tcp") if isinstance(row.get("ports"), dict) else None
    if direct and row.get("public_ipaddr"):
        return row["public_ipaddr"].strip(), int(direct[0]["HostPort"])
    if row.get("ssh_host") and row.get("ssh_port"):
        return row["ssh_host"], int(row["ssh_port"])
    return None
