"""Pretraining of the embedded base: the same command gives the same bytes, and its labels say what is on the screen."""

from random import Random

import pytest

from forge_core.data.screens import KINDS, make_screen
from forge_core.models.pretrain import pretrain
from forge_core.models.pretraining_data import BINS, CELLS, LABELS, LENGTH, Screens, dense_labels


def test_dense_labels_name_every_element_where_it_is():
    for seed in range(20):
        elements = make_screen(Random(seed), "web", "train").elements
        dense = dense_labels(elements)
        assert (dense["label"] >= 0).sum() == len(elements)  # no two share an image token
        for element in elements:
            x, y = element.centre
            cell = int(y * CELLS), int(x * CELLS)
            assert LABELS[dense["label"][cell]] == element.label
            assert KINDS[dense["kind"][cell] - 1] == element.kind
            assert (dense["x"][cell], dense["y"][cell]) == (int(x * BINS), int(y * BINS))


def test_conversations_supervise_answers_only():
    screens = Screens(seed=0)
    sample = screens.sample(Random(0))
    assert sample["pixels"].shape == (3, 256, 256) and sample["ids"].shape == sample["labels"].shape == (LENGTH,)
    text, answers = (screens.tokenizer.decode(ids) for ids in (sample["ids"], sample["labels"][sample["labels"] >= 0]))
    asked = [part.split("<end_of_utterance>")[0] + "<end_of_utterance>" for part in text.split("Assistant:")[1:]]
    assert answers == "".join(asked)


def test_screens_go_on_where_a_stopped_run_left_them():
    ahead, resumed = iter(Screens(seed=3)), iter(Screens(seed=3, skip=2))
    next(ahead), next(ahead)
    expected, sample = next(ahead), next(resumed)
    assert all((expected[name] == sample[name]).all() for name in expected)


@pytest.mark.slow
def test_same_command_same_bytes(tmp_path):
    weights = []
    for name in ("first", "second"):
        settings = {"steps": 3, "dense_steps": 1, "batch_size": 4, "rate": 2e-3, "seed": 0}
        pretrain(tmp_path / name, tmp_path / f"{name}.pt", **settings)
        weights.append((tmp_path / name / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
