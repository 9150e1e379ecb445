"""Screenshots are opened where they lie, and looked at to their last byte before they are trusted."""

import io
import os
import random
import struct
import subprocess
import zipfile
import zlib

import pytest
from PIL import Image
from raw_rows import eps, picture, without_pixels

from forge_core.data import images
from forge_core.data.images import FORMATS, PictureError, image_size, join, open_image
from forge_core.data.schema import RowError
from forge_core.data.unpacking import ArchiveError

IMAGES = {"set/a.png": picture(), "set/b.jpg": picture("JPEG", (30, 20)), "set/c.webp": picture("WEBP", (50, 40))}


def png_of(width, height):
    """A PNG that says it is width x height px and whose pixels are not there."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.fixture
def roots(tmp_path):
    """The same images in a folder and in an archive."""

    def write(images):
        for name, data in images.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
        with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in images.items():
                archive.writestr(name, data)
        return [str(tmp_path / "set"), f"{tmp_path / 'set.zip'}::set"]

    return write


def test_a_member_reads_as_a_file_does(roots):
    folder, archive = roots(IMAGES)
    for name, size in (("a.png", (64, 48)), ("b.jpg", (30, 20)), ("c.webp", (50, 40))):
        assert image_size(folder, name) == image_size(archive, name) == size
        assert open_image(join(folder, name)).tobytes() == open_image(join(archive, name)).tobytes()
    assert image_size(archive.removesuffix("set"), "set/a.png") == (64, 48)


def test_another_process_opens_its_own_archive(roots):
    _, archive = roots(IMAGES)
    open_image(join(archive, "a.png"))
    child = os.fork()
    if not child:
        os._exit(open_image(join(archive, "a.png")).size != (64, 48))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("cut.png", picture()[:-400], "unreadable image"),
        ("cut.jpg", picture("JPEG", (300, 200))[:-400], "unreadable image"),
        ("text.png", b"hello", "unreadable image"),
        ("empty.png", b"", "unreadable image"),
        ("bomb.png", png_of(30_000, 30_000), "unreadable image"),
        ("large.png", png_of(12_000, 8_000), "unreadable image"),
        ("none.png", without_pixels(), "unreadable image"),
    ],
)
def test_a_broken_or_huge_image_is_refused_in_both(roots, name, data, reason):
    for root in roots({f"set/{name}": data, "set/good.png": picture()}):
        with pytest.raises(RowError) as caught:
            image_size(root, name)
        assert caught.value.reason == reason and name in caught.value.value
        with pytest.raises(PictureError, match=f"{name}: (not a picture|a picture that cannot be read)"):
            open_image(join(root, name))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_damaged_picture_is_read_or_is_one_kind_of_error(tmp_path, kind):
    lot, whole, refused = random.Random(0), picture(kind, (40, 30)), 0
    for _ in range(150):
        damaged = bytearray(whole[: lot.choice((len(whole), lot.randrange(len(whole))))])
        for _ in range(lot.randrange(4) if damaged else 0):
            damaged[lot.randrange(min(len(damaged), lot.choice((60, 3000))))] = lot.randrange(256)
        (tmp_path / "a.png").write_bytes(damaged)
        for read in (lambda: open_image(tmp_path / "a.png"), lambda: image_size(str(tmp_path), "a.png")):
            try:
                read()
            except (PictureError, RowError) as error:
                refused += 1
                assert "a.png: " in str(error) and str(error).isprintable()
    assert refused > 20


@pytest.mark.parametrize(
    "error",
    [
        subprocess.CalledProcessError(1, ["gs"]), IndexError(), struct.error("short"), MemoryError(), SyntaxError("x"),
        RecursionError(), AttributeError("a"), TypeError("\x1b[31m\nred"), OSError("cut"), zlib.error("-3"),
        Image.DecompressionBombError("bomb"),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_however_a_decoder_fails_the_picture_is_named(error):
    problem = r"^a.png: a picture that cannot be read \(.+\)$"
    with pytest.raises(PictureError, match=problem) as caught, images.picture(picture(), "a.png"):
        raise error
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO", "PCX", "TGA", "EPS"])
def test_only_formats_of_screenshots_are_opened(roots, kind):
    for root in roots({"set/a.png": picture(kind)}):
        with pytest.raises(RowError, match=r"a.png: not a picture \(PNG, JPEG, WEBP, GIF, BMP\)"):
            image_size(root, "a.png")
        with pytest.raises(PictureError, match="a.png: not a picture"):
            open_image(join(root, "a.png"))


def test_no_picture_starts_ghostscript(roots, tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gs").write_text(f"#!/bin/sh\necho ran >> {tmp_path / 'ran'}\n")
    (tmp_path / "bin/gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    for root in roots({"set/evil.png": eps()}):
        with pytest.raises(RowError, match="unreadable image: evil.png: not a picture"):
            image_size(root, "evil.png")
        with pytest.raises(PictureError, match="evil.png: not a picture"):
            open_image(join(root, "evil.png"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../a.png", "/etc/passwd", "x/../../a.png", "x//a.png", "./a.png", "a\\b", "a\0b", ".."]
)
def test_a_name_that_leads_elsewhere_is_refused(roots, name):
    for root in roots(IMAGES):
        with pytest.raises(RowError) as caught:
            image_size(root, name)
        assert caught.value.reason == "image outside the archive"


def test_a_link_out_of_the_folder_is_refused(roots, tmp_path):
    folder, _ = roots(IMAGES)
    (tmp_path / "secret.png").write_bytes(picture())
    (tmp_path / "set/link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(RowError, match="image outside the archive"):
        image_size(folder, "link.png")


def test_a_missing_image_is_a_missing_file(roots):
    for root in roots(IMAGES):
        with pytest.raises(RowError, match="missing image: no.png"):
            image_size(root, "no.png")
        with pytest.raises(FileNotFoundError, match="no.png"):
            open_image(join(root, "no.png"))


def test_a_member_with_a_wrong_checksum_is_refused(roots, tmp_path):
    _, archive = roots({"set/a.png": picture()})
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_STORED) as stored:
        stored.writestr("set/a.png", picture())
    data = bytearray((tmp_path / "set.zip").read_bytes())
    data[200] ^= 1
    (tmp_path / "set.zip").write_bytes(data)
    with pytest.raises(RowError, match="unreadable image: a.png: .*CRC"):
        image_size(archive, "a.png")
    with pytest.raises(PictureError, match="set.zip::set/a.png: .*CRC"):
        open_image(join(archive, "a.png"))


def test_an_archive_is_looked_at_before_a_member_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.png", picture())
        archive.writestr("../evil.png", picture())
    with pytest.raises(ArchiveError, match="set.zip: member '../evil.png' leads outside"):
        open_image(tmp_path / "set.zip::a.png")


def test_the_picture_is_rgb(roots):
    buffer = io.BytesIO()
    Image.new("P", (4, 3)).save(buffer, "PNG")
    for root in roots({"set/a.png": buffer.getvalue()}):
        assert open_image(join(root, "a.png")).mode == "RGB"
