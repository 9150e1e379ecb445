"""Where replies of each kind click, as the scorers of published logs read them."""

import pytest

from forge_core.evaluation.replies import READERS, click
from forge_core.evaluation.score import judge

SIZE = (1000, 500)
BOX = "<|object_ref_start|>the {} button<|object_ref_end|><|box_start|>{}<|box_end|>"


def call(arguments, name="computer_use"):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("dialect", "raw", "point"),
    [
        ("qwen25vl", call('{"action": "left_click", "coordinate": [100, 200]}'), (0.1, 0.4)),
        ("qwen25vl", call('{"coordinate": [100, 200], "status": "success"}', "left_click"), (0.1, 0.4)),
        ("qwen25vl", call('{"coordinate": [100, 200, 300, 400]}'), (0.2, 0.6)),
        ("qwen25vl", call('{"coordinate": [100, 200]}') + "\n" + call('{"coordinate": [1, 2]}'), (0.1, 0.4)),
        ("qwen25vl", "Thought: I click.\n" + call('{"coordinate": [100, 200]}') + "<|im_end|>", (0.1, 0.4)),
        ("qwen25vl", "[100, 200]", (0.1, 0.4)),
        ("qwen25vl", " (100.0, 200.5)\n", (0.1, 0.401)),
        ("qwen25vl", "[100, 200, 300, 400]", (0.2, 0.6)),
        ("qwen25vl", "[1500, 200]", (1.5, 0.4)),  # off the screen: a miss, not a wrong format
        ("qwen3vl", call('{"action": "click", "coordinate": [333, 666]}', "mobile_use"), (333 / 999, 666 / 999)),
        ("qwen2vl", BOX.format("Save", "(200,10),(344,143)") + "<|im_end|>", (0.272, 0.0765)),
        (
            "qwen2vl",
            BOX.format("Save", "(1,2),(3,4)") + " and " + BOX.format("Open", "(200,10),(344,143)"),
            (0.272, 0.0765),
        ),
        ("qwen2vl", "It is at (200, 10).", (0.2, 0.01)),
        ("qwen2vl", "From 200, 10 to 344, 143", (0.272, 0.0765)),
        ("osatlas", BOX.format("Save", "[[200, 10, 344, 143]]"), (0.272, 0.0765)),
        ("osatlas", "thoughts:\na\nactions:\nCLICK <point>[[250,500]]</point>", (0.25, 0.5)),
        ("aguvis", "pyautogui.click(x=0.25, y=0.5)", (0.25, 0.5)),
        ("aguvis", "pyautogui.click(0.25, 0.5)", (0.25, 0.5)),
        ("aguvis", "pyautogui.click(y=0.5, x=0.25)", (0.25, 0.5)),
        ("aguvis", "pyautogui.moveTo(x=0.1, y=0.1)\npyautogui.click(x=0.25, y=0.5)", (0.25, 0.5)),
        ("aguvis", "pyautogui.click(x=0.25, y=0.5)\npyautogui.click(x=0.1, y=0.1)\nwrite(message=", (0.25, 0.5)),
        ("aguvis", "I would say pyautogui.click(x=0.25, y=0.5), the Save button.", (0.25, 0.5)),
        ("uitars", "Thought: a\nAction: click(start_box='(250,500)')", (0.25, 0.5)),
        ("seeclick", "(0.25,0.50)", (0.25, 0.5)),
        ("showui", "{'action': 'CLICK', 'value': None, 'position': [0.25, 0.5]}", (0.25, 0.5)),
        ("freetext", "The Save button is at approximately (250, 125).", (0.25, 0.25)),
        ("freetext", "Not (1, 1), which is a frame (for one year), but (250, 125) in the image.", (0.25, 0.25)),
        ("unified", "click(x=0.25, y=0.5)", (0.25, 0.5)),
        ("unified", "<think>\nSave.\n</think>\n<code>\nclick(x=0.25, y=0.5)\n</code>", (0.25, 0.5)),
    ],
)
def test_replies_that_click(dialect, raw, point):
    assert click(raw, dialect, SIZE) == pytest.approx(point, abs=1e-12)


@pytest.mark.parametrize(
    ("dialect", "raw"),
    [
        ("qwen25vl", call("[100, 200]", "left_click")),
        ("qwen25vl", call('{"coordinate": [100, 200]}}')),  # a brace too many
        ("qwen25vl", call('[{"text": "ctrl"}]', "key")),
        ("qwen25vl", call('{"coordinate": [100, NaN]}')),
        ("qwen25vl", call(f'{{"coordinate": [100, 1{"0" * 400}]}}')),
        ("qwen25vl", '```json\n[\n\t{"bbox_2d": [10, 20, 30, 40], "label": "Save"}\n]\n```'),
        ("qwen25vl", "[100, 200, 300]"),
        ("qwen25vl", "The button is at [100, 200]."),
        ("qwen2vl", BOX.format("Save", "(741,804,985,970)")),
        ("qwen2vl", "<|object_ref_start|>" * 400),
        ("qwen2vl", "In row 3, at (10, 20)"),
        ("osatlas", BOX.format("Save", "(1,2)(3)")),
        ("aguvis", "pyautogui.doubleClick(x=0.25, y=0.5)"),
        ("aguvis", "pyautogui.press('enter')"),
        ("aguvis", "pyautogui.click()"),
        ("freetext", "I'm unable to find such an element."),
        ("unified", "click(x=25, y=45)"),
        ("unified", "press(keys=['enter'])"),
        *((dialect, raw) for dialect in ("seeclick", "uitars", *READERS) for raw in ("", "Sorry.", "[" * 90_000)),
    ],
)
def test_replies_without_a_readable_click(dialect, raw):
    assert click(raw, dialect, SIZE) is None


@pytest.mark.parametrize(
    ("dialect", "raw", "point"),
    [
        ("qwen25vl", call("[100, 200]}", "left_click"), (0.1, 0.4)),
        ("qwen25vl", '```json\n[{"bbox_2d": [100, 100, 300, 300]}]\n```', (0.2, 0.4)),
        ("qwen2vl", BOX.format("Save", "(200,10,344,143)"), (0.272, 0.0765)),
        ("aguvis", "pyautogui.doubleClick(x=0.25, y=0.5)", (0.25, 0.5)),
    ],
)
def test_what_published_scorers_refuse_can_be_read_on_demand(dialect, raw, point):
    assert click(raw, dialect, SIZE) is None
    assert click(raw, dialect, SIZE, published=False) == pytest.approx(point)


@pytest.mark.parametrize("raw", ["click(x=0.25, y=0.45)", "click(x=1.2, y=0.45)", "scroll(direction='up')", "Save"])
def test_answers_of_this_project_click_where_the_evaluation_says(raw):
    assert click(raw, "unified") == judge(raw, (0, 0, 1, 1))[1]


@pytest.mark.parametrize("dialect", READERS)
@pytest.mark.parametrize(
    "piece", ["1", " ", "1,", "(", "<|box_start|>", "pyautogui.click(", "(1,2) ", "<tool_call>", "-.1"]
)
def test_endless_repetition_ends(dialect, piece):
    """100,000 characters of it; a reader that is not linear would take minutes here."""
    click(piece * (100_000 // len(piece)), dialect, SIZE)


def test_a_dialect_or_size_that_is_missing_is_named():
    with pytest.raises(ValueError, match="unknown dialect 'os_atlas'; there are unified, "):
        click("", "os_atlas")
    with pytest.raises(ValueError, match=r"give its size=\(width, height\)"):
        click("", "qwen25vl")
