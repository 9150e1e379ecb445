"""Read the ScreenSpot-v2 benchmark: one instruction, one target box on one screenshot.

The layout is the one of the published set (OS-Copilot/ScreenSpot-v2): `screenspot_{web,desktop,mobile}_v2.json` beside
the folder `screenspotv2_image/`; boxes are pixel [x, y, width, height]. Copies of the benchmark keep other conventions
(pixel or normalised corners), so nothing is guessed: a box which does not fit its screenshot is an error.
"""

import json
from pathlib import Path
from typing import Literal

from PIL import Image
from pydantic import BaseModel, Field, ValidationError

PLATFORMS = ("web", "desktop", "mobile")
IMAGE_FOLDER = "screenspotv2_image"
SLACK = 0.01  # share of the side: a published mobile box ends 1 px outside its screenshot


class Target(BaseModel, extra="forbid", frozen=True):
    """One thing to click. `bbox` is (left, top, right, bottom), normalised to [0, 1]; `width`, `height` are pixels."""

    id: str
    image: Path
    width: int
    height: int
    bbox: tuple[float, float, float, float]
    instruction: str
    platform: Literal["web", "desktop", "mobile"]
    kind: Literal["text", "icon"]


class _Row(BaseModel):
    img_filename: str = Field(min_length=1)
    bbox: tuple[float, float, float, float]  # px: left, top, width, height
    instruction: str = Field(min_length=1)
    data_type: Literal["text", "icon"]


def load_v2(folder: str | Path) -> list[Target]:
    """All targets of `folder`, in file order, web before desktop before mobile; ids are `<platform>_<row from 0>`.

    Raises FileNotFoundError or ValueError naming the file, the row and the value which is wrong.
    """
    return [target for platform in PLATFORMS for target in _load_file(Path(folder), platform)]


def _load_file(folder: Path, platform: str) -> list[Target]:
    path = folder / f"screenspot_{platform}_v2.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: missing (ScreenSpot-v2 has one such file per platform)")
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list of rows, found {type(rows).__name__}")
    return [_target(folder, platform, index, row, f"{path}: row {index}") for index, row in enumerate(rows)]


def _target(folder: Path, platform: str, index: int, raw: object, where: str) -> Target:
    try:
        row = _Row.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "row"
        raise ValueError(f"{where}: {field}: {first['msg']}, found {first['input']!r}") from None
    image = folder / IMAGE_FOLDER / row.img_filename
    if not image.is_file():
        raise FileNotFoundError(f"{where}: screenshot {image} is missing")
    width, height = _size(image)
    return Target(
        id=f"{platform}_{index}",
        image=image,
        width=width,
        height=height,
        bbox=_normalised(row.bbox, width, height, where),
        instruction=row.instruction,
        platform=platform,
        kind=row.data_type,
    )


def _normalised(bbox, width: int, height: int, where: str) -> tuple[float, float, float, float]:
    """Pixel (left, top, width, height) to normalised (left, top, right, bottom)."""
    x, y, w, h = bbox
    left, top, right, bottom = x / width, y / height, (x + w) / width, (y + h) / height
    if not (0 <= left < right <= 1 + SLACK and 0 <= top < bottom <= 1 + SLACK):
        raise ValueError(
            f"{where}: bbox {list(bbox)} is no pixel [x, y, width, height] inside the {width} x {height} px screenshot"
        )
    return left, top, min(right, 1.0), min(bottom, 1.0)


def _size(image: Path) -> tuple[int, int]:
    with Image.open(image) as opened:
        return opened.size
