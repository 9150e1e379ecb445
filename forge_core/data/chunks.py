"""Cut a raw file into chunks of rows that workers read by themselves, so that no process ever holds a whole file.

A raw file is a JSON list of objects (AGUVIS; gigabytes without a line break) or parquet (its copy at smolagents).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

ROWS = 128  # in a chunk of JSON
_BLOCK = 1 << 20  # bytes read at a time
_SPACE = re.compile(r"[ \t\r\n]*")
_AFTER = tuple(",] \t\r\n")
_DECODER = json.JSONDecoder(parse_int=float)  # int() refuses more than 4300 digits


@dataclass(frozen=True)
class Chunk:
    """Rows `first` to `first + count` of a file: its bytes `start` to `stop`, or in parquet row group `start`."""

    path: Path
    first: int
    count: int
    start: int
    stop: int


def chunks(path: Path) -> Iterator[Chunk]:
    """The chunks of a raw file in order. Raises ValueError naming file and row where it is not a list of rows."""
    return _row_groups(path) if path.suffix == ".parquet" else _json_chunks(path)


def read(chunk: Chunk) -> list:
    """The rows of a chunk. Bytes that are no UTF-8 become lone surrogates, which no row may hold.

    Raises ValueError naming the file where parquet is damaged.
    """
    if chunk.path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        try:
            with pyarrow.parquet.ParquetFile(chunk.path) as file:
                return file.read_row_group(chunk.start).to_pylist()
        except (pyarrow.ArrowException, OSError, ValueError) as error:  # OSError: a page that can't be unpacked
            raise ValueError(f"{chunk.path}: row {chunk.first} and after can't be read ({error})") from None
    with chunk.path.open("rb") as file:
        file.seek(chunk.start)
        text = file.read(chunk.stop - chunk.start).decode("utf-8", "surrogateescape")
    return _DECODER.decode(f"[{text}]")


def _row_groups(path: Path) -> Iterator[Chunk]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            counts = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a parquet file, or cut off ({error})") from None
    first = 0
    for index, count in enumerate(counts):
        yield Chunk(path, first, count, index, index + 1)
        first += count


def _json_chunks(path: Path) -> Iterator[Chunk]:
    first = rows = start = stop = 0
    with path.open("rb") as file:
        for begin, stop in _extents(_Window(file, path)):
            start = begin if rows == first else start
            rows += 1
            if rows - first == ROWS:
                yield Chunk(path, first, ROWS, start, stop)
                first = rows
    if rows > first:
        yield Chunk(path, first, rows - first, start, stop)


def _extents(window: "_Window") -> Iterator[tuple[int, int]]:
    """(start, stop) in bytes of each row of a JSON list."""
    if window.next() != "[":
        raise window.error("it does not begin with [")
    window.at += 1
    row, end = 0, window.next() == "]"
    while not end:
        yield window.value(row)
        end = window.next() == "]"
        if not end and window.next() != ",":
            raise window.error(f"after row {row} comes neither a comma nor the end")
        row, window.at = row + 1, window.at + 1
        if not end:
            window.next()
    window.at += row == 0
    if window.next():
        raise window.error("something follows the list")


class _Window:
    """The part of a JSON file that is looked at: `text[at]` is next, `text[0]` is byte `offset` of the file.

    Read as Latin-1, one character is one byte, and what means something to JSON is ASCII in UTF-8 too.
    """

    def __init__(self, file: BufferedReader, path: Path) -> None:
        self.file, self.path, self.text, self.at, self.offset = file, path, "", 0, 0

    def next(self) -> str:
        """The next character that is no white space, left in place; empty at the end of the file."""
        while True:
            self.at = _SPACE.match(self.text, self.at).end()
            if self.at < len(self.text) or not self._more():
                return self.text[self.at : self.at + 1]

    def value(self, row: int) -> tuple[int, int]:
        """(start, stop) in bytes of the JSON value that comes next, stepping over it."""
        while True:
            try:
                stop = _DECODER.raw_decode(self.text, self.at)[1]
                if self.text[stop : stop + 1] in _AFTER or not self._more():  # a number at the edge may go on
                    break
            except (ValueError, RecursionError) as error:
                if not self._more():
                    raise self.error(f"row {row} is broken or cut off ({str(error).partition(':')[0]})") from None
        start, self.at = self.at, stop
        return self.offset + start, self.offset + stop

    def error(self, problem: str) -> ValueError:
        """What is wrong, with the file and the place."""
        return ValueError(f"{self.path}: not a JSON list of rows: {problem}, at byte {self.offset + self.at}")

    def _more(self) -> bool:
        """Read on, dropping what is behind; each time as much as is left, so that a huge row takes linear time."""
        block = self.file.read(max(_BLOCK, len(self.text) - self.at)).decode("latin-1")
        self.text, self.offset, self.at = self.text[self.at :] + block, self.offset + self.at, 0
        return bool(block)
