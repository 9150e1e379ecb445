"""The figure of `evaluation.hesitation`: the drawn clicks as a cloud on each screenshot, the most hesitant first."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from forge_core.evaluation.hesitation import Element, Hesitation
from forge_core.plots import BLUE, GREEN, ORANGE, PURPLE, RED, fit, pictures, show, write_below

FRAMES = {"sure": GREEN, "torn": ORANGE, "mistaken": RED}
KEY = "blue box: target · dashed: what else was clicked · dots: drawn clicks · frame: green sure, yellow torn, red not"
LINES = 3  # below a picture


def clouds(
    found: Sequence[Hesitation], elements: Mapping[str, Sequence[Element]], count: int = 6, title: str = ""
) -> Figure:
    """The first `count` of `found` (`hesitations` puts the most hesitant first); `elements` as given there.

    Raises ValueError where there is nothing to draw.
    """
    shown = found[:count]
    aspects = [each.target.height / each.target.width for each in shown]
    fig, cells = pictures(title or "Where it hesitates: drawn clicks", [aspects], LINES)
    for each, (axes, below) in zip(shown, cells, strict=True):
        show(axes, each.target.image, fit(each.target.instruction, 42, 2), FRAMES[each.state])
        _outline(axes, each.target.bbox, BLUE, "-")
        for element in elements.get(each.target.image.name, ()):
            if element.name in each.rivals and element.box != each.target.bbox:
                _outline(axes, element.box, RED, "--")
        if each.clicks:
            style = {"color": PURPLE, "markeredgecolor": "white", "markeredgewidth": 0.6, "alpha": 0.75}
            axes.plot(*zip(*each.clicks, strict=True), "o", markersize=6, clip_on=False, **style)
        write_below(below, _said(each))
    fig.supxlabel(KEY, size=8)
    return fig


def _outline(axes: Axes, box: Sequence[float], colour: str, line: str) -> None:
    left, top, right, bottom = box  # normalised
    axes.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=2, linestyle=line)
    )


def _said(each: Hesitation) -> list[str]:
    rivals = ", ".join(f"{name} {count}" for name, count in each.rivals.items())
    first = f"{each.state}: {each.agreement:.0%} agree, {each.inside:.0%} inside the target"
    return [first, *fit(f"also clicked: {rivals}", 52, LINES - 1).split("\n")] if rivals else [first]
