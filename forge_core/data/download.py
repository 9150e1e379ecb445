"""Fetch the full data sets from the hub, or link them from a folder that stands in for it; a later call goes on.

    download("aguvis", 1, ["guienv"], "data/aguvis/raw", "main")

HF_ENDPOINT names another hub, HF_TOKEN opens gated data sets; huggingface_hub reads both. What is fetched from where is
looked up first (`data.listing`), for all stages, and so is the room for it (`data.room`).
"""

import errno
import glob
import shutil
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Lock

from huggingface_hub import hf_hub_url, snapshot_download
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, tqdm

from forge_core.data import archives, room, sandbox
from forge_core.data.download_errors import DownloadError, clear_errors
from forge_core.data.listing import PARTIAL, Listing, Order, lacking, look_up, mark_fetched, size_of, write_note
from forge_core.data.room import text
from forge_core.data.sources import BENCHMARKS, OTHER_NAMES, REPOSITORIES, Subset, on_hub, subsets
from forge_core.data.special import tokens_of_base
from forge_core.params import ExploreParams
from forge_core.paths import resolve
from forge_core.progress import Progress

WORKERS = 4  # files at a time
SECONDS = 5.0  # between two lines of progress


def download(
    source: str, stage: int, subset_names: list[str], raw_dir: str | Path, revision: str, mirror: str = ""
) -> Path:
    """Bring the files of the named subsets of "aguvis" or "smolagents" to raw_dir/stage{N} and return that folder.

    `mirror` is a folder with <owner>/<name>/<file>, whose files are linked; "" is the hub.
    Raises ValueError for a subset that is not in the table, DownloadError for all that goes wrong on the way.
    """
    order = _stage_order(source, stage, subset_names, raw_dir, revision)
    _bring(look_up(order, mirror))
    return order.folder


def download_benchmark(name: str, folder: str | Path, revision: str = "", mirror: str = "") -> Path:
    """Bring a set of `sources.BENCHMARKS` to `folder`, unpack its images there, and return the folder.

    `revision` "" is the table's. Raises ValueError for an unknown name, DownloadError, and ArchiveError for images that
    cannot be unpacked.
    """
    order = _benchmark_order(name, folder, revision)
    _bring(look_up(order, mirror))
    _unpack_images(order)
    return order.folder


def obtain(params: ExploreParams) -> None:
    """Put the raw data of both stages and the benchmark where `params` says: drawn, or downloaded.

    A download looks all of it up, the base's tokenizer too, and the room for it, before it fetches anything. What
    `forge capture` wrote has to be there: raises FileNotFoundError where it is not.
    """
    raw_dir, benchmark_dir = resolve(params.raw_dir), resolve(params.benchmark_dir)
    if params.source == "sandbox":
        sandbox.write_raw(raw_dir, params.sandbox_screens, params.seed)
        sandbox.write_benchmark(benchmark_dir, params.benchmark_screens, params.seed)
    elif params.source == "capture":
        _check_captured(params, raw_dir, benchmark_dir)
    else:
        _download_all(params)


def _download_all(params: ExploreParams) -> None:
    orders = [
        _stage_order(params.source, 1, params.stage1_subsets, params.raw_dir, params.stage1_revision),
        _stage_order(params.source, 2, params.stage2_subsets, params.raw_dir, params.stage2_revision),
        _benchmark_order("screenspot_v2", params.benchmark_dir),
    ]
    tokens_of_base(params.base_model, params.base_revision)  # which notebook 01 needs as soon as the data is there
    for order in orders[:2]:
        archives.follow(order.folder, resolve(params.data_dir) / "images" / order.folder.name)
    *stages, benchmark = [look_up(order, params.mirror) for order in orders]
    room.check(stages, benchmark, resolve(params.data_dir))
    for listing in (*stages, benchmark):
        _bring(listing)
    _unpack_images(benchmark.order)


def _check_captured(params: ExploreParams, raw_dir: Path, benchmark_dir: Path) -> None:
    chosen = [*subsets(1, params.stage1_subsets), *subsets(2, params.stage2_subsets)]
    files = [raw_dir / f"stage{subset.stage}" / subset.json for subset in chosen]
    for path in (*files, *(benchmark_dir / f"screenspot_{name}_v2.json" for name in ("web", "desktop", "mobile"))):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing; forge capture URL_OR_FOLDER --out {raw_dir.parent} writes it")


def _stage_order(source: str, stage: int, names: list[str], raw_dir: str | Path, revision: str) -> Order:
    wants = dict.fromkeys(want for subset in on_hub(stage, names) for want in _wants(source, subset))
    folder = resolve(raw_dir) / f"stage{stage}"
    return Order(f"stage {stage}", source, REPOSITORIES[source][stage], revision, tuple(wants), folder)


def _benchmark_order(name: str, folder: str | Path, revision: str = "") -> Order:
    if name not in BENCHMARKS:
        raise ValueError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    benchmark = BENCHMARKS[name]
    images = [_archive(benchmark.archive)] if benchmark.archive else []
    wants = (*((pattern,) for pattern in benchmark.files), *images)
    return Order(name, name, benchmark.repository, revision or benchmark.revision, wants, resolve(folder))


def _wants(source: str, subset: Subset) -> list[tuple[str, ...]]:
    if source == "smolagents":
        return [(f"{subset.name}/*.parquet",)]
    return [_names(subset.json), _archive(subset.archive)]


def _archive(stem: str) -> tuple[str, ...]:
    return (*_names(f"{stem}.zip"), f"{stem}.tar.gz", f"{stem}.tar.gz.part_*")


def _names(name: str) -> tuple[str, ...]:
    return (name, OTHER_NAMES[name]) if name in OTHER_NAMES else (name,)


def _unpack_images(order: Order) -> None:
    """Make a benchmark's images lie in folder/<stem>, whether or not the archive has a top folder of that name."""
    folder, stem = order.folder, BENCHMARKS[order.label].archive
    if not stem:
        return
    images, unpacked = folder / stem, Path(room.UNPACKED)
    if images.exists() and not images.is_symlink():
        raise DownloadError(f"{images} is in the way of the downloaded images; move it elsewhere")
    archives.unpack(archives.find(folder, stem), folder / unpacked)
    target = unpacked / stem if (folder / unpacked / stem).is_dir() else unpacked
    images.unlink(missing_ok=True)
    images.symlink_to(target)


def _bring(listing: Listing) -> None:
    order, commit = listing.order, listing.commit
    if listing.done:
        print(f"{order.label}: {order}: already downloaded, {_amount(listing.sizes)} in {order.folder}", flush=True)
        return
    with clear_errors(order.repository, order.revision, order.folder):
        order.folder.mkdir(parents=True, exist_ok=True)
        _link(listing) if listing.mirror else _fetch(listing)
        if lost := lacking(order.folder, listing.sizes, commit):
            raise DownloadError(f"{order}: {', '.join(lost)} came with another size than is listed; run it again")
        for name, other in OTHER_NAMES.items():
            if other in listing.sizes and not (order.folder / name).exists():
                (order.folder / name).symlink_to(other)
        write_note(listing)
        if not listing.mirror:
            shutil.rmtree(order.folder / PARTIAL, ignore_errors=True)


def _link(listing: Listing) -> None:
    order = listing.order
    for name in listing.sizes:
        link = order.folder / name
        if link.is_symlink() or name in listing.missing:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to((listing.mirror / name).resolve())
    print(f"{order.label}: {order.repository}: linked {_amount(listing.sizes)} of {listing.mirror}", flush=True)


def _fetch(listing: Listing) -> None:
    """Fetch what is missing, the large files first, so that these can be continued.

    huggingface_hub begins a file anew in every run, under another temporary name; so it gets the small ones and those
    that only its Xet protocol can carry, and compares the sums of all.
    """
    order, commit = listing.order, listing.commit
    _announce(listing)
    _fetch_large(listing, {name: size for name, size in listing.missing.items() if name in listing.large})
    late = lacking(order.folder, listing.sizes, commit)
    for name in late:
        (order.folder / name).unlink(missing_ok=True)  # huggingface_hub would not look at its size
    print(f"{order.label}: comparing checksums", flush=True)
    gone = archives.gone(order.folder, commit)
    names = [glob.escape(name) for name in listing.sizes if name not in gone]
    where = {"repo_type": "dataset", "revision": commit, "local_dir": order.folder}
    snapshot_download(order.repository, allow_patterns=names, tqdm_class=_NoBar, **where)
    for name in late:
        mark_fetched(listing, name)


def _announce(listing: Listing) -> None:
    """Say what there is to fetch; raises DownloadError where it has no room."""
    order, rest = listing.order, listing.rest
    what = f"{_amount(listing.sizes)}, {len(listing.missing)} to fetch ({text(rest)})"
    print(f"{order.label}: {order.repository}@{listing.commit[:8]}: {what}", flush=True)
    free = shutil.disk_usage(order.folder).free
    if rest > free:
        needs = f"{text(rest)} are still to fetch, {text(free)} are free in {order.folder}"
        raise DownloadError(f"{order}: {needs}; make room, use another folder, or name fewer subsets")


def _fetch_large(listing: Listing, sizes: dict[str, int]) -> None:
    """Fetch several files at a time; when one fails, the others stop where they are."""
    meter = _Meter(listing.order.label, sum(sizes.values()))
    with ThreadPoolExecutor(WORKERS) as pool:
        running = [pool.submit(_fetch_file, listing, name, size, meter) for name, size in sizes.items()]
        try:
            for future in as_completed(running):
                future.result()
        except BaseException:
            meter.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_file(listing: Listing, name: str, size: int, meter: "_Meter") -> None:
    target, partial = listing.order.folder / name, listing.partial / name
    for path in (target, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
    if size_of(partial) > size:
        partial.unlink()
    url = hf_hub_url(listing.order.repository, name, repo_type="dataset", revision=listing.commit)
    with partial.open("ab") as file:
        http_get(
            url, file, resume_size=file.tell(), headers=build_hf_headers(), expected_size=size, tqdm_class=meter.start
        )
    mark_fetched(listing, name)
    partial.replace(target)


class _Meter:
    """Counts the bytes of all files and shows them every few seconds; a progress bar to `http_get`."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done, self.stopped = label, total, 0, False
        self.lock, self.printed, self.before = Lock(), time.monotonic(), 0
        self.progress = Progress()

    def start(self, initial: int = 0, **_) -> "_Meter":
        """Take in a file of which `initial` bytes are there."""
        with self.lock:
            self.done += initial
            self.before += initial
        return self

    def __enter__(self) -> "_Meter":
        return self

    def __exit__(self, *_) -> None:
        pass

    def update(self, count: int) -> None:
        if self.stopped:
            raise InterruptedError(errno.EINTR, "another file failed")
        with self.lock:
            self.done += count
            passed = time.monotonic() - self.printed
            if passed >= SECONDS:
                rate = text((self.done - self.before) / max(passed, 1e-6))
                line = f"{self.label}: {text(self.done)} of {text(self.total)}, {rate}/s"
                self.progress.show(self.done, self.total, line)
                self.printed, self.before = time.monotonic(), self.done


class _NoBar(tqdm):
    """For what is fetched and compared at the end: the lines of the meter are enough."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs | {"disable": True})


def _amount(sizes: dict[str, int]) -> str:
    return f"{len(sizes)} {'file' if len(sizes) == 1 else 'files'}, {text(sum(sizes.values()))}"
