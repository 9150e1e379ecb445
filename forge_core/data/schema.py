"""The row every later step reads: an `Example` is one screenshot with its turns, one JSON line each."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forge_core.json_files import first_wrong

Platform = Literal["web", "desktop", "mobile"]


class RowError(ValueError):
    """A row or turn that cannot be used: `reason` is the short name it is counted under, `value` what is wrong."""

    def __init__(self, reason: str, value: object) -> None:
        text = value if isinstance(value, str) else repr(value)
        super().__init__(f"{reason}: {text}")
        self.reason, self.value = reason, text


class Turn(BaseModel):
    """One instruction and its answer. `actions` are canonical calls of the action space (`actions.unified.render`)."""

    model_config = ConfigDict(extra="forbid")

    instruction: str = Field(min_length=1)
    history: str = ""
    thought: str | None = None
    actions: list[str] = Field(min_length=1)


class Example(BaseModel):
    """One screenshot; width and height in px. `image` is a path relative to the JSONL's folder (posix), or absolute.

    A path such as `raw/stage1/guienv.zip::images/a.png` is a member of an archive: `data.images.open_image` reads both.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    source: str
    platform: Platform
    image: str
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    turns: list[Turn] = Field(min_length=1)


def read_jsonl(path: Path) -> Iterator[Example]:
    """The examples of a file, one after the other; raises ValueError naming file, line and the first wrong field."""
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield Example.model_validate_json(line)
            except ValidationError as error:
                name, wrong, value = first_wrong(error)
                raise ValueError(f"{path}:{number}: {name or 'line'}: {wrong}, got {value!r:.120}") from None


def write_jsonl(path: Path, rows: Iterable[BaseModel]) -> int:
    """Write one JSON line per row and return how many; the file appears whole or not at all."""
    return write_lines(path, (row.model_dump_json() for row in rows))


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """`write_jsonl` for rows that are JSON already."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    count = 0
    try:
        with partial.open("w", encoding="utf-8") as file:
            for count, line in enumerate(lines, start=1):  # noqa: B007 - the count is the result
                file.write(line + "\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return count
