"""The figures of the data: what the screens look like and ask for, what they cost, and what preprocessing keeps.

In the style of `plots`: every function returns a matplotlib Figure which can be read on its own.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from forge_core.actions.types import Action
from forge_core.actions.unified import click_point, parse
from forge_core.data.schema import Example, Turn
from forge_core.data.screenspot import PLATFORMS
from forge_core.plots import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    RED,
    SKY,
    SMALL_PRINT,
    figure,
    fit,
    legend,
    pictures,
    ring,
    show,
    write_below,
)

BLUES = ListedColormap(colormaps["Blues"](np.linspace(0.3, 1, 256)))  # the lightest can be told from white paper
SIZES = 12  # bars of `image_costs`, besides the one for the rest
# label, field of a count, colour, hatch (tells them apart in grey print)
FATES = (
    ("kept", "turns", BLUE, ""),
    ("duplicate", "duplicates", GREY, ""),
    ("dropped by the curation", "dropped", ORANGE, "////"),
    ("rejected", "rejected", RED, "xxxx"),
)


def screens(examples: Sequence[Example], folder: str | Path, turns: int = 5) -> Figure:
    """Screenshots with up to `turns` numbered targets each, their instructions below; `folder` holds the JSONL."""
    aspects = [example.height / example.width for example in examples]
    lines = max((min(len(example.turns), turns + 1) for example in examples), default=0)
    fig, cells = pictures("What the screens ask for", [aspects], lines)
    for example, (picture, below) in zip(examples, cells, strict=True):
        show(picture, Path(folder) / example.image, f"{example.platform} · {example.source}", GREY)
        lines = [f"{number}  {turn.instruction}" for number, turn in enumerate(example.turns[:turns], start=1)]
        for number, turn in enumerate(example.turns[:turns], start=1):
            _mark(picture, click_point(_calls(turn)), str(number))
        if len(example.turns) > turns:
            lines.append(f"and {len(example.turns) - turns} more")
        write_below(below, [fit(line, SMALL_PRINT, 1) for line in lines])
    return fig


def _mark(axes: Axes, point: tuple[float, float] | None, number: str) -> None:
    """A numbered ring around `point` (normalised)."""
    if point:
        ring(axes, point, 17)
        axes.annotate(number, point, (10, 10), textcoords="offset points", size=7, color="white", weight="bold",
                      ha="center", va="center", bbox={"boxstyle": "circle,pad=0.25", "color": RED})  # fmt: skip


def _calls(turn: Turn) -> list[Action]:
    return parse("\n".join(turn.actions))


def action_shares(examples: Mapping[str, Sequence[Example]]) -> Figure:
    """How often each function is called: per cent of the calls of each subset (name -> examples), one column each."""
    counts = {
        name: Counter(call.name for row in rows for turn in row.turns for call in _calls(turn))
        for name, rows in examples.items()
    }
    functions = [function for function, _ in sum(counts.values(), Counter()).most_common()]
    if not functions:
        raise ValueError("no subset has a call to count")
    shares = np.array([[count[name] / max(count.total(), 1) for count in counts.values()] for name in functions])
    fig = figure(max(1.6 + 0.45 * len(counts), 4), 2.3 + 0.27 * len(functions), "Which actions the data teaches")
    axes = fig.subplots()
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    for (row, column), share in np.ndenumerate(shares):
        axes.text(column + 0.5, row + 0.5, _percent(share), ha="center", va="center", size=8, color=_ink_on(share))
    names = [f"{name}\nn = {count.total():,}" for name, count in counts.items()]
    _matrix_ticks(axes, functions, names)
    axes.set_xlabel("% of the subset's n calls")
    return fig


def _percent(share: float) -> str:
    """A share in whole per cent; nothing for none, and what is almost none or almost all does not round to that."""
    if share in (0, 1):
        return "100" if share else ""
    return "<1" if share < 0.01 else ">99" if share > 0.99 else f"{100 * share:.0f}"


def _ink_on(share: float) -> str:
    """Black or white, whichever is easier to read on the colour of `share`."""
    channels = np.array(colormaps["Blues"](share)[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > 0.179 else "white"  # where both contrasts are 4.6


def _matrix_ticks(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    """Names of the rows at the left, from the top down, and of the columns on top, upright."""
    axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90, ma="left", parse_math=False, size=8.5)
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows, parse_math=False, size=9)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_aspect(0.6)
    axes.invert_yaxis()


def target_heatmap(examples: Sequence[Example], bins: int = 24) -> Figure:
    """Where the targets lie, one panel per platform, origin at the upper left as on the screen."""
    shown = [platform for platform in PLATFORMS if any(example.platform == platform for example in examples)]
    fig = figure(4 * len(shown), 4.2, "Where the targets lie")
    for axes, platform in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        rows = [example for example in examples if example.platform == platform]
        points = [click_point(_calls(turn)) for row in rows for turn in row.turns]
        x, y = np.array([point for point in points if point]).reshape(-1, 2).T  # normalised
        grid, _, _ = np.histogram2d(y, x, bins=bins, range=((0, 1), (0, 1)))
        drawn = axes.imshow(grid, cmap="cividis", extent=(0, 1, 1, 0), aspect="auto")
        axes.set_box_aspect(min(max(np.median([row.height / row.width for row in rows]), 0.5), 1.6))
        axes.set_title(f"{platform} (n = {len(x):,})", size=10)
        axes.set(xlabel="x (share of width)", ylabel="y (share of height)", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        fig.colorbar(drawn, ax=axes, label="targets per cell", shrink=0.7, ticks=MaxNLocator(5, integer=True))
    return fig


def target_sizes(targets: Sequence[tuple[str, float, float]], patch: float, bins: int = 24) -> Figure:
    """How large the targets' boxes are: (platform, width, height), in px of the resized image, above 0.

    `patch` is the side of one patch of the vision tower in the same px: a smaller target has less than one to itself.
    """
    if not targets:
        raise ValueError("no target box to draw")
    sides = [side for _, *size in targets for side in size]
    edges = np.geomspace(min(*sides, patch) / 1.3, max(*sides, patch) * 1.3, bins + 1)
    shown = [platform for platform in PLATFORMS if any(platform == of for of, *_ in targets)]
    fig = figure(max(4 * len(shown), 4.6), 3.9, "How large the targets are")
    fig.get_layout_engine().set(wspace=0.06)
    for axes, platform in zip(fig.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        sizes = np.array([size for of, *size in targets if of == platform])
        *_, drawn = axes.hist2d(*sizes.T, bins=edges, cmap=BLUES, cmin=1, vmin=0)
        axes.set_title(f"{platform} (n = {len(sizes):,})", size=10)
        _size_axes(axes, patch)
        fig.colorbar(drawn, ax=axes, label="targets per cell", shrink=0.7, ticks=MaxNLocator(5, integer=True))
    fig.supxlabel(f"px of the resized image · dashed, {patch:g} px: one patch of the vision tower", size=8)
    return fig


def _size_axes(axes: Axes, patch: float) -> None:
    """Width and height (px) on logarithmic scales, with dashed guides at `patch`."""
    for guide in (axes.axvline, axes.axhline):
        guide(patch, color=RED, linestyle="--", linewidth=1.2)
    axes.set(xscale="log", yscale="log", xlabel="width (px)", ylabel="height (px)")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.set_box_aspect(1)


def histogram(values: Sequence[float], title: str, xlabel: str) -> Figure:
    """Distribution of `values` with its median and 95th percentile; few whole numbers get one bar each."""
    values = np.asarray(values)
    whole = np.issubdtype(values.dtype, np.integer) and np.ptp(values) < 40
    bins = np.arange(values.min(), values.max() + 2) - 0.5 if whole else min(60, max(10, int(len(values) ** 0.5)))
    fig = figure(7, 3.6, f"{title} (n = {len(values):,})")
    axes = fig.subplots()
    axes.hist(values, bins=bins, color=SKY, edgecolor="white", linewidth=0.5)
    for share, name, style in ((50, "median", "-"), (95, "95th percentile", "--")):
        at = np.percentile(values, share)
        label = f"{name} {at:,.0f}" if at >= 100 else f"{name} {at:.3g}"
        axes.axvline(at, color=INK, linestyle=style, linewidth=1.2, label=label)
    axes.set(xlabel=xlabel, ylabel="count")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    legend(axes)
    return fig


def image_costs(sizes: Mapping[tuple[int, int], int], tokens: Mapping[tuple[int, int], int]) -> Figure:
    """How large the screenshots are and what they cost: (width, height) in px -> number of them, and tokens of one."""
    total = sum(sizes.values())
    if not total:
        raise ValueError("no screenshot to draw")
    names, counts, notes, colours = zip(*_cost_bars(sizes, tokens), strict=True)
    title = f"How large the screenshots are (px) and what they cost (n = {total:,})"
    fig = figure(8, 1.2 + 0.3 * len(names), title)
    axes = fig.subplots()
    bars = axes.barh(names, 100 * np.array(counts) / total, color=colours)
    axes.bar_label(bars, notes, padding=3, size=8)
    axes.set(xlabel="share of the screenshots (%)", ylim=(len(names) - 0.4, -0.6))
    axes.spines[["top", "right"]].set_visible(False)
    return fig


def _cost_bars(sizes: Mapping[tuple[int, int], int], tokens: Mapping[tuple[int, int], int]) -> list[tuple]:
    """(name, number, note, colour) of each of the most frequent sizes, and of the others together."""
    ranked = sorted(sizes, key=lambda size: (-sizes[size], size))
    bars = [
        (f"{w} × {h}", sizes[w, h], f"n = {sizes[w, h]:,} · {tokens[w, h]:,} image tokens each", BLUE)
        for w, h in ranked[:SIZES]
    ]
    if rest := ranked[SIZES:]:
        count = sum(sizes[size] for size in rest)
        mean = sum(sizes[size] * tokens[size] for size in rest) / count
        name = f"other ({len(rest)} size{'s' * (len(rest) > 1)})"
        bars.append((name, count, f"n = {count:,} · {mean:,.0f} image tokens on average", GREY))
    return bars


def before_after(counts: Sequence[Mapping]) -> Figure:
    """What preprocessing made of the turns that it read, by subset: shares, and the number of turns kept.

    Each of `counts` has stage, subset, turns, duplicates (numbers), dropped and rejected (reason -> number).
    """
    turns = np.array([[_number(row[field]) for _, field, *_ in FATES] for row in counts]).reshape(-1, len(FATES))
    if not turns.any():
        raise ValueError("no turn was read")
    fig = figure(8, 1.4 + 0.32 * len(counts), f"What became of the turns (n = {turns.sum():,})")
    axes = fig.subplots()
    _stack(axes, 100 * turns / np.maximum(turns.sum(1, keepdims=True), 1))
    for row, kept in enumerate(turns[:, 0]):
        axes.text(101, row, f"{kept:,} kept", va="center", size=8, color=INK)
    names = [f"stage {row['stage']} {row['subset']}" for row in counts]
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlim=(0, 100), xlabel="share of the turns read (%)", ylim=(len(names) - 0.5, -0.5))
    legend(axes)
    return fig


def _stack(axes: Axes, shares: np.ndarray) -> None:
    """One bar per row of `shares` [rows, fates], in per cent; what is 0 is not drawn."""
    starts = shares.cumsum(1) - shares
    for index, (name, _, colour, hatch) in enumerate(FATES):
        (rows,) = shares[:, index].nonzero()
        if len(rows):
            style = {"color": colour, "hatch": hatch, "hatchcolor": "white", "linewidth": 0, "label": name}
            axes.barh(rows, shares[rows, index], left=starts[rows, index], **style)


def _number(count: int | Mapping[str, int]) -> int:
    """A number, or the sum of the numbers by reason."""
    return sum(count.values()) if isinstance(count, Mapping) else count
