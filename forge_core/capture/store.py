"""What a capture keeps: a line a screen, a line a visit, the pictures, and a manifest; written as it happens.

out/screens.jsonl    one Screen a line; its picture is written before the line
out/visits.jsonl     one Visit a line, when it is over: a capture that was stopped goes on after the last one
out/images/*.png
out/manifest.json    settings, sites, counts, licence note; written last
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from forge_core.json_files import first_wrong

SCREENS, VISITS, IMAGES, MANIFEST = "screens.jsonl", "visits.jsonl", "images", "manifest.json"
Line = TypeVar("Line", bound=BaseModel)


def _whole(value):
    """A value of JSON without halves of characters, which a page's texts may have and UTF-8 may not."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_whole(key): _whole(inner) for key, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list | tuple) else value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    _texts = model_validator(mode="before")(_whole)


class Item(_Strict):
    """Something to click; `box` is (left, top, right, bottom) in px of the screenshot.

    `context` is empty, or the one title that tells it from others of its name ("Edit" in "Jane Doe").
    """

    role: str
    name: str
    box: tuple[int, int, int, int]
    kind: Literal["text", "icon"]
    context: tuple[str, ...] = ()


class Step(_Strict):
    """One step of a task on a form: what is done to which item; `text` is what is typed or chosen."""

    item: Item
    action: Literal["fill", "choose", "check", "press"]
    text: str = ""


class Task(_Strict):
    """Where a screen stands in a task: all its steps, and which (from 0) is next; after the last one it is done."""

    steps: tuple[Step, ...]
    next: int


class Screen(_Strict):
    """A screenshot and what can be clicked on it.

    `state` is "top", "scrolled 1", "menu: NAME" or "dialog: NAME" (of what opened it), or "form" (see `task`).
    """

    id: str
    site: str
    url: str  # of a folder: its name and the path in it
    title: str
    viewport: str
    theme: Literal["light", "dark"]
    width: int  # px
    height: int
    state: str
    image: str  # a file name in images/
    sha256: str  # of its bytes
    time: str  # ISO 8601, UTC
    items: list[Item]
    rejected: dict[str, int]  # reason -> elements
    task: Task | None = None


class Visit(_Strict):
    """A page in one viewport and theme: how it went, and where its links lead."""

    site: str
    url: str
    viewport: str
    theme: Literal["light", "dark"]
    depth: int  # links from where the crawl began
    status: str  # "ok", or why there is nothing
    screens: list[str]  # ids
    links: list[str]
    skipped: dict[str, int]  # screens that were not kept: reason -> count
    blocked: list[str]  # what the page was not let do
    time: str
    seconds: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.site, self.url, self.viewport, self.theme


class Store:
    """The files of one capture, open to be added to."""

    def __init__(self, out: Path) -> None:
        self.out = Path(out)
        (self.out / IMAGES).mkdir(parents=True, exist_ok=True)
        self.visits = {visit.key: visit for visit in _read(self.out / VISITS, Visit)}
        self.pictures: dict[str, str] = {}  # sha256 -> id of the first screen of that picture
        for screen in read_screens(self.out):
            self._know(screen)

    def add_screen(self, screen: Screen, png: bytes) -> None:
        """Keep a screen: its picture, then its line."""
        part = self.out / IMAGES / f"{screen.image}.part"
        part.write_bytes(png)
        os.replace(part, self.out / IMAGES / screen.image)
        _append(self.out / SCREENS, screen)
        self._know(screen)

    def _know(self, screen: Screen) -> None:
        if screen.task is None:  # where a form ends may be a page of its own, still to come
            self.pictures.setdefault(screen.sha256, screen.id)

    def add_visit(self, visit: Visit) -> None:
        """Note that a visit is over."""
        _append(self.out / VISITS, visit)
        self.visits[visit.key] = visit


def read_screens(out: Path) -> list[Screen]:
    """The screens of a capture, of each id the last; raises ValueError naming file, line and value."""
    kept = {screen.id: screen for screen in _read(Path(out) / SCREENS, Screen)}
    return list(kept.values())


def read_visits(out: Path) -> list[Visit]:
    """The visits of a capture, of each the last."""
    return list({visit.key: visit for visit in _read(Path(out) / VISITS, Visit)}.values())


def write_manifest(out: Path, manifest: dict) -> None:
    """Write manifest.json whole."""
    part = Path(out) / f"{MANIFEST}.part"
    part.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, Path(out) / MANIFEST)


def _append(path: Path, line: BaseModel) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line.model_dump_json() + "\n")


def _read(path: Path, model: type[Line]) -> Iterator[Line]:
    """The lines of a file; one that was cut off by a kill is dropped from it, so that more can be added."""
    if not path.is_file():
        return
    data = path.read_bytes()
    if data and not data.endswith(b"\n"):
        data = data[: data.rfind(b"\n") + 1]
        os.truncate(path, len(data))
    for number, text in enumerate(data.decode("utf-8").split("\n")[:-1], start=1):
        try:
            yield model.model_validate_json(text)
        except ValidationError as error:
            name, wrong, value = first_wrong(error)
            raise ValueError(f"{path}:{number}: {name}: {wrong}, found {value!r:.80}") from None
