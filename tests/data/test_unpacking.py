"""What an archive may claim: bombs are refused before they take memory, odd members by name, whatever is damaged."""

import gzip
import io
import random
import struct
import tarfile
import tracemalloc
import zipfile
from contextlib import contextmanager
from tarfile import GNUTYPE_SPARSE

import pytest

from forge_core.data import unpacking
from forge_core.data.archives import unpack
from forge_core.data.unpacking import MAX_DIRECTORY, SMALL, ArchiveError, check_zip

MIB = 1 << 20
ZEROS = gzip.compress(bytes(MIB))  # a gzip file may consist of several, one after the other


def header(kind, size, name="member", pax=None):
    """One header of a tar, as bytes, and the data of `pax` before it."""
    member = tarfile.TarInfo(name)
    member.type, member.size, member.pax_headers = kind, size, pax or {}
    return member.tobuf(tarfile.PAX_FORMAT)


def tar_of(path, *parts):
    """A tar.gz of ready blocks; a number stands for so many MiB of zeros."""
    path.write_bytes(b"".join(ZEROS * part if isinstance(part, int) else gzip.compress(part) for part in parts))
    return path


def write_tar(path, names):
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type, member.size = (tarfile.DIRTYPE, 0) if name.endswith("/") else (tarfile.REGTYPE, 1)
            tar.addfile(member, io.BytesIO(b"x"))
    return path


def write_zip(path, names):
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(zipfile.ZipInfo(name), b"" if name.endswith("/") else b"x")
    return path


BOTH = pytest.mark.parametrize(("name", "write"), [("set.tar.gz", write_tar), ("set.zip", write_zip)])


@contextmanager
def flat():
    """What is done inside takes no more than 8 MiB of memory."""
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8 * MIB


def sparse_header():
    """A GNU sparse member that says that more headers follow, and 2 MiB of these, which say the same."""
    block = header(GNUTYPE_SPARSE, 0)[:148] + b" " * 8 + header(GNUTYPE_SPARSE, 0)[156:482] + b"\1" + bytes(29)
    block = block[:148] + b"%06o\0 " % sum(block) + block[156:]
    return block + (bytes(504) + b"\1" + bytes(7)) * 4096


@pytest.mark.parametrize(
    ("start", "after"),
    [
        (header(tarfile.GNUTYPE_LONGNAME, 40 * MIB), ""),
        (header(tarfile.GNUTYPE_LONGLINK, 40 * MIB), ""),
        (header(tarfile.XHDTYPE, 40 * MIB), ""),
        (header(tarfile.XGLTYPE, 40 * MIB), ""),
        (sparse_header(), ""),
        (header(tarfile.DIRTYPE, 0, "images") + header(tarfile.XHDTYPE, 40 * MIB), " after member 'images'"),
    ],
)
def test_headers_of_a_tar_are_refused_before_they_are_read(tmp_path, start, after):
    archive = tar_of(tmp_path / "set.tar.gz", start, 40)
    problem = f"set.tar.gz: it has headers of more than 64 KiB{after}; the archive is not used"
    with pytest.raises(ArchiveError, match=problem), flat():
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["set.tar.gz"]


def test_headers_that_hold_for_all_members_have_one_limit(tmp_path):
    record = b"30014 key%03d=%s\n"
    parts = []
    for number in range(5):
        told = record % (number, b"a" * 30_000)
        parts += [
            header(tarfile.XGLTYPE, len(told)),
            told.ljust(30_208, b"\0"),
            header(tarfile.REGTYPE, 0, f"m{number}"),
        ]
    with pytest.raises(ArchiveError, match="member 'm2' comes after global headers of more than 64 KiB"):
        unpack(tar_of(tmp_path / "set.tar.gz", *parts), tmp_path / "out")


def test_what_a_member_says_is_forgotten_after_it(tmp_path):
    parts = [header(tarfile.DIRTYPE, 0, f"m{number}", {"comment": "a" * 50_000}) for number in range(250)]
    parts.append(header(tarfile.REGTYPE, 1, "x.png") + b"x".ljust(512, b"\0"))
    archive = tar_of(tmp_path / "set.tar.gz", *parts)
    with flat():
        unpack(archive, tmp_path / "out")
    assert (tmp_path / "out/x.png").read_bytes() == b"x"


def test_zeros_after_the_end_of_a_tar_are_bounded(tmp_path):
    archive = tar_of(tmp_path / "set.tar.gz", header(tarfile.REGTYPE, 1, "a.png") + b"x".ljust(512, b"\0"), 40)
    with pytest.raises(ArchiveError, match="it swells to more than 100 times its packed size after member 'a.png'"):
        unpack(archive, tmp_path / "out")


def test_the_allowance_holds_for_a_whole_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in ("a", "b", "evil"):
            zipped.writestr(name, bytes(SMALL // 2))
    with pytest.raises(ArchiveError, match="set.zip: member 'evil' swells the archive to more than 100 times"):
        check_zip(tmp_path / "set.zip")


def test_a_list_of_members_is_refused_before_it_is_read(tmp_path):
    size = MAX_DIRECTORY + MIB
    with (tmp_path / "set.zip").open("wb") as file:
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 0, 0))
    with pytest.raises(ArchiveError, match="set.zip: its list of members has 129 MiB; the archive is not used"), flat():
        check_zip(tmp_path / "set.zip")


@BOTH
def test_there_are_only_so_many_members(tmp_path, monkeypatch, name, write):
    archive = write(tmp_path / name, list("abcde"))
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 5)
    unpack(archive, tmp_path / "out")
    monkeypatch.setattr(unpacking, "MAX_MEMBERS", 4)
    with pytest.raises(ArchiveError, match=f"{name}: (it has more than 4 members|member 'e' comes after 4 others)"):
        unpack(archive, tmp_path / "again")


def patched(path, change, data=b"x" * 100):
    """A zip of two members, whose entries are changed before they are written."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in ("a.png", "evil.png"):
            zipped.writestr(name, data)
        change(*zipped.filelist)
    return path


def test_members_that_share_their_bytes_are_refused(tmp_path):
    archive = patched(
        tmp_path / "set.zip", lambda first, second: setattr(second, "header_offset", first.header_offset + 1)
    )
    with pytest.raises(ArchiveError, match="set.zip: member 'evil.png' lies within another member"):
        check_zip(archive)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 98])
def test_a_zip_is_stored_or_deflated(tmp_path, method):
    archive = patched(tmp_path / "set.zip", lambda first, second: setattr(second, "compress_type", method))
    with pytest.raises(ArchiveError, match="set.zip: member 'evil.png' is packed in another way than by deflate"):
        check_zip(archive)


def test_a_member_larger_than_it_says_is_broken_and_takes_no_memory(tmp_path):
    archive = patched(tmp_path / "set.zip", lambda first, second: setattr(second, "file_size", 10), bytes(12 * MIB))
    with flat(), check_zip(archive) as zipped, pytest.raises(zipfile.BadZipFile, match="CRC"):
        zipped.read("evil.png")
    with pytest.raises(ArchiveError, match="set.zip: broken or incomplete archive .*CRC"), flat():
        unpack(archive, tmp_path / "out")


ODD_NAMES = [
    ("x" * 252 + ".png", "has a name of more than 1024 bytes, or 255 in one part"),
    ("ü" * 128, "has a name of more than 1024 bytes, or 255 in one part"),
    (f"{'x' * 200}/" * 6 + "a.png", "has a name of more than 1024 bytes, or 255 in one part"),
    ("a/" * 40 + "a.png", "lies more than 32 folders deep"),
    ("a\nb.png", "has control characters in its name"),
    ("\x1b[31m.png", "has control characters in its name"),
    ("a\u2028.png", "has control characters in its name"),
]


@pytest.mark.parametrize(
    ("name", "write", "odd", "problem"),
    [
        *(("set.zip", write_zip, *case) for case in ODD_NAMES),
        *(("set.tar.gz", write_tar, *case) for case in ODD_NAMES),
        ("set.tar.gz", write_tar, "\udcff.png", "has control characters in its name"),  # no UTF-8
    ],
)
def test_odd_names_are_named_in_one_short_line(tmp_path, name, write, odd, problem):
    with pytest.raises(ArchiveError, match=f"{name}: member '.+' {problem}; the archive is not used") as caught:
        unpack(write(tmp_path / name, ["a.png", odd]), tmp_path / "out")
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["a", "a/b"], "'a/b' lies inside of a file"),
        (["a/b", "a"], "'a' has the place of another member"),
        (["a/b", "a/b"], "'a/b' (is there twice|has the place of another member)"),
        (["a", "./a"], "'./a' has the place of another member"),
        (["b", ".unpacked.json"], "'.unpacked.json' has the place of another member"),
        (["b", ".unpacked.json/a"], "'.unpacked.json/a' lies inside of a file"),
    ],
)
@BOTH
def test_two_members_in_one_place_are_refused(tmp_path, name, write, names, problem):
    with pytest.raises(ArchiveError, match=f"{name}: member {problem}; the archive is not used"):
        unpack(write(tmp_path / name, names), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@BOTH
def test_a_folder_may_be_named_again_and_names_may_differ_in_case_where_the_disk_holds_both(tmp_path, name, write):
    (tmp_path / "case").touch()
    assert (unpack(write(tmp_path / name, ["f/", "f/a", "f/"]), tmp_path / "out") / "f/a").read_bytes() == b"x"
    archive = write(tmp_path / name, ["a.png", "A.png"])
    if (tmp_path / "CASE").exists():
        with pytest.raises(ArchiveError, match="member 'A.png' has the place of another member"):
            unpack(archive, tmp_path / "out")
    else:
        assert {path.name for path in unpack(archive, tmp_path / "out").glob("*.png")} == {"a.png", "A.png"}


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"GNU.sparse.map": "0,1", "GNU.sparse.size": "1000"}, "member 'a.png' is a link or a special file"),
        ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, "broken or incomplete archive"),  # its map is in the data
        ({"GNU.sparse.map": "many"}, "broken or incomplete archive"),
        ({"size": "-512"}, "member 'a.png' has less than no bytes"),
    ],
)
def test_sparse_files_and_odd_sizes_are_refused(tmp_path, told, problem):
    parts = header(tarfile.REGTYPE, 512, "a.png", told) + b"no\nnumbers\n".ljust(512, b"\0") * 2
    with pytest.raises(ArchiveError, match=f"set.tar.gz: {problem}"):
        unpack(tar_of(tmp_path / "set.tar.gz", parts), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@BOTH
def test_a_damaged_archive_unpacks_or_is_named(tmp_path, name, write):
    lot, whole = random.Random(0), write(tmp_path / name, ["a.png", "f/b.png", "x" * 120]).read_bytes()
    plain, pack = (gzip.decompress(whole), gzip.compress) if write is write_tar else (whole, bytes)
    plain, refused = plain[:6000], 0
    for _ in range(150):
        damaged = bytearray(plain)
        for _ in range(lot.randrange(1, 4)):
            damaged[lot.randrange(len(damaged))] = lot.randrange(256)
        (tmp_path / name).write_bytes(pack(bytes(damaged)))
        try:
            unpack(tmp_path / name, tmp_path / "out")
        except ArchiveError as error:
            refused += 1
            assert name in str(error) and str(error).isprintable()
    assert refused > 20
