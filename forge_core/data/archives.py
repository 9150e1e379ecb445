"""Image archives as the AGUVIS sets publish them: zip, and tar.gz cut into `NAME.tar.gz.part_aa, _ab` (or `_00, _01`).

A zip is read in place (`data.images`). A tar.gz is unpacked once: into a folder beside the destination that is renamed
when it is complete, with a marker that remembers the archive. Then its own files can go (`discard`), where a download
fetched them: a note in their place says what they were and where their images lie. Archives are data from strangers, so
only plain files and folders inside the destination pass, and none that is out of proportion.
"""

import gzip
import io
import json
import lzma
import os
import shutil
import stat
import string
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import islice, product
from pathlib import Path, PurePosixPath

MARKER = ".unpacked.json"
GONE = ".gone.json"  # ends the name of the note that stands for an archive whose files went
MAX_MEMBER = 256 << 20  # bytes of one file; a screenshot has a few MiB
MAX_RATIO = 100  # unpacked to packed bytes; images hardly shrink
SMALL = 16 << 20  # bytes for which the ratio does not matter


class ArchiveError(ValueError):
    """An archive that is incomplete, broken or hostile; the message names archive and member."""


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


def check_zip(archive: Path) -> zipfile.ZipFile:
    """Open a zip of which every member has been looked at. Raises ArchiveError, FileNotFoundError."""
    try:
        zipped = zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise ArchiveError(f"{archive}: broken or incomplete archive ({error})") from None
    try:
        if not any(member.file_size for member in zipped.infolist()):
            raise ArchiveError(f"{archive}: the archive holds no file")
        for member in zipped.infolist():
            mode = stat.S_IFMT(member.external_attr >> 16)
            plain = mode in (0, stat.S_IFREG, stat.S_IFDIR) and not member.flag_bits & 1
            # orig_filename: ZipInfo cuts the name at a null byte and swaps separators
            size, packed = member.file_size, member.compress_size
            _check(archive, member.orig_filename, plain, size, size, packed)
    except ArchiveError:
        zipped.close()
        raise
    return zipped


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
        _extract(archive, files, partial)
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


def _extract(archive: Path, files: list[Path], folder: Path) -> None:
    try:
        if archive.suffix in (".zip", ".whl"):
            _extract_zip(archive, folder)
        else:
            _extract_tar(archive, files, folder)
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        RuntimeError,
    ) as error:
        raise ArchiveError(f"{archive}: broken or incomplete archive ({error})") from None


def _extract_zip(archive: Path, folder: Path) -> None:
    with check_zip(archive) as zipped:
        _check_space(archive, sum(member.file_size for member in zipped.infolist()), folder)
        zipped.extractall(folder)


def _extract_tar(archive: Path, files: list[Path], folder: Path) -> None:
    total, packed = 0, sum(file.stat().st_size for file in files)
    with gzip.GzipFile(fileobj=io.BufferedReader(_Joined(files))) as stream:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                total += member.size
                _check(archive, member.name, member.isfile() or member.isdir(), member.size, total, packed)
                _check_space(archive, member.size, folder)
                tar.extract(member, folder, filter="data")
        while stream.read(1 << 20):  # to the end, where gzip checks length and sum: a lost last part is noticed
            pass
    if not total:
        raise ArchiveError(f"{archive}: the archive holds no file")


def _check(archive: Path, name: str, plain: bool, size: int, total: int, packed: int) -> None:
    """Refuse a member by name. `size` is its own, `total` and `packed` are the bytes whose ratio is looked at."""
    path, problem = PurePosixPath(name), ""
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":":
        problem = "leads outside the destination"
    elif not plain:
        problem = "is a link or a special file, or encrypted"
    elif size > MAX_MEMBER:
        problem = f"has {size / 2**20:,.0f} MiB, more than any screenshot"
    elif total > max(SMALL, MAX_RATIO * packed):
        problem = f"swells to more than {MAX_RATIO} times its packed size"
    if problem:
        raise ArchiveError(f"{archive}: member {name!r} {problem}; the archive is not used")


def _check_space(archive: Path, size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        needs = f"needs {size / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"
        raise ArchiveError(f"{archive}: {needs} in {folder.parent}")


class _Joined(io.RawIOBase):
    """The bytes of several files as one stream, so that a split archive needs no second copy on disk."""

    def __init__(self, files: list[Path]) -> None:
        self._chunks = self._read(files)
        self._rest = b""

    @staticmethod
    def _read(files: list[Path]) -> Iterator[bytes]:
        for file in files:
            with file.open("rb") as opened:
                while chunk := opened.read(1 << 20):
                    yield chunk

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
