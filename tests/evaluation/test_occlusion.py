"""Words left out and parts covered: with the tiny model, untrained, whose answers depend on everything a little."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from forge_core.data.screenspot import Target
from forge_core.evaluation import occlusion
from forge_core.evaluation.occlusion import (
    EVERY_WORD,
    FEWEST,
    PIECES,
    choose_grid,
    cover,
    covered,
    encode_changed,
    grid,
    hits,
    leave_out,
)
from forge_core.evaluation.predict import encode, prompt, read_screen
from forge_core.evaluation.score import judge
from forge_core.evaluation.spot import Agent
from forge_core.models.chat import END_OF_TURN
from forge_core.models.embedded import build_model, build_processor

THOUGHT = "<think>\nThe Save button is here.\n</think>\n<code>\n"
RAW = {1: "click(x=0.25, y=0.5)", 2: f"{THOUGHT}click(x=0.25, y=0.5)\n</code>"}


@pytest.fixture(scope="module")
def agents():
    """One of each stage, on the same untrained weights."""
    torch.manual_seed(1)
    model, processor = build_model().eval(), build_processor()
    return {stage: Agent(model, processor, stage, "4-decimals") for stage in (1, 2)}


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    image = Image.new("RGB", (512, 384), (40, 90, 200))
    ImageDraw.Draw(image).rectangle((40, 150, 200, 230), fill="white")
    path = tmp_path_factory.mktemp("screen") / "web.png"
    image.save(path)
    sizes = {"width": 512, "height": 384, "bbox": (0.0, 0.0, 0.5, 1.0)}
    return Target(id="a", image=path, instruction="Click the Save button", platform="web", kind="text", **sizes)


def says(monkeypatch, answer):
    """The agent answers what `answer` makes of the prompts."""
    monkeypatch.setattr(occlusion, "continue_texts", lambda model, processor, texts, *_: [answer(t) for t in texts])


# ---------------------------------------------------------------- words


def test_each_word_is_left_out_in_turn_and_at_last_all_of_them(agents, target, monkeypatch):
    asked = []
    says(monkeypatch, lambda text: asked.append(text) or RAW[1])
    found = leave_out(agents[1], target)
    assert [word.word for word in found] == ["Click", "the", "Save", "button", EVERY_WORD]
    fewer = ["Click the Save button", "the Save button", "Click Save button", "Click the button", "Click the Save", ""]
    assert asked == [prompt(agents[1].processor, 1, "web", text) for text in fewer]


def test_a_word_that_matters_moves_the_click_out_of_the_box(agents, target, monkeypatch):
    says(monkeypatch, lambda text: RAW[1] if "Save" in text else "click(x=0.75, y=0.5)")
    found = {word.word: word for word in leave_out(agents[1], target)}
    assert found["the"] == ("the", (0.25, 0.5), True, 0.0)
    assert found["Save"][:3] == ("Save", (0.75, 0.5), False)
    assert found["Save"].moved == pytest.approx(0.5 * 512 / np.hypot(512, 384))  # px over px


def test_without_a_click_nothing_has_moved(agents, target, monkeypatch):
    says(monkeypatch, lambda text: RAW[1] if "Save" in text else "Where?")
    assert [word for word in leave_out(agents[1], target) if not word.hit] == [
        ("Save", None, False, None),
        (EVERY_WORD, None, False, None),
    ]
    says(monkeypatch, lambda text: "Where?" if "Click the Save button" in text else RAW[1])
    assert all(word.hit and word.moved is None for word in leave_out(agents[1], target))


def test_of_a_long_instruction_neighbouring_words_are_left_out_together(agents, target, monkeypatch):
    asked, words = [], [f"word{number}" for number in range(2 * PIECES + 1)]
    says(monkeypatch, lambda text: asked.append(text) or RAW[1])
    pieces = [piece.word for piece in leave_out(agents[1], target.model_copy(update={"instruction": " ".join(words)}))]
    assert len(pieces) <= PIECES + 1 and " ".join(pieces[:-1]) == " ".join(words)
    assert asked[1] == prompt(agents[1].processor, 1, "web", " ".join(words[3:]))


def test_more_words_than_a_batch_holds_are_answered_as_one_by_one(agents, target, monkeypatch):
    long = target.model_copy(update={"instruction": "Save now"})
    whole = leave_out(agents[1], long)
    monkeypatch.setattr(occlusion, "BATCH", 1)
    assert leave_out(agents[1], long) == whole


def test_words_put_in_front_may_turn_a_miss_into_a_hit(agents, target, monkeypatch):
    bare = target.model_copy(update={"instruction": "Save"})
    says(monkeypatch, lambda text: RAW[1] if "Click on Save" in text else "click(x=0.75, y=0.5)")
    assert (hits(agents[1], [bare, bare]), hits(agents[1], [bare, bare], "Click on ")) == (0, 2)


# ---------------------------------------------------------------- parts of the screenshot


@pytest.mark.parametrize(
    ("size", "cells", "shape"),
    [((512, 384), 80, (8, 10)), ((320, 512), 80, (11, 7)), ((4000, 10), 8, (1, 8)), ((10, 4000), 8, (8, 1)),
     ((300, 300), 1, (1, 1))],
)  # fmt: skip
def test_the_parts_are_about_as_many_as_asked_and_about_square(size, cells, shape):
    assert grid(size, cells) == shape


def test_no_part_at_all_is_an_error(agents, target):
    with pytest.raises(ValueError, match="at least one part, not 0"):
        cover(agents[1], target, cells=0)


def test_the_grid_is_the_finest_that_the_seconds_allow():
    size = (1920, 1080)
    assert choose_grid(size, 80, 0.02, 120) == choose_grid(size, 80, 1.4, 120) == grid(size, 80)
    for part_seconds in (1.5, 4, 9):
        rows, columns = choose_grid(size, 80, part_seconds, 120)
        assert FEWEST < rows * columns <= 120 / part_seconds
        assert 0.6 < (1920 / columns) / (1080 / rows) < 1.7  # about square
    assert choose_grid(size, 80, 600, 120) == (2, 3)  # a picture there is, whatever it takes
    assert choose_grid(size, 2, 600, 120) == grid(size, 2)


def test_a_slow_machine_covers_fewer_parts_and_says_so(agents, target, monkeypatch, capsys):
    says(monkeypatch, lambda _: RAW[1])
    (found,) = cover(agents[1], target, cells=20, seconds=1e-9)
    assert found.lost.shape == (2, 3)
    assert capsys.readouterr().out.startswith("covering 6 parts, not 20: each takes about ")


def test_where_no_answer_is_a_click_no_part_is_covered(agents, target, monkeypatch, capsys):
    says(monkeypatch, lambda _: "Where?")
    monkeypatch.setattr(occlusion, "covered", lambda *_: pytest.fail("a part was covered"))
    (found,) = cover(agents[1], target, cells=6)
    assert found.point is None and found.lost.shape == (2, 3) and not found.lost.any()
    assert capsys.readouterr().out == "no answer is a click, so no part is covered\n"


def test_only_tiles_that_changed_are_encoded_again(agents, monkeypatch):
    model, processor = agents[1].model, build_processor()
    processor.image_processor.do_image_splitting = True  # 2 x 2 tiles and the whole
    agent = Agent(model, processor, 1, "4-decimals")
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (384, 512, 3), np.uint8))
    read, tiles = read_screen(processor, image), []
    whole = read._replace(features=encode(model, read).features)
    monkeypatch.setattr(occlusion, "encode", lambda *args: tiles.append(args[1].pixels.shape[1]) or encode(*args))
    for picture in [image, *covered(image, 3, 3)]:
        again, expected = encode_changed(agent, picture, whole), encode(model, read_screen(processor, picture))
        assert again.text == expected.text
        torch.testing.assert_close(again.features, expected.features)
    assert tiles == [2, 3, 2, 3, 5, 3, 2, 3, 2]  # the whole, and one, two or four of the tiles


def test_the_parts_cover_every_pixel_once_row_by_row():
    image = Image.new("RGB", (11, 7), "black")
    image.putdata([(200, 10, 10)] * 3 + [(5, 6, 7)] * 74)  # the median colour is (5, 6, 7)
    changed = [np.asarray(image) != np.asarray(picture) for picture in covered(image, 2, 11)]
    assert [part.any() for part in changed] == [True] * 3 + [False] * 19
    white = Image.new("RGB", (11, 7), "white")
    white.putpixel((10, 6), (0, 0, 0))
    *others, last = covered(white, 2, 2)
    assert [picture.getpixel((10, 6)) for picture in others] == [(0, 0, 0)] * 3
    assert last.getpixel((10, 6)) == (255, 255, 255)


@pytest.mark.parametrize("stage", [1, 2])
def test_the_probability_is_that_of_the_calls_given_the_thought(agents, target, stage, monkeypatch):
    """Compared with the chain rule, one token after another through the whole model."""
    says(monkeypatch, lambda _: RAW[stage])
    (found,) = cover(agents[stage], target, cells=1)
    model, processor = agents[stage].model, agents[stage].processor
    screen = read_screen(processor, Image.open(target.image))
    asked = prompt(processor, stage, "web", target.instruction).replace(processor.image_token, screen.text, 1)
    before = f"{asked} {THOUGHT}" if stage == 2 else asked
    ids = processor.tokenizer(f"{asked} {RAW[stage]}{END_OF_TURN}")["input_ids"]
    start, total = len(processor.tokenizer(before.removesuffix("\n"))["input_ids"]), 0.0
    with torch.no_grad():
        for place in range(start, len(ids)):
            pixels = {"pixel_values": screen.pixels, "pixel_attention_mask": screen.mask}
            logits = model(input_ids=torch.tensor([ids[:place]]), **pixels).logits[0, -1]
            total += logits.float().log_softmax(-1)[ids[place]].item()
    assert np.log(found.probability) == pytest.approx(total, rel=0.01)
    assert found.point == judge(RAW[stage], target.bbox)[1] == (0.25, 0.5)


def test_what_is_lost_is_what_the_covered_screenshot_takes(agents, target, tmp_path, monkeypatch):
    """Each part compared with a target whose screenshot has that part covered."""
    says(monkeypatch, lambda _: RAW[1])
    (found,) = cover(agents[1], target, cells=6)
    assert found.lost.shape == (2, 3) and found.lost.max() > 0.01 and found.lost.min() >= 0
    for lost, picture in zip(found.lost.flat, covered(Image.open(target.image), 2, 3), strict=True):
        picture.save(tmp_path / "covered.png")
        (alone,) = cover(agents[1], target.model_copy(update={"image": tmp_path / "covered.png"}), cells=1)
        assert lost == pytest.approx(max(0, 1 - alone.probability / found.probability), abs=0.02)


def test_several_instructions_share_the_covered_screenshots_and_any_batch_will_do(agents, target, monkeypatch):
    says(monkeypatch, lambda text: RAW[2] if "Click" in text else RAW[2].replace("0.5", "0.75"))
    both = cover(agents[2], target, ["Save", "Click on Save"], cells=4)
    monkeypatch.setattr(occlusion, "BATCH", 2)
    alone = [cover(agents[2], target, [text], cells=4)[0] for text in ("Save", "Click on Save")]
    assert [each.instruction for each in both] == ["Save", "Click on Save"]
    assert [each.point for each in both] == [(0.25, 0.75), (0.25, 0.5)]
    for one, other in zip(both, alone, strict=True):
        assert one.probability == pytest.approx(other.probability, rel=0.02)
        assert one.lost == pytest.approx(other.lost, abs=0.02)
