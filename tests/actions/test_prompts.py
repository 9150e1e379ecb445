"""Prompts declare what exists, and the two answer formats are read back as they are written, in every format."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_actions import COORDINATE, an_action

from forge_core.actions.coordinates import COORD_FORMATS, PLACES
from forge_core.actions.prompts import DECLARED, Answer, answer_text, is_reasoning_format, read_answer, system_prompt
from forge_core.actions.types import FUNCTIONS, Action
from forge_core.actions.unified import ActionParseError, parse, render
from forge_core.data.schema import Turn

CALLS = ["click(x=0.41, y=0.178)", "type(text='</code> <think>')"]
HALF_A_STEP = {"4-decimals": 0.0, "2-decimals": 0.005, "0-1000": 0.0005}  # of the screen's width or height
NUMBER = {
    "4-decimals": r"(?:0(?:\.\d{0,3}[1-9])?|1)",
    "2-decimals": r"(?:0(?:\.\d?[1-9])?|1)",
    "0-1000": r"(?:0|[1-9]\d{0,2}|1000)",
}


@pytest.mark.parametrize("coord_format", COORD_FORMATS)
@pytest.mark.parametrize(("stage", "platform"), DECLARED)
def test_the_prompt_declares_exactly_the_functions_of_its_stage_and_platform(stage, platform, coord_format):
    text = system_prompt(stage, platform, coord_format)
    assert set(re.findall(r"(\w+)\(", text)) == set(DECLARED[stage, platform]) <= set(FUNCTIONS)
    assert all(FUNCTIONS[name].signature in text for name in DECLARED[stage, platform])
    assert len(text.split()) <= (40, 120)[stage - 1]
    assert ("<think>" in text) == (stage == 2)


def test_prompts_differ_in_the_sentence_on_coordinates_only():
    fractions = (
        "You control a mobile screen. Answer with one of click(x, y), double_click(x, y), right_click(x, y). "
        "Coordinates run from 0 to 1 from the top left."
    )
    assert system_prompt(1, "mobile") == system_prompt(1, "mobile", "4-decimals") == fractions
    for stage, platform in DECLARED:
        texts = [system_prompt(stage, platform, name) for name in COORD_FORMATS]
        assert texts[0] == system_prompt(stage, platform) and texts[0].endswith(fractions[-47:])
        assert len({text.rpartition("Coordinates")[0] for text in texts}) == 1
        assert ["two decimals" in text for text in texts] == [False, True, False]
        assert ["0 to 1000" in text for text in texts] == [False, False, True]


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


@pytest.mark.parametrize(
    ("coord_format", "calls"),
    [
        (
            "4-decimals",
            "click(x=0.4102, y=0.178)\ndrag(from_coord=[0, 0.1], to_coord=[0.9996, 1])\nwait(seconds=0.125)",
        ),
        ("2-decimals", "click(x=0.41, y=0.18)\ndrag(from_coord=[0, 0.1], to_coord=[1, 1])\nwait(seconds=0.125)"),
        ("0-1000", "click(x=410, y=178)\ndrag(from_coord=[0, 100], to_coord=[1000, 1000])\nwait(seconds=0.125)"),
    ],
)
def test_only_places_are_written_in_the_format(coord_format, calls):
    actions = ["click(x=0.4102, y=0.178)", "drag(from_coord=[0, 0.1], to_coord=[0.9996, 1])", "wait(seconds=0.125)"]
    turn = Turn(instruction="a", thought="I click at x=0.4102.", actions=actions)
    assert answer_text(turn, 1, coord_format) == calls
    assert answer_text(turn, 2, coord_format) == (f"<think>\nI click at x=0.4102.\n</think>\n<code>\n{calls}\n</code>")


@pytest.mark.parametrize("coord_format", COORD_FORMATS)
@given(x=COORDINATE, y=COORDINATE)
def test_numbers_are_written_as_the_prompt_says(coord_format, x, y):
    turn = Turn(instruction="a", actions=[render([Action("click", {"x": x, "y": y})])])
    number = NUMBER[coord_format]
    assert re.fullmatch(rf"click\(x={number}, y={number}\)", answer_text(turn, 1, coord_format))


@pytest.mark.parametrize("stage", (1, 2))
@pytest.mark.parametrize("coord_format", COORD_FORMATS)
@given(actions=st.lists(an_action(), min_size=1, max_size=4))
def test_every_format_is_read_back_to_half_a_step(stage, coord_format, actions):
    turn = Turn(instruction="a", thought="I act.", actions=[render([action]) for action in actions])
    text = answer_text(turn, stage, coord_format)
    answer = read_answer(text, coord_format)
    assert answer.thought == (None, "I act.")[stage - 1]
    assert is_reasoning_format(text, coord_format) == (stage == 2)
    for ours, theirs in zip(answer.actions, actions, strict=True):
        assert (ours.name, ours.arguments.keys()) == (theirs.name, theirs.arguments.keys())
        for name, value in theirs.arguments.items():
            near = pytest.approx(value, abs=HALF_A_STEP[coord_format] + 1e-9) if name in PLACES else value
            assert ours.arguments[name] == near
    again = Turn(instruction="a", thought="I act.", actions=render(answer.actions).split("\n"))
    assert answer_text(again, stage, coord_format) == text  # what is on the grid stays there


def test_thousandths_become_fractions():
    assert read_answer("click(x=410, y=178)", "0-1000") == Answer(None, parse("click(x=0.41, y=0.178)"))
    assert read_answer("click(410.5, 1000)", "0-1000") == Answer(None, parse("click(x=0.4105, y=1)"))
    swipe = "<think>\na\n</think>\n<code>\nswipe(from_coord=[0, 5], to_coord=[1000, 995])\n</code>"
    expected = Answer("a", parse("swipe(from_coord=[0, 0.005], to_coord=[1, 0.995])"))
    assert read_answer(swipe, "0-1000") == expected
    assert is_reasoning_format(swipe, "0-1000") and not is_reasoning_format(swipe)


@pytest.mark.parametrize("coord_format", COORD_FORMATS)
@pytest.mark.parametrize(
    "call",
    [
        "click(x=1001, y=5)",
        "click(x=5, y=1000.5)",
        "click(x=-1, y=0)",
        "click(x=1e999, y=0)",
        f"click(x={10**400}, y=0)",
        "click(x=True, y=0)",
        "click(x='0', y=0)",
        "click(x=0)",
        "scroll(direction='up', amount=3, x=0, y=1001)",
        "drag(from_coord=[0, 0], to_coord=[0, 1001])",
        "drag(from_coord=[0, 0], to_coord=[0, False])",
        "drag(from_coord=[0, 0], to_coord=[0])",
        "drag(from_coord=[0, 0], to_coord=0)",
    ],
)
def test_a_place_off_the_screen_is_refused_where_it_stands(call, coord_format):
    with pytest.raises(ActionParseError) as caught:
        read_answer(f"click(x=0, y=1)\n{call}", coord_format)
    assert caught.value.offset == len("click(x=0, y=1)\n")
