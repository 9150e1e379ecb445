"""The figures of training and evaluation, and what they share with those of the data (`data_plots`).

Every figure is a matplotlib Figure which can be read on its own; `save` writes it. Colours are Okabe and Ito's
(distinct for colour-blind readers). Texts of data are drawn verbatim, never as formulas.
"""

import base64
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from forge_core.actions.calls import ActionParseError
from forge_core.actions.prompts import read_answer
from forge_core.data.images import open_image
from forge_core.data.screenspot import Target
from forge_core.evaluation.score import Row, Scored

BLUE, ORANGE, GREEN, RED, SKY, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
GREY, INK = "#BBBBBB", "#222222"
SERIES = (GREY, ORANGE, BLUE, GREEN, PURPLE, SKY)
COLUMNS = 3  # pictures side by side
CELL = 3.6  # inches: one picture's width
SMALL_PRINT = 52  # characters that fit below one picture
MASK_WIDTH = 100  # characters on one line of a label mask


def save(fig: Figure, path: str | Path) -> Path:
    """Write a PNG at 150 dpi, making its folder; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fig.savefig(path, dpi=150, facecolor="white", metadata={"Software": None})
    return path


class Picture(NamedTuple):
    """A PNG as a notebook shows it: with its alt text, which JupyterLab would drop from a plain image output."""

    png: bytes
    alt: str
    width: int  # px of the page

    def _repr_html_(self) -> str:
        image = Markup('<img src="data:image/png;base64,{}" alt="{}" width="{}" style="max-width: 100%">')
        return image.format(base64.b64encode(self.png).decode(), self.alt, self.width)

    def __repr__(self) -> str:
        return f"<{' '.join(self.alt.split())}>"


def describe(fig: Figure) -> str:
    """The texts that say what a figure shows: its title, then of each plot the title, and y by x with their units."""
    parts = [fig.get_suptitle()]
    for axes in fig.axes:
        parts += [axes.get_title(), " by ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel())))]
    return "; ".join(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))


def gallery(scored: Sequence[Scored], targets: Sequence[Target], title: str, count: int = COLUMNS) -> Figure:
    """Up to `count` hits, then up to `count` misses: target box, click, instruction above, thought or answer below."""
    by_id = {target.id: target for target in targets}
    hits = [row for row in scored if row.outcome == "hit"]
    blocks = [_spread(hits, count), _spread([row for row in scored if row.outcome != "hit"], count)]
    aspects = [[by_id[row.target_id].height / by_id[row.target_id].width for row in block] for block in blocks]
    said = {row.target_id: fit(_said(row), SMALL_PRINT, 6).split("\n") for block in blocks for row in block}
    lines = max(map(len, said.values()), default=0)
    fig, cells = pictures(f"{title}: {len(hits)} of {len(scored)} targets hit", aspects, lines)
    for row, (picture, below) in zip(chain(*blocks), cells, strict=True):
        target, colour = by_id[row.target_id], GREEN if row.outcome == "hit" else RED
        show(picture, target.image, fit(target.instruction, 42, 2), colour)
        left, top, right, bottom = target.bbox  # normalised
        picture.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=BLUE, linewidth=2))
        if row.point:
            ring(picture, row.point, 17)
        write_below(below, said[row.target_id])
    fig.supxlabel("blue box: target · pink ring: click · green frame: hit · orange frame: miss or no click", size=8)
    return fig


def loss_curve(log_history: Sequence[Mapping], title: str) -> Figure:
    """Loss (nats a token), held-out clicks if any, and learning rate by step, from the Trainer's `log_history`."""
    losses = _logged(log_history, "loss")
    if not len(losses):
        raise ValueError("the log holds no training loss")
    clicks, rates = _logged(log_history, "eval_clicks"), _logged(log_history, "learning_rate")
    heights = (3, 1.5, 1) if len(clicks) else (3, 1)
    fig = figure(8, 1.3 + 0.85 * sum(heights), title)
    upper, *middle, lower = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    smooth = _smooth(losses[:, 1])
    upper.plot(*losses.T, color=SKY, linewidth=0.8, label="logged")
    upper.plot(losses[:, 0], smooth, color=BLUE, linewidth=2, label=f"smoothed, last {smooth[-1]:.3f}")
    upper.set(ylabel="loss (nats/token)", yscale="log")
    legend(upper)
    for axes in middle:
        best = len(clicks) - 1 - int(clicks[::-1, 1].argmax())  # of equals the later, as training takes it
        axes.plot(*clicks.T, "o-", color=ORANGE)
        axes.plot(*clicks[best], "o", color=RED, markersize=9, label=f"best, {clicks[best, 1]:.1%}: the adapter")
        axes.set(ylabel="held-out\nclicks (%)", ylim=(-0.05, 1.05))
        axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
        legend(axes)
    lower.plot(*rates.T, color=GREEN)
    lower.set(xlabel="optimizer step", ylabel="learning rate", ylim=(0, None))
    lower.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    lower.spines[["top", "right"]].set_visible(False)
    return fig


def _logged(log_history: Sequence[Mapping], name: str) -> np.ndarray:
    """(N, 2): step and value of each entry that has `name`."""
    return np.array([(row["step"], row[name]) for row in log_history if name in row], dtype=float).reshape(-1, 2)


def accuracy_bars(tables: Mapping[str, Sequence[Row]], title: str = "Click accuracy") -> Figure:
    """Accuracy by model, overall and per group, from `score.table`; whiskers are 95% Wilson intervals."""
    rows = [[row for row in table if row.low is not None] for table in tables.values()]  # the macro mean has none
    names = [(row.group, row.name, row.n) for row in rows[0]]
    if any([(row.group, row.name, row.n) for row in table] != names for table in rows):
        raise ValueError("the tables of the models have different groups or sizes")
    gaps = np.cumsum([False] + [one[0] != other[0] for one, other in pairwise(names)])  # between groups
    places = np.arange(len(names)) + 0.5 * gaps
    width = 0.84 / len(rows)
    fig = figure(2 + 0.5 * len(rows) * len(names), 4.4, f"{title}, with 95% Wilson intervals")
    axes = fig.subplots()
    for index, (name, table) in enumerate(zip(tables, rows, strict=True)):
        x = places + (index - (len(rows) - 1) / 2) * width
        value, low, high = (np.array([getattr(row, field) for row in table]) for field in ("value", "low", "high"))
        axes.bar(x, value, width * 0.94, color=SERIES[index], label=name)
        axes.errorbar(x, value, np.clip([value - low, high - value], 0, 1), fmt="none", color=INK, capsize=2, lw=1)
        for row, at in zip(table, x, strict=True):
            axes.text(at, row.high + 0.012, f"{row.value:.1%}", ha="center", size=8)
    labels = [f"{'all' if group == 'overall' else name}\nn = {n}" for group, name, n in names]
    axes.set(xticks=places, xticklabels=labels, ylim=(0, 1.08), xmargin=0.02, ylabel="clicks inside the target (%)")
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=""))
    axes.set_yticks(np.linspace(0, 1, 6))
    legend(axes)
    return fig


def sample_flow(base: Sequence[Scored], stage1: Sequence[Scored], stage2: Sequence[Scored]) -> Figure:
    """How each target fares from the base to stage 1 to stage 2: kept, gained, lost or still missed, with counts."""
    runs = [{row.target_id: row.outcome == "hit" for row in rows} for rows in (base, stage1, stage2)]
    if not runs[0].keys() == runs[1].keys() == runs[2].keys():
        raise ValueError("the three models were scored on different targets")
    total = len(runs[0])
    fig = figure(8.5, 4.8, f"What each stage changed, target by target (n = {total})")
    axes = fig.subplots()
    for place, (name, run) in enumerate(zip(("base", "stage 1", "stage 2"), runs, strict=True)):
        hits = sum(run.values())
        for bottom, size, colour in ((total - hits, hits, BLUE), (0, total - hits, GREY)):
            axes.add_patch(Rectangle((place - 0.06, bottom), 0.12, size, color=colour, linewidth=0))
        axes.text(place, total * 1.03, f"{name}\n{hits} hit", ha="center", va="bottom", color=BLUE, weight="bold")
        axes.text(place, -total * 0.03, f"{total - hits} missed", ha="center", va="top", color="#555555", weight="bold")
    for place in (0, 1):
        _ribbons(axes, place, runs[place], runs[place + 1])
    axes.set(xlim=(-0.25, 2.25), ylim=(-0.12 * total, 1.2 * total))
    axes.set_axis_off()
    return fig


def _ribbons(axes: Axes, place: int, before: Mapping[str, bool], after: Mapping[str, bool]) -> None:
    flows = Counter((before[target], after[target]) for target in before)
    total = len(before)
    kinds = [((True, True), "kept", BLUE), ((True, False), "lost", RED),
             ((False, True), "gained", GREEN), ((False, False), "still missed", GREY)]  # fmt: skip
    along = np.linspace(0, 1, 60)
    bend = along**2 * (3 - 2 * along)
    ends = {True: total, False: sum(not hit for hit in after.values())}  # upper edge of the next free part
    start, label_at = total, 2.0 * total
    for (was, now), name, colour in kinds:
        size = flows[was, now]
        upper = start + (ends[now] - start) * bend
        axes.fill_between(place + 0.06 + 0.88 * along, upper - size, upper, color=colour, alpha=0.45, linewidth=0)
        if size:
            label_at = min(start - size / 2, label_at - 0.055 * total)
            paper = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": colour, "alpha": 0.85}
            axes.text(place + 0.09, label_at, f"{name} {size}", va="center", size=9, color=INK, bbox=paper)
        start -= size
        ends[now] -= size


def label_mask(tokens: Sequence[str], labels: Sequence[int], title: str = "What the loss sees") -> Figure:
    """A rendered conversation, token by token; supervised tokens (label other than -100) are coloured.

    `tokens` are decoded texts, as many as `labels`; runs of one token (an image's) are drawn once with their number.
    """
    if len(tokens) != len(labels):
        raise ValueError(f"{len(tokens)} tokens but {len(labels)} labels")
    lines, column = [[]], 0
    for (token, supervised), run in groupby(zip(tokens, [label != -100 for label in labels], strict=True)):
        times = len(list(run))
        for piece in [f"{token} ×{times} "] if times > 3 else [token] * times:
            for text in piece.replace("\n", "⏎\n").splitlines(keepends=True):
                if column and column + len(text.rstrip("\n")) > MASK_WIDTH:
                    lines.append([])
                    column = 0
                lines[-1].append((column, text.rstrip("\n"), supervised))
                column += len(text)
                if text.endswith("\n"):
                    lines.append([])
                    column = 0
    count = sum(label != -100 for label in labels)
    return _draw_tokens([line for line in lines if line], f"{title}: {count} of {len(labels)} tokens supervised")


def _draw_tokens(lines: Sequence[Sequence[tuple[int, str, bool]]], title: str) -> Figure:
    wide, high = 0.08, 0.2  # inches of one character: whole pixels at 100 and 150 dpi, so that texts meet exactly
    size = wide * 72 / 0.602  # points; a character of DejaVu Sans Mono is 0.602 em wide
    fig = figure(MASK_WIDTH * wide + 0.084, len(lines) * high + 0.6, title)
    axes = fig.subplots()
    for number, line in enumerate(lines):
        for column, text, supervised in line:
            if supervised:
                place = (column + 0.05, number - 0.45)
                axes.add_patch(Rectangle(place, len(text) - 0.1, 0.9, color=ORANGE, alpha=0.45, linewidth=0))
            axes.text(column, number, text, family="monospace", size=size, va="center", parse_math=False,
                      color=INK if supervised else "#666666")  # fmt: skip
    axes.set(xlim=(0, MASK_WIDTH), ylim=(len(lines) - 0.5, -0.5))
    axes.set_axis_off()
    return fig


def figure(width: float, height: float, title: str) -> Figure:
    """An empty figure (inches) outside pyplot's register, so that a notebook shows it once and memory is freed."""
    fig = plt.figure(figsize=(width, height), layout="constrained", facecolor="white")  # legible on a dark page, too
    plt.close(fig)
    fig.suptitle(title, weight="bold", size=12, color=INK, parse_math=False)
    return fig


def legend(axes: Axes, columns: int = 4) -> None:
    """Legend in rows between title and axes, where no data can be; the frame's right and upper edges go."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, frameon=False, fontsize=9)


def pictures(title: str, blocks: Sequence[Sequence[float]], lines: int) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """For each aspect (height / width) axes for the picture and for `lines` below it; each block starts a row."""
    columns, room = min(COLUMNS, max(map(len, blocks))), 0.16 * lines + 0.05  # inches
    if not columns:
        raise ValueError(f"{title}: nothing to draw")
    rows = [block[start : start + columns] for block in blocks for start in range(0, len(block), columns)]
    heights = [height for row in rows for height in (min(CELL, CELL * max(row)) + 0.4, room)]  # inches
    fig = figure(CELL * columns, sum(heights) + 0.6, title)
    fig.get_layout_engine().set(w_pad=0.1, wspace=0.03)
    grid = fig.subplots(len(heights), columns, height_ratios=heights, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    pairs = [
        [(grid[2 * i, column], grid[2 * i + 1, column]) for column in range(len(row))] for i, row in enumerate(rows)
    ]
    return fig, list(chain(*pairs))


def show(axes: Axes, path: str | Path, title: str, frame: str) -> None:
    """Draw a screenshot so that data coordinates are normalised: (0, 0) upper left, (1, 1) lower right.

    `path` is a file, or a member of an archive: `archive.zip::member`.
    """
    image = open_image(path)
    aspect = image.height / image.width
    image.thumbnail((900, 900))
    axes.imshow(image, extent=(0, 1, 1, 0), aspect=aspect)
    axes.set_anchor("S")
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=frame, linewidth=2.5)
    axes.set_title(title, size=9.5, color=INK, parse_math=False)


def ring(axes: Axes, point: tuple[float, float], size: float) -> None:
    """A ring of `size` points (1/72 inch) around `point`, in data coordinates."""
    for colour, width in (("white", 3), (PURPLE, 1.6)):  # the white rim keeps it visible on any screen
        axes.plot(*point, "o", markersize=size, fillstyle="none", color=colour, markeredgewidth=width, clip_on=False)


def write_below(axes: Axes, lines: Sequence[str]) -> None:
    """Small print from the upper left corner of `axes` down."""
    text = "\n".join(lines)
    style = {"size": 8, "va": "top", "color": INK, "linespacing": 1.25, "parse_math": False, "clip_on": True}
    axes.text(0, 1, text, transform=axes.transAxes, **style)


def fit(text: str, width: int, lines: int) -> str:
    """`text` on at most `lines` lines of `width` characters, ending in dots where it was cut."""
    return "\n".join(textwrap.wrap(text, width, max_lines=lines, placeholder=" ..."))


def _said(row: Scored) -> str:
    """The outcome in words, and the answer's thought or else its text."""
    label = {"hit": "Hit", "miss": "Miss", "wrong_format": "No click"}[row.outcome]
    try:
        return f"{label}. {read_answer(row.raw, row.coord_format).thought or row.raw}"
    except ActionParseError:
        return f"{label}. {row.raw or '(empty answer)'}"


def _spread(rows: Sequence[Scored], count: int) -> list[Scored]:
    """Up to `count` rows, the middle one of each of as many equal parts, so that every platform has a chance."""
    count = min(count, len(rows))
    return [rows[(2 * index + 1) * len(rows) // (2 * count)] for index in range(count)]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving average over a twentieth of the points."""
    window = np.ones(max(1, len(values) // 20))
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
