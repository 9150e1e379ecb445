"""The figures of an evaluation hold the numbers they were given, and let no two texts overlap."""

import io

import numpy as np
import pytest
from drawn import check, words
from matplotlib import rc_context
from matplotlib.colors import to_hex
from matplotlib.quiver import Quiver
from PIL import Image
from scored_screens import answers, make_targets

from forge_core import evaluation_plots, plots
from forge_core.evaluation.compare import Paired
from forge_core.evaluation.score import accuracy
from forge_core.evaluation_plots import (
    Dot,
    accuracy_by_size,
    accuracy_dots,
    box_distance,
    chance,
    click_map,
    distance,
    intervals,
)


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return make_targets(tmp_path_factory.mktemp("screens"))


@pytest.fixture
def runs(targets):
    return {
        "base": answers(targets, "w" * 12),
        "stage 1": answers(targets, "hhmhhwhmhhhh"),
        "stage 2": answers(targets, "h" * 12, reasoned=True),
    }


def test_click_map_draws_every_answer_once(targets, runs, tmp_path):
    fig = click_map(runs["stage 1"], targets, "Stage 1")
    check(fig, tmp_path)
    titles = {"web (n = 4)\n4 hit, 0 missed, 0 no click", "mobile (n = 4)\n2 hit, 1 missed, 1 no click"}
    assert titles | {"desktop (n = 4)\n3 hit, 1 missed, 0 no click", "Stage 1 (n = 12)"} <= words(fig)
    (arrow,) = fig.axes[2].findobj(Quiver)
    missed = targets[2]
    left, top, right, bottom = missed.bbox
    centre = ((left + right) / 2, (top + bottom) / 2)
    assert arrow.XY.tolist() == [pytest.approx(centre)]
    assert (arrow.U[0], arrow.V[0]) == pytest.approx((0.9 - centre[0], 0.8 - centre[1]))
    assert [len(line.get_xdata()) for line in fig.axes[2].lines] == [2, 1]  # hits, crosses


def test_click_map_shows_a_screen_upright_and_only_platforms_that_were_asked(targets, runs, tmp_path):
    mobile = [row for row in runs["base"] if row.platform == "mobile"]
    fig = click_map(mobile, targets)
    check(fig, tmp_path)
    (axes,) = fig.axes
    assert axes.get_box_aspect() > 1 and axes.get_ylim() == (1, 0)
    with pytest.raises(ValueError, match="nothing to draw"):
        click_map([], targets)


@pytest.mark.parametrize(
    ("point", "px"),
    [((0.15, 0.15), 0), ((0.1, 0.1), 0), ((0.05, 0.15), 0.05 * 512), ((0.0, 0.0), np.hypot(0.1 * 512, 0.1 * 288))],
)
def test_box_distance_is_measured_in_px_from_the_nearest_edge(targets, point, px):
    assert box_distance(point, targets[0]) == pytest.approx(px / np.hypot(512, 288))


def test_distance_starts_at_the_hit_rate_and_ends_below_the_answers_without_a_click(targets, runs, tmp_path):
    fig = distance(runs, targets)
    check(fig, tmp_path)
    named = {
        "base: 0.0% hit, 100.0% no click",
        "stage 1: 75.0% hit, 8.3% no click",
        "stage 2: 100.0% hit, 0.0% no click",
    }
    assert named <= words(fig)
    for line, (hits, clicks) in zip(fig.axes[0].lines, [(0, 0), (9, 11), (12, 12)], strict=True):
        x, y = line.get_data()
        assert (x[0], y[0], y[-1]) == (0, hits / 12, clicks / 12)
        assert np.all(np.diff(x) >= 0) and np.all(np.diff(y) >= 0)


@pytest.mark.parametrize("draw", [distance, accuracy_by_size])
def test_many_models_are_all_drawn_and_look_different(targets, tmp_path, draw):
    fig = draw({f"model {n}": answers(targets, "h" * n + "m" * (12 - n)) for n in range(8)}, targets)
    check(fig, tmp_path)
    assert {text.split(":")[0] for text in words(fig)} >= {f"model {n}" for n in range(8)}
    lines = [line for line in fig.axes[0].lines if len(line.get_xdata()) and line.get_linestyle() == "-"]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 8


def test_accuracy_by_size_has_every_target_in_one_bin(targets, runs, tmp_path):
    fig = accuracy_by_size(runs, targets)
    check(fig, tmp_path)
    counts = [int(text.split("n = ")[1]) for text in words(fig) if "\nn = " in text]
    assert len(counts) == evaluation_plots.SIZE_BINS and sum(counts) == 12
    _, stage1, _ = fig.axes[0].containers
    values, (whiskers,) = stage1[0].get_ydata(), stage1[2]
    smallest = sorted(range(12), key=lambda n: evaluation_plots.short_side(targets[n]))[: counts_in_order(fig)[0]]
    rate = accuracy(sum(runs["stage 1"][n].outcome == "hit" for n in smallest), len(smallest))
    assert values[0] == rate.value
    assert whiskers.get_segments()[0][:, 1] == pytest.approx([rate.low, rate.high])


def counts_in_order(fig) -> list[int]:
    return [int(label.get_text().split("n = ")[1]) for label in fig.axes[0].get_xticklabels()]


def test_targets_of_one_size_make_one_bin(targets, tmp_path):
    same = [target.model_copy(update={"bbox": (0.1, 0.1, 0.6, 0.6), "width": 100, "height": 80}) for target in targets]
    fig = accuracy_by_size({"only": answers(same, "h" * 6 + "m" * 6)}, same)
    check(fig, tmp_path)
    assert "40\nn = 12" in words(fig)


def test_accuracy_dots_tell_measured_from_published(tmp_path):
    rows = [
        Dot("stage 2", *accuracy(359, 360)[2:], published=False),
        Dot("centre of the screen", 0.012, None, None, published=False),
        Dot("base", *accuracy(0, 360)[2:], published=False),
        Dot("A much larger model with a $very_long^2 name that needs two lines", 0.551, None, None, published=True),
    ]
    fig = accuracy_dots(rows)
    check(fig, tmp_path)
    names = [label.get_text().replace("\n", " ") for label in fig.axes[0].get_yticklabels()]
    assert names == [
        "base",
        "centre of the screen",
        "A much larger model with a $very_long^2 name that needs two lines (published)",
        "stage 2",
    ]
    assert {"99.7%", "1.2%", "0.0%", "55.1%"} <= words(fig)
    assert len(fig.axes[0].containers) == 2  # intervals
    with pytest.raises(ValueError, match="nothing to draw"):
        accuracy_dots([])


def test_a_figure_has_an_opaque_background_wherever_it_is_shown():
    with rc_context({"figure.facecolor": "none"}):
        fig = plots.figure(2, 1, "x")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", facecolor=fig.get_facecolor())  # what a notebook does
    assert Image.open(buffer).convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def test_a_gallery_spreads_over_the_platforms(targets):
    by_platform = sorted(answers(targets, "h" * 12), key=lambda row: row.platform)
    assert len({row.platform for row in plots._spread(by_platform, 3)}) == 3


def test_intervals_keep_the_accuracy_and_shrink_with_the_number_of_targets(targets, runs, tmp_path):
    fig = intervals({"stage 1": runs["stage 1"], "stage 2": runs["stage 2"]}, (20, 1272))
    check(fig, tmp_path)
    assert {"stage 1, 75.0%", "stage 2, 100.0%", "n = 20", "n = 1,272"} <= words(fig)
    few, many = accuracy(15, 20), accuracy(954, 1272)
    first = fig.axes[0].containers[0]
    assert first[0].get_ydata().tolist() == [0.75, 0.75]
    ends = [segment[:, 1] for segment in first[2][0].get_segments()]
    assert np.array(ends) == pytest.approx(np.array([[few.low, few.high], [many.low, many.high]]))
    assert {f"{100 * (few.high - few.low):.0f}", f"{100 * (many.high - many.low):.0f}"} <= words(fig)


def test_chance_draws_the_toss_of_a_coin_for_every_target_that_differs(tmp_path):
    fig = chance(Paired(6, 0, 0.03125))
    check(fig, tmp_path)
    bars = {round(bar.get_x() + bar.get_width() / 2): bar for bar in fig.axes[0].patches}
    tosses = {-6: 1, -4: 6, -2: 15, 0: 20, 2: 15, 4: 6, 6: 1}
    assert {net: bar.get_height() * 64 for net, bar in bars.items()} == pytest.approx(tosses)
    assert {net for net, bar in bars.items() if to_hex(bar.get_facecolor()) == plots.RED.lower()} == {-6, 6}
    assert fig.axes[0].lines[0].get_xdata() == [6, 6]
    assert "seen: +6 targets, p = 0.031" in words(fig)


def test_two_models_that_never_differ_have_one_bar(tmp_path):
    fig = chance(Paired(0, 0, 1.0))
    check(fig, tmp_path)
    assert [bar.get_height() for bar in fig.axes[0].patches] == [1.0]
