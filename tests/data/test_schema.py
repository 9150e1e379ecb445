"""The rows on disk: what is written is read back, and a wrong line is named."""

import json

import pytest

from forge_core.data.schema import Example, Turn, read_jsonl, write_jsonl


def example(**changes) -> Example:
    turn = Turn(instruction="Click 'é'\u2028", thought=None, actions=["click(x=0.1, y=0.2)"])
    values = {"id": "a-000001", "source": "a", "platform": "web", "image": "images/a.png", "width": 640, "height": 480}
    return Example(**values | {"turns": [turn, turn]} | changes)


def test_what_is_written_is_read_back(tmp_path):
    rows = [example(), example(id="b", platform="mobile")]
    assert write_jsonl(tmp_path / "new" / "rows.jsonl", rows) == 2
    assert list(read_jsonl(tmp_path / "new" / "rows.jsonl")) == rows
    assert write_jsonl(tmp_path / "none.jsonl", []) == 0
    assert list(read_jsonl(tmp_path / "none.jsonl")) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"platform": "watch"}, "platform"),
        ({"width": 0}, "width"),
        ({"turns": []}, "turns"),
        ({"turns": [{"instruction": "", "actions": ["a()"]}]}, "turns.0.instruction"),
        ({"turns": [{"instruction": "a", "actions": []}]}, "turns.0.actions"),
        ({"extra": 1}, "extra"),
    ],
)
def test_a_wrong_row_is_named_by_file_line_and_field(tmp_path, change, named):
    path = tmp_path / "rows.jsonl"
    good = example().model_dump()
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | change) + "\n")
    with pytest.raises(ValueError, match=f"rows.jsonl:2: {named}: "):
        list(read_jsonl(path))


def test_a_cut_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(example().model_dump_json()[:50])
    with pytest.raises(ValueError, match="rows.jsonl:1: "):
        list(read_jsonl(path))


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [example()])

    def failing():
        yield example(id="new")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        write_jsonl(path, failing())
    assert [row.id for row in read_jsonl(path)] == ["a-000001"]
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]
