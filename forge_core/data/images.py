"""Open a screenshot where it lies: a file, or a member of a zip archive written as `archive.zip::member`.

All pictures that the package reads come through `picture`: PIL knows some forty formats, tells them apart by their
first bytes whatever the file is called, and reads one of them (EPS) by running Ghostscript.
"""

import io
import os
import posixpath
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageDraw, UnidentifiedImageError

from forge_core.data.schema import RowError
from forge_core.data.unpacking import ArchiveError, check_zip
from forge_core.text import one_line

INSIDE = "::"  # between an archive and its member
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # the readers of others are old, or run other programs


class PictureError(OSError, ValueError):
    """What is no picture of `FORMATS`, cannot be decoded, or is a decompression bomb; the message names it."""


@contextmanager
def picture(source: str | Path | bytes, name: str) -> Iterator[Image.Image]:
    """PIL's picture of a file, an archive's member or bytes, to be decoded inside of this; `name` is for messages.

    Raises PictureError however a decoder fails, also on more than PIL's limit of 89 million px; OSError where there is
    no such file, or it cannot be opened; ArchiveError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(_source(source), formats=FORMATS) as image:
                yield image
    except (FileNotFoundError, ArchiveError):
        raise
    except UnidentifiedImageError:
        raise PictureError(f"{one_line(name)}: not a picture ({', '.join(FORMATS)})") from None
    except Exception as error:  # a decoder fails in many ways, and all mean the same
        if isinstance(error, OSError) and error.filename:
            raise
        raise PictureError(f"{one_line(name)}: a picture that cannot be read ({one_line(error)})") from None


def rgb(source: str | Path | bytes, name: str) -> Image.Image:
    """The picture as RGB. Raises as `picture`."""
    with picture(source, name) as image:
        return image.convert("RGB")


def open_image(reference: str | Path) -> Image.Image:
    """The screenshot as RGB. Raises OSError where it is missing or broken, and ArchiveError."""
    return rgb(reference, str(reference))


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
        with picture(join(root, name), name) as image:
            return _read_through(image)
    except FileNotFoundError:
        raise RowError("missing image", name) from None
    except RowError:
        raise
    except PictureError as error:
        raise RowError("unreadable image", str(error)) from None
    except (OSError, ValueError, RuntimeError) as error:  # the archive, or a name that no disk takes; a loop of links
        raise RowError("unreadable image", f"{name}: {one_line(error)}") from None


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


def _source(source: str | Path | bytes) -> str | io.BytesIO:
    """What PIL opens: the path of a file, or bytes, also those of an archive's member."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    archive, inside, member = str(source).partition(INSIDE)
    if not inside:
        return archive
    try:
        return io.BytesIO(_opened(archive, os.stat(archive).st_mtime_ns, os.getpid()).read(member))
    except KeyError:
        raise FileNotFoundError(str(source)) from None


@lru_cache(maxsize=4)
def _opened(archive: str, changed: int, process: int) -> zipfile.ZipFile:
    """The checked archive, kept open until it changes; a forked process (a data loader's worker) opens its own."""
    return check_zip(Path(archive))
