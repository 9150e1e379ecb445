"""Whether the disks have room for what is still to fetch and what is unpacked beside it; asked before the first byte.

Screenshots hardly shrink, so an archive counts as much unpacked as packed. Zips of subsets are read in place. A tar.gz
is unpacked, and what was fetched of it goes before the next one's turn, where raw data lies below data_dir. The images
of a benchmark, those in parquet files, and those of any other tar.gz stay beside what they came from.
"""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from forge_core.data import archives
from forge_core.data.disk import existing
from forge_core.data.download_errors import DownloadError
from forge_core.data.listing import Listing, fetched

UNPACKED = ".unpacked"  # the images of a benchmark, below its folder


class Use(NamedTuple):
    """Bytes that a folder will take; `passing`: as many go again from the same disk before the next such use."""

    folder: Path
    size: int
    passing: bool = False


def check(stages: list[Listing], benchmark: Listing, data_dir: Path) -> None:
    """Raise DownloadError where a disk lacks room for all of them; what stages have is unpacked below `data_dir`."""
    downloads = [Use(listing.order.folder, listing.rest) for listing in (*stages, benchmark)]
    beside = [use for listing in stages for use in (*_tars(listing, data_dir), *_parquet(listing, data_dir))]
    beside += _zips(benchmark)
    uses = [*downloads, *beside]
    for folder in {_disk(use.folder): use.folder for use in uses}.values():
        fetch, more = _most(downloads, folder), _most(beside, folder)
        free = shutil.disk_usage(existing(folder)).free
        if fetch + more > free:
            raise DownloadError(
                f"all stages and the benchmark need {text(fetch + more)} on the disk of {folder}, {text(fetch)} to "
                f"fetch and up to {text(more)} at a time to unpack; {text(free)} are free there; make room, set "
                "raw_dir and data_dir to another disk, or name fewer subsets; nothing was fetched"
            )


def text(size: float) -> str:
    """Bytes in words."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _most(uses: list[Use], folder: Path) -> int:
    """The most that the uses take at a time of the disk on which `folder` is."""
    here = [use for use in uses if _disk(use.folder) == _disk(folder)]
    return sum(use.size for use in here if not use.passing) + max((use.size for use in here if use.passing), default=0)


def _tars(listing: Listing, data_dir: Path) -> list[Use]:
    """Each tar.gz that is not unpacked yet."""
    raw, files = listing.order.folder, {}
    for name in listing.sizes:
        stem, tar, _ = name.partition(".tar.gz")
        if tar:
            files.setdefault(stem, []).append(name)
    images = data_dir / "images" / raw.name
    go = archives.belongs(raw, data_dir) and listing.commit is not None and _disk(images) == _disk(raw)
    ours = {*listing.missing, *fetched(listing)} if go else set()
    return [
        Use(images / stem, sum(listing.sizes[name] for name in names), ours.issuperset(names))
        for stem, names in files.items()
        if not _is_unpacked(raw / f"{stem}.tar.gz", images / stem)
    ]


def _parquet(listing: Listing, data_dir: Path) -> list[Use]:
    """The images in parquet files; those of files that are there may be written already, and do not count."""
    return [Use(data_dir, size) for name, size in listing.missing.items() if name.endswith(".parquet")]


def _zips(benchmark: Listing) -> list[Use]:
    folder = benchmark.order.folder
    zips = {name: size for name, size in benchmark.sizes.items() if name.endswith(".zip")}
    return [Use(folder, size) for name, size in zips.items() if not _is_unpacked(folder / name, folder / UNPACKED)]


def _is_unpacked(archive: Path, images: Path) -> bool:
    try:
        return archives.is_unpacked(archive, images)
    except archives.ArchiveError:
        return False  # it is not whole itself


def _disk(folder: Path) -> int:
    return os.stat(existing(folder)).st_dev
