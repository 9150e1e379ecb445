"""The lesson's loop by hand learns a row by heart, leaves GPUs alone, and shows what wrong labels do."""

import pytest
import torch

from forge_core.data.schema import read_jsonl
from forge_core.training import by_hand


@pytest.fixture(scope="module")
def collate(data):
    return by_hand.tiny_collator(data, "4-decimals")


@pytest.fixture(scope="module")
def row(data):
    return next(row for row in read_jsonl(data / "stage1.jsonl") if len(row.turns) > 1)


def test_right_labels_are_learned_by_heart_and_answers_end(collate, row):
    losses, said = by_hand.learn(collate, row, collate([row])["labels"])
    assert len(losses) == by_hand.STEPS and losses[-1] < 0.1 * losses[0]
    assert by_hand.verbatim(said, row, "4-decimals") == len(row.turns)


def test_without_end_tokens_the_loss_falls_and_no_answer_is_right(collate, row):
    labels = collate([row])["labels"]
    end = labels[labels != -100][-1]
    losses, said = by_hand.learn(collate, row, labels.masked_fill(labels == end, -100))
    assert losses[-1] < 0.1 * losses[0]
    assert by_hand.verbatim(said, row, "4-decimals") == 0


def test_the_tiny_model_is_the_same_each_time_and_wakes_no_gpu(monkeypatch):
    def woken():
        raise AssertionError("CUDA was touched")

    monkeypatch.setattr(torch.cuda, "_lazy_init", woken)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    one, other = by_hand.tiny_model().state_dict(), by_hand.tiny_model().state_dict()
    assert all(value.device.type == "cpu" and torch.equal(value, other[name]) for name, value in one.items())
    assert {value.dtype for value in one.values()} == {torch.float32}
