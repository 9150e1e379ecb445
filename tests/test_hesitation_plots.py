"""The cloud of drawn clicks shows what the numbers say: dots, rivals, and the frame's colour."""

import pytest
from matplotlib.colors import to_hex
from PIL import Image

from forge_core import plots
from forge_core.data.screenspot import Target
from forge_core.evaluation.hesitation import Element, hesitations
from forge_core.hesitation_plots import clouds

SAVE, SEND = (0.1, 0.1, 0.3, 0.2), (0.4, 0.1, 0.6, 0.2)
ELEMENTS = {"a.png": [Element("Save", SAVE), Element("Send", SEND), Element("Exit", (0.8, 0.8, 0.9, 0.9))]}
ON_SAVE, ON_SEND = "click(x=0.2, y=0.15)", "click(x=0.5, y=0.15)"
DRAWN = {"torn": [ON_SAVE, ON_SEND, "?"], "mistaken": [ON_SEND] * 3, "sure": [ON_SAVE] * 3}


@pytest.fixture
def found(tmp_path):
    Image.new("RGB", (400, 300), "white").save(tmp_path / "a.png")
    given = {"image": tmp_path / "a.png", "width": 400, "height": 300, "platform": "web", "kind": "text", "bbox": SAVE}
    return hesitations([Target(id=name, instruction=f"Be {name}", **given) for name in DRAWN], DRAWN, ELEMENTS)


def panels(figure):
    return [axes for axes in figure.axes if axes.images]


def test_each_answer_that_clicks_is_a_dot_and_each_rival_has_a_dashed_box(found):
    torn, mistaken, sure = panels(clouds(found, ELEMENTS))
    assert [len(line.get_xdata()) for line in torn.lines] == [2]
    assert list(zip(*torn.lines[0].get_data(), strict=True)) == [(0.2, 0.15), (0.5, 0.15)]
    boxes = [[patch.get_bbox().extents.round(3).tolist() for patch in axes.patches] for axes in (torn, mistaken, sure)]
    assert boxes == [[list(SAVE), list(SEND)]] * 2 + [[list(SAVE)]]
    assert [patch.get_linestyle() for patch in torn.patches] == ["-", "--"]


def test_the_frame_says_the_state_and_the_words_below_the_numbers(found):
    figure = clouds(found, ELEMENTS)
    frames = [to_hex(axes.spines["top"].get_edgecolor()).upper() for axes in panels(figure)]
    assert frames == [plots.ORANGE, plots.RED, plots.GREEN]
    said = [axes.texts[0].get_text() for axes in figure.axes if axes.texts]
    assert said[0] == "torn: 33% agree, 33% inside the target\nalso clicked: Send 1"
    assert said[2] == "sure: 100% agree, 100% inside the target"


def test_the_most_hesitant_are_drawn_and_none_is_an_error(found):
    assert len(panels(clouds(found, ELEMENTS, 2))) == 2
    with pytest.raises(ValueError, match="nothing to draw"):
        clouds([], ELEMENTS)
