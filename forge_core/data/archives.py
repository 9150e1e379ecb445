"""Image archives as the AGUVIS sets publish them: zip, and tar.gz cut into `NAME.tar.gz.part_aa, _ab` (or `_00, _01`).

A zip is read in place (`data.images`). A tar.gz is unpacked once: into a folder beside the destination that is renamed
when it is complete, with a marker that remembers the archive. Then its own files can go (`discard`), where a download
fetched them: a note in their place says what they were and where their images lie. Archives are data from strangers, so
only plain files and folders inside the destination pass, and none that is out of proportion.
"""

import json
import os
import shutil
import string
from functools import cache
from itertools import islice, product
from pathlib import Path

from forge_core.data.unpacking import ArchiveError, extract

MARKER = ".unpacked.json"
GONE = ".gone.json"  # ends the name of the note that stands for an archive whose files went


def find(folder: Path, stem: str) -> Path:
    """Path of the archive `stem` in `folder` for `unpack`: `stem.zip`, else `stem.tar.gz` (whole, or in parts)."""
    for archive in (folder / f"{stem}.zip", folder / f"{stem}.tar.gz"):
        if archive.exists() or _numbered_parts(archive) or _gone(archive):
            return archive
    if (note := _note(folder / f"{stem}.tar.gz")).is_file():
        raise FileNotFoundError(
            f"{note}: the images that it names are not whole, or it is torn; `forge data download` brings them again"
        )
    raise FileNotFoundError(f"{folder}: neither {stem}.zip nor {stem}.tar.gz (or its .part_aa, ...) is there")


def sizes(archive: Path) -> dict[str, int]:
    """Bytes of each file that makes up `archive`, by name, whether it is there or went when its images were whole."""
    note = _gone(archive)
    return {name: size for name, size, _ in (note["files"] if note else _identity(parts(archive)))}


def gone(folder: Path, commit: str | None) -> dict[str, int]:
    """Bytes of the files of `commit` that went from `folder` when their images were whole; these are whole still."""
    notes = (_gone(path.with_name(path.name.removesuffix(GONE))) for path in folder.glob(f"*{GONE}"))
    return {name: size for note in notes if note and note["commit"] == commit for name, size, _ in note["files"]}


def discard(archive: Path, images: Path, commit: str, fetched: dict[str, int]) -> None:
    """Remove the files of an archive that lies unpacked in `images`, where a download can bring them again.

    `fetched` has the time of change (ns) of each file that a download fetched of `commit`. Where one is not among them,
    or is a link (into somebody's mirror), or the folder can't be written, all stay.
    """
    try:
        if not _gone(archive):
            files = parts(archive)
            if any(file.is_symlink() or fetched.get(file.name) != file.stat().st_mtime_ns for file in files):
                return
            _write_note(archive, images, commit, _identity(files))
        for file in _left(archive):
            file.unlink()
    except OSError as error:
        _say_once(f"{archive}: unpacked; its own files stay ({error})")


def belongs(raw: Path, data_dir: Path) -> bool:
    """Whether `raw` lies below `data_dir`, and not through a link: only then archives go from it."""
    return raw.is_relative_to(data_dir) and raw.resolve() == data_dir.resolve() / raw.relative_to(data_dir)


def follow(folder: Path, images: Path) -> None:
    """Where archives went from `folder` and their images were moved, to `images`/<stem>, rewrite the notes."""
    for path in folder.glob(f"*{GONE}"):
        archive, note = path.with_name(path.name.removesuffix(GONE)), _read(path)
        moved = images / archive.name.removesuffix(".tar.gz")
        if note and _marked(folder / note["images"]) != note["files"] == _marked(moved):
            _write_note(archive, moved, note["commit"], note["files"])


def parts(archive: Path) -> list[Path]:
    """The files that make up `archive`, in order; raises ArchiveError when one of a split archive is missing."""
    found = _left(archive)
    if not found:
        raise ArchiveError(f"{archive}: no such archive, whole or in parts")
    if found[0] != archive:
        suffixes = [part.name.rpartition("_")[2] for part in found]
        alphabet = string.digits if suffixes[0].isdigit() else string.ascii_lowercase
        names = islice(product(alphabet, repeat=len(suffixes[0])), len(suffixes))
        for suffix, name in zip(suffixes, map("".join, names), strict=False):
            if suffix != name:
                raise ArchiveError(f"{archive}: part_{name} is missing")
    return found


def unpack(archive: Path, destination: Path) -> Path:
    """Unpack `archive` (a zip, a wheel, or a tar.gz that may be in parts) into `destination`, once, and return it.

    Where its files went, the folder is the one that has been unpacked from them. Raises ArchiveError on members that
    leave the destination, links and special files, and on broken archives.
    """
    if note := _gone(archive):
        return archive.parent / note["images"]
    if is_unpacked(archive, destination):
        return destination
    files = parts(archive)
    identity = _identity(files)
    partial = destination.with_name(f"{destination.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        (partial / MARKER).touch()  # no member can take its place
        extract(archive, files, partial)
        (partial / MARKER).write_text(json.dumps(identity))
        shutil.rmtree(destination, ignore_errors=True)
        partial.rename(destination)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return destination


def is_unpacked(archive: Path, destination: Path) -> bool:
    """Whether all of the archive is unpacked, in `destination` or where its files went for it; raises as `parts`."""
    return bool(_gone(archive)) or _marked(destination) == _identity(parts(archive))


def _identity(files: list[Path]) -> list[list]:
    """Name, bytes and time of change (ns) of each file."""
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _marked(destination: Path) -> list[list] | None:
    """The identity of the archive that `destination` was unpacked from."""
    return _read(destination / MARKER)


def _read(path: Path) -> list | dict | None:
    """What a marker or note says; None where it is not there, or torn by a crash."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write_note(archive: Path, images: Path, commit: str, files: list[list]) -> None:
    where = Path(os.path.relpath(images.resolve(), archive.parent.resolve())).as_posix()
    fresh = _note(archive).with_name(f"{_note(archive).name}.new")
    fresh.write_text(json.dumps({"images": where, "commit": commit, "files": files}))
    os.sync()  # the images are on the disk before their archive goes
    fresh.replace(_note(archive))


@cache
def _say_once(line: str) -> None:
    print(line, flush=True)


def _note(archive: Path) -> Path:
    return archive.with_name(f"{archive.name}{GONE}")


def _left(archive: Path) -> list[Path]:
    return [archive] if archive.exists() else _numbered_parts(archive)


def _gone(archive: Path) -> dict | None:
    """The note on an archive whose files went, while it is true: its images are whole, no other file took its place."""
    note = _read(_note(archive))
    whole = note and _marked(archive.parent / note["images"]) == note["files"]
    return note if whole and all(file in note["files"] for file in _identity(_left(archive))) else None


def _numbered_parts(archive: Path) -> list[Path]:
    return sorted(path for path in archive.parent.glob("*.part_*") if path.name.startswith(f"{archive.name}.part_"))
