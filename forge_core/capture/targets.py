"""Captured screens as the evaluation takes them: what can be clicked on each, and the way through a flow of pages."""

from collections.abc import Sequence
from pathlib import Path

from forge_core.capture.rows import platform
from forge_core.capture.store import IMAGES, Item, Screen
from forge_core.data.screenspot import Bounds, Target
from forge_core.evaluation.hesitation import Element


def elements(screens: Sequence[Screen]) -> dict[str, list[Element]]:
    """What can be clicked on each screenshot, by the name of its file."""
    return {screen.image: [Element(item.name, bounds(item, screen)) for item in screen.items] for screen in screens}


def flow(out: Path, screens: Sequence[Screen], steps: Sequence[str], asked: str) -> list[Target]:
    """On each page of a flow the element that leads on, all asked for in the words `asked`; ids are the pages.

    A step is "page: name of the element", the page by the end of its address. It is asked on the first screen of the
    page in `screens`; a page without any is left out. Raises ValueError where the page has no such element.
    """
    return [target for step in steps for target in _step(out, screens, step, asked)]


def bounds(item: Item, screen: Screen) -> Bounds:
    """An item's (left, top, right, bottom), normalised to [0, 1]."""
    left, top, right, bottom = item.box  # px
    return left / screen.width, top / screen.height, right / screen.width, bottom / screen.height


def _step(out: Path, screens: Sequence[Screen], step: str, asked: str) -> list[Target]:
    page, _, name = (part.strip() for part in step.partition(":"))
    screen = next((each for each in screens if each.url.endswith(page) and each.state == "top"), None)
    if screen is None:
        return []
    item = next((item for item in screen.items if item.name == name), None)
    if item is None:
        there = ", ".join(item.name for item in screen.items)
        raise ValueError(f"{step!r}: {screen.url} has no {name!r}, but {there}")
    size = {"width": screen.width, "height": screen.height, "bbox": bounds(item, screen)}
    told = {"instruction": asked, "platform": platform(screen), "kind": item.kind, "application": screen.site}
    return [Target(id=page, image=out / IMAGES / screen.image, **size, **told)]
