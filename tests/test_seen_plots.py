"""The figures of what a model sees hold the numbers they were given, and let no two texts overlap."""

import numpy as np
import pytest
from drawn import LONG, check, texts, words, write_screens

from forge_core import seen_plots
from forge_core.data.seen import KINDS, Part, Views, Zoom


def views(rows: int, columns: int) -> Views:
    return Views(np.zeros((rows, columns, 8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8))


def test_each_tile_and_the_whole_has_its_tokens(tmp_path):
    fig = seen_plots.tiles({"desktop, 512 × 384 px": views(3, 4), "mobile_^2 $5": views(4, 2)}, 64)
    check(fig, tmp_path)
    assert "desktop, 512 × 384 px\n12 tiles and the whole:\n13 × 64 = 832 image tokens" in words(fig)
    assert sum(text.get_text() == "64" for text in texts(fig)) == 13 + 9


def test_a_bar_is_as_long_as_its_tokens(tmp_path):
    rows = {"one tile": dict(zip(KINDS, (10, 90, 67, 2, 17), strict=True)), "tiles_$5": {"image": 1128}}
    fig = seen_plots.bills(rows, "What one question costs")
    check(fig, tmp_path)
    assert {"186", "1,128", "90", "67"} <= words(fig)
    bars = [bar for bar in fig.axes[0].patches if round(bar.get_y() + bar.get_height() / 2) == 0]
    assert [bar.get_width() for bar in bars] == [10, 90, 67, 2, 17]
    assert [bar.get_x() for bar in bars] == [0, 10, 100, 167, 169]


def test_a_target_has_its_size_in_each_picture(tmp_path):
    pictures = [Zoom(name, np.zeros((high, wide, 3), np.uint8), (0.5, 0.5, 0.75, 0.75))
                for name, high, wide in (("full size", 400, 800), ("one tile", 64, 64))]  # fmt: skip
    fig = seen_plots.zooms({"alone": pictures, "again_$5": pictures}, 16)
    check(fig, tmp_path)
    assert {"full size: 200 × 100 px", "one tile: 16 × 16 px"} <= words(fig)
    full, one = fig.axes[:2]
    assert (full.get_xlim(), full.get_ylim()) == ((300, 700), (450, 50))  # 200 px round the middle of the target
    assert not [line for line in full.lines if line.get_color() == seen_plots.RED]
    assert len(one.lines) == 2 * 5  # patches begin at 0, 16, ..., 64 px
    with pytest.raises(ValueError, match="no picture"):
        seen_plots.zooms({}, 16)


def test_a_place_off_the_screen_is_said_and_not_drawn(tmp_path):
    folder = write_screens(tmp_path)
    places = {f"as meant, {LONG}": (0.25, 0.5), "as px_$5": (1.4, 0.2)}
    fig = seen_plots.readings(folder / "web.png", places, 288 / 512)
    check(fig, tmp_path)
    (lines,) = [text.split("\n") for text in words(fig) if text.startswith("1  (0.25, 0.5): as meant, Pay $5")]
    assert lines[0].endswith(" ...") and lines[1] == "2  (1.4, 0.2) off the screen: as px_$5"
    assert {line.get_xdata()[0] for line in fig.axes[0].lines} == {0.25}


def test_a_chat_shows_every_part_with_its_tokens_and_an_image_in_short(tmp_path):
    shown = [Part("system prompt", f" {LONG}\nnext $5", 147), Part("image", "<row_1_col_1>" + "<image>" * 64, 65),
             Part("template", "\n", 1)]  # fmt: skip
    fig = seen_plots.chat(shown, "A row")
    check(fig, tmp_path)
    assert {"A row: 213 tokens", "system prompt 147", "image 65", "<row_1_col_1><image> ×64 ", "next $5"} <= words(fig)
    lines = [text for text in texts(fig) if text.get_family() == ["monospace"]]
    assert "".join(text.get_text() for text in lines).startswith(f" {LONG}⏎next")
    edge = fig.axes[0].get_window_extent().x1
    assert max(text.get_window_extent().x1 for text in lines) <= edge
