"""The figures of what a model gets of the data: tiles, tokens by kind, small targets, and a chat as it is read.

In the style of `plots`: every function returns a matplotlib Figure which can be read on its own.
"""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from forge_core.data.seen import KINDS, Part, Views, Zoom
from forge_core.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    figure,
    fit,
    legend,
    pictures,
    ring,
    show,
    write_below,
)

COLOURS = dict(zip(KINDS, (GREY, SKY, PURPLE, GREEN, ORANGE), strict=True))
INCH = 0.85  # of a tile's side
GAP = 0.07  # between tiles, in sides
GUTTER, LINE = 24, 92  # characters: the kind's name, and a line of the chat
_IMAGES = re.compile(r"(?:<image>){4,}")


def tiles(shots: Mapping[str, Views], tokens: int) -> Figure:
    """Screenshots (name -> pixels) as they are cut, each tile with its `tokens`; at the right the whole in one tile."""
    spans = {name: np.array(views.tiles.shape[1::-1]) * (1 + GAP) + (1.4, 0) for name, views in shots.items()}
    wide, high = sum(span[0] for span in spans.values()), max(span[1] for span in spans.values())  # in sides
    fig = figure(INCH * wide + 0.6, INCH * high + 1.15, "What the vision tower gets")
    grid = fig.subplots(1, len(shots), squeeze=False, width_ratios=[span[0] for span in spans.values()])[0]
    for axes, (name, views) in zip(grid, shots.items(), strict=True):
        rows, columns = views.tiles.shape[:2]
        for row, column in np.ndindex(rows, columns):
            _tile(axes, views.tiles[row, column], column * (1 + GAP), row * (1 + GAP), BLUE, tokens)
        _tile(axes, views.whole, columns * (1 + GAP) + 0.3, 0, RED, tokens)
        count = rows * columns + 1
        title = f"{name}\n{rows * columns} tiles and the whole:\n{count} × {tokens} = {count * tokens:,} image tokens"
        axes.set_title(title, size=10, color=INK, parse_math=False)
        axes.set(xlim=(-0.03, spans[name][0]), ylim=(spans[name][1], -0.03), aspect="equal", anchor="N")
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    return fig


def _tile(axes: Axes, pixels: np.ndarray, x: float, y: float, colour: str, tokens: int) -> None:
    """One tile with its upper left corner at (x, y), in sides."""
    axes.imshow(pixels, extent=(x, x + 1, y + 1, y))
    axes.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor=colour, linewidth=1.5))
    paper = {"boxstyle": "round,pad=0.2", "facecolor": colour, "edgecolor": "none"}
    axes.text(x + 0.95, y + 0.93, tokens, ha="right", va="bottom", size=8, color="white", weight="bold", bbox=paper)


def bills(rows: Mapping[str, Mapping[str, int]], title: str) -> Figure:
    """Tokens by kind (name -> kind of KINDS -> number), one bar each with its sum."""
    totals = [sum(row.values()) for row in rows.values()]
    fig = figure(8.4, 1.3 + 0.4 * len(rows), title)
    axes, places = fig.subplots(), range(len(rows))
    starts = np.zeros(len(rows))
    for kind in KINDS:
        counts = np.array([row.get(kind, 0) for row in rows.values()])
        axes.barh(places, counts, left=starts, color=COLOURS[kind], label=kind)
        for place, (start, count) in enumerate(zip(starts, counts, strict=True)):
            if count > 0.05 * max(totals):
                axes.text(start + count / 2, place, f"{count:,}", ha="center", va="center", size=8, color="black")
        starts += counts
    for place, total in zip(places, totals, strict=True):
        axes.text(total + 0.01 * max(totals), place, f"{total:,}", va="center", size=9, weight="bold", color=INK)
    axes.set_yticks(places, rows, parse_math=False)
    axes.set(xlabel="tokens", xlim=(0, 1.1 * max(totals)), ylim=(len(rows) - 0.5, -0.5))
    legend(axes, len(KINDS))
    return fig


def zooms(rows: Mapping[str, Sequence[Zoom]], patch: int) -> Figure:
    """The same target (blue box) in several pictures, a row each, the first of them in full size.

    Red lines on the others are patches of the vision tower, `patch` px wide. Raises ValueError without a picture.
    """
    columns = max(map(len, rows.values()), default=0)
    if not columns:
        raise ValueError("no picture of a target")
    fig = figure(3 * columns, 3.1 * len(rows) + 0.9, "One target, and what is left of it")
    grid = fig.subplots(len(rows), columns, squeeze=False)
    for (name, line), panels in zip(rows.items(), grid, strict=True):
        window = _around(line[0])
        for number, (zoom, axes) in enumerate(zip(line, panels, strict=True)):
            _zoom(axes, zoom, window, patch if number else 0)
        panels[0].set_ylabel(name, size=10, color=INK, parse_math=False)
    fig.supxlabel(f"blue: the target · red: patches of the vision tower, {patch} px", size=8)
    return fig


def _around(zoom: Zoom) -> np.ndarray:
    """A square round the target, wide enough for its longer side and as much again: normalised, as the box is."""
    size = np.array(zoom.pixels.shape[1::-1])  # (width, height) in px
    box = np.array(zoom.box).reshape(2, 2)  # corners, (x, y)
    reach = np.ptp(box * size, axis=0).max() / size
    return np.concatenate([box.mean(0) - reach, box.mean(0) + reach])


def _zoom(axes: Axes, zoom: Zoom, window: np.ndarray, patch: int) -> None:
    """The window of a picture, pixel by pixel, with a grid every `patch` px (0: none)."""
    height, width = zoom.pixels.shape[:2]
    left, top, right, bottom = np.array(zoom.box) * (width, height, width, height)  # px of this picture
    axes.imshow(zoom.pixels, interpolation="nearest", extent=(0, width, height, 0), aspect="auto")
    for guide, end in ((axes.axvline, width), (axes.axhline, height)):
        for place in range(0, end + 1, patch) if patch else ():
            guide(place, color=RED, linewidth=0.8)
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=BLUE, linewidth=2))
    axes.set(xlim=window[::2] * width, ylim=window[:0:-2] * height, xticks=[], yticks=[], box_aspect=1)
    axes.set_title(f"{zoom.name}: {right - left:.0f} × {bottom - top:.0f} px", size=10, color=INK)


def readings(path: str | Path, places: Mapping[str, tuple[float, float]], aspect: float) -> Figure:
    """A screenshot (height / width: `aspect`) with a numbered ring at each place (what was read -> normalised x, y).

    A place outside the screenshot has no ring, and its line says so.
    """
    fig, ((axes, below),) = pictures("One answer, read in several ways", [[aspect]], len(places))
    fig.set_figwidth(6)
    show(axes, path, "", GREY)
    lines = []
    for number, (name, (x, y)) in enumerate(places.items(), start=1):
        inside = 0 <= x <= 1 and 0 <= y <= 1
        if inside:
            ring(axes, (x, y), 15)
            style = {"size": 7, "color": "white", "weight": "bold", "ha": "center", "va": "center"}
            axes.annotate(str(number), (x, y), (11, 11), textcoords="offset points", **style,
                          bbox={"boxstyle": "circle,pad=0.25", "color": GREEN if number == 1 else RED})  # fmt: skip
        lines.append(fit(f"{number}  ({x:.4g}, {y:.4g}){'' if inside else ' off the screen'}: {name}", 90, 1))
    write_below(below, lines)
    return fig


def chat(parts: Sequence[Part], title: str) -> Figure:
    """A chat as a model reads it, a coloured block for each part with its kind and tokens; ⏎ is a line break."""
    wide, high = 0.08, 0.19  # inches of a character
    blocks = [_lines(part.text) for part in parts]
    count = sum(map(len, blocks))
    fig = figure((GUTTER + LINE) * wide + 0.1, count * high + 0.6, f"{title}: {sum(p.tokens for p in parts):,} tokens")
    style = {"size": wide * 72 / 0.602, "va": "center", "parse_math": False, "color": INK, "in_layout": False}
    axes = fig.subplots()
    top = 0
    for part, lines in zip(parts, blocks, strict=True):
        axes.add_patch(Rectangle((0, top + 0.04), GUTTER + LINE, len(lines) - 0.08, color=COLOURS[part.kind],
                                 alpha=0.4, linewidth=0))  # fmt: skip
        axes.text(0.5, top + 0.5, f"{part.kind} {part.tokens}", weight="bold", **style)
        for number, line in enumerate(lines):
            axes.text(GUTTER, top + number + 0.5, line, family="monospace", **style)
        top += len(lines)
    axes.set(xlim=(0, GUTTER + LINE), ylim=(count, 0), xticks=[], yticks=[])
    axes.set_axis_off()
    return fig


def _lines(text: str) -> list[str]:
    """The text on lines that fit, an image's many equal tokens as one with their number."""
    text = _IMAGES.sub(lambda match: f"<image> ×{len(match[0]) // len('<image>')} ", text)
    return list(_wrapped(text.replace("\n", "⏎\n").splitlines())) or [""]


def _wrapped(lines: Iterable[str]) -> Iterable[str]:
    for line in lines:
        yield from textwrap.wrap(line, LINE - 1, drop_whitespace=False, replace_whitespace=False)
