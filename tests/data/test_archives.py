"""Archives unpack once and completely, or not at all; none writes outside its folder."""

import io
import stat
import tarfile
import zipfile

import pytest

from forge_core.data.archives import ArchiveError, find, unpack

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


def zip_link():
    link = zipfile.ZipInfo("images/link")
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
