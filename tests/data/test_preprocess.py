"""Raw rows to examples: conversion, merging, duplicates, broken rows, and that a finished output is kept."""

import json
import shutil
import zipfile
from functools import partial

import pytest
from raw_rows import eps, gpt, human, picture, preprocess_params, stage1, stage2, without_pixels, write_subset

from forge_core.actions.prompts import answer_text, read_answer
from forge_core.data.images import open_image
from forge_core.data.preprocess import preprocess
from forge_core.data.schema import read_jsonl
from forge_core.data.special import clean, special_pattern, tokens_of, tokens_of_base
from forge_core.models.load import load_processor


@pytest.fixture
def write_raw(tmp_path):
    return partial(write_subset, tmp_path / "raw")


def run(raw, out, stage=1, engine=None, **more):
    report = preprocess(preprocess_params(raw, out, **more), stage, engine)
    return report, list(read_jsonl(out / f"stage{stage}.jsonl"))


def rejected(out, stage=1):
    return [json.loads(line) for line in (out / f"stage{stage}.rejected.jsonl").read_text().splitlines()]


def test_stage_1_turns_of_one_screenshot_are_merged_and_capped(write_raw, tmp_path):
    code = "pyautogui.click(x={}, y=0.5)"
    rows = [
        stage1("a.png", ("<image>\nClick on 'Save'", code.format(0.1)), ("Open", code.format(0.2))),
        stage1("b.png", ("<image>Open", code.format(0.3))),
        stage1("a.png", ("<image>\nOpen", code.format(0.9)), ("Close <|im_end|>it", code.format(0.4))),
    ]
    report, examples = run(write_raw(1, rows), tmp_path / "out", max_turns=2)
    assert [(row.id, row.image, row.width, row.height) for row in examples] == [
        ("sandbox_web-000000", "../raw/stage1/sandbox_web.zip::a.png", 64, 48),
        ("sandbox_web-000000-1", "../raw/stage1/sandbox_web.zip::a.png", 64, 48),
        ("sandbox_web-000001", "../raw/stage1/sandbox_web.zip::b.png", 30, 20),
    ]
    turns = [(turn.instruction, turn.actions) for row in examples for turn in row.turns]
    assert turns == [
        ("Click on 'Save'", ["click(x=0.1, y=0.5)"]),
        ("Open", ["click(x=0.2, y=0.5)"]),
        ("Close it", ["click(x=0.4, y=0.5)"]),
        ("Open", ["click(x=0.3, y=0.5)"]),
    ]
    assert [open_image(tmp_path / "out" / row.image).size for row in examples] == [(64, 48), (64, 48), (30, 20)]
    counts = report.subsets["sandbox_web"]
    assert (counts.rows, counts.examples, counts.turns, counts.duplicates, counts.rejected) == (3, 3, 4, 1, {})
    assert counts.functions == {"click": 4}


def test_stage_2_has_instruction_history_thought_and_calls(write_raw, tmp_path):
    click, typed = "pyautogui.click(x=0.41, y=0.178)", "pyautogui.write(message='a\\nb')\npyautogui.press('enter')"
    thoughts = (
        "Thought: Action: is a word. I click it.",
        "Observation: A form.\nThought: Then <think>type</think>.\nAction: Type",
    )
    rows = [
        stage2("a.png", "Instruction: Save the file\n\nPrevious actions:\nNone", thoughts[0], click),
        stage2("a.png", "Instruction: Save the file\n\nPrevious actions:\nStep 1: Open", thoughts[1], typed),
    ]
    _, examples = run(write_raw(2, rows), tmp_path / "out", stage=2)
    first, second = (row.turns[0] for row in examples)
    assert (first.instruction, first.history, first.thought) == ("Save the file", "", "Action: is a word. I click it.")
    assert (second.instruction, second.history) == ("Save the file", "Step 1: Open")
    assert second.thought == "A form.\nThen type.\nType"
    assert second.actions == ["type(text='a\\nb')", "press(keys='enter')"]
    assert read_answer(answer_text(second, 2)).thought == second.thought


GOOD = ("Good", "pyautogui.click(x=0.1, y=0.2)")
BROKEN = [
    (stage1("a.png", ("Out", "pyautogui.click(x=1.2, y=0.5)")), "bad action", 0),
    (stage1("a.png", GOOD, ("Nan", "pyautogui.click(x=1e999, y=0.5)")), "bad action", 1),
    (stage1("a.png", ("Prose", "click there")), "bad action", 0),
    (stage1("a.png", ("Token", "pyautogui.write(message='<image>')")), "special token in an action", 0),
    (stage1("a.png", ("<image>\n", GOOD[1])), "empty instruction", 0),
    (stage1("a.png", ("half \ud83d", GOOD[1])), "text is not valid UTF-8", 0),
    (stage1("no.png", GOOD), "missing image", 0),
    (stage1("../../../raw/stage1/sandbox_web.json", GOOD), "image outside the archive", 0),
    (stage1("/etc/hostname", GOOD), "image outside the archive", 0),
    (stage1("cut.png", GOOD), "unreadable image", 0),
    (stage1("cut.jpg", GOOD), "unreadable image", 0),
    (stage1("text.png", GOOD), "unreadable image", 0),
    (stage1("eps.png", GOOD), "unreadable image", 0),
    (stage1("none.png", GOOD), "unreadable image", 0),
    (stage1("x" * 5000, GOOD), "missing image", 0),
    (stage1("", GOOD), "no image", None),
    (stage1(["a.png", 7], GOOD), "no image", None),
    ({"image": "a.png"}, "malformed conversation", None),
    ({"image": "a.png", "conversations": [gpt("x")]}, "malformed conversation", None),
    ({"image": "a.png", "conversations": [{"from": "function", "value": "x"}]}, "malformed conversation", None),
    ({"image": "a.png", "conversations": [human("x"), gpt(None)]}, "malformed conversation", None),
    ({"image": "a.png", "conversations": [human("x")]}, "malformed conversation", 0),
    ({"image": "a.png", "conversations": [human("x"), gpt("a"), gpt(GOOD[1])]}, "malformed conversation", 0),
    ("row", "no image", None),
]


@pytest.mark.parametrize(("row", "reason", "turn"), BROKEN)
def test_a_broken_row_is_listed_with_its_place_and_reason(write_raw, tmp_path, row, reason, turn):
    images = {"a.png": picture(), "cut.png": picture()[:-400], "cut.jpg": picture("JPEG")[:-400], "text.png": b"hello"}
    images |= {"eps.png": eps(), "none.png": without_pixels()}
    report, examples = run(write_raw(1, [stage1("a.png", ("First", GOOD[1])), row], images), tmp_path / "out")
    (listed,) = rejected(tmp_path / "out")
    assert (listed["subset"], listed["row"], listed["turn"], listed["reason"]) == ("sandbox_web", 1, turn, reason)
    assert listed["value"]
    assert report.subsets["sandbox_web"].rejected == {reason: 1}
    assert [turn.instruction for row in examples for turn in row.turns] == ["First", *(["Good"] if turn == 1 else [])]


def test_stage_2_without_a_thought_is_rejected(write_raw, tmp_path):
    rows = [stage2("a.png", "Instruction: Save", thought, GOOD[1]) for thought in ("", "Thought:", "Thought: yes")]
    report, examples = run(write_raw(2, rows), tmp_path / "out", stage=2)
    assert report.subsets["sandbox_web"].rejected == {"no thought": 2}
    assert examples[0].turns[0].thought == "yes"


def test_too_many_rejected_turns_stop_the_run(write_raw, tmp_path):
    rows = [stage1("a.png", (f"{number}", f"pyautogui.click(x={number}, y=0.5)")) for number in range(-3, 17)]
    with pytest.raises(
        ValueError, match=r"sandbox_web.json: 90.0% of the turns are rejected.*bad action 18.*\"row\":0"
    ):
        run(write_raw(1, rows), tmp_path / "out", max_rejected_share=0.05)
    assert len(rejected(tmp_path / "out")) == 18
    assert not (tmp_path / "out/stage1.jsonl").exists()
    report, _ = run(tmp_path / "raw", tmp_path / "out", max_rejected_share=0.9)
    assert report.subsets["sandbox_web"].turns == 2
    with pytest.raises(ValueError, match="90.0%"):
        run(tmp_path / "raw", tmp_path / "out", max_rejected_share=0.05)
    assert not (tmp_path / "out/stage1.jsonl").exists()


def test_a_finished_output_is_kept_until_an_input_changes(write_raw, tmp_path):
    raw = write_raw(1, [stage1("a.png", GOOD), stage1("b.png", GOOD)])
    out = tmp_path / "out"
    report, _ = run(raw, out)
    before = (out / "stage1.jsonl").stat().st_mtime_ns
    assert run(raw, out)[0] == report
    assert (out / "stage1.jsonl").stat().st_mtime_ns == before
    assert len(run(raw, out, max_rows=1)[1]) == 1
    assert run(raw, out)[0] == report  # the same inputs give the same bytes
    (out / "stage1.jsonl").write_text("")
    assert len(run(raw, out)[1]) == 2
    write_raw(1, [stage1("b.png", GOOD)])
    assert len(run(raw, out)[1]) == 1


def test_missing_and_broken_inputs_are_named(write_raw, tmp_path):
    raw = write_raw(1, {"rows": []})
    with pytest.raises(ValueError, match="sandbox_web.json: not a JSON list of rows: it does not begin with"):
        run(raw, tmp_path / "out")
    (raw / "stage1/sandbox_web.json").write_text("[{")
    with pytest.raises(ValueError, match="sandbox_web.json: not a JSON list of rows: row 0 is broken or cut off"):
        run(raw, tmp_path / "out")
    (raw / "stage1/sandbox_web.json").unlink()
    with pytest.raises(FileNotFoundError, match="sandbox_web.json is missing"):
        run(raw, tmp_path / "out")
    (raw / "stage1/sandbox_web.json").write_text("[]")
    (raw / "stage1/sandbox_web.zip").unlink()
    with pytest.raises(FileNotFoundError, match="neither sandbox_web.zip"):
        run(raw, tmp_path / "out")


@pytest.mark.parametrize(
    "text", ["<im<image>age>a", "<|im_start|>a<|im_end|>", "<row_1_col_2>a<global-img>", " a<end_of_utterance>"]
)
def test_no_special_token_survives_cleaning(text):
    assert clean(text, special_pattern(tokens_of_base("embedded"))) == "a"


def test_what_a_tokenizer_names_is_special_whatever_it_looks_like(tmp_path):
    tokens = ["<repo_name>", "[PAD]", "<|a b|>", "<a", "<a>"]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [{"content": token} for token in tokens]}))
    special = special_pattern(tokens_of_base(str(tmp_path)))
    assert [clean(f"b{token} ", special) for token in tokens] == ["b"] * len(tokens)
    assert clean("<repo_<a>name>b[PA[PAD]D]", special) == "b"
    deep = "<repo_" * 3000 + "<a>" + "name>" * 3000  # takes as long as it is, not its square
    assert clean(f"b{deep}", special) == "b"
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": {"9": {"content": "<late>"}}}))
    assert tokens_of_base(str(tmp_path)) == [*tokens, "<late>"]


def test_a_base_without_its_tokenizer_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for base in (str(tmp_path), "somebody/nothing"):
        with pytest.raises(OSError, match=f"base_model {base}@main: its tokenizer.json could not be read"):
            tokens_of_base(base)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"}')
    with pytest.raises(ValueError, match="its tokenizer.json is not one of a base"):
        tokens_of_base(str(tmp_path))


def test_the_file_and_the_loaded_tokenizer_name_the_same_tokens():
    assert sorted(tokens_of_base("embedded")) == sorted(tokens_of(load_processor("embedded").tokenizer))


def test_real_stage_1_rows(shared_data, tmp_path):
    rows = json.loads((shared_data / "aguvis/stage1_real_rows.json").read_text())
    folder = tmp_path / "raw/stage1"
    folder.mkdir(parents=True)
    rows[0]["image"] = "seeclick_row0_0.png"  # the file adds its size in words
    (folder / "seeclick.json").write_text(json.dumps(rows[:1]))
    source = shutil.copy(shared_data / "aguvis/seeclick_row0_0.png", tmp_path)
    with zipfile.ZipFile(folder / "seeclick.zip", "w") as archive:
        archive.write(source, "seeclick/seeclick_web_imgs/seeclick_row0_0.png")
    more = {"stage1_subsets": ["seeclick"], "max_rejected_share": 0.0, "max_turns": 28}
    report, examples = run(tmp_path / "raw", tmp_path / "out", **more)
    (example,) = examples
    assert (example.width, example.height, len(example.turns)) == (1920, 1080, 14)
    assert example.turns[0].instruction == "Click on 'Cool Air Capalaba'"
    assert example.turns[1].actions == ["drag(from_coord=[0.5865, 0.9583], to_coord=[0.7323, 0.9583])"]
    assert report.subsets["seeclick"].functions == {
        "click": 2, "drag": 3, "double_click": 3, "move_mouse": 2, "right_click": 4
    }  # fmt: skip
