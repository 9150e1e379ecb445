"""Pictures from files and from a web server on 127.0.0.1 that means harm."""

import io
import itertools

import pytest
from PIL import Image
from web_server import WebServer

from forge_core.data import fetch
from forge_core.data.fetch import MAX_BYTES, fetch_image


def png(size=(64, 48), mode="RGB", kind="PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


PAGES = {
    "/a.png": (200, {"Content-Type": "image/png"}, png()),
    "/unnamed": (200, {"Content-Type": "text/html"}, png(kind="WEBP")),  # what counts is what it is
    "/moved": (302, {"Location": "/a.png"}, ""),
    "/page.png": (200, {"Content-Type": "image/png"}, "<html>no picture</html>"),
    "/endless.png": (200, {"Content-Type": "image/png"}, itertools.repeat(b"\0" * (1 << 16))),
    "/cut.png": (200, {"Content-Type": "image/png"}, png()[:-20]),
    "/empty.png": (200, {}, b""),
    "/bomb.png": (200, {"Content-Type": "image/png"}, png((12_000, 8_000), "1")),
    "/drawing.eps": (200, {}, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"),
    "/to-file": (302, {"Location": "file:///etc/hostname"}, ""),
    "/to-ftp": (302, {"Location": "ftp://127.0.0.1/a.png"}, ""),
    "/to-data": (302, {"Location": "data:image/png;base64,AAAA"}, ""),
    "/other-port": (302, {"Location": "http://127.0.0.1:9/a.png"}, ""),
    "/round": (302, {"Location": "/round"}, ""),
    "/silent.png": None,
}


@pytest.fixture(scope="module")
def web():
    server = WebServer(PAGES)
    yield server
    server.stop()


@pytest.mark.parametrize("path", ["/a.png", "/unnamed", "/moved"])
def test_a_picture_is_fetched_and_is_rgb(web, path):
    image = fetch_image(web.url + path)
    assert (image.size, image.mode) == ((64, 48), "RGB")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/page.png", "not a picture"),
        ("/empty.png", "not a picture"),
        ("/drawing.eps", "not a picture"),
        ("/cut.png", "a picture that cannot be read"),
        ("/bomb.png", "a picture that cannot be read .*decompression bomb"),
        ("/endless.png", "more than 20 MB"),
        ("/no.png", "status 404"),
        ("/to-file", "file:///etc/hostname: expected http:// or https://"),
        ("/to-ftp", "ftp://127.0.0.1/a.png: expected http:// or https://"),
        ("/to-data", "data:.*: expected http:// or https://"),
        ("/round", "more than 5 redirects"),
        ("/other-port", "redirects to another origin, .*not followed"),
    ],
)
def test_a_bad_answer_is_one_line_with_the_url(web, path, reason):
    with pytest.raises((OSError, ValueError), match=f"{web.url}{path}: .*{reason}") as caught:
        fetch_image(web.url + path)
    assert "\n" not in str(caught.value)


def test_a_server_that_says_nothing_is_left(web, monkeypatch):
    monkeypatch.setattr(fetch, "SECONDS", 0.2)
    with pytest.raises(OSError, match="silent.png: not done after 0.2 s"):
        fetch_image(web.url + "/silent.png")


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://127.0.0.1/a.png", "data:image/png;base64,AA", "about:x"]
)
def test_other_urls_are_refused(url):
    with pytest.raises(ValueError, match="expected a file, or a URL that begins with http"):
        fetch_image(url)


@pytest.mark.parametrize("url", ["http://", "http://127.0.0.1:x/", "http://127.0.0.1:1/", "http://a b/", "http://é/ü"])
def test_what_leads_nowhere_is_an_os_error(url):
    with pytest.raises(OSError, match=f"{url}: "):
        fetch_image(url)


def test_files_are_read_within_the_same_limits(tmp_path):
    (tmp_path / "a.png").write_bytes(png(mode="RGBA"))
    (tmp_path / "bomb.png").write_bytes(png((12_000, 8_000), "1"))
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert fetch_image(tmp_path / "a.png").mode == fetch_image(str(tmp_path / "a.png")).mode == "RGB"
    for name, error, reason in (
        ("bomb.png", ValueError, "decompression bomb"),
        ("huge.png", OSError, "more than 20 MB"),
        ("no.png", FileNotFoundError, "no such file"),
    ):
        with pytest.raises(error, match=f"{name}: .*{reason}"):
            fetch_image(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no such file"):
        fetch_image(tmp_path)
