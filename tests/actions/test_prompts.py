"""Prompts declare what exists, and the two answer formats are read back as they are written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.actions.prompts import DECLARED, Answer, answer_text, is_reasoning_format, read_answer, system_prompt
from forge_core.actions.types import FUNCTIONS
from forge_core.actions.unified import ActionParseError, parse, render
from forge_core.data.schema import Turn

CALLS = ["click(x=0.41, y=0.178)", "type(text='</code> <think>')"]


@pytest.mark.parametrize(("stage", "platform"), DECLARED)
def test_the_prompt_declares_exactly_the_functions_of_its_stage_and_platform(stage, platform):
    text = system_prompt(stage, platform)
    assert set(re.findall(r"(\w+)\(", text)) == set(DECLARED[stage, platform]) <= set(FUNCTIONS)
    assert all(FUNCTIONS[name].signature in text for name in DECLARED[stage, platform])
    assert len(text.split()) <= (40, 120)[stage - 1]
    assert ("<think>" in text) == (stage == 2)


def test_an_unknown_platform_is_refused():
    with pytest.raises(ValueError, match="'watch'"):
        system_prompt(1, "watch")


def test_stage_1_answers_are_bare_calls():
    text = answer_text(Turn(instruction="a", actions=CALLS), stage=1)
    assert text == "\n".join(CALLS)
    assert read_answer(text) == Answer(None, parse(text))
    assert not is_reasoning_format(text)


def test_stage_2_answers_think_first():
    text = answer_text(
        Turn(instruction="a", thought="Save is in the upper right.\nI click it.", actions=CALLS[:1]), stage=2
    )
    assert text == (
        "<think>\nSave is in the upper right.\nI click it.\n</think>\n<code>\nclick(x=0.41, y=0.178)\n</code>"
    )
    with pytest.raises(ValueError, match="needs a thought"):
        answer_text(Turn(instruction="a", actions=CALLS), stage=2)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<"), min_size=1), st.booleans())
def test_stage_2_answers_are_read_back(thought, is_padded):
    turn = Turn(instruction="a", thought=thought.strip() or "none", actions=CALLS)
    text = answer_text(turn, stage=2)
    answer = read_answer(f" \n{text}\n" if is_padded else text)
    assert (answer.thought, render(answer.actions).split("\n")) == (turn.thought, CALLS)
    assert is_reasoning_format(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The button is there.",
        "<think>\na\n</think>\nclick(x=0.1, y=0.2)",
        "<think>\na\n<code>\nclick(x=0.1, y=0.2)\n</code>",
        "<think>\na\n</think>\n<code>\nclick(x=0.1, y=0.2)",
        "<think>\na\n</think>\n<code>\n</code>",
        "<think>\na\n</think>\n<code>\nclick(x=0.1, y=2)\n</code>",
        "<think>\na\n</think>\n<code>\nclick(x=0.1, y=0.2)\n</code> done",
        "click(x=0.1, y=0.2)\n<code>\nclick(x=0.1, y=0.2)\n</code>",
    ],
)
def test_other_formats_are_wrong(text):
    with pytest.raises(ActionParseError):
        read_answer(text)
    assert not is_reasoning_format(text)


def test_a_code_block_without_a_thought_is_read_but_is_not_the_reasoning_format():
    text = "<code>\nclick(x=0.1, y=0.2)\n</code>"
    assert read_answer(text) == Answer(None, parse("click(0.1, 0.2)"))
    assert not is_reasoning_format(text)
