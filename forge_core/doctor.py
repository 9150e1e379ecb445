"""`forge doctor`: what this machine can do, what is missing, and the command that mends it, in one screen.

`forge doctor --profile vast-16gb`: also what that profile needs of disk, shared memory and a card.

Exit status 1 only where a package that the embedded course needs is missing; everything else is information.
"""

from __future__ import annotations

import importlib.metadata
import logging
import netrc
import os
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from packaging.requirements import Requirement

from forge_core import paths, web
from forge_core.text import printable

if TYPE_CHECKING:  # pydantic may be what is missing
    from forge_core.params import EvaluateParams, NotebookParams, TrainParams

HUB_TIMEOUT = 3  # s
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
MEMORY_WANTED = 4  # GiB for the embedded profile
SHARED_WANTED = 1.25e9  # bytes in /dev/shm for the workers of vast-80gb; a container has 64 MB by default


class Line(NamedTuple):
    """One finding; `mend` is a command or advice, "" where nothing is wrong."""

    state: Literal["ok", "missing", "note"]
    what: str
    detail: str
    mend: str = ""


def run(profile: str | None = None) -> int:
    """Print all findings, and what `profile` needs on a card; returns the exit status.

    Raises ValueError where there is no such profile, or its params are wrong.
    """
    required = packages()
    planned = params_of(profile) if profile and required.state == "ok" else None
    checks = (gpu, vram, bf16, four_bit, memory, disk, hub, wandb, chromium)
    lines = [Line("ok", "python", platform.python_version()), required]
    # the checks below import torch and the hub client
    lines += [check() for check in checks] if required.state == "ok" else []
    for line in lines:
        print(f"{line.state:8} {line.what:9} {printable(line.detail)}")
        if line.mend:
            print(f"{'':18} mend: {line.mend}")
    if planned:
        print(f"\n{on_the_host(profile, planned[0])}\n\n{on_the_card(profile, *planned)}")
    return 0 if required.state == "ok" else 1


def packages() -> Line:
    """Every dependency of the package (no extras), installed in a version that it admits."""
    missing = []
    for text in importlib.metadata.requires("churninator-forge") or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            missing += _unmet(requirement)
    if missing:
        return Line("missing", "packages", ", ".join(missing), "make setup")
    return Line("ok", "packages", "all that the embedded course needs")


def params_of(profile: str) -> list[NotebookParams]:
    """The params of 03, 04 and 05. Raises ValueError."""
    from forge_core.params import MODELS, load

    folder = paths.ROOT / "params" / profile
    known = sorted(path.parent.name for path in folder.parent.glob("*/profile.yaml"))
    if profile not in known:
        raise ValueError(f"params/{profile}: no such profile; known: {', '.join(known) or 'none'}")
    return [load(folder / f"{notebook}.yaml") for notebook in MODELS if notebook[:2] in ("03", "04", "05")]


def on_the_host(profile: str, training: TrainParams) -> str:
    """What a profile needs of a disk, part by part, and of shared memory."""
    from forge_core.data import disk
    from forge_core.shared_memory import needed, problem

    head = f"disk of profile {profile}: by the table of sizes in forge_core/data/sources.py"
    label = f"shared memory, data loader workers: {training.num_workers}"
    shared = f"{label:40} {needed(training) / 1e9:8.2f} GB"
    return "\n".join([head, *disk.lines(profile), shared, *filter(None, [problem(training)])])


def on_the_card(profile: str, grounding: TrainParams, reasoning: TrainParams, evaluating: EvaluateParams) -> str:
    """What a profile needs on a card, part by part, and which cards it fits; or why that is not known."""
    from forge_core.models import fit

    base = f"{grounding.base_model}@{grounding.base_revision}"
    try:
        moments = fit.moments(grounding, reasoning, evaluating)
        head = f"memory of profile {profile}, base {base}: arithmetic, not measured on a GPU"
        return f"{head}\n{fit.table(moments)}\n{fit.verdict(moments)}"
    except (OSError, ValueError) as error:
        return f"memory of profile {profile}, base {base}: not known ({str(error).splitlines()[0]})"


def gpu() -> Line:
    """The CUDA device that torch sees."""
    import torch

    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        return Line("ok", "gpu", f"{torch.cuda.get_device_name()}, compute {major}.{minor}, torch {torch.__version__}")
    if shutil.which("nvidia-smi"):
        mend = "make setup, on a driver new enough for this torch; nvidia-smi shows the driver"
        return Line("missing", "gpu", f"a GPU driver is here, but torch {torch.__version__} sees no GPU", mend)
    return Line("note", "gpu", "none: the embedded profile runs on the CPU; the vast profiles need one")


def vram() -> Line:
    """GPU memory, free and in all, and the largest profile that fits."""
    import torch

    from forge_core.gpus import CARDS, least_memory

    if not torch.cuda.is_available():
        return Line("note", "vram", "no GPU")
    free, total = (size / 2**30 for size in torch.cuda.mem_get_info())
    fits = [card for card in CARDS if total >= least_memory(card)]
    profile = f"profile vast-{fits[-1]}gb" if fits else "too small for the vast profiles"
    return Line("ok" if fits else "note", "vram", f"{free:.1f} of {total:.1f} GiB free: {profile}")


def bf16() -> Line:
    """Whether the device multiplies in bfloat16 by itself."""
    import torch

    from forge_core.models.load import compute_dtype

    if not torch.cuda.is_available():
        native = compute_dtype() is torch.bfloat16
        return Line(
            "ok" if native else "note", "bf16", "on this CPU" if native else "not on this CPU; it trains in fp32"
        )
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Line("ok", "bf16", "supported")
    return Line("missing", "bf16", "not on this GPU", "rent an Ampere card or newer (RTX 30xx, A100, L4)")


def four_bit() -> Line:
    """bitsandbytes quantises a small matrix to NF4 and back on the device that training would use."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of an optional package
    try:
        from bitsandbytes.functional import dequantize_4bit, quantize_4bit

        weights = torch.linspace(-1, 1, 64 * 64, device=device).reshape(64, 64)
        error = (dequantize_4bit(*quantize_4bit(weights, quant_type="nf4")) - weights).abs().max().item()
    except Exception as failure:  # a library built for another CUDA fails in many ways, and all mean the same
        return Line("missing", "4-bit", f"bitsandbytes fails on {device}: {failure}", "make setup; load_in_4bit: false")
    if error > 0.2:  # half the widest gap between NF4 levels is 0.152
        return Line("missing", "4-bit", f"bitsandbytes on {device} is off by {error:.2f}", "set load_in_4bit: false")
    return Line("ok", "4-bit", f"bitsandbytes quantises to NF4 on the {device}")


def memory() -> Line:
    """RAM of the machine, or of the container where that is less, and what its processes can share."""
    from forge_core.shared_memory import FOLDER

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    gib = total / 2**30
    detail = f"{gib:.1f} GiB, {os.cpu_count()} CPU cores"
    if FOLDER.is_dir():
        free = shutil.disk_usage(FOLDER).free
        detail += f", {free / 1e9:.2f} GB free in {FOLDER}"
        if free < SHARED_WANTED:
            return Line("note", "ram", f"{detail}, little for data loaders", "start the container with --shm-size=2g")
    return Line("ok" if gib >= MEMORY_WANTED else "note", "ram", detail)


def disk() -> Line:
    """Free space where runs, data and checkpoints are written, and the profiles that a new start has no room for."""
    from forge_core.data.disk import after_setup

    free = shutil.disk_usage(paths.ROOT).free / 1e9
    shown = f"{free:.0f} GB free under {paths.ROOT}"
    if free < 1:
        return Line("missing", "disk", shown, "free some space, or set FORGE_HOME")
    known, unknown = after_setup()
    larger = [f"{name} {needed}" for name, needed in known.items() if needed > free]
    shown += f"; new runs need more: {', '.join(larger)} GB" if larger else ""
    shown += f"; what they need is not known: {'; '.join(unknown)}" if unknown else ""
    return Line("note" if larger or unknown else "ok", "disk", shown)


def hub() -> Line:
    """Whether the model hub answers; not asked where HF_HUB_OFFLINE is set."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return Line("note", "hub", "not asked: HF_HUB_OFFLINE is set", "unset HF_HUB_OFFLINE, if downloads are wanted")
    address = web.shown(constants.ENDPOINT)
    try:
        web.get(constants.ENDPOINT, seconds=HUB_TIMEOUT, limit=0, method="HEAD")
    except OSError as error:
        detail = (
            f"{address} does not answer ({str(error).removeprefix(address + ': ')}); the embedded profile needs no hub"
        )
        return Line("note", "hub", detail, "check the network and HF_ENDPOINT, or set base_model to a local folder")
    return Line("ok", "hub", f"{address} answers")


def wandb() -> Line:
    """Whether a Weights & Biases key is at hand; the key itself is never shown."""
    if os.environ.get("WANDB_API_KEY"):
        return Line("ok", "w&b", "WANDB_API_KEY is set")
    try:
        if netrc.netrc().authenticators("api.wandb.ai"):
            return Line("ok", "w&b", "logged in by netrc")
    except (OSError, netrc.NetrcParseError):
        pass
    return Line("note", "w&b", "no key; only needed with wandb: true", "export WANDB_API_KEY=..., or wandb login")


def chromium() -> Line:
    """A Chromium to take screenshots with."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found:
        return Line("ok", "chromium", found)
    return Line("note", "chromium", "not found; only needed to take screenshots of pages", "apt-get install chromium")


def _unmet(requirement: Requirement) -> list[str]:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return [requirement.name]
    fits = requirement.specifier.contains(version, prereleases=True)
    return [] if fits else [f"{requirement.name} is {version}, needs {requirement.specifier}"]
