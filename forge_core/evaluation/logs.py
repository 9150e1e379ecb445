"""Score anybody's prediction log: JSON lines, a JSON list, or the file of ScreenSpot-Pro's scorer ({"details": [...]}).

Logs name their fields differently (`NAMES`). How a box and a reply are to be read is said by whoever asks, never
guessed. Where a log has verdicts of its own, the two are compared.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pydantic import BaseModel, PositiveFloat, ValidationError

from forge_core.actions.coordinates import RESIZED, UNSAID, smart_resize
from forge_core.actions.dialects import DIALECTS
from forge_core.actions.steps import centre
from forge_core.data.screenspot import PLATFORM_OF, PLATFORMS, Bounds, Box, Target, corners, read_json
from forge_core.evaluation.replies import click
from forge_core.evaluation.score import Outcome, Point, Row, Scored, area, table, verdict

Size = tuple[float, float]
MAX_PIXELS = 12_845_056  # Qwen's own; see `smart_resize`
NO_SIZE = "the size of the screenshot is not known: no img_size in the row, and no benchmark that tells it"
BOXES: dict[str, Box] = {"xyxy": "px xyxy", "xywh": "px xywh", "0-1": "0-1 xyxy"}
FIELDS = ("platform", "kind", "group", "application", "size")  # to count by
# Our name of a field -> the names of it in logs; the first that a row has counts.
NAMES = {
    "id": ("id", "target_id", "sample_id"),
    "raw": ("raw", "raw_response", "response", "prediction", "output", "answer", "model_output"),
    "bbox": ("bbox", "bbox_xyxy", "bbox_xywh", "gt_bbox", "target_bbox"),
    "img_size": ("img_size", "image_size"),  # (width, height) in px
    "image": ("img_filename", "img_path", "image_path", "file_name", "image"),
    "platform": ("platform",),
    "group": ("group",),
    "kind": ("ui_type", "data_type", "kind"),
    "application": ("application", "data_source"),
    "point": ("point_px", "pred", "pred_point"),  # the click, or a box that counts by its centre, in px
    "verdict": ("correctness", "verdict", "outcome", "correct", "is_correct"),
}
VERDICTS: dict[object, Outcome] = {
    **dict.fromkeys(("correct", "hit", True), "hit"),
    **dict.fromkeys(("wrong", "incorrect", "miss", False), "miss"),
    "wrong_format": "wrong_format",
}


class Judged(NamedTuple):
    """The rows of a log as scored here, and the log's own verdict on each, None where it has none."""

    scored: list[Scored]
    verdicts: list[Outcome | None]


class _Row(BaseModel):
    """A row of a log under our names."""

    id: str | int | None = None
    raw: str | None = None
    bbox: Bounds
    img_size: tuple[PositiveFloat, PositiveFloat] | None = None
    image: str = ""
    platform: str = ""
    group: str = ""
    kind: str = ""
    application: str = ""
    point: list[float] | None = None
    verdict: str | bool | None = None


def score_log(
    path: str | Path,
    dialect: str = "",
    box: str = "xyxy",
    size: Size | None = None,
    max_pixels: int = MAX_PIXELS,
    published: bool = True,
    sizes: Mapping[str, Size] | None = None,
) -> Judged:
    """Judge the rows of a log by their replies, read as `dialect`, or without one by the points that the log gives.

    `box` is a key of `BOXES`. What the replies' coordinates count is `size` (width, height) where the dialect does not
    say it, else the screenshot, resized with `max_pixels` where the dialect counts that. `published` as for
    `replies.click`. `sizes` (see `sizes_of`) has the screenshots' sizes that rows lack. Raises OSError, and ValueError
    naming file, row (from 0) and value.
    """
    if box not in BOXES:
        raise ValueError(f"no box convention {box!r}; there are {', '.join(BOXES)}")
    judged = []
    for index, raw in enumerate(_rows(Path(path))):
        where = f"{path}: row {index}"
        row = _checked(raw, bool(dialect), box, where)
        try:
            shown = row.img_size or _size(row.image, sizes or {})
            if shown is None and bool(dialect) != (box == "0-1"):  # fractions on one side, px on the other
                raise ValueError(NO_SIZE)
            counted = _counted(dialect, shown, size, max_pixels) if dialect else None
            point = click(row.raw or "", dialect, counted, published) if dialect else _logged_point(row, shown)
            judged.append((_scored(row, index, point, shown, BOXES[box]), VERDICTS.get(row.verdict)))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if not judged:
        raise ValueError(f"{path}: the log has no rows")
    return Judged(*map(list, zip(*judged, strict=True)))


def sizes_of(targets: Sequence[Target]) -> dict[str, Size]:
    """Sizes in px by name of the screenshot, with its folder and without; without only where that is one size."""
    sizes: dict[str, Size | None] = {}
    for target in targets:
        for name in _names(target.image.as_posix()):
            size = (target.width, target.height)
            sizes[name] = size if sizes.get(name, size) == size else None
    return {name: size for name, size in sizes.items() if size}


def differences(judged: Judged) -> list[tuple[Scored, Outcome]]:
    """The rows on which the log's own verdict is another, with that verdict.

    A log without any wrong_format is of a scorer that calls it wrong, as SeeClick's and AGUVIS' do: there only hits are
    compared.
    """
    outcomes = ("hit", "wrong_format") if "wrong_format" in judged.verdicts else ("hit",)
    pairs = zip(*judged, strict=True)
    return [(row, own) for row, own in pairs if own and any((row.outcome == o) != (own == o) for o in outcomes)]


def report(judged: Judged, by: Sequence[str] = ()) -> str:
    """The table of a log as text and, where it has verdicts of its own, how many differ and the first ten of these.

    `by` are fields of `FIELDS`, by default those that the log tells. ValueError names another one.
    """
    scored, own = judged.scored, [verdict for verdict in judged.verdicts if verdict]
    unknown = [field for field in by if field not in FIELDS]
    if unknown:
        raise ValueError(f"no field {unknown[0]!r}; there are {', '.join(FIELDS)}")
    by = by or [field for field in FIELDS if any(getattr(row, field) for row in scored)]
    lines = [text_table(table(scored, by))]
    if own:
        different = differences(judged)
        lines.append(f"\n{len(different)} of {len(own)} verdicts of the log differ" + ":" * bool(different))
        lines += [f"  {_told(row, verdict)}" for row, verdict in different[:10]]
    return "\n".join(lines)


def text_table(rows: Sequence[Row]) -> str:
    """An accuracy table in columns; intervals are 95% Wilson intervals."""
    cells = [("", "", "accuracy", "95% interval", "hits", "n", "wrong format")]
    for row in rows:
        interval = "" if row.low is None else f"[{row.low:.2%}, {row.high:.2%}]"
        counts = ("", row.n, "") if row.low is None else (row.k, row.n, row.wrong_format)
        cells.append((row.group, row.name or "-", f"{row.value:.2%}", interval, *map(str, counts)))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    form = "{:{}}  {:{}}  {:>{}}  {:{}}  {:>{}}  {:>{}}  {:>{}}"
    return "\n".join(form.format(*sum(zip(line, widths, strict=True), ())).rstrip() for line in cells)


def _rows(path: Path) -> list:
    held = read_json(path)
    rows = held.get("details", [held]) if isinstance(held, dict) else held
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list of rows, found {rows!r:.80}")
    return rows


def _checked(raw: object, with_reply: bool, box: str, where: str) -> _Row:
    """The row under our names, with what its scoring needs."""
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: expected an object, found {raw!r:.80}")
    names = {ours: _name(raw, theirs) for ours, theirs in NAMES.items()}
    for ours in ("bbox", "raw" if with_reply else "point"):
        if names[ours] is None:
            hint = "" if with_reply or ours == "bbox" else "; to read its replies, name their dialect"
            raise ValueError(f"{where}: none of the fields {', '.join(NAMES[ours])}{hint}")
    if names["bbox"].startswith("bbox_") and names["bbox"] != f"bbox_{box}":
        raise ValueError(f"{where}: the boxes are to be read as {box}, but the field is {names['bbox']}")
    try:
        row = _Row.model_validate({ours: raw[name] for ours, name in names.items() if name and raw[name] is not None})
    except ValidationError as error:
        name, message = names[error.errors()[0]["loc"][0]], error.errors()[0]["msg"]
        raise ValueError(f"{where}: {name}: {message}, found {raw[name]!r:.200}") from None
    if row.verdict is not None and row.verdict not in VERDICTS:
        known = ", ".join(map(str, VERDICTS))
        raise ValueError(f"{where}: {names['verdict']}: expected one of {known}, found {row.verdict!r:.80}")
    return row


def _name(raw: dict, names: Sequence[str]) -> str | None:
    """The first of `names` that the row has, rather one with a value; None without any."""
    return min((name for name in names if name in raw), key=lambda name: raw[name] is None, default=None)


def _counted(dialect: str, shown: Size | None, size: Size | None, max_pixels: int) -> Size | None:
    """(width, height) that the coordinates of the replies count; None where the dialect says it itself."""
    if dialect not in DIALECTS:
        raise ValueError(f"unknown dialect {dialect!r}; there are {', '.join(DIALECTS)}")
    units = DIALECTS[dialect].units
    if not isinstance(units, str):
        if size:
            raise ValueError(f"a size is given, but the coordinates of {dialect} do not depend on one")
        return None
    if size is None and units == UNSAID:
        raise ValueError(f"{dialect} does not say what its coordinates count: give the size, such as 1000x1000")
    if size is None and shown is None:
        raise ValueError(NO_SIZE)
    if size is not None or units != RESIZED:
        return size or shown
    return smart_resize(*map(int, shown), max_pixels=max_pixels)


def _logged_point(row: _Row, shown: Size | None) -> Point | None:
    """The log's point as fractions, in px where the screenshot's size is not known."""
    if row.point is None:
        return None
    x, y = centre(row.point).values()
    width, height = shown or (1, 1)
    return x / width, y / height


def _scored(row: _Row, index: int, point: Point | None, shown: Size | None, box: Box) -> Scored:
    """The row judged; `point` and box are fractions, or px both where the size of the screenshot is not known."""
    bounds, platform, application = _bounds(row.bbox, box, shown), *_place(row)
    is_share = shown is not None or box == "0-1 xyxy"
    return Scored(
        target_id=str(index if row.id is None else row.id),
        raw=row.raw or "",
        platform=platform,
        kind=row.kind,
        outcome=verdict(point, bounds),
        point=point if is_share else None,
        application=application,
        group="" if row.group in PLATFORMS else row.group,
        area=area(bounds) if is_share else 0.0,
    )


def _bounds(bbox: Bounds, box: Box, shown: Size | None) -> Bounds:
    if shown or box == "0-1 xyxy":
        return corners(bbox, box, *(shown or (1, 1)))
    left, top, right, bottom = bbox  # px
    return (left, top, left + right, top + bottom) if box == "px xywh" else bbox


def _place(row: _Row) -> tuple[str, str]:
    """(platform, application): web, desktop or mobile, which v2 has in `group`, and the log's own word beside it."""
    platform = PLATFORM_OF.get(row.group) or PLATFORM_OF.get(row.platform) or row.platform
    return platform, row.application or (row.platform if row.platform != platform else "")


def _names(image: str) -> list[str]:
    parts = PurePosixPath(image).parts
    return ["/".join(parts[-2:]), parts[-1]] if parts else []


def _size(image: str, sizes: Mapping[str, Size]) -> Size | None:
    return next((sizes[name] for name in _names(image) if name in sizes), None)


def _told(row: Scored, own: Outcome) -> str:
    at = "no click" if row.point is None else f"click at ({row.point[0]:.4f}, {row.point[1]:.4f})"
    return f"{row.target_id}: {own} in the log, {row.outcome} here, {at}, reply {row.raw!r:.80}"
