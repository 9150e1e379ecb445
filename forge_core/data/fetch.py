"""A picture from a file or from the web, which nobody has looked at before: size, time and kind are limited."""

import re
from pathlib import Path

from PIL import Image

from forge_core import web
from forge_core.data.images import rgb

MAX_BYTES = 20 * 2**20
SECONDS = 20  # for the whole of it
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
        raise ValueError(f"{web.shown(source):.80}: expected a file, or a URL that begins with http:// or https://")
    else:
        data = _read(Path(source))
    return rgb(data, web.shown(str(source)))


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise OSError(f"{path}: more than {MAX_BYTES >> 20} MB")
    return path.read_bytes()


def _download(url: str) -> bytes:
    answer = web.get(url, seconds=SECONDS, limit=MAX_BYTES, accept="image/*")
    if not 200 <= answer.status < 300:
        raise OSError(f"{web.shown(url)}: the server answered with status {answer.status}")
    if not answer.whole:
        raise OSError(f"{web.shown(url)}: more than {MAX_BYTES >> 20} MB")
    return answer.body
