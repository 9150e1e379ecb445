"""A picture from a file or from the web, which nobody has looked at before: size, time and kind are limited."""

import re
import time
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib import request

from PIL import Image

from forge_core import __version__
from forge_core.data.images import rgb

MAX_BYTES = 20 * 2**20
SECONDS = 20  # of silence, and for the whole
_WEB = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)  # two letters or more: C: is a drive


def fetch_image(source: str | Path) -> Image.Image:
    """The picture behind a path or an http(s) URL, as RGB.

    Raises FileNotFoundError where there is none, OSError where it does not come (status, time, size), and ValueError
    where it is no picture, a decompression bomb (PIL's limit, 89 million px), or the URL is of another kind.
    """
    if isinstance(source, str) and _WEB.match(source):
        data = _download(source)
    elif isinstance(source, str) and _SCHEME.match(source):
        raise ValueError(f"{source:.80}: expected a file, or a URL that begins with http:// or https://")
    else:
        data = _read(Path(source))
    return rgb(data, str(source))


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise OSError(f"{path}: more than {MAX_BYTES >> 20} MB")
    return path.read_bytes()


def _download(url: str) -> bytes:
    """The body, streamed. The opener knows http and https only, so that no redirect leads anywhere else."""
    opener = request.OpenerDirector()
    for handler in (
        *(request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler, request.HTTPRedirectHandler),
        *(request.HTTPErrorProcessor, request.HTTPDefaultErrorHandler, request.UnknownHandler),
    ):
        opener.add_handler(handler())
    asked = {"User-Agent": f"churninator-forge/{__version__}", "Accept": "image/*"}
    try:
        with opener.open(request.Request(url, headers=asked), timeout=SECONDS) as response:
            return _body(response)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: what is no URL after all
        reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        raise OSError(f"{url:.200}: {' '.join(reason.split())}") from None


def _body(response: HTTPResponse) -> bytes:
    data, end = bytearray(), time.monotonic() + SECONDS
    while part := response.read1(1 << 16):
        data += part
        if len(data) > MAX_BYTES:
            raise OSError(f"more than {MAX_BYTES >> 20} MB")
        if time.monotonic() > end:
            raise OSError(f"not done after {SECONDS} s")
    return bytes(data)
