"""The AGUVIS dialect: hand-made cases, real rows, and smol2operator's recorded behaviour where that is right."""

import json

import pytest

from forge_core.actions.dialects import parse as parse_dialect
from forge_core.actions.unified import ActionParseError, parse, render


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("pyautogui.click(x=0.6583, y=0.4782)", "click(x=0.6583, y=0.4782)"),
        ("pyautogui.click(y=0.2, x=0.1)", "click(x=0.1, y=0.2)"),
        ("pyautogui.click((0.1, 0.2))", "click(x=0.1, y=0.2)"),
        ("pyautogui.click('0.5', '0.25')", "click(x=0.5, y=0.25)"),
        ("pyautogui.click(x=0.1, y=0.2, button='right')", "right_click(x=0.1, y=0.2)"),
        ("pyautogui.click(x=0.1, y=0.2, clicks=2)", "double_click(x=0.1, y=0.2)"),
        ("pyautogui.doubleClick()", "double_click()"),
        ("pyautogui.moveTo(0.1, 0.2)", "move_mouse(x=0.1, y=0.2)"),
        (
            "pyautogui.moveTo(x=0.5865, y=0.9583)\npyautogui.dragTo(x=0.7323, y=0.9583)",
            "drag(from_coord=[0.5865, 0.9583], to_coord=[0.7323, 0.9583])",
        ),
        (
            "pyautogui.moveTo(0, 0)\npyautogui.dragTo(0.1, 0.1)\npyautogui.dragTo(0.2, 0.2, button='left')",
            "drag(from_coord=[0, 0], to_coord=[0.1, 0.1])\ndrag(from_coord=[0.1, 0.1], to_coord=[0.2, 0.2])",
        ),
        (
            "pyautogui.click(0, 0); pyautogui.dragTo(0.1, 0.1)",
            "click(x=0, y=0)\ndrag(from_coord=[0, 0], to_coord=[0.1, 0.1])",
        ),
        ("pyautogui.dragTo(to_coord=(1, 1), from_coord=(0, 0))", "drag(from_coord=[0, 0], to_coord=[1, 1])"),
        ("pyautogui.scroll(page=-0.1)", "scroll(direction='down', amount=10)"),
        ("pyautogui.scroll(page=0.29)", "scroll(direction='up', amount=29)"),
        ("pyautogui.scroll(page=1)", "scroll(direction='up', amount=100)"),
        ("pyautogui.scroll(-54)", "scroll(direction='down', amount=54, unit='clicks')"),
        ("pyautogui.tripleClick(x=0.1, y=0.2)", "triple_click(x=0.1, y=0.2)"),
        ("pyautogui.click(x=0.1, y=0.2, button='middle')", "middle_click(x=0.1, y=0.2)"),
        ("pyautogui.dragTo(x=0.8102, y=0.9463)", "drag(to_coord=[0.8102, 0.9463])"),
        ("pyautogui.press('a'); pyautogui.dragTo(x=0.1, y=0.2)", "press(keys='a')\ndrag(to_coord=[0.1, 0.2])"),
        ("answer(True)", "final_answer(answer='True')"),
        ("time.sleep(1)\npyautogui.click(x=0.1, y=0.2)", "wait(seconds=1)\nclick(x=0.1, y=0.2)"),
        ("pyautogui.click(x=None, y=None)", "click()"),
        (
            "pyautogui.scroll(-3, x=.5, y=.5)",
            "move_mouse(x=0.5, y=0.5)\nscroll(direction='down', amount=3, unit='clicks')",
        ),
        ("pyautogui.hscroll(page=0.57)", "scroll(direction='right', amount=57)"),
        ("pyautogui.hscroll(page=-0.1)", "scroll(direction='left', amount=10)"),
        ("pyautogui.write(message='f(x) = 3 :)')", "type(text='f(x) = 3 :)')"),
        ("pyautogui.write(message='It\\'s\\ta \"b\"')", "type(text='It\\'s\\ta \"b\"')"),
        ("pyautogui.write(message='line1\nline2', interval=0.1)", "type(text='line1\\nline2')"),
        ("pyautogui.press(keys='enter')", "press(keys='enter')"),
        ("pyautogui.press('tab', presses=2)", "press(keys='tab')\npress(keys='tab')"),
        ("pyautogui.hotkey('ctrl', 'c')", "press(keys=['ctrl', 'c'])"),
        ("pyautogui.hotkey(keys=['ctrl', ','])", "press(keys=['ctrl', ','])"),
        ("mobile.home()\nmobile.back()", "navigate_home()\nnavigate_back()"),
        ("mobile.open_app(app_name='Google (Beta)')", "open_app(app_name='Google (Beta)')"),
        (
            "mobile.swipe(to_coord=[0.6, 0.5], from_coord=[0.5, 0.8])",
            "swipe(from_coord=[0.5, 0.8], to_coord=[0.6, 0.5])",
        ),
        ("mobile.long_press(x=0.799, y=0.911)", "long_press(x=0.799, y=0.911)"),
        ("mobile.wait(seconds='3')", "wait(seconds=3)"),
        ("mobile.wait(seconds=0.5)", "wait(seconds=0.5)"),
        ("browser.select_option(x=0.1, y=0.2, value='Mr.')", "select_option(x=0.1, y=0.2, value='Mr.')"),
        ("answer('42 (approx.)')", "final_answer(answer='42 (approx.)')"),
        ("mobile.terminate(status='success')", "final_answer(answer='success')"),
        ("computer.terminate(status='success')", "final_answer(answer='success')"),
        ("terminate(status='failure', reason='blocked')", "final_answer(answer='failure: blocked')"),
    ],
)
def test_conversion(raw, text):
    assert render(parse_dialect(raw, "aguvis")) == text


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "I will answer(the question) now",
        "pyautogui.click(x=1.5, y=0.5)",
        "pyautogui.click(x=100, y=200)",
        "pyautogui.click(x='nan', y=0.5)",
        "pyautogui.click(x=1e999, y=0.5)",
        "pyautogui.click(x=0.5)",
        "pyautogui.click(x=0.1, y=0.2, [1])",
        "pyautogui.moveTo()",
        "pyautogui.scroll()",
        "pyautogui.scroll(page=0)",
        "pyautogui.scroll(page='down')",
        "pyautogui.scroll(1e999)",
        "pyautogui.write(message='It's fine')",
        "pyautogui.hotkey()",
        "pyautogui.dragTo()",
        "pyautogui.click(x=0.1, y=0.2",
        "PyAutoGUI.click(x=0.1, y=0.2)",
        "See mobile.html(docs)",
        "browser.switch_tab(tab_index=1)",
        "Click here.\npyautogui.click(x=0.1, y=0.2)",
        "os.system('true')",
    ],
)
def test_what_cannot_be_converted_is_refused(raw):
    with pytest.raises(ActionParseError):
        parse_dialect(raw, "aguvis")


def test_the_error_names_call_and_value():
    with pytest.raises(ActionParseError, match=r"click: x must be .*not 1.5; character 21") as caught:
        parse_dialect("pyautogui.press('é')\npyautogui.click(x=1.5, y=0.5)", "aguvis")
    assert caught.value.offset == 21


# Where smol2operator's recorded output is not what the call means, or where it passes over what we refuse.
DIFFERENT = {
    "pyautogui.scroll(page=-0.1)": "down is negative",
    "pyautogui.scroll(page=0.1)": "down is negative",
    "pyautogui.scroll(0.13)": "down is negative",
    "pyautogui.moveTo(x=0.4496, y=0.7349)\npyautogui.scroll(-54)": "and 54 clicks are not 5400 per cent",
    "pyautogui.write(message='C:\\\\Users\\\\x')": "it does not decode the string",
    "": "no action is an error",
}


def test_parity_with_smol2operator(shared_data):
    cases = [json.loads(line) for line in (shared_data / "parity/smol2operator_cases.jsonl").open(encoding="utf-8")]
    cases = [case for case in cases if case["stage"] == "convert" and case["kind"] in ("normal", "real")]
    checked = 0
    for case in cases:
        if case["input"] in DIFFERENT or "error" in case:
            continue
        try:
            expected = parse(case["output"])
        except ActionParseError:  # recorded output that is not Python: strings re-quoted without escapes
            assert "'" in case["input"] and parse_dialect(case["input"], "aguvis")
            continue
        assert parse_dialect(case["input"], "aguvis") == expected, case
        checked += 1
    assert checked > 100


# smol2operator's bugs and limits, and what the call means. None: it is refused.
RIGHT = {
    "pyautogui.write(message='It\\'s fine')": 'type(text="It\'s fine")',
    "pyautogui.write(message='line1\nline2')": "type(text='line1\\nline2')",
    "pyautogui.write(message='f(x) = 3')": "type(text='f(x) = 3')",
    "pyautogui.write(message='smile :)')": "type(text='smile :)')",
    "pyautogui.write(message='abc', interval=0.1)": "type(text='abc')",
    "pyautogui.click(y=0.2, x=0.1)": "click(x=0.1, y=0.2)",
    "pyautogui.click(x=0.1, y=0.2, button='right')": "right_click(x=0.1, y=0.2)",
    "pyautogui.click(x=100, y=200)": None,
    "pyautogui.click((0.1, 0.2))": "click(x=0.1, y=0.2)",
    "pyautogui.click([0.1, 0.2])": "click(x=0.1, y=0.2)",
    "pyautogui.tripleClick(x=0.1, y=0.2)": "triple_click(x=0.1, y=0.2)",
    "pyautogui.scroll(-10)": "scroll(direction='down', amount=10, unit='clicks')",
    "pyautogui.scroll(10)": "scroll(direction='up', amount=10, unit='clicks')",
    "pyautogui.scroll(page=0.57)": "scroll(direction='up', amount=57)",
    "pyautogui.scroll(page=-0.58)": "scroll(direction='down', amount=58)",
    "pyautogui.scroll(page=0)": None,
    "pyautogui.scroll(-3, x=0.5, y=0.5)": "move_mouse(x=0.5, y=0.5)\nscroll(direction='down', amount=3, unit='clicks')",
    "pyautogui.scroll(page='down')": None,
    "pyautogui.press('tab', presses=3)": "press(keys='tab')\npress(keys='tab')\npress(keys='tab')",
    "pyautogui.dragTo(x=0.7, y=0.9)": "drag(to_coord=[0.7, 0.9])",
    "pyautogui.dragTo(x=0.7323, y=0.9583, button='left')": "drag(to_coord=[0.7323, 0.9583])",
    "pyautogui.write(message='a')\npyautogui.dragTo(x=0.3, y=0.4)": "type(text='a')\ndrag(to_coord=[0.3, 0.4])",
    "pyautogui.dragTo()": None,
    "mobile.long_press(x=0.1, y=0.2, duration=2)": "long_press(x=0.1, y=0.2)",
    "mobile.type(text='abc')": None,
    "answer('The answer is 42 (approx.)')": "final_answer(answer='The answer is 42 (approx.)')",
    "answer('It\\'s 5')": 'final_answer(answer="It\'s 5")',
    "computer.terminate(status='success')": "final_answer(answer='success')",
    "browser.switch_tab(tab_index=1)": None,
    "pyautogui.click(x=0.1, y=0.2)\nbrowser.select_option(x=0.5, y=0.3, value='CA')": (
        "click(x=0.1, y=0.2)\nselect_option(x=0.5, y=0.3, value='CA')"
    ),
    "See mobile.html(docs)": None,
    "PyAutoGUI.click(x=0.1, y=0.2)": None,
    "pyautogui.click(x=0.1, y=0.2": None,
    "time.sleep(1)\npyautogui.click(x=0.1, y=0.2)": "wait(seconds=1)\nclick(x=0.1, y=0.2)",
    "pyautogui.click(x=None, y=None)": "click()",
    "pyautogui.click(x=0.00001, y=0.1)": "click(x=0, y=0.1)",
}


def test_what_smol2operator_gets_wrong_is_read_or_refused(shared_data):
    cases = [json.loads(line) for line in (shared_data / "parity/smol2operator_cases.jsonl").open(encoding="utf-8")]
    inputs = {case["input"] for case in cases if case["stage"] == "convert" and case["kind"] in ("bug", "limit")}
    assert inputs == set(RIGHT)


@pytest.mark.parametrize(("raw", "text"), RIGHT.items())
def test_bugs_and_limits(raw, text):
    if text is None:
        with pytest.raises(ActionParseError):
            parse_dialect(raw, "aguvis")
    else:
        assert render(parse_dialect(raw, "aguvis")) == text


def test_the_corpus_of_real_strings_converts(shared_data):
    rows = [json.loads(line) for line in (shared_data / "actions/corpus.jsonl").open(encoding="utf-8")]
    dialects = ("aguvis_pyautogui", "aguvis_documented", "aguvis_reported", "agentnet_pyautogui")
    strings = [row["raw"] for row in rows if row["dialect"] in dialects]
    assert len(strings) > 70
    for raw in strings:
        assert parse(render(parse_dialect(raw, "aguvis"))) == parse_dialect(raw, "aguvis")


def test_real_agentnet_rows_convert(shared_data):
    steps = [
        step for path in (shared_data / "agentnet").glob("*.json") for step in json.loads(path.read_text())["steps"]
    ]
    texts = [render(parse_dialect(step["action"], "aguvis")) for step in steps]
    assert len(texts) > 15
    assert 'type(text="help me polish this: \'")' in texts
    assert "move_mouse(x=0.4496, y=0.7349)\nscroll(direction='down', amount=54, unit='clicks')" in texts
