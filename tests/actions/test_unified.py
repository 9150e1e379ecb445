"""The action table, its text form, and that parsing can neither run code nor let a wrong value through."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_actions import an_action

from forge_core.actions.calls import read_calls, read_simple
from forge_core.actions.types import FUNCTIONS, Action
from forge_core.actions.unified import ActionParseError, click_point, parse, render


@given(st.lists(an_action(), min_size=1, max_size=4))
def test_parse_is_the_inverse_of_render(actions):
    assert parse(render(actions)) == actions


@given(st.text(max_size=60) | st.text("click(x=0.5,y')\"[]{}\\\n\r\0é -", max_size=60))
def test_any_text_gives_actions_or_one_kind_of_error_inside_the_text(text):
    try:
        actions = parse(text)
    except ActionParseError as error:
        assert 0 <= error.offset <= len(text)
        assert error.expected
    else:
        assert parse(render(actions)) == actions


NAME = st.sampled_from(["f", "a.b", "x", "None", "class", "f0", "é"])
PLAIN = st.sampled_from(
    ["1", "-0", "0.5", ".5", "5.", "1e3", "007", "-1_0", "'a b'", '"é,="', "'a'b", "'\"'", "''", "[1]", "True"]
)
ARGUMENT = st.one_of(PLAIN, st.builds("{} = {}".format, NAME, PLAIN), st.builds("{}={}".format, NAME, PLAIN))


@given(
    st.lists(
        st.builds(
            "{}({}{})".format, NAME, st.lists(ARGUMENT, max_size=3).map(", ".join), st.sampled_from(["", ",", " "])
        ),
        min_size=1,
        max_size=2,
    )
)
def test_the_shortcut_answers_as_the_compiler_does(lines):
    text = "\n".join(lines)
    simple = read_simple(text)
    if simple is not None and text.isascii():
        spaced = read_calls("\n" + text.replace("(", " (", 1))  # which the shortcut does not know
        assert [(c.name, c.positional, c.keywords) for c in simple] == [
            (c.name, c.positional, c.keywords) for c in spaced
        ]


def test_there_are_nineteen_functions():
    names = (
        "click double_click triple_click right_click middle_click long_press move_mouse drag swipe scroll type press "
        "select_option wait open_app navigate_home navigate_back final_answer call_tool"
    )
    assert set(FUNCTIONS) == set(names.split())


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (Action("click", {"x": 0.41, "y": 0.178}), "click(x=0.41, y=0.178)"),
        (Action("click", {"y": 0.2, "x": 0.123456}), "click(x=0.1235, y=0.2)"),
        (Action("click", {"x": 1, "y": -0.0}), "click(x=1, y=0)"),
        (Action("long_press", {"x": 0.00001, "y": 1.0}), "long_press(x=0, y=1)"),
        (
            Action("drag", {"from_coord": (0.5, 0.9), "to_coord": [0.7, 1]}),
            "drag(from_coord=[0.5, 0.9], to_coord=[0.7, 1])",
        ),
        (Action("scroll", {"direction": "down", "amount": 29.0}), "scroll(direction='down', amount=29)"),
        (Action("type", {"text": "It's 50% :)\n\\"}), 'type(text="It\'s 50% :)\\n\\\\")'),
        (Action("press", {"keys": ("ctrl", "c")}), "press(keys=['ctrl', 'c'])"),
        (Action("wait", {"seconds": 3.0}), "wait(seconds=3)"),
        (Action("wait", {"seconds": 0.5}), "wait(seconds=0.5)"),
        (Action("double_click", {}), "double_click()"),
        (Action("navigate_back", {}), "navigate_back()"),
    ],
)
def test_canonical_text(action, text):
    assert render([action]) == text
    assert parse(text) == [action]


def test_positions_and_lines():
    text = " \nclick(0.1, y=.5e0); type('a')\npress(['ctrl', 'c'])\n"
    assert render(parse(text)) == "click(x=0.1, y=0.5)\ntype(text='a')\npress(keys=['ctrl', 'c'])"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("click", {"x": 1.0001, "y": 0.5}),
        ("click", {"x": -0.1, "y": 0.5}),
        ("click", {"x": math.nan, "y": 0.5}),
        ("click", {"x": 0.5, "y": math.inf}),
        ("click", {"x": True, "y": 0.5}),
        ("click", {"x": "0.5", "y": 0.5}),
        ("click", {"x": 10**400, "y": 0.5}),
        ("click", {"x": 0.5}),
        ("long_press", {}),
        ("drag", {"from_coord": [0.1, 0.2]}),
        ("scroll", {"direction": "up", "unit": "clicks"}),
        ("click", {"x": 0.5, "y": 0.5, "button": "left"}),
        ("drag", {"from_coord": [0.5], "to_coord": [0.1, 0.2]}),
        ("scroll", {"direction": "sideways", "amount": 1}),
        ("scroll", {"direction": "up", "amount": 0}),
        ("scroll", {"direction": "up", "amount": 1.5}),
        ("type", {"text": "\ud800"}),
        ("type", {"text": 5}),
        ("press", {"keys": []}),
        ("press", {"keys": ["ctrl", ""]}),
        ("wait", {"seconds": -1}),
        ("wait", {"seconds": 10**400}),
        ("fly", {}),
    ],
)
def test_a_wrong_action_cannot_be_made_and_the_error_names_it(name, arguments):
    with pytest.raises(ValueError, match=f"^{name}: "):
        Action(name, arguments)


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("", 0, "a call"),
        ("I click the button", 2, "Python calls"),
        ("click", 0, "a call"),
        ("x = click(0.1, 0.2)", 0, "a call"),
        ("click(x=0.1, y=0.2)\nfly(1)", 20, "one of click"),
        ("type('é'); type('é'); click(x=7, y=0)", 22, "x must be a finite number in [0, 1], not 7"),
        ("click(x=0.1, y=0.2, x=0.3)", 0, "once"),
        ("click(0.1, 0.2, 0.3)", 0, "at most 2"),
        ("click(0.1, x=0.2)", 0, "repeated"),
        ("click(**{'x': 1})", 0, "**"),
        ("type(text=open('/etc/passwd').read())", 0, "a function's name"),
        ("__import__('os').system('true')", 0, "a function's name"),
        ("click(x=(lambda: 1)(), y=0)", 0, "a function's name"),
        ("type(f'{1}')", 0, "a string"),
        ("type(b'a')", 0, "a string"),
        ("click(x=None, y=None)", 0, "x must be"),
        ("click(x=0.1, y=0.2", 5, "Python calls"),
        ("type('a\0b')", 0, "Python calls"),
        ("click(x=" + "[" * 5000, 0, "Python calls"),
        ("a." * 20000 + "b()", 0, ""),
        ("click(x=1" + "+1" * 20000 + ")", 0, ""),
        ("click(x=" + "9" * 5000 + ", y=0)", 0, ""),
    ],
)
def test_errors_say_where_and_what(text, offset, expected):
    with pytest.raises(ActionParseError) as caught:
        parse(text)
    assert expected in caught.value.expected
    assert caught.value.offset == offset or not expected or expected == "Python calls"


def test_click_point_is_that_of_the_first_pointing_action():
    assert click_point(parse("press('a'); select_option(0.1, 0.2, 'b'); click(0.3, 0.4)")) == (0.1, 0.2)
    assert click_point(parse("click(); move_mouse(0.3, 0.4)")) == (0.3, 0.4)
    assert click_point(parse("click()")) is None
    assert click_point(parse("scroll('up', 3); drag([0, 0], [1, 1])")) is None
