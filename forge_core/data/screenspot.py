"""Read ScreenSpot v1, v2 and Pro from a folder, in each layout in which they circulate: one target on one screenshot.

The copies of these benchmarks differ in file names, fields and the meaning of a box. `LAYOUTS` declares each; nothing
is guessed from the values: 66 of the 1,272 boxes of v1 in pixel [x, y, width, height] could be corners too. A box which
does not fit its screenshot is an error.
"""

import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, PositiveInt, ValidationError

from forge_core.data.images import picture
from forge_core.data.unpacking import misnamed

PLATFORMS = ("web", "desktop", "mobile")
SLACK = 0.01  # share of the side: one box of v2 ends 1 px outside its screenshot, one of Pro begins 1 px above it
PLATFORM_OF = {
    **{platform: platform for platform in PLATFORMS},
    **dict.fromkeys(("windows", "macos", "linux", "pc"), "desktop"),
    **dict.fromkeys(("ios", "android"), "mobile"),
}
_V1_SOURCES = PLATFORM_OF | dict.fromkeys(("gitlab", "shop", "forum", "tool"), "web")  # in v2 a shop may be mobile
Box = Literal["px xywh", "px xyxy", "0-1 xyxy"]  # left, top and width, height or right, bottom; 0-1: of the screenshot
Bounds = tuple[float, float, float, float]


class Target(BaseModel, extra="forbid", frozen=True):
    """One thing to click. `bbox` is (left, top, right, bottom), normalised to [0, 1]; `width`, `height` are pixels.

    `application` is the benchmark's own word for where the screenshot is from (inventor, gitlab, windows), `group` the
    field of work in Pro.
    """

    id: str
    image: Path
    width: int
    height: int
    bbox: Bounds
    instruction: str
    platform: Literal["web", "desktop", "mobile"]
    kind: Literal["text", "icon"]
    application: str = ""
    group: str = ""


@dataclass(frozen=True)
class Layout:
    """How a copy of a benchmark lies in a folder: its files (glob patterns), its boxes, and its names of our fields.

    A pattern with `{platform}` stands for one file a platform, in the order of `PLATFORMS`; elsewhere `platforms`
    translates the field `platform`. `size` is the field with (width, height) in px, "" where rows have none.
    `whole`: each file has all rows, so there may be one only.
    """

    files: str
    box: Box
    images: str
    image: str
    kind: str
    application: str
    platform: str = ""
    group: str = ""
    size: str = ""
    platforms: Mapping[str, str] = field(default_factory=lambda: PLATFORM_OF)
    whole: bool = False


LAYOUTS = {
    # OS-Copilot/ScreenSpot-v2
    "screenspot_v2": Layout(
        files="screenspot_{platform}_v2.json",
        box="px xywh",
        images="screenspotv2_image",
        image="img_filename",
        kind="data_type",
        application="data_source",
    ),
    # microsoft/GUI-Actor, verifier/ScreenSpot-v2-new: 14 boxes and one instruction corrected
    "screenspot_v2_xyxy": Layout(
        files="screenspot_{platform}_v2.json",
        box="px xyxy",
        images="screenspotv2_image",
        image="img_filename",
        kind="ui_type",
        application="platform",
        size="img_size",
    ),
    # rootsautomation/ScreenSpot; the column `image` has the screenshots, which are written to `images` beside the file
    "screenspot_v1": Layout(
        files="**/*.parquet",
        box="0-1 xyxy",
        images="images",
        image="file_name",
        kind="data_type",
        application="data_source",
        platform="data_source",
        platforms=_V1_SOURCES,
    ),
    # njucckevin/SeeClick
    "screenspot_v1_json": Layout(
        files="screenspot_{platform}.json",
        box="px xywh",
        images="screenspot_imgs",
        image="img_filename",
        kind="data_type",
        application="data_source",
    ),
    # OSU-NLP-Group/UGround, offline_evaluation/ScreenSpot: re_gpt-4o.jsonl and re_gpt-4-turbo.jsonl have the same rows
    "screenspot_v1_uground": Layout(
        files="*.jsonl",
        box="px xywh",
        images="screenspot_imgs",
        image="image",
        kind="data_type",
        application="data_source",
        platform="platform",
        whole=True,
    ),
    # likaixin/ScreenSpot-Pro
    "screenspot_pro": Layout(
        files="annotations/*.json",
        box="px xyxy",
        images="images",
        image="img_filename",
        kind="ui_type",
        application="application",
        platform="platform",
        group="group",
        size="img_size",
    ),
}


class _Row(BaseModel):
    """A row of a file, under our names."""

    image: str = Field(min_length=1)
    bbox: Bounds  # as the layout's `box` says
    instruction: str = Field(min_length=1)
    kind: Literal["text", "icon"]
    platform: Literal["web", "desktop", "mobile"]
    application: str = ""
    group: str = ""
    size: tuple[PositiveInt, PositiveInt] | None = None  # px


def load(folder: str | Path, layout: str = "screenspot_v2", images: bool = True) -> list[Target]:
    """All targets of `folder`, in file order; ids are `<platform>_<row>`, or `<file>_<row>` of files of all platforms.

    `images=False` lets a screenshot be missing where its row gives its size. Raises FileNotFoundError or ValueError
    naming the file, the row (from 0) and the value which is wrong.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"no layout {layout!r}; there are {', '.join(LAYOUTS)}")
    folder = Path(folder)
    return [
        target
        for platform, path in _files(folder, layout)
        for target in _load_file(folder, path, platform, LAYOUTS[layout], images)
    ]


def load_v2(folder: str | Path) -> list[Target]:
    """All targets of ScreenSpot-v2 as published (see `load`)."""
    return load(folder, "screenspot_v2")


def corners(bbox: Sequence[float], box: Box, width: float, height: float) -> Bounds:
    """(left, top, right, bottom), normalised to [0, 1], of a box in the convention `box` on a screenshot of that size.

    An edge is divided once, so that a point on it, divided alike, lies on it still. Raises ValueError where the box is
    empty or leaves the screenshot by more than `SLACK`.
    """
    left, top, right, bottom = bbox
    if box == "px xywh":
        right, bottom = left + right, top + bottom
    if box != "0-1 xyxy":
        left, top, right, bottom = left / width, top / height, right / width, bottom / height
    if not (-SLACK <= left < right <= 1 + SLACK and -SLACK <= top < bottom <= 1 + SLACK):
        raise ValueError(f"bbox {list(bbox)} is no {box} box inside the {width:g} x {height:g} px screenshot")
    return max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)


def _files(folder: Path, layout: str) -> list[tuple[str, Path]]:
    """(platform, file) of a benchmark; the platform is "" where rows say theirs."""
    form = LAYOUTS[layout]
    if form.platform:
        found = [("", path) for path in sorted(folder.glob(form.files))]
        if form.whole and len(found) > 1:
            names = ", ".join(path.name for _, path in found)
            raise ValueError(f"{folder}: each of {names} has all rows of the benchmark; leave one of them there")
    else:
        found = [(platform, folder / form.files.format(platform=platform)) for platform in PLATFORMS]
    for path in [path for _, path in found] or [folder / form.files]:
        if not path.is_file():
            raise FileNotFoundError(f"{path}: missing; the layout {layout} has {form.files}")
    return found


def _load_file(folder: Path, path: Path, platform: str, form: Layout, images: bool) -> Iterator[Target]:
    root = (path.parent if path.suffix == ".parquet" else folder) / form.images
    for index, raw in enumerate(_rows(path, root, form)):
        where = f"{path}: row {index}"
        row = _checked(raw, platform, form, where)
        image = _inside(root, row.image, where)
        width, height = _size(image, row.size, images, where)
        try:
            bbox = corners(row.bbox, form.box, width, height)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        told = row.model_dump(include={"instruction", "platform", "kind", "application", "group"})
        identity = f"{platform or path.stem}_{index}"
        yield Target(id=identity, image=image, width=width, height=height, bbox=bbox, **told)


def _rows(path: Path, root: Path, form: Layout) -> Iterator[object]:
    """The rows of a file as it has them; the screenshots of a parquet file are written to `root`."""
    if path.suffix == ".parquet":
        return _parquet_rows(path, root, form)
    rows = read_json(path)
    if path.suffix == ".jsonl" and isinstance(rows, dict):
        rows = [rows]  # a file of one line
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list of rows, found {type(rows).__name__}")
    return iter(rows)


def read_json(path: Path) -> object:
    """What a JSON file holds; of JSON lines, the list of what they hold. ValueError names the file, and the line."""
    try:
        text = path.read_text(encoding="utf-8")
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if len(lines) < 2 or not _is_json(lines[0][1]):
            return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    rows = []
    for number, line in lines:
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{number}: not JSON: {error}") from None
    return rows


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _parquet_rows(path: Path, root: Path, form: Layout) -> Iterator[dict]:
    for row in _batches(path):
        packed = row.pop("image", None)
        data = packed.get("bytes") if isinstance(packed, dict) else None
        if isinstance(data, bytes) and data and isinstance(row.get(form.image), str):
            _write_once(_inside(root, row[form.image], str(path)), data)
        yield row


def _batches(path: Path) -> Iterator[dict]:
    import pyarrow
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=16):  # rows carry a screenshot each
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # OSError: a page that can't be unpacked
        raise ValueError(f"{path}: not parquet: {error}") from None


def _write_once(image: Path, data: bytes) -> None:
    if not image.exists():
        image.parent.mkdir(parents=True, exist_ok=True)
        part = image.with_name(f"{image.name}.{os.getpid()}.part")
        part.write_bytes(data)
        os.replace(part, image)


def _checked(raw: object, platform: str, form: Layout, where: str) -> _Row:
    """The row under our names; `platform` is the file's, "" where the row says it."""
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: expected an object, found {raw!r:.80}")
    names = {ours: getattr(form, ours, ours) for ours in _Row.model_fields}  # `bbox` and `instruction` have one name
    row = {ours: raw[theirs] for ours, theirs in names.items() if raw.get(theirs) is not None}
    row["platform"] = platform or form.platforms.get(str(row.get("platform")), row.get("platform"))
    try:
        return _Row.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join([names[first["loc"][0]], *map(str, first["loc"][1:])])
        found = raw.get(names[first["loc"][0]])
        raise ValueError(f"{where}: {name}: {first['msg']}, found {found!r:.200}") from None


def _inside(root: Path, name: str, where: str) -> Path:
    if name != posixpath.normpath(name) or name.startswith(("/", "..")) or "\\" in name or "\0" in name:
        raise ValueError(f"{where}: the screenshot {name!r:.200} lies outside the folder of the benchmark")
    if problem := misnamed(name):
        raise ValueError(f"{where}: the screenshot {name!r:.200} {problem}")
    return root / name


def _size(image: Path, told: tuple[int, int] | None, needed: bool, where: str) -> tuple[int, int]:
    """(width, height) in px of the screenshot, which has to be what the row says of it."""
    if not image.is_file():
        if needed or told is None:
            hint = "" if needed else ", and the row does not give its size"
            raise FileNotFoundError(f"{where}: screenshot {image} is missing{hint}")
        return told
    try:
        with picture(image, str(image)) as opened:
            size = opened.size
    except OSError as error:
        raise OSError(f"{where}: screenshot {error}") from None
    if told not in (None, size):
        raise ValueError(f"{where}: the row gives {list(told)} px, the screenshot {image} has {list(size)} px")
    return size
