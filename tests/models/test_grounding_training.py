"""benchmarks/forgespot: what the model is trained on is what it is asked, and its training computes what it is."""

from pathlib import Path
from random import Random

import matplotlib
import numpy as np
import pytest
import torch

from benchmarks.forgespot.drawn import draw
from benchmarks.forgespot.model import LETTERS, build_processor
from benchmarks.forgespot.samples import Samples, collate, read
from benchmarks.forgespot.train import Learner
from forge_core.actions.prompts import read_answer
from forge_core.actions.unified import click_point
from forge_core.evaluation.predict import prompt, read_screen

TILE = 256
FONTS = Path(matplotlib.get_data_path()) / "fonts/ttf"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples():
    return Samples([], FONTS, 1.0, TILE, False, 400, seed=3)


@pytest.fixture(scope="module")
def sample(samples):
    return next(iter(samples))


def turn(sample, number):
    """Token ids of the prompt and of one question with its answer."""
    return sample["ids"][(sample["group"] == 0) | (sample["group"] == number)]


def test_a_question_is_the_prompt_that_evaluation_asks(samples, sample):
    processor = build_processor(TILE)
    text = processor.tokenizer.decode(turn(sample, 1))
    platform = text.split("You control a ")[1].split()[0]
    asked = text.rsplit("<fake_token_around_image>", 1)[1].split("<end_of_utterance>")[0]
    screen = read_screen(processor, draw(Random(0), FONTS)[0])
    wanted = prompt(processor, 1, platform, asked).replace("<image>", screen.text, 1)
    assert text.startswith(wanted)


def test_the_pixels_are_those_of_the_processor(samples):
    for seed in range(4):
        image, _ = draw(Random(seed), FONTS)
        given = read_screen(build_processor(TILE), image).pixels[0, 0].numpy()
        assert np.allclose(samples.squeeze(image) / 127.5 - 1, given, atol=1e-5)


def test_an_answer_clicks_where_the_model_is_told_to_look(samples, sample):
    tokenizer = build_processor(TILE).tokenizer
    for number in range(1, int(sample["group"].max()) + 1):
        answer = tokenizer.decode(turn(sample, number)).split("Assistant:")[1].removesuffix("<end_of_utterance>")
        x, y = click_point(read_answer(answer.strip()).actions)
        _, top, bottom, left, right = sample["looks"][2 * number - 2]
        assert left <= int(x * samples.side) <= right and top <= int(y * samples.side) <= bottom


def test_patches_read_the_letters_that_stand_there():
    row = {"width": 1024, "height": 1024, "words": [["Save", 100, 120, [17, 24, 33, 47]], ["x", 108, 112, [60]]]}
    letters = read(row, 1024)
    spelled = ["".join(LETTERS[code - 1] for code in patch if code) for patch in letters[6, 1:4]]
    assert spelled == ["Sa", "ve", "x"]
    assert np.count_nonzero(letters) == 5


def test_training_computes_the_hidden_states_of_the_model_itself(sample):
    torch.manual_seed(0)
    learner = Learner({"tile": TILE, "hidden": 64, "vision_layers": 1, "text_layers": 5}, compiled=False).eval()
    seen = []
    learner.vlm.model.text_model.norm.register_forward_hook(lambda _, __, out: seen.append(out))
    batch = collate([sample])
    with torch.no_grad():
        learner(batch)
        chosen = torch.from_numpy((sample["group"] == 0) | (sample["group"] == 2))
        ids = batch["ids"][:, chosen]
        pixels = (batch["pixels"].float() / 127.5 - 1).unsqueeze(1)
        learner.vlm.model(ids, attention_mask=torch.ones_like(ids), pixel_values=pixels)
    assert torch.allclose(seen[0][:, chosen], seen[1], atol=1e-4)


def test_quarters_are_parts_of_the_whole():
    quarters = Samples([], FONTS, 1.0, TILE, True, 200, seed=3)
    parts = [part for _, part in zip(range(4), iter(quarters), strict=False)]
    whole = next(iter(Samples([], FONTS, 1.0, TILE, False, 200, seed=3)))
    rows = [np.concatenate([one["pixels"], other["pixels"]], 2) for one, other in (parts[:2], parts[2:])]
    assert np.array_equal(np.concatenate(rows, 1), whole["pixels"])
    assert [part["corner"].tolist() for part in parts] == [[0, 0], [0, 4], [4, 0], [4, 4]]
