"""Tokens are counted as they are trained, losses are those of training, and a thought given is the one gone on from."""

import pytest
import torch
from small_training import train_params

from forge_core.actions.prompts import Answer
from forge_core.actions.types import Action
from forge_core.actions.unified import click_point, parse
from forge_core.data.schema import read_jsonl
from forge_core.evaluation.spot import Agent
from forge_core.models.load import attach_lora, load_base, load_processor
from forge_core.params import ReasoningParams
from forge_core.spot_plots import draw
from forge_core.training import thoughts
from forge_core.training.collate import Collator
from forge_core.training.trainer import train_only_labelled


@pytest.fixture(scope="module")
def processor():
    return load_processor("embedded")


@pytest.fixture(scope="module")
def rows(data):
    return thoughts.held_out_clicks(train_params(data, data, ReasoningParams, held_out=8), 3)


def click(x, y):
    return Answer("a thought", [Action("click", {"x": x, "y": y})])


@pytest.mark.parametrize("stage", [1, 2])
def test_the_bill_counts_what_the_collator_makes(data, processor, stage):
    row = next(row for row in read_jsonl(data / f"stage{stage}.jsonl") if stage == 1 or row.turns[0].history)
    bill = thoughts.token_bill(processor, [row], stage, "4-decimals")
    batch = Collator(processor, stage, data, 1)([row])
    turns = len(row.turns)
    assert turns * sum(bill.values()) == pytest.approx(batch["input_ids"].shape[1])
    assert turns * (bill["call"] + bill.get("thought", 0)) == pytest.approx(int((batch["labels"] != -100).sum()))
    assert ("thought" in bill) == ("history" in bill) == (stage == 2)


def test_token_losses_are_those_that_training_takes_the_mean_of(data, processor, rows):
    model = attach_lora(load_base("embedded", load_in_4bit=False, on_cpu=True), 8, 16, 0.0)
    batch = Collator(processor, 2, data, 1)(rows)
    losses = thoughts.token_losses(model, batch)
    train_only_labelled(model)
    with torch.no_grad():
        trained = float(model(**batch).loss)
    assert len(losses) == int((batch["labels"] != -100).sum())
    assert float(losses.mean()) == pytest.approx(trained, rel=0.02)  # the former may be in bf16


def test_held_out_rows_click_and_were_not_trained_on(data, rows):
    assert len(rows) == 3
    assert all(row.turns[0].thought and click_point(parse("\n".join(row.turns[0].actions))) for row in rows)
    first = thoughts.held_out_clicks(train_params(data, data, ReasoningParams), 3)
    assert [row.id for row in first] != [row.id for row in rows]


def test_an_answer_goes_on_from_the_thought_it_was_given(data, processor, rows):
    agent = Agent(load_base("embedded", load_in_4bit=False).eval(), processor, 2, "4-decimals")
    found = thoughts.answers(agent, rows, data, ["The Save button is here."] * 3)
    assert len(found) == 3
    assert all(answer is None or answer.thought == "The Save button is here." for answer in found)
    frames = thoughts.frames(rows, [None, click(0.5, 0.5), click(0.1, 0.9)], data)
    assert "can't be read" in frames[0].problem and frames[1].thought.startswith("thought: a thought label: ")
    assert draw("They can be drawn", frames)


def test_moved_counts_clicks_that_left_their_place():
    before = [click(0.5, 0.5), click(0.5, 0.5), click(0.5, 0.5), None]
    assert thoughts.moved(before, [click(0.5, 0.52), click(0.5, 0.6), None, click(0.1, 0.1)]) == 1


def test_turned_changes_places_alone_and_twice_is_back():
    thought = "The Save button is in the upper left. I click it."
    assert thoughts.turned(thought) == "The Save button is in the lower right. I click it."
    assert thoughts.turned(thoughts.turned(thought)) == thought
