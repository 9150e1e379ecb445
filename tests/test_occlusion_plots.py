"""The figures of words left out and of parts covered hold what they were given, and let no two texts overlap."""

import numpy as np
import pytest
from drawn import LONG, check, words
from matplotlib.colors import to_hex
from scored_screens import make_targets

from forge_core.evaluation.occlusion import EVERY_WORD, Covered, LeftOut
from forge_core.occlusion_plots import heat_maps, word_bars
from forge_core.plots import BLUE, GREEN, RED

WORDS = [
    LeftOut("Click", (0.15, 0.15), True, 0.0),
    LeftOut("$Save_1$", (0.9, 0.8), False, 0.42),
    LeftOut("now", None, False, None),
    LeftOut(EVERY_WORD, (0.5, 0.5), False, None),
]


def test_a_bar_is_as_long_as_the_click_moves_and_blue_while_it_hits(tmp_path):
    fig = word_bars({"stage 1: Click $Save_1$ now": WORDS})
    check(fig, tmp_path)
    assert [bar.get_width() for bar in fig.axes[0].patches] == [0.0, 0.42, 0, 0]
    colours = [to_hex(bar.get_facecolor()) for bar in fig.axes[0].patches]
    assert colours == [BLUE.lower()] + [RED.lower()] * 3
    labels = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert labels == ["Click", "$Save_1$", "now", EVERY_WORD]
    assert {"0", "42", "no click", "?", "stage 1: Click $Save_1$ now"} <= words(fig)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_any_number_of_instructions_of_any_length_can_be_drawn(count, tmp_path):
    long = [LeftOut(word, (0.5, 0.5), False, 0.9) for word in LONG.split()[:24]]
    panels = {f"stage {n}: {LONG}": long if n % 2 else WORDS[:1] for n in range(count)}
    check(word_bars(panels), tmp_path)
    with pytest.raises(ValueError, match="no words to draw"):
        word_bars({})


def test_a_heat_map_is_as_opaque_as_what_is_lost_and_framed_by_the_outcome(tmp_path):
    web, desktop, mobile = make_targets(tmp_path, 3)
    lost = np.array([[0.0, 0.25, 1.0], [0.0, 0.0, 0.5]])
    found = [
        ("stage 1", Covered(web, "Save", (0.9, 0.8), 0.09, lost / 2)),
        ("stage 2", Covered(mobile, LONG, (0.15, 0.15), 0.84, lost)),
        ("stage 2", Covered(desktop, "Save", None, 0.5, lost)),
    ]
    fig = heat_maps(found)
    check(fig, tmp_path)
    pictures = [axes for axes in fig.axes if axes.images]
    assert [to_hex(axes.spines["left"].get_edgecolor()) for axes in pictures] == [
        colour.lower() for colour in (RED, GREEN, RED)
    ]
    heats = [axes.images[-1].get_alpha() for axes in pictures]
    assert heats[1] == pytest.approx(2 * heats[0]) and np.argmax(heats[1]) == 2 and heats[1].min() == 0
    assert [bool(axes.lines) for axes in pictures] == [True, True, False]  # the ring of a click
    said = "Its click had a probability of 9%.\nCovering the part that matters most takes 50% of that."
    assert {said, "stage 1: Save", "Its answer is no click."} <= words(fig)
    with pytest.raises(ValueError, match="nothing to draw"):
        heat_maps([])
