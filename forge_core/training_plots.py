"""The figures that take training apart: NF4, LoRA, losses of one batch by hand, and what a thought costs.

In the style of `plots`: every function returns a matplotlib Figure which can be read on its own.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from forge_core.models.cost import Adapted
from forge_core.models.nf4 import BLOCK, Packed
from forge_core.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, SKY, figure, fit, legend

QUIET = "#777777"
STYLES = ((BLUE, "-"), (RED, "--"), (PURPLE, "-."), (GREEN, ":"))  # told apart in grey print, too
PARTS = {"vision tower": "#999999", "connector": "#666666", "embeddings and head": "#DDDDDD", "language layers": SKY}
KINDS = {"image": GREY, "prompt": "#DDDDDD", "history": SKY, "thought": BLUE, "call": ORANGE}
SHOWN_TOKENS = 60  # of an answer, more would not fit
FLOOR = 1e-4  # nats: smaller losses are drawn here


def nf4(packed: Packed, name: str) -> Figure:
    """What NF4 does to one matrix: its weights on the 16 levels, one block, before and after, and the bits."""
    fig = figure(9.5, 6.6, f"NF4 on {packed.weight.numel():,} weights of {name}: off by {packed.error:.1%} (rms)")
    (upper, bits), (before, block) = fig.subplots(2, 2, width_ratios=(3, 2))
    _on_levels(upper, packed)
    _bits(bits, packed.bits)
    _before_after(before, packed)
    _one_block(block, packed)
    for axes in (upper, bits, before, block):
        axes.spines[["top", "right"]].set_visible(False)
    return fig


def _on_levels(axes: Axes, packed: Packed) -> None:
    scaled = (packed.weight.reshape(-1, BLOCK) / packed.scales.reshape(-1, 1)).flatten().numpy()
    axes.hist(scaled, np.linspace(-1, 1, 121), color=SKY)
    for level in packed.levels.tolist():
        axes.axvline(level, color=RED, linewidth=0.9)
    axes.set_title("each weight over the largest of its block; lines: the 16 levels", size=9.5)
    axes.set(xlabel="weight / scale of its block", ylabel="weights", xlim=(-1.03, 1.03))


def _bits(axes: Axes, bits: Mapping[str, float]) -> None:
    places = np.arange(len(bits))[::-1]
    axes.barh(places, bits.values(), color=[GREY, GREY, ORANGE, ORANGE][: len(bits)])
    for place, value in zip(places, bits.values(), strict=True):
        axes.text(value + 0.5, place, f"{value:.3g}", va="center", size=9)
    axes.set_yticks(places, [name.replace(", ", ",\n") for name in bits])
    axes.set(xlim=(0, 37), xlabel="bits a weight, scales included")
    axes.set_title("what it saves", size=9.5)


def _before_after(axes: Axes, packed: Packed) -> None:
    old, new = packed.weight.flatten().numpy(), packed.restored.flatten().numpy()
    edge = float(np.abs(old).max())
    bins = np.linspace(-edge, edge, 161)
    axes.hist(old, bins, color=SKY, label="before")
    axes.hist(new, bins, color=RED, histtype="step", label="after")
    axes.set(xlabel="weight", ylabel="weights")
    legend(axes)


def _one_block(axes: Axes, packed: Packed) -> None:
    old, new = packed.weight.flatten()[:BLOCK].numpy(), packed.restored.flatten()[:BLOCK].numpy()
    axes.vlines(range(BLOCK), old, new, color=GREY, linewidth=1)
    axes.plot(old, "o", color=BLUE, markersize=3, label="before")
    axes.plot(new, "_", color=RED, markersize=6, label="after")
    scale = float(packed.scales[0])
    for edge in (-scale, scale):
        axes.axhline(edge, color=QUIET, linewidth=0.8, linestyle=":")
    axes.set(xlabel=f"{BLOCK} weights of one block; dots: its scale", ylabel="weight")
    legend(axes)


def lora(bases: Mapping[str, Adapted]) -> Figure:
    """For each base: one language layer's matrices with their adapters, to scale, and the adapters' share of all."""
    fig = figure(10, 0.7 + 2.5 * len(bases), "LoRA: frozen matrices (blue), and what is trained beside them (orange)")
    rows = fig.subplots(len(bases), 2, squeeze=False, width_ratios=(3, 2))
    for (left, right), (name, base) in zip(rows, bases.items(), strict=True):
        _layer(left, base)
        _shares(right, base)
        right.spines[["top", "right"]].set_visible(False)
        left.set_title(fit(f"{name}: one language layer, rank {base.rank}", 60, 2), size=9.5, parse_math=False)
    legend(rows[0, 1], columns=2)
    return fig


def _layer(axes: Axes, base: Adapted) -> None:
    """Matrices to scale (one unit: one row or column), A (rank, in) above and B (out, rank) to the left."""
    high, gap = max(out for out, _ in base.matrices.values()), 0.35 * next(iter(base.matrices.values()))[1]
    left = 0.0
    for name, (out, wide) in base.matrices.items():
        x = left + base.rank
        boxes = ((x, 0, wide, out, SKY), (x, -base.rank, wide, base.rank, ORANGE), (left, 0, base.rank, out, ORANGE))
        for place_x, place_y, width, height, colour in boxes:
            axes.add_patch(Rectangle((place_x, place_y), width, height, color=colour, linewidth=0.4))
        axes.text(x + wide / 2, high * 1.06, name.removesuffix("_proj"), ha="center", va="top", size=9)
        left = x + wide + gap
    axes.set(xlim=(0, left - gap), ylim=(high * 1.25, -1.5 * base.rank), aspect="equal", xticks=[], yticks=[])
    axes.set_axis_off()


def _shares(axes: Axes, base: Adapted) -> None:
    left, total, trained = 0, sum(base.parts.values()), sum(base.adapters.values())
    for part, colour in PARTS.items():
        axes.barh(1, base.parts.get(part, 0), left=left, color=colour, label=part)
        left += base.parts.get(part, 0)
    axes.barh(0, trained, color=ORANGE)
    share = f"{trained / 1e6:,.2f} M trained,\n{trained / (total + trained):.1%} of all"
    axes.text(trained + 0.02 * total, 0, share, va="center", size=9)
    axes.set_yticks((1, 0), ("base", "adapter"))
    axes.set(xlabel="parameters (millions)", ylim=(-0.6, 1.6))
    axes.xaxis.set_major_formatter(lambda count, _: f"{count / 1e6:,g}")


def losses(runs: Mapping[str, Sequence[float]], title: str) -> Figure:
    """Losses (nats a supervised token) by step of one or more runs, by their names."""
    fig = figure(8, 3.8, title)
    axes = fig.subplots()
    for (name, values), (colour, line) in zip(runs.items(), STYLES, strict=False):
        axes.plot(range(len(values)), values, line, color=colour, linewidth=2, label=name)
    axes.set(xlabel="step", ylabel="loss (nats/token)", yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    legend(axes, columns=2)
    return fig


def token_bill(bills: Mapping[str, Mapping[str, float]]) -> Figure:
    """Mean tokens for one click by kind, a bar for each stage; thought and call are supervised."""
    fig = figure(9, 1.7 + 0.7 * len(bills), "Tokens for one action; turns on one screenshot share image and prompt")
    axes = fig.subplots()
    for place, bill in enumerate(bills.values()):
        left = 0.0
        for kind, colour in KINDS.items():
            axes.barh(place, bill.get(kind, 0), 0.6, left=left, color=colour, label=None if place else kind)
            left += bill.get(kind, 0)
        learned = bill.get("thought", 0) + bill["call"]
        axes.text(left + 2, place, f"{learned:.0f} of {left:.0f}\nsupervised", va="center", size=9)
    axes.set_yticks(range(len(bills)), list(bills))
    axes.set(xlabel="tokens (mean)", ylim=(len(bills) - 0.5, -0.5))
    axes.margins(x=0.16)
    axes.set_xlim(0, None)
    legend(axes, columns=5)
    return fig


def starts(values: Mapping[str, float]) -> Figure:
    """The loss of one batch before the first step (nats a supervised token), by what training would start from."""
    fig = figure(8, 1.2 + 0.45 * len(values), "The first loss, on the same batch")
    axes = fig.subplots()
    places = np.arange(len(values))[::-1]
    axes.barh(places, values.values(), 0.6, color=SKY)
    for place, value in zip(places, values.values(), strict=True):
        axes.text(value + 0.01 * max(values.values()), place, f"{value:.3f}", va="center", size=9)
    axes.set_yticks(places, list(values))
    axes.set(xlabel="loss (nats/token)", xlim=(0, 1.12 * max(values.values())))
    axes.spines[["top", "right"]].set_visible(False)
    return fig


def token_losses(tokens: Sequence[str], before: Sequence[float], after: Sequence[float]) -> Figure:
    """The loss of each token of an answer (nats) before and after training; of long answers the first tokens."""
    if not len(tokens) == len(before) == len(after):
        raise ValueError(f"{len(tokens)} tokens, but {len(before)} and {len(after)} losses")
    count = min(len(tokens), SHOWN_TOKENS)
    low, high = (np.maximum(values[:count], FLOOR) for values in (after, before))
    fig = figure(2 + 0.2 * count, 4.6, "What each token of one answer costs")
    axes = fig.subplots()
    axes.vlines(range(count), low, high, color=GREY, linewidth=1)
    axes.plot(high, "s", color=ORANGE, markersize=5, label="before stage 2")
    axes.plot(low, "o", color=BLUE, markersize=5, label="after")
    texts = [token.replace("\n", "⏎").replace(" ", "·") for token in tokens[:count]]
    axes.set_xticks(range(count), texts, rotation=90, family="monospace", size=8, parse_math=False)
    axes.set(ylabel="loss (nats)", yscale="log", xlim=(-0.7, count - 0.3))
    axes.set_xlabel(f"the answer's tokens; a dot is a space, below {FLOOR:g} nats is drawn as {FLOOR:g}", size=9)
    legend(axes)
    return fig
