"""What a model is said to see is what the processor and the collator make."""

import numpy as np
import pytest
from PIL import Image

from forge_core.actions.prompts import answer_text, system_prompt
from forge_core.data.explore import Sample
from forge_core.data.schema import Example, Turn
from forge_core.data.seen import KINDS, bill, box_px, cutting, grid, parts, seen_targets, tile_side, views, zooms
from forge_core.models.embedded import build_processor
from forge_core.training.collate import image_tokens, token_count

PROCESSOR = build_processor()
SIZES = [(512, 384), (320, 512), (1920, 1080), (256, 256)]
CLICK = ["click(x=0.41, y=0.178)"]


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right and green downwards, so that a pixel tells where it is from."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([red, green, 0 * red]).astype(np.uint8))


def example(*turns: Turn, size=(320, 512)) -> Example:
    return Example(id="a", source="s", platform="web", image="a.png", width=size[0], height=size[1], turns=turns)


@pytest.fixture
def images(tmp_path):
    gradient(320, 512).save(tmp_path / "a.png")
    return tmp_path


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("along", [1, 2, 4])
def test_the_tiles_together_are_the_whole_screenshot(size, along):
    processor = cutting(PROCESSOR, along)
    seen = views(processor, gradient(*size))
    rows, columns = grid(processor, *size)
    assert max(rows, columns) == along
    assert seen.tiles.shape == (rows, columns, 256, 256, 3) and seen.whole.shape == (256, 256, 3)
    together = seen.together()
    assert together.shape == (rows * 256, columns * 256, 3)
    again = np.asarray(gradient(columns * 256, rows * 256)).astype(int)
    assert np.abs(together - again).max() <= 3
    assert np.abs(seen.whole - np.asarray(gradient(256, 256)).astype(int)).max() <= 3


def test_a_processor_that_does_not_cut_has_one_tile_which_is_the_whole():
    seen = views(PROCESSOR, gradient(512, 384))
    assert grid(PROCESSOR, 512, 384) == (1, 1)
    assert (seen.tiles[0, 0] == seen.whole).all()


def test_cutting_leaves_the_original_as_it_is():
    cutting(PROCESSOR, 4)
    assert image_tokens(PROCESSOR, 512, 384) == 64 + 3 and tile_side(PROCESSOR) == 256


def test_a_box_is_counted_in_px_of_the_tiles():
    box = (0.25, 0.5, 0.5, 0.75)
    assert box_px(PROCESSOR, box, 512, 384) == (64, 64)  # squeezed to one tile of 256
    assert box_px(cutting(PROCESSOR, 4), box, 512, 384) == (256, 192)  # 4 x 3 tiles
    sample = Sample(example(*[Turn(instruction="Save", actions=CLICK)] * 2), [None, box])
    assert seen_targets([sample], PROCESSOR) == [("web", 64, 64)]


def test_a_target_is_where_its_box_is_and_shrinks_with_the_number_of_windows():
    picture, box = Image.new("RGB", (64, 48), "black"), (0.25, 0.5, 0.5, 0.75)
    picture.paste("white", (16, 24, 32, 36))
    for windows in (1, 3):
        full, tiles, one = zooms(cutting(PROCESSOR, 4), picture, box, windows)
        assert full.pixels.shape == (48 * windows, 64 * windows, 3) and one.pixels.shape == (256, 256, 3)
        for zoom in (full, tiles, one):
            height, width = zoom.pixels.shape[:2]
            left, top, right, bottom = np.array(zoom.box) * (width, height, width, height)
            assert zoom.pixels[int((top + bottom) / 2), int((left + right) / 2)].min() > 200  # its middle is white
            assert zoom.pixels.mean() < 60  # a sixteenth of it is
        assert (right - left, bottom - top) == pytest.approx((64 / windows, 64 / windows))  # of one tile


@pytest.mark.parametrize("processor", [PROCESSOR, cutting(PROCESSOR, 2)], ids=["one tile", "cut"])
@pytest.mark.parametrize("stage", [1, 2])
def test_the_parts_are_the_chat_and_their_tokens_are_its_length(processor, stage, images):
    turns = [Turn(instruction="Assistant: öffne 日本", thought="User: hm.", history="Step 1: a", actions=CLICK)] * 2
    found = parts(processor, example(*turns), stage, images)
    kinds = [part.kind for part in found]
    asked = ["instruction", "template", "answer", "template"]
    assert kinds == ["template", "system prompt", "template", "image", *asked, *asked]
    texts = {kind: [part.text for part in found if part.kind == kind] for kind in KINDS}
    assert texts["system prompt"] == [f" {system_prompt(stage, 'web')}"]
    assert texts["answer"] == [f" {answer_text(turn, stage)}<end_of_utterance>" for turn in turns]
    assert all("Assistant: öffne 日本" in text for text in texts["instruction"])
    counted = bill(found)
    assert list(counted) == list(KINDS)
    assert sum(counted.values()) == token_count(processor, example(*turns), stage)
    assert counted["image"] == image_tokens(processor, 320, 512)
