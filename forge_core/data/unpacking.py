"""The members of a zip or a tar.gz from strangers: each is looked at before it is read, and limits hold for the whole.

`zipfile` and `tarfile` have no limits of their own: they read a zip's list of members, and the long names and extended
headers of a tar, whole, whatever size these claim. So both read through a file object here that refuses to give more.
"""

import errno
import gzip
import io
import os
import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path

from forge_core.text import one_line, printable

MAX_MEMBER = 256 << 20  # bytes of one file; a screenshot has a few MiB
MAX_MEMBERS = 1_000_000  # the largest of AGUVIS' archives have a third of that
MAX_RATIO = 100  # unpacked to packed bytes of an archive; images hardly shrink
SMALL = 16 << 20  # unpacked bytes of an archive for which the ratio does not matter
MAX_DIRECTORY = 128 << 20  # bytes of a zip's list of members; that of 330,000 images has about 40 MB
MAX_HEADERS = 64 << 10  # bytes of a tar's headers between two members; one with a long name has 2 KiB
MAX_NAME, MAX_PART, MAX_DEPTH = 1024, 255, 32  # bytes of a name and of each part of it; parts
_BLOCK = 1 << 16  # bytes that tarfile reads at a time
_ENTRY = b"PK\1\2"  # begins each entry of a zip's list of members
_LOCAL = 30  # bytes of the header before a member of a zip, without its name
_UNSEEN = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # control characters, half a surrogate pair
_CLASH = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


class ArchiveError(ValueError):
    """An archive that is incomplete, broken or hostile; the message names archive and member."""


def check_zip(archive: Path) -> zipfile.ZipFile:
    """Open a zip of which every member has been looked at. Raises ArchiveError, FileNotFoundError."""
    zipped = _Zip(archive)
    try:
        members = zipped.infolist()
        if not any(member.file_size for member in members):
            raise ArchiveError(f"{archive}: the archive holds no file")
        limits = _Limits(archive, archive.stat().st_size)
        for member in members:
            mode = stat.S_IFMT(member.external_attr >> 16)
            plain = mode in (0, stat.S_IFREG, stat.S_IFDIR) and not member.flag_bits & 1
            # orig_filename: ZipInfo cuts the name at a null byte and swaps separators
            limits.admit(member.orig_filename, plain, member.file_size)
            # the others unpack without a limit, and take what memory their data claims
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise limits.refusal(member.orig_filename, "is packed in another way than by deflate")
        _check_places(limits, members)
    except ArchiveError:
        zipped.close()
        raise
    return zipped


def extract(archive: Path, files: list[Path], folder: Path) -> None:
    """Unpack an archive, which is made up of `files`, into an empty folder. Raises ArchiveError, OSError."""
    try:
        if archive.suffix in (".zip", ".whl"):
            _extract_zip(archive, folder)
        else:
            _extract_tar(archive, files, folder)
    except ArchiveError:
        raise
    except Exception as error:  # the libraries fail in many ways on what is broken
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
            raise
        raise _broken(archive, error) from None


def _extract_zip(archive: Path, folder: Path) -> None:
    with check_zip(archive) as zipped:
        _check_space(archive, sum(member.file_size for member in zipped.infolist()), folder)
        limits = _Limits(archive, archive.stat().st_size)
        for member in zipped.infolist():
            with _place(limits, member.filename, member.is_dir(), folder):
                zipped.extract(member, folder)


def _extract_tar(archive: Path, files: list[Path], folder: Path) -> None:
    limits = _Limits(archive, sum(file.stat().st_size for file in files))
    with gzip.GzipFile(fileobj=io.BufferedReader(_Joined(files))) as unzipped:
        stream = _Metered(unzipped, limits)
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as tar:
            while member := tar.next():
                limits.admit(member.name, member.isdir() or (member.isfile() and not member.issparse()), member.size)
                _check_space(archive, member.size, folder)
                stream.expect(member.size)
                with _place(limits, member.name, member.isdir(), folder):
                    tar.extract(member, folder, filter="data")
                tar.members.clear()  # it would keep a million of them
                if sum(map(len, (*tar.pax_headers, *tar.pax_headers.values()))) > MAX_HEADERS:
                    raise limits.refusal(
                        member.name, f"comes after global headers of more than {MAX_HEADERS >> 10} KiB"
                    )
                stream.expect(0)
        stream.expect(limits.most)
        while stream.read(1 << 20):  # to the end, where gzip checks length and sum: a lost last part is noticed
            pass
    if not limits.total:
        raise ArchiveError(f"{archive}: the archive holds no file")


class _Limits:
    """What the members of an archive of `packed` bytes come to so far, and may come to."""

    def __init__(self, archive: Path, packed: int) -> None:
        self.archive, self.most = archive, max(SMALL, MAX_RATIO * packed)
        self.members, self.total, self.last = 0, 0, ""

    def admit(self, name: str, plain: bool, size: int) -> None:
        """Count a member of `size` bytes in; raises ArchiveError where it must not be used."""
        self.members, self.total, self.last = self.members + 1, self.total + size, name
        if problem := misnamed(name):
            pass
        elif not plain:
            problem = "is a link or a special file, or encrypted"
        elif size > MAX_MEMBER:
            problem = f"has {size / 2**20:,.0f} MiB, more than any screenshot"
        elif size < 0:
            problem = "has less than no bytes"
        elif self.total > self.most:
            problem = f"swells the archive to more than {MAX_RATIO} times its packed size"
        elif self.members > MAX_MEMBERS:
            problem = f"comes after {MAX_MEMBERS:,} others, more than any set has"
        if problem:
            raise self.refusal(name, problem)

    def refusal(self, name: str, problem: str) -> ArchiveError:
        """What is wrong with the member `name`."""
        return ArchiveError(f"{self.archive}: member '{_shown(name)}' {problem}; the archive is not used")


def misnamed(name: str) -> str:
    """What is wrong with the name of a member; empty where nothing is."""
    parts = name.split("/")
    if name[:1] == "/" or ".." in parts or "\\" in name or "\0" in name or name[1:2] == ":":
        return "leads outside the destination"
    if _UNSEEN.search(name):
        return "has control characters in its name"
    if len(parts) > MAX_DEPTH:
        return f"lies more than {MAX_DEPTH} folders deep"
    if len(name) > MAX_PART // 4 and (_bytes(name) > MAX_NAME or max(map(_bytes, parts)) > MAX_PART):
        return f"has a name of more than {MAX_NAME} bytes, or {MAX_PART} in one part"
    return ""


def _bytes(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))


def _shown(name: str) -> str:
    return printable(name if len(name) <= 120 else f"{name[:80]}...{name[-20:]}")


def _broken(archive: Path, error: Exception) -> ArchiveError:
    return ArchiveError(f"{archive}: broken or incomplete archive ({one_line(error)})")


def _check_places(limits: _Limits, members: list[zipfile.ZipInfo]) -> None:
    """Refuse a zip in which two members have one name, or share their bytes."""
    names, end = set(), 0
    for member in sorted(members, key=attrgetter("header_offset")):
        if member.header_offset < end:
            raise limits.refusal(member.orig_filename, "lies within another member")
        end = member.header_offset + _LOCAL + member.compress_size
        if member.filename in names and not member.is_dir():
            raise limits.refusal(member.orig_filename, "is there twice")
        names.add(member.filename)


@contextmanager
def _place(limits: _Limits, name: str, is_folder: bool, folder: Path) -> Iterator[None]:
    """Write a member inside of this; raises ArchiveError where the place of its name in `folder` is taken.

    The disk is asked: it decides whether two names that differ in case, or in how an accent is written, are one.
    """
    target = folder / name
    if os.path.lexists(target) and not (is_folder and target.is_dir()):
        raise limits.refusal(name, "has the place of another member")
    try:
        yield
    except OSError as error:
        if error.errno not in _CLASH:
            raise
        problem = "has a name too long for this disk" if error.errno == errno.ENAMETOOLONG else "lies inside of a file"
        raise limits.refusal(name, problem) from None


def _check_space(archive: Path, size: int, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        needs = f"needs {size / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free"
        raise ArchiveError(f"{archive}: {needs} in {folder.parent}")


class _Zip(zipfile.ZipFile):
    """A zip whose list of members is refused before it is read where it is too long for memory."""

    def __init__(self, archive: Path) -> None:
        self._file = _Directory(io.FileIO(archive))
        try:
            super().__init__(self._file)
        except ArchiveError as error:
            raise ArchiveError(f"{archive}: {error}; the archive is not used") from None
        except Exception as error:  # it trusts offsets, versions and names
            raise _broken(archive, error) from None
        self._file.bounded = False

    def read(self, name: str) -> bytes:
        """The bytes of a member, no more than it says that it has (ZipFile's own `read` unpacks all there is first)."""
        with self.open(name) as member:
            return member.read(self.getinfo(name).file_size)

    def close(self) -> None:
        """Close the archive and its file."""
        super().close()
        self._file.close()


class _Directory(io.BufferedReader):
    """A zip's file: while it is `bounded`, no read of it is longer than a list of members may be."""

    bounded = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.bounded and (size or 0) > MAX_DIRECTORY:
            raise ArchiveError(f"its list of members has {size / 2**20:,.0f} MiB")
        data = super().read(size)
        if self.bounded and data.count(_ENTRY) > MAX_MEMBERS:
            raise ArchiveError(f"it has more than {MAX_MEMBERS:,} members")
        return data


class _Metered:
    """The unpacked bytes of a tar.gz. More than is expected is refused: it would be headers, which are read whole."""

    def __init__(self, stream: gzip.GzipFile, limits: _Limits) -> None:
        self._stream, self._limits, self._at = stream, limits, 0
        self.expect(0)

    def expect(self, size: int) -> None:
        """`size` bytes of a member come next, and then headers."""
        self._due = self._at + size + MAX_HEADERS

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._at += len(data)
        if self._at > self._limits.most:
            problem = f"swells to more than {MAX_RATIO} times its packed size"
        elif self._at > self._due:
            problem = f"has headers of more than {MAX_HEADERS >> 10} KiB"
        else:
            return data
        last = f" after member '{_shown(self._limits.last)}'" if self._limits.last else ""
        raise ArchiveError(f"{self._limits.archive}: it {problem}{last}; the archive is not used")


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
