"""Look up what is wanted, on the hub or in a folder that stands in for it, before any of it is fetched.

`source.json` beside the files notes where they are from: while it says the same repository and revision, later calls
stay at its commit, and ask nobody where all of it is there.
"""

import fnmatch
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from huggingface_hub import HfApi, constants

from forge_core.data import archives
from forge_core.data.download_errors import DownloadError, clear_errors
from forge_core.paths import resolve

NOTE = "source.json"
PARTIAL = ".partial"  # what is fetched in part, below it one folder a commit
FETCHED = ".fetched"  # ends the name of the empty file there that says: this one was fetched


@dataclass(frozen=True)
class Order:
    """What to bring where. Each of `wants` is one thing: patterns of file names; the first that matches counts."""

    label: str
    source: str
    repository: str
    revision: str
    wants: tuple[tuple[str, ...], ...]
    folder: Path

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}"


@dataclass(frozen=True)
class Listing:
    """What an order comes to: the commit (None: of a mirror), the bytes of each file, and which are missing.

    `mirror` is the folder with the files, None for the hub; `large` are the files that can be continued by HTTP.
    """

    order: Order
    commit: str | None
    sizes: dict[str, int]
    missing: dict[str, int]
    mirror: Path | None = None
    large: frozenset[str] = frozenset()
    done: bool = False  # all is there, and nobody was asked

    @property
    def partial(self) -> Path:
        """The folder for what is fetched in part."""
        return self.order.folder / PARTIAL / str(self.commit)

    @property
    def rest(self) -> int:
        """Bytes that are still to fetch; none from a mirror, which is linked."""
        here = {name: size_of(self.partial / name) for name in self.missing}
        return 0 if self.mirror else sum(max(0, size - here[name]) for name, size in self.missing.items())


def look_up(order: Order, mirror: str) -> Listing:
    """What the order comes to. Raises DownloadError where something of it is not there, or nobody can be asked."""
    note = read_note(order)
    names, unmet = _choose(order.wants, note["files"])
    sizes = {name: note["files"][name] for name in names}
    if not unmet and (mirror or note["commit"]) and not lacking(order.folder, sizes, note["commit"]):
        return Listing(order, note["commit"], sizes, {}, done=True)
    with clear_errors(order.repository, order.revision, order.folder, noted=NOTE if note["commit"] else ""):
        if mirror:
            return _look_into(order, resolve(mirror) / order.repository)
        return _ask_hub(order, note["commit"] or order.revision)


def read_note(order: Order) -> dict:
    """What source.json says about the same repository and revision, else that there is nothing yet."""
    note = _read(order)
    return note if note.get("revision") == order.revision else {"commit": None, "files": {}}


def write_note(listing: Listing) -> None:
    """Note what was brought, beside what earlier orders brought from the same commit."""
    order, before = listing.order, _of_commit(listing)
    files = before.get("files", {}) | listing.sizes
    note = {"source": order.source, "repository": order.repository, "revision": order.revision}
    fresh = order.folder / f"{NOTE}.new"
    note |= {"commit": listing.commit, "files": dict(sorted(files.items()))}
    note |= {"fetched": dict(sorted(fetched(listing).items()))}
    fresh.write_text(json.dumps(note, indent=2) + "\n")
    fresh.replace(order.folder / NOTE)


def mark_fetched(listing: Listing, name: str) -> None:
    """Remember that a download fetched the file, until `write_note` notes it: others in the folder are the user's."""
    mark = listing.partial / f"{name}{FETCHED}"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def fetched(listing: Listing) -> dict[str, int]:
    """Time of change (ns) of each file there that downloads of this commit fetched, and nobody changed since."""
    folder, partial = listing.order.folder, listing.partial
    marks = [mark.relative_to(partial).as_posix().removesuffix(FETCHED) for mark in partial.rglob(f"*{FETCHED}")]
    noted = _of_commit(listing).get("fetched", {})
    times = {name: (folder / name).stat().st_mtime_ns for name in (*noted, *marks) if (folder / name).is_file()}
    return {name: time for name, time in times.items() if name in marks or noted[name] == time}


def _of_commit(listing: Listing) -> dict:
    """What source.json says about the same commit, whatever revision led to it; {} where it is about another."""
    note = _read(listing.order)
    return note if note.get("commit") == listing.commit else {}


def _read(order: Order) -> dict:
    """What source.json says about the same repository; {} where there is none, or it is about another."""
    try:
        note = json.loads((order.folder / NOTE).read_text())
    except (OSError, ValueError):
        return {}
    return note if note.get("repository") == order.repository else {}


def lacking(folder: Path, sizes: dict[str, int], commit: str | None) -> dict[str, int]:
    """What of `sizes` is not in the folder, and did not go from there when its images were whole."""
    gone = archives.gone(folder, commit)
    here = {name: size_of(folder / name) if (folder / name).is_file() else gone.get(name) for name in sizes}
    return {name: size for name, size in sizes.items() if here[name] != size}


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def _look_into(order: Order, mirror: Path) -> Listing:
    if not mirror.is_dir():
        raise DownloadError(f"{order}: the mirror has no folder {mirror}; put the files there, or name no mirror")
    found = (path for depth in ("*", "*/*", "*/*/*") for path in mirror.glob(depth) if path.is_file())
    sizes = _choose_or_say(order, {path.relative_to(mirror).as_posix(): path.stat().st_size for path in found})
    return Listing(order, None, sizes, lacking(order.folder, sizes, None), mirror)


def _ask_hub(order: Order, revision: str) -> Listing:
    try:
        info = HfApi().dataset_info(order.repository, revision=revision, files_metadata=True)
        files = {str(file.rfilename): file for file in info.siblings or []}
    except (AttributeError, KeyError, TypeError) as error:  # JSON of another shape
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if not re.fullmatch("[0-9a-f]{40}", str(info.sha)):  # a folder is named after it
        raise ValueError(f"{info.sha!r:.60} is no commit")
    if not re.fullmatch("[0-9a-f]{40}", order.revision):
        print(f"{order.label}: {order} is commit {info.sha}; write that into the params as revision to pin it")
    sizes = _choose_or_say(order, {name: file.size for name, file in files.items()})
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 0:
            raise ValueError(f"{name!r:.60} has a size of {size!r:.40}")
    large = {name for name, size in sizes.items() if files[name].lfs and size <= constants.MAX_HTTP_DOWNLOAD_SIZE}
    return Listing(order, info.sha, sizes, lacking(order.folder, sizes, info.sha), large=frozenset(large))


def _choose(wants: Iterable[tuple[str, ...]], names: Iterable[str]) -> tuple[list[str], list[tuple[str, ...]]]:
    """(the names that make up what is wanted, the wants that none of the names meets)."""
    names, chosen, unmet = sorted(name for name in names if ".." not in name.split("/")), {}, []
    for patterns in wants:
        found = next((hits for pattern in patterns if (hits := fnmatch.filter(names, pattern))), [])
        chosen |= dict.fromkeys(found)
        unmet += [] if found else [patterns]
    return list(chosen), unmet


def _choose_or_say(order: Order, sizes: dict[str, int]) -> dict[str, int]:
    names, unmet = _choose(order.wants, sizes)
    if unmet:
        lacks = ", ".join(" or ".join(patterns) for patterns in unmet)
        there = _similar([patterns[0] for patterns in unmet], sorted({name.split("/")[0] for name in sizes}))
        raise DownloadError(f"{order}: the repository has no {lacks}; {there}; name other subsets or another revision")
    return {name: sizes[name] for name in names}


def _similar(patterns: list[str], names: list[str]) -> str:
    stems = [re.split("[./]", name)[0] for name in names]
    close = {stem for pattern in patterns for stem in get_close_matches(re.split("[./]", pattern)[0], stems)}
    similar = [name for name, stem in zip(names, stems, strict=True) if stem in close]
    return f"similar names there: {', '.join(similar)}" if similar else f"there are: {', '.join(names[:10])}"
