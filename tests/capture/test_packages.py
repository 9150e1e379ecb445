"""A package is served whole, as the release that was looked at and under its licence, or not at all."""

import base64
import hashlib
import io
import shlex
import tarfile
import zipfile
from dataclasses import replace

import pytest

from forge_core.capture import packages
from forge_core.capture.packages import PACKAGES, Package, PackageError, pages, unpack
from forge_core.data.archives import ArchiveError

MIT = b"The MIT License\n\nPermission is hereby granted, free\nof charge, to any person obtaining a copy of it"
FILES = {
    "package/LICENSE": MIT,
    "package/js/library.js": b"let library",
    "package/index.html": b"<p>index",
    "package/one/a.html": b"<p>a",
    "package/two/b.html": b"<p>b",
    "package/two/draft.html": b"<p>draft",
}


def sri(algorithm, data):
    return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, data).digest()).decode()}"


def tgz(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def wheel(files, times=1):
    """A wheel with each file, or with so many of it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(times):
            for name, data in files.items():
                archive.writestr(f"{name}{number or ''}", data)
    return buffer.getvalue()


def package(data, **changes):
    made = Package(
        name="tiny", registry="npm", version="1.0.0", digest=sri("sha512", data), licence_file="package/LICENSE",
        root="package", pages=("*.html", "*/*.html"), without=("*/draft.html",), viewports=("desktop",), part="test",
    )  # fmt: skip
    return replace(made, **changes)


@pytest.fixture
def tiny(tmp_path):
    """A package that was fetched before, into the folder `cache`."""
    data = tgz(FILES)
    made = package(data)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / made.archive).write_bytes(data)
    return made


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Stands in for npm: does what a shell script says, in which $4 is the folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def does(script):
        (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "npm").chmod(0o755)

    return does


def test_a_package_is_unpacked_and_its_pages_are_listed_in_order(tiny, tmp_path):
    folder = unpack(tiny, tmp_path / "cache")
    assert pages(tiny, folder) == ["index.html", "one/a.html", "two/b.html"]
    assert (folder / "one/a.html").read_bytes() == b"<p>a"


def test_a_wheel_is_unpacked_too(tmp_path):
    data = wheel(FILES)
    made = package(data, registry="pypi", digest=sri("sha256", data))
    (tmp_path / made.archive).write_bytes(data)
    assert pages(made, unpack(made, tmp_path)) == ["index.html", "one/a.html", "two/b.html"]


def test_a_second_call_changes_nothing(tiny, tmp_path):
    def state():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*")}

    folder = unpack(tiny, tmp_path / "cache")
    before = state()
    assert unpack(tiny, tmp_path / "cache") == folder
    assert state() == before


def test_a_file_is_also_where_pages_ask_for_it(tiny, tmp_path):
    copied = replace(tiny, copies=(("js/library.js", "*/*.html"),))
    for _ in range(2):
        folder = unpack(copied, tmp_path / "cache")
    assert [(folder / place / "js/library.js").read_bytes() for place in (".", "one", "two")] == [b"let library"] * 3


def test_an_archive_with_another_hash_is_not_unpacked(tiny, tmp_path):
    other = tgz(FILES | {"package/index.html": b"<p>other"})
    (tmp_path / "cache" / tiny.archive).write_bytes(other)
    with pytest.raises(PackageError) as error:
        unpack(tiny, tmp_path / "cache")
    assert all(part in str(error.value) for part in ("tiny 1.0.0", tiny.digest, sri("sha512", other)))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [tiny.archive]


def test_a_fetched_archive_with_another_hash_is_not_kept(tmp_path, npm):
    npm('printf other > "$4/tiny-1.0.0.tgz"')
    with pytest.raises(PackageError, match="expected sha512-.*found sha512-"):
        unpack(package(tgz(FILES)), tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_what_npm_packs_is_fetched_once(tmp_path, npm):
    data = tgz(FILES)
    (tmp_path / "at-registry.tgz").write_bytes(data)
    source, log = (shlex.quote(str(tmp_path / name)) for name in ("at-registry.tgz", "log"))
    npm(f'echo "$@" >> {log}\n/bin/cp {source} "$4/tiny-1.0.0.tgz"')
    made = package(data)
    assert unpack(made, tmp_path / "cache") == unpack(made, tmp_path / "cache")
    asked = (tmp_path / "log").read_text().splitlines()
    assert len(asked) == 1 and asked[0].startswith("pack tiny@1.0.0 --pack-destination ")


def test_an_archive_of_another_name_is_told(tmp_path, npm):
    npm('printf x > "$4/tiny-1.0.1.tgz"')
    with pytest.raises(PackageError, match=r"expected tiny-1.0.0.tgz from the registry, got tiny-1.0.1.tgz"):
        unpack(package(b""), tmp_path / "cache")


def test_without_npm_the_error_says_what_mends_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError) as error:
        unpack(package(b""), tmp_path / "cache")
    by_hand = f"npm pack tiny@1.0.0 --pack-destination {tmp_path / 'cache'}"
    assert "apt-get install npm" in str(error.value) and by_hand in str(error.value)


def test_a_registry_that_drips_is_left(tmp_path, npm, monkeypatch):
    monkeypatch.setattr(packages, "SECONDS", 0.2)
    npm("exec /bin/sleep 30")
    with pytest.raises(PackageError, match=r"tiny 1\.0\.0: not fetched within 0.2 s; by hand: npm pack tiny@1\.0\.0"):
        unpack(package(b""), tmp_path / "cache")


def test_pip_fetches_wheels_alone_as_a_source_would_be_run():
    commands = [each.command for each in PACKAGES.values() if each.registry == "pypi"]
    assert commands and all({"--only-binary", ":all:", "--no-deps"} <= set(command) for command in commands)


def test_offline_the_error_has_npms_reason_and_the_command(tmp_path, npm):
    npm("echo 'npm error network getaddrinfo EAI_AGAIN' >&2; exit 1")
    with pytest.raises(PackageError, match=r"tiny 1\.0\.0 cannot be fetched: .*EAI_AGAIN.*npm pack tiny@1\.0\.0"):
        unpack(package(b""), tmp_path / "cache")


@pytest.mark.parametrize("name", ["../outside.html", "package/../../outside.html", "/outside.html"])
def test_an_archive_that_writes_outside_its_folder_is_refused(tmp_path, name):
    data = tgz(FILES | {name: b"x"})
    made = package(data)
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / made.archive).write_bytes(data)
    with pytest.raises(ArchiveError, match="leads outside the destination"):
        unpack(made, cache)
    assert [path.name for path in cache.iterdir()] == [made.archive]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_an_archive_bomb_is_refused(tmp_path):
    bombs = {
        "npm": (tgz({"a/" * 300_000 + "a": b"x"}), "it has headers of more than 64 KiB"),
        "pypi": (wheel({"a": bytes(1 << 20)}, 30), "swells the archive to more than 100 times its packed size"),
    }
    for registry, (data, problem) in bombs.items():
        made = package(data, registry=registry)
        (tmp_path / made.archive).write_bytes(data)
        with pytest.raises(ArchiveError, match=f"{made.archive}: .*{problem}"):
            unpack(made, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny-1.0.0-py3-none-any.whl", "tiny-1.0.0.tgz"]


@pytest.mark.parametrize("text", [b"\xff not UTF-8", b"GNU GENERAL PUBLIC LICENSE, of any kind", None])
def test_a_package_without_an_mit_licence_is_refused(tmp_path, text):
    data = tgz(
        {name: each for name, each in FILES.items() if name != "package/LICENSE"}
        | ({} if text is None else {"package/LICENSE": text})
    )
    made = package(data)
    (tmp_path / made.archive).write_bytes(data)
    with pytest.raises(PackageError, match="package/LICENSE is not an MIT licence"):
        unpack(made, tmp_path)


def test_a_half_done_unpack_is_begun_again(tiny, tmp_path):
    for folder in ("tiny-1.0.0", "tiny-1.0.0.partial"):
        half = tmp_path / "cache" / folder / "package"
        half.mkdir(parents=True)
        (half / "LICENSE").write_bytes(MIT)
        (half / "index.html").write_bytes(b"<p>ind")
    folder = unpack(tiny, tmp_path / "cache")
    assert pages(tiny, folder) == ["index.html", "one/a.html", "two/b.html"]
    assert (folder / "index.html").read_bytes() == b"<p>index"


def test_a_package_whose_pages_are_gone_is_told(tiny, tmp_path):
    with pytest.raises(PackageError, match=r"tiny 1\.0\.0: no page in .* matches docs/\*\.html"):
        pages(replace(tiny, pages=("docs/*.html",)), unpack(tiny, tmp_path / "cache"))


def test_every_package_of_the_table_is_pinned_and_on_one_side():
    for name, each in PACKAGES.items():
        algorithm, _, value = each.digest.partition("-")
        assert len(base64.b64decode(value, validate=True)) == hashlib.new(algorithm).digest_size, name
        assert each.part in ("train", "test") and each.licence == "MIT", name
    assert {each.part for each in PACKAGES.values()} == {"train", "test"}
