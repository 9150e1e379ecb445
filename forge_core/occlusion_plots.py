"""The figures of `evaluation.occlusion`: which words and which parts of the screenshot a click depends on."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from forge_core.evaluation.occlusion import Covered, LeftOut
from forge_core.evaluation.score import verdict
from forge_core.plots import BLUE, GREEN, INK, RED, figure, fit, pictures, ring, show, write_below

COLUMNS = 2  # panels of words side by side
WORDS_KEY = "blue: still in the box · orange: no longer · bar: how far the click moves, % of the screen's diagonal"
HEAT_KEY = "blue box: target · pink ring: click · orange: how much of the probability is lost when this part is covered"


def word_bars(found: Mapping[str, Sequence[LeftOut]]) -> Figure:
    """A panel a title: how far the click moves without each word, and whether it still hits. ValueError without any."""
    if not found:
        raise ValueError("no words to draw")
    panels = list(found.items())
    rows = [panels[start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    heights = [0.7 + 0.28 * max(len(words) for _, words in row) for row in rows]  # inches
    fig = figure(4.4 * COLUMNS, 0.7 + sum(heights), "Leave out a word: does the click move?")
    grid = fig.subplots(len(rows), COLUMNS, squeeze=False, height_ratios=heights)
    reach = 1.2 * max(0.1, *(word.moved or 0 for _, words in panels for word in words))
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (title, words) in zip(grid.flat, panels, strict=False):
        _bars(axes, words)
        axes.set_xlim(0, reach)
        axes.set_title(fit(title, 50, 3), size=9.5, color=INK, loc="left", parse_math=False)
    fig.supxlabel(WORDS_KEY, size=8)
    return fig


def _bars(axes: Axes, words: Sequence[LeftOut]) -> None:
    for place, (_, point, hit, moved) in enumerate(words):
        axes.barh(place, moved or 0, 0.6, color=BLUE if hit else RED)
        said = "no click" if point is None else "?" if moved is None else f"{100 * moved:.0f}"
        style = {"va": "center", "size": 8.5, "color": BLUE if hit else RED, "weight": "bold"}
        axes.annotate(said, (moved or 0, place), (5, 0), textcoords="offset points", **style)
    axes.set_yticks(range(len(words)), [fit(word.word, 24, 1) for word in words], parse_math=False, size=9)
    axes.set(ylim=(len(words) - 0.5, -0.5))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0, ""))
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def heat_maps(found: Sequence[tuple[str, Covered]]) -> Figure:
    """A screenshot for each (model, what it looks at): orange where covering takes probability from its click."""
    aspects = [covered.target.height / covered.target.width for _, covered in found]
    fig, cells = pictures("Cover a part: is the click still as likely?", [aspects], 2)
    for (name, covered), (axes, below) in zip(found, cells, strict=True):
        target, (left, top, right, bottom) = covered.target, covered.target.bbox  # normalised
        hit = verdict(covered.point, target.bbox) == "hit"
        show(axes, target.image, fit(f"{name}: {covered.instruction}", 42, 2), GREEN if hit else RED)
        over = {"extent": (0, 1, 1, 0), "aspect": target.height / target.width}
        axes.imshow(np.ones((1, 1, 3)), alpha=0.45, **over)  # a veil: the screen's own colours are not to compete
        heat = np.broadcast_to(to_rgb(RED), (*covered.lost.shape, 3))
        axes.imshow(heat, alpha=0.85 * covered.lost, **over)
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=BLUE, linewidth=2))
        if covered.point:
            ring(axes, covered.point, 13)
        write_below(below, _in_words(covered))
    fig.supxlabel(HEAT_KEY, size=8)
    return fig


def _in_words(covered: Covered) -> list[str]:
    if not covered.point:
        return ["Its answer is no click."]
    most = f"Covering the part that matters most takes {covered.lost.max():.0%} of that."
    return [f"Its click had a probability of {covered.probability:.0%}.", most]
