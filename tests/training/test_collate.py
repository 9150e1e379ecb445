"""The label contract: supervised tokens are exactly each assistant turn with its end token."""

from pathlib import Path

import pytest
from PIL import Image

from forge_core.actions.coordinates import COORD_FORMATS
from forge_core.actions.prompts import answer_text, system_prompt
from forge_core.data.schema import Example, Turn
from forge_core.models.embedded import build_processor
from forge_core.training.collate import IGNORED, Collator, messages, token_count

PROCESSOR = build_processor()
CLICK = ["click(x=0.41, y=0.178)"]
TURNS = {
    "one": [Turn(instruction="Save", actions=CLICK)],
    "many": [Turn(instruction=text, actions=CLICK) for text in ("Save", "Open", "Close it")],
    "answer repeats the question": [Turn(instruction=CLICK[0], actions=CLICK)] * 2,
    "unicode": [Turn(instruction="Öffne 日本 👍", actions=["type(text='naïve 日本 👍')"])],
    "several calls": [Turn(instruction="Write", actions=[*CLICK, "type(text='it\\'s')", "press(keys=['enter'])"])],
    "thoughts": [Turn(instruction="Save", history="Step 1", thought="\n\nThe button.\n\nI click.", actions=CLICK)] * 2,
}


@pytest.fixture
def images(tmp_path) -> Path:
    for name, size in (("wide.png", (512, 384)), ("tall.png", (320, 512))):
        Image.new("RGB", size, "white").save(tmp_path / name)
    return tmp_path


def example(turns, image="wide.png", size=(512, 384)) -> Example:
    return Example(id="a", source="s", platform="web", image=image, width=size[0], height=size[1], turns=turns)


def runs(labels) -> list[str]:
    """The texts of the runs of supervised tokens."""
    found, current = [], []
    for label in [*labels, IGNORED]:
        if label != IGNORED:
            current.append(label)
        elif current:
            found.append(PROCESSOR.tokenizer.decode(current))
            current = []
    return found


@pytest.mark.parametrize("coord_format", COORD_FORMATS)
@pytest.mark.parametrize("stage", (1, 2))
@pytest.mark.parametrize("name", TURNS)
def test_supervised_is_each_answer_with_its_end(name, stage, coord_format, images):
    turns = [turn.model_copy(update={"thought": turn.thought or "Hm."}) for turn in TURNS[name]]
    batch = Collator(PROCESSOR, stage, images, 64, coord_format)([example(turns)])
    answers = [answer_text(turn, stage, coord_format) for turn in turns]
    assert runs(batch["labels"][0].tolist()) == [f" {answer}<end_of_utterance>" for answer in answers]


def test_a_row_asks_and_answers_in_one_format(images):
    batch = Collator(PROCESSOR, 1, images, 64, "0-1000")([example(TURNS["one"])])
    assert runs(batch["labels"][0].tolist()) == [" click(x=410, y=178)<end_of_utterance>"]
    assert system_prompt(1, "web", "0-1000") in PROCESSOR.tokenizer.decode(batch["input_ids"][0])


def test_batch_of_unequal_rows_is_padded_to_few_lengths_and_keeps_its_labels(images):
    rows = [example(TURNS["one"]), example(TURNS["many"], "tall.png", (320, 512))]
    batch = Collator(PROCESSOR, 1, images, 64)(rows)
    assert batch["input_ids"].shape == batch["labels"].shape and batch["input_ids"].shape[1] % 64 == 0
    assert batch["pixel_values"].shape == (2, 1, 3, 256, 256)
    tensors = (batch["input_ids"], batch["labels"], batch["attention_mask"])
    for row, ids, labels, attended in zip(rows, *tensors, strict=True):
        assert len(runs(labels.tolist())) == len(row.turns)
        assert (labels[attended == 0] == IGNORED).all()
        assert not (labels == PROCESSOR.image_token_id).any()
        assert (ids == PROCESSOR.image_token_id).sum() == 64


@pytest.mark.parametrize("coord_format", COORD_FORMATS)
@pytest.mark.parametrize("name", TURNS)
def test_token_count_is_what_the_collator_makes(name, coord_format, images):
    row = example(TURNS[name])
    batch = Collator(PROCESSOR, 1, images, 1, coord_format)([row])
    assert token_count(PROCESSOR, row, 1, coord_format) == batch["input_ids"].shape[1]


def test_the_prompt_of_evaluation_is_the_start_of_the_training_row():
    turn = TURNS["one"][0]
    asked = PROCESSOR.apply_chat_template(messages([turn], 1, "web", with_answers=False), add_generation_prompt=True)
    assert PROCESSOR.apply_chat_template(messages([turn], 1, "web")).startswith(asked)


def test_no_label_on_what_stands_for_the_image_when_it_is_cut_into_tiles(images):
    processor = build_processor()
    processor.image_processor.do_image_splitting = True
    row = example(TURNS["many"])
    batch = Collator(processor, 1, images, 64)([row])
    assert batch["pixel_values"].shape[1] == 5  # 2 x 2 tiles of 256 px, and the whole
    tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
    image = [token.startswith(("<image>", "<row_", "<global-img>", "<fake_token")) for token in tokens]
    assert sum(image) > 5 * 64 and any(token.startswith("<row_") for token in tokens)
    assert all(label == IGNORED for label, of_image in zip(batch["labels"][0].tolist(), image, strict=True) if of_image)
    assert len(runs(batch["labels"][0].tolist())) == 3
    assert token_count(processor, row, 1) == batch["attention_mask"].sum()
