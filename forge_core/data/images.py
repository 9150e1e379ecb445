"""Open a screenshot where it lies: a file, or a member of a zip archive written as `archive.zip::member`."""

import io
import os
import posixpath
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw

from forge_core.data.schema import RowError
from forge_core.data.unpacking import check_zip

INSIDE = "::"  # between an archive and its member
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)


def open_image(reference: str | Path) -> Image.Image:
    """The screenshot as RGB. Raises OSError where it is missing or broken."""
    with Image.open(_source(str(reference))) as image:
        return image.convert("RGB")


def mark(image: Image.Image, box: Sequence[float], clicked: Sequence[float] | None) -> Image.Image:
    """A copy with a box in blue and a click, if any, as a ring; both normalised to [0, 1]."""
    image = image.copy()
    pen, (width, height) = ImageDraw.Draw(image), image.size
    line = max(2, width // 300)
    pen.rectangle([box[0] * width, box[1] * height, box[2] * width, box[3] * height], outline="#0072B2", width=line)
    if clicked:
        pen.circle((clicked[0] * width, clicked[1] * height), 4 * line, outline="#CC79A7", width=line)
    return image


def image_size(root: str, name: str) -> tuple[int, int]:
    """(width, height) in px of the image `name` under `root` (a folder, or `archive.zip::folder`), read to its end.

    Raises RowError where it is missing, leads elsewhere, cannot be decoded or is a decompression bomb.
    """
    if name != posixpath.normpath(name) or name.startswith(("/", "..")) or "\\" in name or "\0" in name:
        raise RowError("image outside the archive", name)
    try:
        if INSIDE not in root and not Path(root, name).resolve().is_relative_to(Path(root).resolve()):
            raise RowError("image outside the archive", name)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(_source(join(root, name))) as image:
                return _read_through(image)
    except FileNotFoundError:
        raise RowError("missing image", name) from None
    except RowError:
        raise
    except _UNREADABLE as error:
        raise RowError("unreadable image", f"{name}: {error}") from None


def join(root: str, name: str) -> str:
    """`name` under `root`, which may be an archive's top (`archive.zip::`)."""
    return root + name if root.endswith(INSIDE) else posixpath.join(root, name)


def _read_through(image: Image.Image) -> tuple[int, int]:
    """The size, after a look at every byte: checksums where the format has them, else the pixels."""
    size = image.size
    if image.format == "PNG":
        image.verify()
    else:
        image.draft("RGB", (1, 1))  # a JPEG at an eighth of its size: fast, and reads the file to its end
        image.load()
    return size


def _source(reference: str) -> str | io.BytesIO:
    """What PIL opens: the path of a file, or the bytes of an archive's member."""
    archive, inside, member = reference.partition(INSIDE)
    if not inside:
        return reference
    try:
        return io.BytesIO(_opened(archive, os.stat(archive).st_mtime_ns, os.getpid()).read(member))
    except KeyError:
        raise FileNotFoundError(reference) from None


@lru_cache(maxsize=4)
def _opened(archive: str, changed: int, process: int) -> zipfile.ZipFile:
    """The checked archive, kept open until it changes; a forked process (a data loader's worker) opens its own."""
    return check_zip(Path(archive))
