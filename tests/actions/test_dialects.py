"""Every dialect: what it reads, that writing and reading are inverse, and that no text can crash, hang or run."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_actions import an_action

from forge_core.actions.calls import ActionParseError
from forge_core.actions.coordinates import PLACES, smart_resize
from forge_core.actions.dialects import DIALECTS, convert, detect, parse, read, read_point, render
from forge_core.actions.types import FUNCTIONS, Action
from forge_core.actions.unified import render as unified

WRITABLE = [name for name, dialect in DIALECTS.items() if dialect.write]
SIZE = (1920, 1080)
SIZES = {name: SIZE if dialect.needs_size else None for name, dialect in DIALECTS.items()}
BOX = "<|object_ref_start|>Save<|object_ref_end|><|box_start|>(200,10),(400,30)<|box_end|>"


def tool_call(name: str, arguments: object) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        (
            "agentnet",
            "pyautogui.moveTo(0.1, 0.2)\npyautogui.dragTo(0.3, 0.4, button='left')",
            "drag(from_coord=[0.1, 0.2], to_coord=[0.3, 0.4])",
        ),
        ("agentnet", "computer.terminate(status='success')", "final_answer(answer='success')"),
        ("opencua", "pyautogui.click(x=960, y=270)", "click(x=0.5, y=0.25)"),
        (
            "aguvis",
            "Thought: I save.\nAction: Click Save.\n\nassistantos\npyautogui.click(0.1, 0.2)",
            "click(x=0.1, y=0.2)",
        ),
        (
            "omniact",
            "pyautogui.click(\"Menu 'As: Busy'\")\npyautogui.dragTo('B', 'left')",
            "click(element=\"Menu 'As: Busy'\")\ndrag(from_element=\"Menu 'As: Busy'\", to_element='B')",
        ),
        ("omniact", '```python\nimport pyautogui\npyautogui.write("a", 0.1)\n```', "type(text='a')"),
        (
            "uitars",
            "Thought: a\nAction: click(start_box='<|box_start|>(495,30)<|box_end|>')",
            "click(x=0.495, y=0.03)",
        ),
        ("uitars", "left_double(start_box='(10, 20, 30, 40)')", "double_click(x=0.02, y=0.03)"),
        (
            "uitars",
            "hotkey(key='ctrl c')\n\ntype(content='It\\'s\\n')\n\nwait()",
            "press(keys=['ctrl', 'c'])\ntype(text=\"It's\\n\")\nwait()",
        ),
        ("uitars", "scroll(start_box='(500,500)', direction='down')", "scroll(direction='down', x=0.5, y=0.5)"),
        ("uitars", "call_user()", "call_tool(tool='call_user', arguments='{}')"),
        ("uitars15", "click(point='<point>960 270</point>')", "click(x=0.5, y=0.25)"),
        (
            "uitars15",
            "drag(start_point='<point>0 0</point>', end_point='<point>1920 1080</point>')",
            "drag(from_coord=[0, 0], to_coord=[1, 1])",
        ),
        ("qwen2vl", BOX * 40, "click(x=0.3, y=0.02)"),
        ("qwen2vl", "<|box_start|>(200,10,400,30)<|box_end|>", "click(x=0.3, y=0.02)"),
        (
            "qwen25vl",
            tool_call("computer_use", {"action": "left_click", "coordinate": [960, 270]}),
            "click(x=0.5, y=0.25)",
        ),
        ("qwen25vl", tool_call("left_click", [960, 270]) + "}", "click(x=0.5, y=0.25)"),
        (
            "qwen25vl",
            '<tool_call>\n{"name": "left_click", "arguments": [960, 270]}}\n</tool_call>',
            "click(x=0.5, y=0.25)",
        ),
        ("qwen25vl", '<tool_call>{"name": "click", "arguments": {"coordinate": [960, 270]}', "click(x=0.5, y=0.25)"),
        (
            "qwen25vl",
            '```json\n[\n\t{"bbox_2d": [970, 260, 950, 280], "label": "inverted"},\n]\n```',
            "click(x=0.5, y=0.25)",
        ),
        (
            "qwen25vl",
            tool_call("computer_use", {"action": "scroll", "pixels": -300}),
            "scroll(direction='down', amount=300, unit='pixels')",
        ),
        ("qwen25vl", "[960, 270]", "click(x=0.5, y=0.25)"),
        (
            "qwen3vl",
            "Thought: a\n" + tool_call("mobile_use", {"action": "click", "coordinate": [999, 0]}),
            "click(x=1, y=0)",
        ),
        (
            "qwen3vl",
            tool_call("mobile_use", {"action": "swipe", "coordinate": [0, 999], "coordinate2": [0, 0]}),
            "swipe(from_coord=[0, 1], to_coord=[0, 0])",
        ),
        ("qwen3vl", tool_call("mobile_use", {"action": "system_button", "button": "Back"}), "navigate_back()"),
        ("osatlas", "thoughts:\nopen\nactions:\nCLICK <point>[[950,87]]</point>", "click(x=0.95, y=0.087)"),
        ("osatlas", "TYPE [a [b]\nc]\nSCROLL [UP]", "type(text='a [b]\\nc')\nscroll(direction='up')"),
        (
            "guicourse",
            "actions:\nclick,<box> 100 50 300 150</box> \ninput, a, b\nc\nenter",
            "click(x=0.2, y=0.1)\ntype(text='a, b\\nc')\npress(keys='enter')",
        ),
        (
            "guicourse",
            "actions:\nscroll, down 530 right -20",
            "scroll(direction='down', amount=530, unit='pixels')\nscroll(direction='left', amount=20, unit='pixels')",
        ),
        ("guicourse", "actions:\nselect,<box> 100 50 300 150</box>, 2", "select_option(x=0.2, y=0.1, value='2')"),
        (
            "cogagent",
            "Plan: a\nGrounded Operation: CLICK(box=[[000,008,100,092]], element_info='[AX]')\n<<General>>",
            "click(x=0.05, y=0.05, element='[AX]')",
        ),
        (
            "cogagent",
            "GESTURE(actions=[KEY_DOWN(key='Lcontrol'), KEY_PRESS(key='A'), KEY_UP(key='Lcontrol')])",
            "press(keys=['Lcontrol', 'A'])",
        ),
        (
            "cogagent",
            "SCROLL_DOWN(box=[[000,000,1000,1000]], step_count=5)",
            "scroll(direction='down', amount=5, unit='clicks', x=0.5, y=0.5)",
        ),
        ("showui", "{'action': 'CLICK', 'value': None, 'position': [0.49, 0.4]}", "click(x=0.49, y=0.4)"),
        (
            "showui",
            "{'action': 'INPUT', 'value': 'a', 'position': [0.1, 0.2]}, {'action': 'ENTER'}",
            "click(x=0.1, y=0.2)\ntype(text='a')\npress(keys='enter')",
        ),
        ("androidcontrol", '{"action_type": "click", "x": 960, "y": 270}', "click(x=0.5, y=0.25)"),
        ("androidcontrol", '```json\n{"action_type": "input_text", "text": "a,] ```"},\n```', "type(text='a,] ```')"),
        ("androidcontrol", '{"action_type": "scroll", "direction": "down"}', "scroll(direction='down')"),
        (
            "aitw",
            '{"result_action_type": 4, "result_touch_yx": "[0.2, 0.7]", "result_lift_yx": "[0.2, 0.71]"}',
            "click(x=0.7, y=0.2)",
        ),
        (
            "aitw",
            '{"result_action_type": 4, "result_touch_yx": "[0.8, 0.5]", "result_lift_yx": "[0.2, 0.5]"}',
            "swipe(from_coord=[0.5, 0.8], to_coord=[0.5, 0.2])",
        ),
        (
            "mind2web",
            '{"operation": "TYPE", "value": "a", "bbox": [[950, 260, 20, 20]]}',
            "click(x=0.5, y=0.25)\ntype(text='a')",
        ),
        (
            "anthropic",
            '{"action": "scroll", "coordinate": [960, 270], "scroll_direction": "down", "scroll_amount": 3}',
            "scroll(direction='down', amount=3, unit='clicks', x=0.5, y=0.25)",
        ),
        ("anthropic", '{"action": "key", "text": "ctrl++"}', "press(keys='ctrl++')"),
        ("anthropic", '{"action": "key", "text": "ctrl+s"}', "press(keys=['ctrl', 's'])"),
        ("openai", '{"type": "click", "x": 960, "y": 270, "button": "wheel"}', "middle_click(x=0.5, y=0.25)"),
        (
            "openai",
            '{"type": "scroll", "x": 0, "y": 0, "scroll_x": 0, "scroll_y": -200}',
            "scroll(direction='up', amount=200, unit='pixels', x=0, y=0)",
        ),
        (
            "openai",
            '{"type": "drag", "path": [{"x": 0, "y": 0}, {"x": 9, "y": 9}, {"x": 1920, "y": 1080}]}',
            "drag(from_coord=[0, 0], to_coord=[1, 1])",
        ),
        ("seeclick", "(0.49,0.40)", "click(x=0.49, y=0.4)"),
        ("seeclick", "<box>(480,300),(500,500)</box>", "click(x=0.49, y=0.4)"),
        ("freetext", '{"x": 480, "y": 810}', "click(x=0.25, y=0.75)"),
        ("freetext", "It is here: <point>480 810</point>", "click(x=0.25, y=0.75)"),
        (
            "mind2web",
            "[span]  Ways -> Stay -> CLICK\n[textbox]  City -> TYPE: New: York",
            "click(element='Ways -> Stay')\nclick(element='City')\ntype(text='New: York')",
        ),
        (
            "qwen25vl",
            '{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [960, 270]}}',
            "click(x=0.5, y=0.25)",
        ),
        (
            "androidcontrol",
            '{"action_type": "scroll", "direction": "up", "element": "list"}',
            "scroll(direction='up', element='list')",
        ),
        ("agentnet", "computer.triple_click(x=0.1, y=0.2)", "triple_click(x=0.1, y=0.2)"),
        ("freetext", "The X is at about (480, 810).", "click(x=0.25, y=0.75)"),
    ],
)
def test_reading(dialect, text, expected):
    size = SIZE if DIALECTS[dialect].needs_size else None
    assert unified(parse(text, dialect, size)) == expected
    assert dialect in detect(text)


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        ("uitars", "click(start_box='(x1,y1)')", "a place"),
        ("uitars", "click(start_box='(1,2)', speed=3)", "'speed'"),
        ("qwen2vl", BOX + BOX.replace("200", "201"), "one box, found 2"),
        ("qwen25vl", tool_call("left_click", {"coordinate": [1, 2], "colour": "red"}), "'colour'"),
        ("qwen25vl", tool_call("key", [{"text": "ctrl"}, {"text": "t"}]), "arguments as an object"),
        ("qwen25vl", '<tool_call>{"name": "wait"} {"name": "wait"}</tool_call>', "nothing after the JSON"),
        ("qwen25vl", "It is at [1, 2] or [3, 4].", "JSON and nothing else"),
        ("qwen25vl", '[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [5, 6, 7, 8]}]', "one object with bbox_2d"),
        ("qwen25vl", tool_call("left_click", {"coordinate": [1921, 2]}), "x must be"),
        ("qwen3vl", tool_call("computer_use", {"action": "left_click", "coordinate": [1000, 2]}), "x must be"),
        ("osatlas", "I would CLICK", "an action such as"),
        ("guicourse", "actions:\nclick,<box> 100 50 300", "click"),
        ("cogagent", "GESTURE(actions=[KEY_DOWN(key='a')])", "come up again"),
        ("showui", "{'action': 'CLICK', 'position': [0.1, 0.2], 'colour': 1}", "'colour'"),
        ("androidcontrol", '{"action_type": "click", "x": 1, "y": 2, "colour": 1}', "'colour'"),
        ("androidcontrol", 'Sure: {"action_type": "wait"}', "nothing else"),
        (
            "aitw",
            '{"result_action_type": 4, "result_touch_yx": "[-1, -1]", "result_lift_yx": "[0.1, 0.1]"}',
            "result_touch_yx",
        ),
        ("anthropic", '{"action": "left_click", "coordinate": [1, 2], "text": "shift"}', "'text'"),
        ("openai", '{"type": "click", "x": 1, "y": 2, "button": "fourth"}', "'click'"),
        ("seeclick", "(49, 40)", "x must be"),
        ("freetext", "From (1, 2) to (3, 4).", "one place such as (x, y), found 2"),
    ],
)
def test_what_has_no_single_reading_is_refused(dialect, text, expected):
    with pytest.raises(ActionParseError) as caught:
        parse(text, dialect, SIZE)
    assert expected in caught.value.expected
    assert 0 <= caught.value.offset <= len(text)


def test_sizes_are_asked_for_and_never_guessed():
    text = "click(point='<point>200 300</point>')"
    with pytest.raises(ValueError, match=r"pixels of the image as the model saw it.*size=\(width, height\)"):
        parse(text, "uitars15")
    with pytest.raises(ValueError, match="unknown dialect 'ui_tars'"):
        parse(text, "ui_tars")
    with pytest.raises(ValueError, match="read-only"):
        render([Action("navigate_back", {})], "cogagent")


def test_what_a_dialect_cannot_say_is_refused_by_name():
    with pytest.raises(ValueError, match="uitars cannot say this: scroll: UI-TARS has no amount"):
        convert("pyautogui.scroll(page=-0.1)", "aguvis", "uitars")
    with pytest.raises(ValueError, match="pixels needed"):
        convert("pyautogui.scroll(page=-0.1)", "aguvis", "qwen3vl")
    with pytest.raises(ValueError, match="no place for a thought"):
        convert("thoughts:\na\nactions:\nPRESS_BACK", "osatlas", "androidcontrol", target_size=SIZE)


def test_conversion_keeps_the_thought_and_scales_the_place():
    text = "Thought: I open it.\nAction: click(start_box='<|box_start|>(500,250)<|box_end|>')"
    assert convert(text, "uitars", "unified") == "<think>\nI open it.\n</think>\n<code>\nclick(x=0.5, y=0.25)\n</code>"
    back = convert(convert(text, "uitars", "qwen25vl", target_size=SIZE), "qwen25vl", "uitars", SIZE)
    assert back == text


def test_detection_names_the_dialects_that_only_units_tell_apart():
    assert detect(tool_call("computer_use", {"action": "left_click", "coordinate": [1, 2]})) == ["qwen25vl", "qwen3vl"]
    assert detect("pyautogui.click(x=0.1, y=0.2)") == ["aguvis", "agentnet", "opencua"]
    assert detect("pyautogui.click(x=100, y=200)") == ["opencua"]
    assert detect("click(x=0.1, y=0.2)") == ["unified"]
    assert detect("Good morning.") == []


def rounded(actions: list[Action], dialect: str) -> list[Action]:
    """The actions on the grid of the dialect's units."""
    units = DIALECTS[dialect].units
    width, height = SIZE if isinstance(units, str) else units
    if (width, height) == (1.0, 1.0):
        return actions

    def place(name, value):
        if name in ("x", "y"):
            limit = height if name == "y" else width
            return round(value * limit) / limit
        return [round(value[0] * width) / width, round(value[1] * height) / height] if name in PLACES else value

    return [Action(a.name, {name: place(name, value) for name, value in a.arguments.items()}) for a in actions]


@pytest.mark.parametrize("dialect", WRITABLE)
@given(actions=st.lists(an_action(), min_size=1, max_size=3))
def test_reading_is_the_inverse_of_writing(dialect, actions):
    try:
        text = render(actions, dialect, SIZES[dialect])
    except ValueError as error:
        assert str(error).startswith(f"{dialect} cannot say this: ")
    else:
        assert parse(text, dialect, SIZES[dialect]) == rounded(actions, dialect)


EXAMPLES = {
    "x": 0.25,
    "y": 0.5,
    "from_coord": [0.25, 0.5],
    "to_coord": [0.75, 0.5],
    "text": 'It\'s (a) "b"\n\\é',
    "value": "a",
    "app_name": "a b",
    "answer": "success",
    "keys": ["ctrl", "c"],
    "direction": "down",
    "amount": 3,
    "seconds": 2,
    "tool": "screenshot",
    "arguments": "{}",
}
CANNOT_SAY = {
    "unified": "",
    "aguvis": "call_tool",
    "agentnet": "call_tool",
    "opencua": "call_tool",
    "uitars": "triple_click middle_click swipe select_option call_tool",
    "uitars15": "triple_click middle_click swipe select_option call_tool",
    "qwen25vl": "drag select_option call_tool",
    "qwen3vl": "drag select_option call_tool",
    "osatlas": "triple_click middle_click drag swipe select_option call_tool",
    "showui": "double_click triple_click right_click middle_click open_app wait call_tool",
    "androidcontrol": "triple_click right_click middle_click move_mouse drag swipe press select_option call_tool",
    "anthropic": "long_press swipe select_option open_app navigate_home navigate_back final_answer",
    "openai": "triple_click long_press swipe select_option open_app navigate_home navigate_back final_answer",
    "seeclick": " ".join(set(FUNCTIONS) - {"click"}),
}


@pytest.mark.parametrize("dialect", WRITABLE)
def test_each_writer_says_all_but_what_its_dialect_lacks(dialect):
    unsaid = set()
    for function in FUNCTIONS.values():
        forms = [{name: EXAMPLES[name] for name in function.parameters}]
        forms += (
            [{k: v for k, v in forms[0].items() if k not in function.optional}]
            if function.name in ("wait", "scroll")
            else []
        )
        forms += [
            forms[0] | {"unit": unit, "x": 0.5, "y": 0.5} for unit in ("clicks", "pixels") if function.name == "scroll"
        ]
        said = 0
        for arguments in forms:
            try:
                render([Action(function.name, arguments)], dialect, SIZES[dialect])
                said += 1
            except ValueError:
                pass
        if not said:
            unsaid.add(function.name)
    assert unsaid == set(CANNOT_SAY[dialect].split())


HOSTILE = [
    "()[]{}'\"\\\n\r\t\0,:=.-_é日🙂",
    '<think></code><tool_call>{}[]"',
    "click(x=0.5,y='1')",
    "CLICK <point>[[1,2]]</point>\n",
]
PAYLOADS = [
    "__import__('os').system('true')",
    "click(x=__import__('os').getpid(), y=0)",
    "().__class__.__bases__[0]()",
    "open('/etc/passwd')",
    "type(text=().__class__.__mro__)",
    "pyautogui.click(x=exec('1'), y=0)",
    "{'action': __import__('os')}",
    "eval('1')",
    "click(start_box=eval('1'))",
    "CLICK(box=__builtins__)",
    "f'{open(1)}'",
    "[x for x in ().__class__.__subclasses__()]",
]


@pytest.mark.parametrize("dialect", DIALECTS)
@given(
    text=st.one_of(
        st.text(max_size=80), *(st.text(alphabet, max_size=80) for alphabet in HOSTILE), st.sampled_from(PAYLOADS)
    )
)
def test_any_text_gives_actions_or_one_kind_of_error_inside_the_text(dialect, text):
    try:
        actions = parse(text, dialect, SIZE)
    except ActionParseError as error:
        assert 0 <= error.offset <= len(text) and error.expected
    else:
        assert all(isinstance(action, Action) for action in actions)


WATCHED = {"exec", "open", "import", "os.system", "subprocess.Popen"}
events: list[str] | None = None


def watch(event: str, _arguments: tuple) -> None:
    if events is not None and event in WATCHED:
        events.append(event)


sys.addaudithook(watch)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_is_executed(payload):
    global events
    for dialect in DIALECTS:
        events = []
        try:
            with pytest.raises(ActionParseError):
                parse(payload, dialect, SIZE)
            assert events == []
        finally:
            events = None


DEEP = [
    "(",
    "[",
    "{",
    "f(",
    "click(x=[",
    "-",
    "1+",
    "a.",
    "not ",
    "\\",
    "'",
    '"',
    "{'a':",
    '{"a":',
    "<tool_call>{",
    "[1,",
    "(1,2) ",
]
LONG = [
    "\n",
    " ",
    "\t",
    "x",
    "0",
    "\0",
    "click(0.1,0.2);",
    "Action:",
    "actions:\n",
    "TYPE [",
    "<|box_start|>(",
    "#",
    "assistantos",
]


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("piece", DEEP + LONG)
def test_endless_repetition_is_read_or_refused(dialect, piece):
    """100,000 characters of it; a reader that is not linear would take minutes here."""
    text = piece * (100_000 // len(piece))
    try:
        assert parse(text, dialect, SIZE)
    except ActionParseError as error:
        assert 0 <= error.offset <= len(text)


def test_the_first_place_is_read_unrounded_and_unbounded_for_scoring():
    assert read_point("pyautogui.click(x=0.123456, y=1.5)", "aguvis") == (0.123456, 1.5)
    assert read_point("[2413, 162]", "qwen25vl", (2548, 1428)) == (2413 / 2548, 162 / 1428)
    assert read_point("pyautogui.press('a')", "aguvis") is None


@pytest.mark.parametrize(
    ("size", "resized"), [((2560, 1440), (2548, 1428)), ((20, 20), (56, 56)), ((28, 28), (56, 56))]
)
def test_smart_resize(size, resized):
    assert smart_resize(*size) == resized


DOCS = Path(__file__).parents[2] / "docs" / "actions.md"


def test_the_documentation_names_every_dialect_and_function():
    text = DOCS.read_text(encoding="utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `") and line.count("|") == 5]
    written = {row[1].strip(" `"): row[4].strip() for row in rows if row[4].strip() in ("yes", "no")}
    assert written == {name: "yes" if dialect.write else "no" for name, dialect in DIALECTS.items()}
    assert all(f"`{name}`" in text for name in FUNCTIONS)


def test_the_parsers_can_be_imported_alone():
    heavy = {"torch", "transformers", "pydantic"}
    code = f"import sys, forge_core.actions.dialects; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


CORPUS = {
    "aguvis_pyautogui": "aguvis",
    "agentnet_pyautogui": "agentnet",
    "aguvis_documented": "aguvis",
    "aguvis_reported": "aguvis",
    "qwen25vl_tool_call": "qwen25vl",
    "qwen2vl_box": "qwen2vl",
    "zonui_list": "qwen25vl",
    "qwen3vl_tool_call": "qwen3vl",
    "gpt4o_point_text": "freetext",
    "ui_tars_v1": "uitars",
    "ui_tars_v15": "uitars15",
    "ui_tars_template": "uitars",
    "os_atlas": "osatlas",
    "guicourse_csv": "guicourse",
    "androidcontrol_json": "androidcontrol",
    "androidcontrol_planner_json": "androidcontrol",
    "aitw_fields": "aitw",
    "mind2web": "mind2web",
    "omniact_pyautogui_text": "omniact",
    "cogagent": "cogagent",
}
REFUSED = {  # each looked at: prose without a place, templates with x1 for a number, cut off, places outside 0-1000
    "qwen25vl_tool_call": 7,
    "qwen2vl_box": 3,
    "gpt4o_point_text": 15,
    "ui_tars_template": 7,
    "guicourse_csv": 44,
    "omniact_pyautogui_text": 2,
}


def test_the_corpus_of_real_strings(shared_data):
    rows = [json.loads(line) for line in (shared_data / "actions/corpus.jsonl").open(encoding="utf-8")]
    refused = Counter()
    for row in rows:
        dialect = CORPUS.get(row["dialect"])
        if dialect:
            try:
                assert read(row["raw"], dialect, (1000, 1000) if dialect == "freetext" else (4096, 4096)).actions
            except ActionParseError:
                refused[row["dialect"]] += 1
    assert refused == REFUSED


def test_places_of_published_logs_are_those_published(shared_data):
    lines = (shared_data / "predictions/scorer_fixtures.jsonl").open(encoding="utf-8")
    rows = [row for row in map(json.loads, lines) if row["point_px"]]
    assert len(rows) > 2000
    for row in rows:
        width, height = row["img_size"]
        x, y = read_point(row["raw"], "qwen25vl", smart_resize(width, height))
        assert (x * width, y * height) == pytest.approx(row["point_px"], abs=1e-6), row["raw"]
