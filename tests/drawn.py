"""What a reader sees of a figure: its texts, and that none of them hides another."""

from itertools import combinations
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from forge_core import plots

LONG = "Pay $5 for the button, then $7 for the field_name^2 that is shown right there in the upper part " * 4


def write_screens(folder: Path) -> Path:
    """Write web.png (512 x 288) and mobile.png (200 x 400) into `folder`."""
    for platform, size in (("web", (512, 288)), ("mobile", (200, 400))):
        Image.new("RGB", size, (90, 140, 190)).save(folder / f"{platform}.png")
    return folder


def texts(fig: Figure) -> list[Text]:
    """Visible texts of a figure which is laid out and drawn."""
    FigureCanvasAgg(fig).draw()
    out_of_view = set()
    for axis in (axis for axes in fig.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        out_of_view |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    found = [text for text in fig.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in found if text not in out_of_view]


def words(fig: Figure) -> set[str]:
    return {text.get_text() for text in texts(fig)}


def check(fig: Figure, path: Path) -> None:
    """No two texts overlap, none leaves the figure, and a PNG is written."""
    boxes = [(text.get_text(), text.get_tightbbox().padded(-1)) for text in texts(fig)]
    assert [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)] == []
    width, height = fig.get_size_inches() * fig.dpi
    assert [text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height] == []
    assert Image.open(plots.save(fig, path / "new" / "figure.png")).width > 300
