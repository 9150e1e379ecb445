"""The figure of a capture: screenshots with the box of everything that a click there would reach."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from forge_core.capture.store import IMAGES, Screen
from forge_core.plots import BLUE, ORANGE, fit, pictures, show, write_below

COLOURS = {"text": BLUE, "icon": ORANGE}


def screens(folder: str | Path, shown: Sequence[Screen], title: str = "What was captured") -> Figure:
    """Screens of the capture in `folder`, with their targets: blue where there is text, orange icons."""
    fig, cells = pictures(title, [[screen.height / screen.width for screen in shown]], 2)
    for screen, (axes, below) in zip(shown, cells, strict=True):
        show(axes, Path(folder) / IMAGES / screen.image, fit(f"{screen.state}, {screen.theme}", 42, 1), "0.5")
        for item in screen.items:
            left, top, right, bottom = item.box  # px of the screenshot
            x, y = left / screen.width, top / screen.height
            size = ((right - left) / screen.width, (bottom - top) / screen.height)
            axes.add_patch(Rectangle((x, y), *size, fill=False, edgecolor=COLOURS[item.kind], linewidth=1.2))
        write_below(below, fit(f"{screen.url}: {len(screen.items)} targets", 42, 2).split("\n"))
    return fig
