"""The figures of an evaluation: where clicks go wrong, by how far, on what sizes; how models compare, and by chance.

In the style of `plots`: every function returns a matplotlib Figure which can be read on its own.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter
from scipy.stats import binom

from forge_core.data.screenspot import PLATFORMS, Target
from forge_core.evaluation.compare import Paired
from forge_core.evaluation.score import Rate, Scored, accuracy
from forge_core.plots import BLUE, GREY, INK, RED, SERIES, figure, fit, legend

QUIET = "#777777"  # GREY is too pale for lines and crosses on white
LINES = (QUIET, *SERIES[1:])
MARKERS = "os^DvPX"  # tell models apart in grey print, and where colours come again
NEAR, FAR = 0.005, 1.0  # shares of the diagonal between which the axis of `distance` is logarithmic
SIZE_BINS = 5
MAP_KEY = "orange arrow: miss, from the target's centre to the click · blue dot: hit · grey cross: no click"
WHISKERS = {"ecolor": INK, "elinewidth": 1, "capsize": 2}


class Dot(NamedTuple):
    """One line of `accuracy_dots`: an accuracy in [0, 1], its interval where it has one, and whose number it is."""

    name: str
    value: float
    low: float | None
    high: float | None
    published: bool


def click_map(scored: Sequence[Scored], targets: Sequence[Target], title: str = "Where clicks go wrong") -> Figure:
    """Per platform, on one normalised screen: an arrow from each missed target's centre to the click, hits as dots.

    A cross is the centre of a target that got no click at all.
    """
    shown = [platform for platform in PLATFORMS if any(row.platform == platform for row in scored)]
    if not shown:
        raise ValueError(f"{title}: nothing to draw")
    by_id = {target.id: target for target in targets}
    rows = {platform: [row for row in scored if row.platform == platform] for platform in shown}
    aspects = [np.median([by_id[row.target_id].height / by_id[row.target_id].width for row in rows[p]]) for p in shown]
    sizes = [(2.5, 4.0) if aspect > 1 else (4.0, 4.0 * max(aspect, 0.5)) for aspect in aspects]  # inches
    widths, heights = zip(*sizes, strict=True)
    fig = figure(max(sum(widths) + 0.5 * len(shown), 6.5), max(heights) + 1.5, f"{title} (n = {len(scored):,})")
    panels = fig.subplots(1, len(shown), squeeze=False, width_ratios=widths)[0]
    for axes, platform, (width, height) in zip(panels, shown, sizes, strict=True):
        _clicks(axes, rows[platform], by_id)
        _screen(axes, height / width)
        axes.set_title(f"{platform} (n = {len(rows[platform]):,})\n{_counted(rows[platform])}", size=10, color=INK)
    fig.supxlabel(MAP_KEY, size=8)
    return fig


def _clicks(axes: Axes, rows: Sequence[Scored], by_id: Mapping[str, Target]) -> None:
    """Hits, then what got no click, then the misses on top; all normalised."""
    hits = np.array([row.point for row in rows if row.outcome == "hit"]).reshape(-1, 2)
    silent = np.array([_centre(by_id[row.target_id]) for row in rows if row.point is None]).reshape(-1, 2)
    misses = [row for row in rows if row.outcome == "miss"]
    start = np.array([_centre(by_id[row.target_id]) for row in misses]).reshape(-1, 2)
    way = np.clip(np.array([row.point for row in misses]).reshape(-1, 2), 0, 1) - start
    axes.plot(*hits.T, ".", color=BLUE, markersize=4, alpha=0.7, markeredgewidth=0)
    axes.plot(*silent.T, "x", color=QUIET, markersize=4, alpha=0.7, markeredgewidth=0.8)
    head = {"headwidth": 5, "headlength": 6, "headaxislength": 5, "minlength": 0.1}
    scale = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "inches", "width": 0.012}
    arrows = axes.quiver(*start.T, *way.T, color=RED, alpha=0.75, clip_on=False, **scale, **head)
    arrows.set_in_layout(False)  # their heads may cross the frame, and need no room of their own


def _screen(axes: Axes, aspect: float) -> None:
    """Normalised screen coordinates, origin at the upper left."""
    axes.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], anchor="N")
    axes.spines[:].set(color=GREY, linewidth=1.5)
    axes.set_box_aspect(aspect)


def _counted(rows: Sequence[Scored]) -> str:
    count = {outcome: sum(row.outcome == outcome for row in rows) for outcome in ("hit", "miss", "wrong_format")}
    return f"{count['hit']:,} hit, {count['miss']:,} missed, {count['wrong_format']:,} no click"


def _centre(target: Target) -> tuple[float, float]:
    left, top, right, bottom = target.bbox
    return (left + right) / 2, (top + bottom) / 2


def box_distance(point: Sequence[float], target: Target) -> float:
    """From a click (normalised) to the nearest edge of the target's box, 0 inside: share of the screenshot's diagonal.

    Measured in px, so that a screen's shape does not matter.
    """
    left, top, right, bottom = target.bbox
    dx = max(left - point[0], point[0] - right, 0) * target.width
    dy = max(top - point[1], point[1] - bottom, 0) * target.height
    return float(np.hypot(dx, dy) / np.hypot(target.width, target.height))


def distance(runs: Mapping[str, Sequence[Scored]], targets: Sequence[Target]) -> Figure:
    """Share of all targets whose click is within a distance of the box (`box_distance`), one curve per model.

    A curve starts at the hit rate and ends below 100% where answers had no click.
    """
    by_id = {target.id: target for target in targets}
    fig = figure(8, 4.4, "How far clicks land from the target")
    axes = fig.subplots()
    for index, (name, rows) in enumerate(runs.items()):
        away = np.sort([box_distance(row.point, by_id[row.target_id]) for row in rows if row.point])
        hits, silent = np.sum(away == 0) / len(rows), 1 - len(away) / len(rows)
        x = np.concatenate([[0], away[away > 0], [FAR]])
        y = np.concatenate([[hits], hits + np.arange(1, np.sum(away > 0) + 1) / len(rows), [len(away) / len(rows)]])
        label = f"{name}: {hits:.1%} hit, {silent:.1%} no click"
        style = {"drawstyle": "steps-post", "linewidth": 2, "markevery": [0], "markersize": 8}
        axes.plot(x, y, label=label, clip_on=False, zorder=3, **style, **_look(index))
    _distance_axes(axes)
    legend(axes, columns=2)
    return fig


def _distance_axes(axes: Axes) -> None:
    axes.set_xscale("symlog", linthresh=NEAR, linscale=0.5)
    axes.xaxis.set_major_locator(FixedLocator([0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}" if share else "0\n(hit)")
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.set(xlim=(0, FAR), ylim=(0, 1.02), ylabel="targets with a click that near (%)")
    axes.set_xlabel("distance from the click to the box (% of the screen's diagonal)")
    axes.grid(color="#EEEEEE")
    axes.set_axisbelow(True)


def accuracy_by_size(runs: Mapping[str, Sequence[Scored]], targets: Sequence[Target]) -> Figure:
    """Accuracy by the shorter side of the target's box (px of the screenshot); whiskers are 95% Wilson intervals.

    The bins are quantiles of the targets, as equal in number as equal sizes allow.
    """
    sides = {target.id: short_side(target) for target in targets}
    bins = _size_bins([sides[row.target_id] for rows in runs.values() for row in rows])
    fig = figure(8, 4.4, "Accuracy by the size of the target, with 95% Wilson intervals")
    axes = fig.subplots()
    for index, (name, rows) in enumerate(runs.items()):
        rates = [_rate_between(rows, sides, *edges) for edges in bins]
        x = np.arange(len(bins)) + 0.08 * (index - (len(runs) - 1) / 2)
        value, low, high = (np.array([getattr(rate, field) for rate in rates]) for field in ("value", "low", "high"))
        style = {"label": name, "markersize": 7, "linewidth": 1.5} | _look(index)
        axes.errorbar(x, value, np.clip([value - low, high - value], 0, 1), **style, **WHISKERS)
    counts = [_rate_between(next(iter(runs.values())), sides, *edges).n for edges in bins]
    names = [f"{low}\nn = {n:,}" if low == high else f"{low}–{high}\nn = {n:,}"
             for (low, high), n in zip(bins, counts, strict=True)]  # fmt: skip
    axes.set_xticks(range(len(bins)), names)
    axes.set(xlabel="shorter side of the target (px of the screenshot)", ylabel="clicks inside the target (%)")
    axes.set(ylim=(-0.02, 1.05), xlim=(-0.5, len(bins) - 0.5))
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    legend(axes)
    return fig


def _look(index: int) -> dict[str, str]:
    """Colour and marker of the model that is `index` in order."""
    return {"color": LINES[index % len(LINES)], "marker": MARKERS[index % len(MARKERS)]}


def short_side(target: Target) -> int:
    """The shorter side of the target's box, in whole px of the screenshot."""
    left, top, right, bottom = target.bbox
    return round(min((right - left) * target.width, (bottom - top) * target.height))


def _size_bins(sides: Sequence[int]) -> list[tuple[int, int]]:
    """Smallest and largest size of each bin, both included."""
    inner = np.unique(np.quantile(sides, np.linspace(0, 1, SIZE_BINS + 1)[1:-1], method="higher"))
    places = np.searchsorted(inner, sides, side="right")
    parts = [np.asarray(sides)[places == place] for place in np.unique(places)]
    return [(int(part.min()), int(part.max())) for part in parts]


def _rate_between(rows: Sequence[Scored], sides: Mapping[str, int], low: int, high: int) -> Rate:
    chosen = [row.outcome == "hit" for row in rows if low <= sides[row.target_id] <= high]
    return accuracy(sum(chosen), len(chosen))


def accuracy_dots(rows: Sequence[Dot], title: str = "Click accuracy beside baselines") -> Figure:
    """Models, baselines and published numbers on one scale, the best on top; whiskers where there is an interval."""
    if not rows:
        raise ValueError(f"{title}: nothing to draw")
    ranked = sorted(rows, key=lambda row: row.value)
    fig = figure(8, 1.5 + 0.32 * len(ranked), title)
    axes = fig.subplots()
    for place, row in enumerate(ranked):
        style = {"color": BLUE, "markersize": 7, "markerfacecolor": "white" if row.published else BLUE}
        ends = [row.value if end is None else end for end in (row.low, row.high)]
        if ends[0] < ends[1]:
            axes.errorbar(row.value, place, xerr=[[row.value - ends[0]], [ends[1] - row.value]], fmt="none", **WHISKERS)
        axes.plot(row.value, place, "D" if row.published else "o", zorder=3, clip_on=False, **style)
        axes.annotate(f"{row.value:.1%}", (ends[1], place), (8, 0), textcoords="offset points", va="center", size=8.5)
    names = [fit(f"{row.name} (published)" if row.published else row.name, 40, 2) for row in ranked]
    axes.set_yticks(range(len(ranked)), names, parse_math=False, size=9)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.6, len(ranked) - 0.4), xlabel="clicks inside the target (%)")
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.grid(axis="x", color="#EEEEEE")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    key = "disc: measured here, bar: 95% interval"
    published = any(row.published for row in rows)
    fig.supxlabel(f"{key} · diamond: published, measured by others" if published else key, size=8)
    return fig


def intervals(runs: Mapping[str, Sequence[Scored]], counts: Sequence[int]) -> Figure:
    """Each model's accuracy, as if it had been seen on each of `counts` targets, with the 95% Wilson interval."""
    fig = figure(8, 4.0, "What the same accuracy is worth, seen on more and more targets")
    axes = fig.subplots()
    shares = {name: sum(row.outcome == "hit" for row in rows) / len(rows) for name, rows in runs.items()}
    for index, (name, share) in enumerate(shares.items()):
        rates = [accuracy(round(share * count), count) for count in counts]
        x = np.arange(len(counts)) + 0.24 * (index - (len(runs) - 1) / 2)
        value, low, high = (np.array([getattr(rate, field) for rate in rates]) for field in ("value", "low", "high"))
        style = {"label": f"{name}, {share:.1%}", "linestyle": "none", "markersize": 5} | _look(index)
        axes.errorbar(x, value, np.clip([value - low, high - value], 0, 1), **style, **WHISKERS)
        for at, rate in zip(x, rates, strict=True):
            points = f"{100 * (rate.high - rate.low):.0f}"
            axes.annotate(points, (at, rate.low), (0, -5), textcoords="offset points", ha="center", va="top", size=8)
    lowest = min(accuracy(round(share * count), count).low for share in shares.values() for count in counts)
    axes.set_xticks(range(len(counts)), [f"n = {count:,}" for count in counts])
    axes.set(xlim=(-0.6, len(counts) - 0.4), ylim=(lowest - 0.1, 1.03), ylabel="clicks inside the target (%)")
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0, ""))
    fig.supxlabel("below each bar: its length in percentage points", size=8)
    legend(axes)
    return fig


def chance(paired: Paired, names: Sequence[str] = ("stage 1", "stage 2")) -> Figure:
    """The differences that chance alone would make of the targets on which two models differ, and the one seen.

    By the null hypothesis of McNemar's test each of those targets is gained or lost with probability 1/2.
    """
    changed, seen = paired.gained + paired.lost, paired.gained - paired.lost
    gained = np.arange(changed + 1)
    low, high = binom.interval(0.95, changed, 0.5) if changed else (0, 0)
    usual = (low <= gained) & (gained <= high)
    fig = figure(8, 3.6, f"If {names[0]} and {names[1]} differed by chance alone")
    axes = fig.subplots()
    for chosen, colour, label in ((usual, GREY, "at least 95% of such comparisons"), (~usual, RED, "the others")):
        if chosen.any():
            chances = binom.pmf(gained[chosen], changed, 0.5)
            axes.bar(2 * gained[chosen] - changed, chances, 1.6, color=colour, label=label)
    axes.axvline(seen, color=BLUE, linewidth=2, label=f"seen: {seen:+d} targets, p = {paired.p_value:.2g}")
    axes.set(xlim=(-changed - 1.5, changed + 1.5), ylim=(0, None), ylabel="probability")
    axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
    axes.set_xlabel(f"gained minus lost by {names[1]}, of the {changed} targets on which the two differ")
    legend(axes)
    return fig
