"""Archives unpack once and completely, or not at all; none writes outside its folder."""

import io
import stat
import tarfile
import zipfile

import pytest

from forge_core.data import unpacking
from forge_core.data.archives import find, unpack
from forge_core.data.unpacking import SMALL, ArchiveError, check_zip

FILES = {"images/a.png": b"a" * 3000, "images/sub/b.png": bytes(range(256)) * 20}


def make_zip(path, files=FILES):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name), data)
    return path


def make_parts(path, size=200, members=None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for member in members or [tarfile.TarInfo(name) for name in FILES]:
            data = FILES.get(member.name, b"") if member.isfile() else b""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    whole = buffer.getvalue()
    for number, start in enumerate(range(0, len(whole), size)):
        path.with_name(f"{path.name}.part_a{chr(97 + number)}").write_bytes(whole[start : start + size])
    return path


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".unpacked.json"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize(("name", "make"), [("set.zip", make_zip), ("set.tar.gz", make_parts)])
def test_both_forms_unpack(tmp_path, name, make):
    make(tmp_path / name)
    assert find(tmp_path, "set") == tmp_path / name
    assert contents(unpack(tmp_path / name, tmp_path / "out" / "set")) == FILES


def test_the_parts_are_really_several(tmp_path):
    make_parts(tmp_path / "set.tar.gz")
    assert len(list(tmp_path.glob("*.part_*"))) > 1


def test_unpacking_happens_once_until_the_archive_changes(tmp_path):
    archive, out = make_zip(tmp_path / "set.zip"), tmp_path / "out"
    unpack(archive, out)
    (out / "images/a.png").write_bytes(b"still here")
    unpack(archive, out)
    assert contents(out)["images/a.png"] == b"still here"
    make_zip(archive, {"images/c.png": b"new"})
    assert contents(unpack(archive, out)) == {"images/c.png": b"new"}


def test_an_interrupted_unpacking_is_started_again(tmp_path):
    (tmp_path / "out.partial/images").mkdir(parents=True)
    (tmp_path / "out.partial/images/rest.png").write_bytes(b"half")
    (tmp_path / "out").mkdir()
    assert contents(unpack(make_zip(tmp_path / "set.zip"), tmp_path / "out")) == FILES
    assert not (tmp_path / "out.partial").exists()


def zip_link(name="images/link"):
    link = zipfile.ZipInfo(name)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    return link


def tar_member(name, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("name", ["../evil", "images/../../evil", "/tmp/evil", "..\\evil", "C:/evil", zip_link()])
def test_a_hostile_zip_writes_nothing(tmp_path, name):
    archive = make_zip(tmp_path / "set.zip", {"images/a.png": b"a", name: b"/etc"})
    with pytest.raises(ArchiveError, match="set.zip: member .*(evil|link)"):
        unpack(archive, tmp_path / "deep" / "out")
    assert not contents(tmp_path / "deep")


@pytest.mark.parametrize(
    "member",
    [
        tar_member("../evil"),
        tar_member("/tmp/evil"),
        tar_member("images/../../evil"),
        tar_member("evil", tarfile.SYMTYPE, "/etc/passwd"),
        tar_member("evil", tarfile.LNKTYPE, "images/a.png"),
        tar_member("evil", tarfile.FIFOTYPE),
        tar_member("evil", tarfile.CHRTYPE),
    ],
)
def test_a_hostile_tar_writes_nothing(tmp_path, member):
    archive = make_parts(tmp_path / "set.tar.gz", members=[tarfile.TarInfo("images/a.png"), member])
    with pytest.raises(ArchiveError, match="set.tar.gz: member .*evil"):
        unpack(archive, tmp_path / "deep" / "out")
    assert not contents(tmp_path / "deep")


def encrypted(path):
    """A zip whose member says that it is encrypted."""
    data = bytearray(make_zip(path, {"evil": b"secret"}).read_bytes())
    for signature in (b"PK\x03\x04", b"PK\x01\x02"):  # local header: flags at 6; central: at 8
        data[data.index(signature) + (6 if signature == b"PK\x03\x04" else 8)] |= 1
    path.write_bytes(data)
    return path


def deflated(path, size, name="evil"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(size))
    return path


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (encrypted, "is a link or a special file, or encrypted"),
        (lambda path: deflated(path, SMALL + 1), "swells the archive to more than 100 times its packed size"),
        (lambda path: make_zip(path, {"a.png": b"a", "../evil": b"x"}), "leads outside the destination"),
        (lambda path: make_zip(path, {"a.png": b"a", zip_link("evil"): b"/etc"}), "is a link or a special file"),
    ],
)
def test_a_zip_is_refused_before_it_is_read_in_place(tmp_path, make, problem):
    with pytest.raises(ArchiveError, match=f"set.zip: member '(../)?evil' {problem}.*; the archive is not used"):
        check_zip(make(tmp_path / "set.zip"))


def test_a_member_larger_than_any_screenshot_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_MEMBER", 1000)
    with pytest.raises(ArchiveError, match="set.zip: member 'images/a.png' has .* more than any screenshot"):
        check_zip(make_zip(tmp_path / "set.zip"))
    with pytest.raises(ArchiveError, match="set.tar.gz: member 'images/a.png' has .* more than any screenshot"):
        unpack(make_parts(tmp_path / "set.tar.gz"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tar_that_swells_is_refused_before_it_fills_the_disk(tmp_path):
    archive = tmp_path / "set.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("a", "b", "evil"):
            member = tarfile.TarInfo(name)
            member.size = SMALL // 2
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(
        ArchiveError, match="set.tar.gz: it swells to more than 100 times its packed size after member 'b'"
    ):
        unpack(archive, tmp_path / "out")
    assert not contents(tmp_path / "out.partial") and not (tmp_path / "out").exists()


def test_what_is_no_zip_and_an_empty_one_are_named(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"hello")
    with pytest.raises(ArchiveError, match="a.zip: broken or incomplete archive"):
        check_zip(tmp_path / "a.zip")
    with pytest.raises(ArchiveError, match="b.zip: the archive holds no file"):
        check_zip(make_zip(tmp_path / "b.zip", {"folder/": b""}))


def test_parts_may_be_numbered(tmp_path):
    archive = make_parts(tmp_path / "set.tar.gz")
    for number, part in enumerate(sorted(tmp_path.glob("*.part_*"))):
        part.rename(tmp_path / f"set.tar.gz.part_{number:02d}")
    assert contents(unpack(archive, tmp_path / "out")) == FILES
    (tmp_path / "set.tar.gz.part_01").unlink()
    with pytest.raises(ArchiveError, match="set.tar.gz: part_01 is missing"):
        unpack(archive, tmp_path / "again")


def test_a_missing_part_is_named(tmp_path):
    archive = make_parts(tmp_path / "set.tar.gz", size=100)
    (tmp_path / "set.tar.gz.part_ab").unlink()
    with pytest.raises(ArchiveError, match="set.tar.gz: part_ab is missing"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("lost", [1, 4, 9, 20, 10_000])
@pytest.mark.parametrize(("name", "make"), [("set.zip", make_zip), ("set.tar.gz", make_parts)])
def test_a_truncated_archive_leaves_nothing(tmp_path, name, make, lost):
    make(tmp_path / name)
    last = sorted(tmp_path.iterdir())[-1]
    last.write_bytes(last.read_bytes()[: max(0, last.stat().st_size - lost)])
    with pytest.raises(ArchiveError, match=name):
        unpack(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_a_lost_last_part_and_a_changed_byte_are_noticed(tmp_path):
    archive = make_parts(tmp_path / "set.tar.gz", size=60)
    last = sorted(tmp_path.iterdir())[-1]
    data = last.read_bytes()
    last.write_bytes(data[:-8] + bytes([data[-8] ^ 1]) + data[-7:])  # in gzip's checksum
    with pytest.raises(ArchiveError, match="set.tar.gz: broken"):
        unpack(archive, tmp_path / "out")
    last.unlink()
    with pytest.raises(ArchiveError, match="set.tar.gz: broken"):
        unpack(archive, tmp_path / "out")


def test_no_archive_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"neither set.zip nor set.tar.gz"):
        find(tmp_path, "set")
    with pytest.raises(ArchiveError, match="no such archive"):
        unpack(tmp_path / "set.zip", tmp_path / "out")
