"""Fetch the full data sets from the hub, or link them from a folder that stands in for it; a later call goes on.

    download("aguvis", 1, ["guienv"], "data/aguvis/raw", "main")

HF_ENDPOINT names another hub, HF_TOKEN opens gated data sets; huggingface_hub reads both. `source.json` beside the
files notes where they are from: while it says the same repository and revision, later calls stay at its commit.
"""

import errno
import fnmatch
import glob
import json
import re
import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from threading import Lock

from huggingface_hub import HfApi, constants, hf_hub_url, snapshot_download
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers, tqdm

from forge_core.data import archives, sandbox
from forge_core.data.download_errors import DownloadError, clear_errors
from forge_core.data.sources import BENCHMARKS, REPOSITORIES, Subset, subsets
from forge_core.params import ExploreParams
from forge_core.paths import resolve
from forge_core.progress import Progress

NOTE = "source.json"
PARTIAL = ".partial"  # what is fetched in part, below it one folder a commit
WORKERS = 4  # files at a time
SECONDS = 5.0  # between two lines of progress


@dataclass(frozen=True)
class _Order:
    """What to bring where. Each of `wants` is one thing: patterns of file names; the first that matches counts."""

    label: str
    source: str
    repository: str
    revision: str
    wants: tuple[tuple[str, ...], ...]
    folder: Path

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}"


def download(
    source: str, stage: int, subset_names: list[str], raw_dir: str | Path, revision: str, mirror: str = ""
) -> Path:
    """Bring the files of the named subsets of "aguvis" or "smolagents" to raw_dir/stage{N} and return that folder.

    `mirror` is a folder with <owner>/<name>/<file>, whose files are linked; "" is the hub.
    Raises ValueError for a subset that is not in the table, DownloadError for all that goes wrong on the way.
    """
    chosen, folder = subsets(stage, subset_names), resolve(raw_dir) / f"stage{stage}"
    for subset in chosen:
        if not subset.on_hub:
            maker = "drawn, source: sandbox" if subset.name.startswith("sandbox") else "captured, source: capture"
            raise ValueError(f"{subset.name} is not on the hub: it is {maker}")
    wants = dict.fromkeys(want for subset in chosen for want in _wants(source, subset))
    _bring(_Order(f"stage {stage}", source, REPOSITORIES[source][stage], revision, tuple(wants), folder), mirror)
    return folder


def download_benchmark(name: str, folder: str | Path, revision: str = "", mirror: str = "") -> Path:
    """Bring a set of `sources.BENCHMARKS` to `folder`, unpack its images there, and return the folder.

    `revision` "" is the table's. Raises ValueError for an unknown name, DownloadError, and ArchiveError for images that
    cannot be unpacked.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"no benchmark {name!r}; there are {', '.join(BENCHMARKS)}")
    benchmark, folder = BENCHMARKS[name], resolve(folder)
    images = [_archive(benchmark.archive)] if benchmark.archive else []
    wants = (*((pattern,) for pattern in benchmark.files), *images)
    revision = revision or benchmark.revision
    _bring(_Order(name, name, benchmark.repository, revision, wants, folder), mirror)
    if images:
        _unpack_images(folder, benchmark.archive)
    return folder


def obtain(params: ExploreParams) -> None:
    """Put the raw data of both stages and the benchmark where `params` says: drawn, or downloaded.

    What `forge capture` wrote has to be there: raises FileNotFoundError where it is not.
    """
    raw_dir, benchmark_dir = resolve(params.raw_dir), resolve(params.benchmark_dir)
    if params.source == "sandbox":
        sandbox.write_raw(raw_dir, params.sandbox_screens, params.seed)
        sandbox.write_benchmark(benchmark_dir, params.benchmark_screens, params.seed)
    elif params.source == "capture":
        _check_captured(params, raw_dir, benchmark_dir)
    else:
        download(params.source, 1, params.stage1_subsets, raw_dir, params.stage1_revision, params.mirror)
        download(params.source, 2, params.stage2_subsets, raw_dir, params.stage2_revision, params.mirror)
        download_benchmark("screenspot_v2", benchmark_dir, mirror=params.mirror)


def _check_captured(params: ExploreParams, raw_dir: Path, benchmark_dir: Path) -> None:
    chosen = [*subsets(1, params.stage1_subsets), *subsets(2, params.stage2_subsets)]
    files = [raw_dir / f"stage{subset.stage}" / subset.json for subset in chosen]
    for path in (*files, *(benchmark_dir / f"screenspot_{name}_v2.json" for name in ("web", "desktop", "mobile"))):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing; forge capture URL_OR_FOLDER --out {raw_dir.parent} writes it")


def _wants(source: str, subset: Subset) -> list[tuple[str, ...]]:
    if source == "smolagents":
        return [(f"{subset.name}/*.parquet",)]
    return [(subset.json,), _archive(subset.archive)]


def _archive(stem: str) -> tuple[str, ...]:
    return tuple(stem + ending for ending in (".zip", ".tar.gz", ".tar.gz.part_*"))


def _unpack_images(folder: Path, stem: str) -> None:
    """Make the images lie in folder/<stem>, whether or not the archive has a top folder of that name."""
    images, unpacked = folder / stem, Path(".unpacked")
    if images.exists() and not images.is_symlink():
        raise DownloadError(f"{images} is in the way of the downloaded images; move it elsewhere")
    archives.unpack(archives.find(folder, stem), folder / unpacked)
    target = unpacked / stem if (folder / unpacked / stem).is_dir() else unpacked
    images.unlink(missing_ok=True)
    images.symlink_to(target)


def _bring(order: _Order, mirror: str) -> None:
    note = _read_note(order)
    names, missing = _choose(order.wants, note["files"])
    sizes = {name: note["files"][name] for name in names}
    if not missing and (mirror or note["commit"]) and not _lacking(order.folder, sizes):
        print(f"{order.label}: {order}: already downloaded, {_amount(sizes)} in {order.folder}", flush=True)
        return
    with clear_errors(order.repository, order.revision, order.folder, noted=NOTE if note["commit"] else ""):
        order.folder.mkdir(parents=True, exist_ok=True)
        commit, sizes = _link(order, resolve(mirror)) if mirror else _fetch(order, note["commit"] or order.revision)
        if lacking := _lacking(order.folder, sizes):
            raise DownloadError(f"{order}: {', '.join(lacking)} came with another size than is listed; run it again")
        _write_note(order, commit, (note["files"] if commit == note["commit"] else {}) | sizes)


def _read_note(order: _Order) -> dict:
    """What source.json says about the same repository and revision, else that there is nothing yet."""
    try:
        note = json.loads((order.folder / NOTE).read_text())
    except (OSError, ValueError):
        note = {}
    same = (note.get("repository"), note.get("revision")) == (order.repository, order.revision)
    return note if same else {"commit": None, "files": {}}


def _write_note(order: _Order, commit: str | None, files: dict[str, int]) -> None:
    note = {"source": order.source, "repository": order.repository, "revision": order.revision, "commit": commit}
    fresh = order.folder / f"{NOTE}.new"
    fresh.write_text(json.dumps(note | {"files": dict(sorted(files.items()))}, indent=2) + "\n")
    fresh.replace(order.folder / NOTE)


def _choose(wants: Iterable[tuple[str, ...]], names: Iterable[str]) -> tuple[list[str], list[tuple[str, ...]]]:
    """(the names that make up what is wanted, the wants that none of the names meets)."""
    names, chosen, missing = sorted(name for name in names if ".." not in name.split("/")), {}, []
    for patterns in wants:
        found = next((hits for pattern in patterns if (hits := fnmatch.filter(names, pattern))), [])
        chosen |= dict.fromkeys(found)
        missing += [] if found else [patterns]
    return list(chosen), missing


def _choose_or_say(order: _Order, sizes: dict[str, int]) -> dict[str, int]:
    names, missing = _choose(order.wants, sizes)
    if missing:
        lacks = ", ".join(" or ".join(patterns) for patterns in missing)
        there = _similar([patterns[0] for patterns in missing], sorted({name.split("/")[0] for name in sizes}))
        raise DownloadError(f"{order}: the repository has no {lacks}; {there}; name other subsets or another revision")
    return {name: sizes[name] for name in names}


def _similar(patterns: list[str], names: list[str]) -> str:
    stems = [re.split("[./]", name)[0] for name in names]
    close = {stem for pattern in patterns for stem in get_close_matches(re.split("[./]", pattern)[0], stems)}
    similar = [name for name, stem in zip(names, stems, strict=True) if stem in close]
    return f"similar names there: {', '.join(similar)}" if similar else f"there are: {', '.join(names[:10])}"


def _lacking(folder: Path, sizes: dict[str, int]) -> list[str]:
    return [name for name, size in sizes.items() if not (folder / name).is_file() or _size(folder / name) != size]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _link(order: _Order, mirror: Path) -> tuple[None, dict[str, int]]:
    root = mirror / order.repository
    if not root.is_dir():
        raise DownloadError(f"{order}: the mirror has no folder {root}; put the files there, or name no mirror")
    found = (path for depth in ("*", "*/*", "*/*/*") for path in root.glob(depth) if path.is_file())
    sizes = _choose_or_say(order, {path.relative_to(root).as_posix(): path.stat().st_size for path in found})
    for name in sizes:
        link = order.folder / name
        if link.is_symlink() or _lacking(order.folder, {name: sizes[name]}):
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to((root / name).resolve())
    print(f"{order.label}: {order.repository}: linked {_amount(sizes)} of {root}", flush=True)
    return None, sizes


def _fetch(order: _Order, revision: str) -> tuple[str, dict[str, int]]:
    """The commit of `revision` and what came from it, the large files first, so that these can be continued.

    huggingface_hub begins a file anew in every run, under another temporary name; so it gets the small ones and those
    that only its Xet protocol can carry, and compares the sums of all.
    """
    info = HfApi().dataset_info(order.repository, revision=revision, files_metadata=True)
    if not re.fullmatch("[0-9a-f]{40}", order.revision):
        print(f"{order.label}: {order} is commit {info.sha}; write that into the params as revision to pin it")
    sizes = _choose_or_say(order, {file.rfilename: file.size for file in info.siblings or []})
    missing = {name: sizes[name] for name in _lacking(order.folder, sizes)}
    _announce(order, info.sha, sizes, missing)
    large = {file.rfilename for file in info.siblings if file.lfs and file.size <= constants.MAX_HTTP_DOWNLOAD_SIZE}
    _fetch_large(order, info.sha, {name: size for name, size in missing.items() if name in large})
    for name in _lacking(order.folder, sizes):
        (order.folder / name).unlink(missing_ok=True)  # huggingface_hub would not look at its size
    print(f"{order.label}: comparing checksums", flush=True)
    names = [glob.escape(name) for name in sizes]
    where = {"repo_type": "dataset", "revision": info.sha, "local_dir": order.folder}
    snapshot_download(order.repository, allow_patterns=names, tqdm_class=_NoBar, **where)
    shutil.rmtree(order.folder / PARTIAL, ignore_errors=True)
    return info.sha, sizes


def _announce(order: _Order, commit: str, sizes: dict[str, int], missing: dict[str, int]) -> None:
    """Say what there is to fetch; raises DownloadError where it has no room."""
    partial = order.folder / PARTIAL / commit
    rest = sum(max(0, size - _size(partial / name)) for name, size in missing.items())
    what = f"{_amount(sizes)}, {len(missing)} to fetch ({_text(rest)})"
    print(f"{order.label}: {order.repository}@{commit[:8]}: {what}", flush=True)
    free = shutil.disk_usage(order.folder).free
    if rest > free:
        needs = f"{_text(rest)} are still to fetch, {_text(free)} are free in {order.folder}"
        raise DownloadError(f"{order}: {needs}; make room, use another folder, or name fewer subsets")


def _fetch_large(order: _Order, commit: str, sizes: dict[str, int]) -> None:
    """Fetch several files at a time; when one fails, the others stop where they are."""
    meter = _Meter(order.label, sum(sizes.values()))
    with ThreadPoolExecutor(WORKERS) as pool:
        running = [pool.submit(_fetch_file, order, commit, name, size, meter) for name, size in sizes.items()]
        try:
            for future in as_completed(running):
                future.result()
        except BaseException:
            meter.stopped = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _fetch_file(order: _Order, commit: str, name: str, size: int, meter: "_Meter") -> None:
    target, partial = order.folder / name, order.folder / PARTIAL / commit / name
    for path in (target, partial):
        path.parent.mkdir(parents=True, exist_ok=True)
    if _size(partial) > size:
        partial.unlink()
    url = hf_hub_url(order.repository, name, repo_type="dataset", revision=commit)
    with partial.open("ab") as file:
        http_get(
            url, file, resume_size=file.tell(), headers=build_hf_headers(), expected_size=size, tqdm_class=meter.start
        )
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
                rate = _text((self.done - self.before) / max(passed, 1e-6))
                text = f"{self.label}: {_text(self.done)} of {_text(self.total)}, {rate}/s"
                self.progress.show(self.done, self.total, text)
                self.printed, self.before = time.monotonic(), self.done


class _NoBar(tqdm):
    """For what is fetched and compared at the end: the lines of the meter are enough."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs | {"disable": True})


def _text(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _amount(sizes: dict[str, int]) -> str:
    return f"{len(sizes)} {'file' if len(sizes) == 1 else 'files'}, {_text(sum(sizes.values()))}"
