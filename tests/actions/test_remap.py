"""Custom action spaces: what is rewritten, what is left alone, and that a wrong file is refused at once."""

import json

import pytest
from typer.testing import CliRunner

from forge_core.actions.remap import read_remap
from forge_core.cli import app
from forge_core.data.schema import Example, Turn, read_jsonl, write_jsonl

SPACE = """
click: {name: touch, parameters: {x: x_coord, y: y_coord}}
double_click: {name: double_touch, defaults: {x: 0.5, y: 0.5}}
scroll:
  name: scroll_view
  parameters: {direction: scroll_direction, amount: scroll_distance}
  values: {direction: {up: north, down: south}}
  drop: [unit]
type: {name: input_text, parameters: {text: content}}
press: {name: key_press}
swipe: {name: gesture.swipe, scale: {from_coord: 1000, to_coord: 1000}}
"""


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("click(x=0.5, y=0.8)", "touch(x_coord=0.5, y_coord=0.8)"),
        ("click(x=0.00005, y=0.8)", "touch(x_coord=0.0001, y_coord=0.8)"),
        (
            "I'll do it. scroll(direction='up', amount=10)",
            "I'll do it. scroll_view(scroll_direction='north', scroll_distance=10)",
        ),
        ("scroll('down', 3, unit='clicks')", "scroll_view(scroll_direction='south', scroll_distance=3)"),
        ("type('hello')", "input_text(content='hello')"),
        ("type(text='a) click(0.1, 0.2) \\' (')", 'input_text(content="a) click(0.1, 0.2) \' (")'),
        ("press(['ctrl', 'c'])", "key_press(keys=['ctrl', 'c'])"),
        ("double_click()", "double_touch(x=0.5, y=0.5)"),
        ("swipe([0.5, 0.8], [0.5, 0.2])", "gesture.swipe(from_coord=[500, 800], to_coord=[500, 200])"),
        ("wait(3); my.click(0.1, 0.2) doubleclick(1)", "wait(seconds=3); my.click(0.1, 0.2) doubleclick(1)"),
        (
            "Use f(x), click(the button), then click(0.5, 0.8).",
            "Use f(x), click(the button), then touch(x_coord=0.5, y_coord=0.8).",
        ),
        (
            "<think>\nclick( me\n</think>\n<code>\nclick(0, 1)\n</code>",
            "<think>\nclick( me\n</think>\n<code>\ntouch(x_coord=0, y_coord=1)\n</code>",
        ),
    ],
)
def test_only_calls_change(space, text, expected):
    assert read_remap(space).text(text) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("clik: {name: touch}", "clik: not a function"),
        ("click: {nam: touch}", "nam: Extra inputs"),
        ("click: {name: to uch}", "'to uch' is not a function's name"),
        ("click: {name: drag}", "two functions would be called drag"),
        ("click: {parameters: {z: a}}", "click.parameters: click has no 'z'"),
        ("click: {parameters: {x: a, y: a}}", "two would be called a"),
        ("click: {defaults: {x: 2}}", "click.defaults.x: must be a finite number"),
        ("click: [", "space.yaml: while parsing"),
        ("- click", "expected functions"),
    ],
)  # fmt: skip
def test_a_wrong_space_is_refused_with_file_and_value(tmp_path, content, message):
    path = tmp_path / "space.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match="space.yaml: ") as caught:
        read_remap(path)
    assert message in str(caught.value)


def test_a_data_set_is_rewritten_whole_or_not_at_all(space, tmp_path):
    turn = Turn(instruction="Save", thought="I click(0.1, 0.2) it.", actions=["click(x=0.1, y=0.2)", "wait(seconds=1)"])
    row = Example(id="1", source="a", platform="web", image="a.png", width=2, height=2, turns=[turn])
    write_jsonl(tmp_path / "in.jsonl", [row, row])
    arguments = ["actions", "remap", str(space), str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    rows = list(read_jsonl(tmp_path / "out.jsonl"))
    assert [turn.actions for row in rows for turn in row.turns] == [
        ["touch(x_coord=0.1, y_coord=0.2)", "wait(seconds=1)"]
    ] * 2
    assert rows[0].turns[0].thought == turn.thought
    (tmp_path / "out.jsonl").unlink()
    with (tmp_path / "in.jsonl").open("a") as file:
        file.write('{"id": 5}\n')
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2 and "in.jsonl:3: id" in result.stderr
    assert not (tmp_path / "out.jsonl").exists()


def test_convert_reads_standard_input_and_files_and_loses_nothing(tmp_path):
    run = CliRunner().invoke
    result = run(
        app, ["actions", "convert", "--from", "uitars", "--to", "unified"], input="click(start_box='(500,250)')\n"
    )
    assert (result.stdout, result.exit_code) == ("click(x=0.5, y=0.25)\n", 0)
    path = tmp_path / "texts.jsonl"
    path.write_text(
        "".join(json.dumps(text) + "\n" for text in ("mobile.home()", "nothing", "mobile.back()\nanswer('a')"))
    )
    result = run(app, ["actions", "convert", "--from", "aguvis", str(path)])
    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        "navigate_home()",
        "navigate_back()\nfinal_answer(answer='a')",
    ]
    assert result.exit_code == 1 and "texts.jsonl:2: " in result.stderr
    result = run(app, ["actions", "convert", "--from", "detect"], input="[10, 20]")
    assert result.stdout == "qwen25vl qwen3vl\n"
    result = run(app, ["actions", "convert", "--from", "qwen25vl", "--size", "wide"], input="[10, 20]")
    assert result.exit_code == 2 and "wide" in result.stderr
    result = run(app, ["actions", "convert", "--from", "aguvis", str(tmp_path / "missing.txt")], env={"COLUMNS": "999"})
    assert result.exit_code == 2 and "missing.txt" in result.stderr
