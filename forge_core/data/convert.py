"""What workers do, a pure function of files and a task each: convert a chunk of raw rows, look at a batch of images."""

import re
import unicodedata
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from forge_core.data.chunks import Chunk, read
from forge_core.data.images import image_size
from forge_core.data.rows import Box, Exchange, from_smolagents, image_name, read_boxes, read_turn, split
from forge_core.data.schema import RowError

_PLAIN = re.compile(r"[\W_]+")
_NAMES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"RIFF": "webp"}  # by the first bytes


class TurnRow(NamedTuple):
    """A good turn: its raw row and number in it, two keys for finding repeats, and itself as JSON."""

    row: int
    number: int
    image: str
    same: bytes
    near: bytes
    functions: str  # names, comma between
    turn: str
    left: float | None = None
    top: float | None = None
    right: float | None = None
    bottom: float | None = None


class RejectedRow(NamedTuple):
    """A turn (or, with number None, a row) that cannot be used."""

    row: int
    number: int | None
    image: str
    reason: str
    value: str


class Converted(NamedTuple):
    """What became of a chunk: `rows` were read, `left_out` of them not asked for.

    `turns` has the values of `TurnRow`s, `rejected` of `RejectedRow`s, as plain tuples: these travel between processes
    four times as fast.
    """

    rows: int
    left_out: int
    turns: list[tuple]
    rejected: list[tuple]


@dataclass(frozen=True)
class Task:
    """A chunk of a subset's rows. Of them a `share` is taken.

    `special` matches what must not stand in them; images of parquet rows are written to `images`.
    """

    chunk: Chunk
    stage: int
    subset: str
    share: float
    seed: int
    special: re.Pattern[str]
    images: Path | None = None


def convert(task: Task) -> Converted:
    """Convert a chunk of raw rows; what is broken is listed, never raised."""
    rows, left_out, turns, rejected = read(task.chunk)[: task.chunk.count], 0, [], []
    for index, row in enumerate(rows, start=task.chunk.first):
        if not _sampled(task, index):
            left_out += 1
            continue
        try:
            row = _with_image_file(row, task, index) if task.images else row
            image, exchanges = split(row)
            boxes = read_boxes(row, len(exchanges))
        except RowError as error:
            rejected.append(_rejected(index, None, image_name(row), error))
            continue
        for number, (exchange, box) in enumerate(zip(exchanges, boxes, strict=True)):
            try:
                turns.append(_turn(task, index, number, image, exchange, box))
            except RowError as error:
                rejected.append(_rejected(index, number, image, error))
    return Converted(len(rows), left_out, list(map(tuple, turns)), list(map(tuple, rejected)))


Seen = tuple[int, int] | tuple[str, str]  # width and height in px, or the reason and value for which it can't be used


def look(task: tuple[str, list[str]]) -> tuple[str, list[str], list[Seen]]:
    """The task (a root and image names under it), and what was seen of each image, which is read to its end."""
    root, names = task
    return root, names, [_look(root, name) for name in names]


def _look(root: str, name: str) -> Seen:
    try:
        return image_size(root, name)
    except RowError as error:
        return error.reason, _storable(error.value[:500])


def _sampled(task: Task, row: int) -> bool:
    """Whether a row is in the share: by its own number, so that it does not depend on chunks or workers."""
    if task.share >= 1:
        return True
    lot = blake2b(f"{task.seed} {task.subset} {row}".encode(), digest_size=8).digest()
    return int.from_bytes(lot, "big") < task.share * 2**64


def _turn(task: Task, row: int, number: int, image: str, exchange: Exchange, box: Box | None) -> TurnRow:
    turn, actions = read_turn(exchange, task.stage, "smolagents" if task.images else "aguvis", task.special)
    same, near = (
        blake2b("\0".join((task.subset, image, asked, turn.history)).encode(), digest_size=16).digest()
        for asked in (turn.instruction, _plain(turn.instruction))
    )
    functions = ",".join(action.name for action in actions)
    return TurnRow(row, number, image, same, near, functions, turn.model_dump_json(), *(box or ()))


def _plain(text: str) -> str:
    """The text without case, punctuation and double spaces: what a near repeat has in common."""
    return _PLAIN.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip() or text


def _with_image_file(row: dict, task: Task, index: int) -> dict:
    """A smolagents row in AGUVIS' form, its embedded image written to a file."""
    images = row.get("images") or [{}]
    data = images[-1].get("bytes") if isinstance(images, list) and isinstance(images[-1], dict) else None
    if not isinstance(data or b"", bytes):
        raise RowError("no image", type(data).__name__)
    data = data or b""
    name = f"{index:06d}.{next((name for start, name in _NAMES.items() if data.startswith(start)), 'bin')}"
    (task.images / name).write_bytes(data)
    return from_smolagents(row, name)


def _rejected(row: int, number: int | None, image: str, error: RowError) -> RejectedRow:
    return RejectedRow(row, number, _storable(image), error.reason, _storable(error.value[:500]))


def _storable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
