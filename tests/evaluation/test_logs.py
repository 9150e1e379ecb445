"""Prediction logs of other people: their shapes and names, their verdicts, and `forge score`."""

import json

import pytest
from typer.testing import CliRunner

from forge_core.cli import app
from forge_core.data.screenspot import LAYOUTS, Target, read_json
from forge_core.evaluation.logs import NAMES, differences, report, score_log, sizes_of
from forge_core.evaluation.replies import READERS
from forge_core.evaluation.score import table
from forge_core.paths import ROOT

ROW = {
    "id": "web_0",
    "raw": "pyautogui.click(x=0.25, y=0.5)",
    "bbox": [400, 400, 600, 600],
    "img_size": [2000, 1000],
    "platform": "gitlab",
    "group": "web",
    "ui_type": "icon",
    "correctness": "correct",
}
PRO = {
    "img_path": "/data/images/inventor_windows/a.png",
    "group": "CAD",
    "platform": "windows",
    "application": "inventor",
    "ui_type": "text",
    "gt_type": "positive",
    "pred": [500.0, 500.0],
    "raw_response": "pyautogui.click(x=0.25, y=0.5)",
    "bbox": [400, 400, 600, 600],
    "correctness": "correct",
}


def write(folder, *rows, name="log.jsonl"):
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def outcomes(judged):
    return [row.outcome for row in judged.scored]


def forge(*arguments):
    result = CliRunner().invoke(app, ["score", *map(str, arguments)])
    return result.exit_code, result.output


# Replies of each kind that logs hold, on edges of their boxes and beside them; made up but for the four edge cases,
# whose points and boxes are those of published rows.
KINDS = {
    "aguvis": [
        ([3840, 1080], [1632, 243, 1707, 305], "pyautogui.click(x=0.425, y=0.251333)", "hit"),
        ([3840, 1080], [1633, 243, 1707, 305], "pyautogui.click(x=0.425, y=0.251333)", "miss"),
        ([1000, 1000], [200, 300, 300, 400], "Thought: the menu.\nAction: pyautogui.click(x=0.3, y=0.4)", "hit"),
        ([1000, 1000], [200, 300, 300, 400], "pyautogui.press('enter')", "wrong_format"),
    ],
    "qwen2vl": [
        ([3840, 1440], [803, 262, 1012, 288], "<|box_start|>(240,190),(280,210)<|box_end|><|im_end|>", "hit"),
        ([1920, 1080], [1071, 756, 1247, 775], "<|box_start|>(620,690),(642,710)<|box_end|>", "hit"),
        ([1920, 1080], [1071, 757, 1247, 775], "<|box_start|>(620,690),(642,710)<|box_end|>", "miss"),
        ([1920, 1080], [0, 0, 1920, 1080], "<|object_ref_start|>" * 9, "wrong_format"),
    ],
    "qwen25vl": [
        ([3840, 2160], [1090, 1650, 1598, 1710], "[1120, 1650]", "hit"),
        ([2560, 1440], [2321, 129, 2529, 199], "[2413, 162]", "hit"),
        ([2560, 1440], [2321, 129, 2424, 199], "[2413, 162]", "miss"),  # the click is at 2424.36 px
        ([2560, 1440], [2321, 129, 2529, 199], '<tool_call>\n{"name": "wait"}\n</tool_call>', "wrong_format"),
    ],
    "freetext": [
        ([960, 540], [96, 54, 192, 108], "The element is at approximately (100, 200).", "hit"),
        ([960, 540], [96, 54, 192, 108], "(99, 150)", "miss"),
        ([960, 540], [96, 54, 192, 108], "I can't determine coordinates.", "wrong_format"),
    ],
}


@pytest.mark.parametrize("dialect", KINDS)
def test_each_kind_of_reply(tmp_path, dialect):
    rows = [{**ROW, "img_size": size, "bbox": bbox, "raw": raw} for size, bbox, raw, _ in KINDS[dialect]]
    judged = score_log(write(tmp_path, *rows), dialect, size=(1000, 1000) if dialect == "freetext" else None)
    assert outcomes(judged) == [outcome for *_, outcome in KINDS[dialect]]


@pytest.mark.parametrize(
    ("log", "counts"), [("han1018_qwen_gui", (1101, 171, 0)), ("woodhalloween_qwen25vl", (323, 1253, 5))]
)
def test_published_logs_from_the_reply_to_the_verdict(shared_data, tmp_path, log, counts):
    rows = [row for row in read_json(shared_data / "predictions/scorer_fixtures.jsonl") if row["log"] == log]
    judged = score_log(write(tmp_path, *rows), "qwen25vl")
    assert tuple(outcomes(judged).count(outcome) for outcome in ("hit", "miss", "wrong_format")) == counts
    assert judged.verdicts == outcomes(judged)
    by_point = score_log(tmp_path / "log.jsonl")  # the same from the log's own points
    assert by_point.verdicts == outcomes(by_point)


def test_published_macro_mean_and_groups(shared_data):
    judged = score_log(shared_data / "predictions/scorer_fixtures.jsonl", "qwen25vl")
    assert len(judged.scored) == 2853 and differences(judged) == []
    v2, pro = [row for row in judged.scored if not row.group], [row for row in judged.scored if row.group]
    micro, macro, *groups = table(v2, ("platform", "application", "size"))
    assert (round(micro.value, 4), round(macro.value, 4)) == (0.8656, 0.8509)
    assert {row.name: row.n for row in groups if row.group == "platform"} == {"web": 437, "mobile": 501, "desktop": 334}
    assert [row.name for row in groups if row.group == "size"] == ["small", "medium", "large"]
    rows = {row.name: (row.k, row.n) for row in table(pro, ("kind", "group"))}
    assert (rows["text"], rows["icon"]) == ((291, 977), (32, 604))
    assert {row.platform for row in pro} == {"desktop"} and len({row.application for row in pro}) == 26


def test_three_shapes_of_a_file_are_the_same_log(tmp_path):
    rows = [ROW, {**ROW, "id": "web_1", "raw": "pyautogui.click(x=0.9, y=0.5)", "correctness": "wrong"}]
    lines = score_log(write(tmp_path, *rows), "aguvis")
    for text in (json.dumps(rows, indent=1), json.dumps({"metrics": {"overall": {}}, "details": rows})):
        (tmp_path / "log.json").write_text(text)
        assert score_log(tmp_path / "log.json", "aguvis") == lines
    assert outcomes(lines) == ["hit", "miss"] == lines.verdicts
    row = lines.scored[0]
    assert (row.target_id, row.platform, row.kind, row.application, row.group) == ("web_0", "web", "icon", "gitlab", "")
    assert row.area == pytest.approx(200 * 200 / 2e6)


def test_one_row_is_a_log_too(tmp_path):
    assert outcomes(score_log(write(tmp_path, ROW), "aguvis")) == ["hit"]


def test_the_file_of_pros_scorer_has_no_sizes(tmp_path):
    rows = [PRO, {**PRO, "pred": None, "raw_response": "", "correctness": "wrong_format"}]
    (tmp_path / "log.json").write_text(json.dumps({"details": rows, "metrics": {}}))
    judged = score_log(tmp_path / "log.json")  # in px on both sides
    assert outcomes(judged) == ["hit", "wrong_format"] == judged.verdicts
    row = judged.scored[0]
    assert (row.platform, row.application, row.group, row.size, row.point) == ("desktop", "inventor", "CAD", "", None)
    with pytest.raises(ValueError, match="row 0: the size of the screenshot is not known"):
        score_log(tmp_path / "log.json", "aguvis")
    target = {"id": "a", "instruction": "x", "platform": "desktop", "kind": "text", "bbox": (0, 0, 1, 1)}
    images = {"inventor_windows/a.png": (2000, 1000), "vscode_macos/a.png": (100, 100)}
    sizes = sizes_of([Target(image=name, width=w, height=h, **target) for name, (w, h) in images.items()])
    assert sizes == images  # a.png alone is not one screenshot
    sized = score_log(tmp_path / "log.json", "aguvis", sizes=sizes)
    assert outcomes(sized) == ["hit", "wrong_format"]
    assert (sized.scored[0].point, sized.scored[0].size) == ((0.25, 0.5), "large")


@pytest.mark.parametrize(
    "names",
    [
        {"raw": "raw_response", "bbox": "bbox_xyxy", "ui_type": "data_type"},
        {"raw": "response", "bbox": "gt_bbox", "ui_type": "kind", "img_size": "image_size", "id": "target_id"},
        {"raw": "prediction", "correctness": "correct"},
    ],
)
def test_other_names_of_the_fields(tmp_path, names):
    renamed = {names.get(name, name): value for name, value in ROW.items()}
    assert score_log(write(tmp_path, renamed), "aguvis") == score_log(write(tmp_path, ROW, name="b.jsonl"), "aguvis")


def test_boxes_are_what_they_are_said_to_be(tmp_path):
    for box, bbox in (("xyxy", [400, 400, 600, 600]), ("xywh", [400, 400, 200, 200]), ("0-1", [0.2, 0.4, 0.3, 0.6])):
        judged = score_log(write(tmp_path, {**ROW, "bbox": bbox}), "aguvis", box)
        assert outcomes(judged) == ["hit"] and judged.scored[0].area == pytest.approx(0.02)
    assert outcomes(score_log(write(tmp_path, {**ROW, "bbox": [400, 400, 600, 600]}), "aguvis", "xywh")) == ["hit"]
    with pytest.raises(ValueError, match=r"row 0: bbox \[400.0, 400.0, 200.0, 200.0\] is no px xyxy box"):
        score_log(write(tmp_path, {**ROW, "bbox": [400, 400, 200, 200]}), "aguvis")
    with pytest.raises(ValueError, match="row 0: the boxes are to be read as xywh, but the field is bbox_xyxy"):
        score_log(write(tmp_path, {**ROW, "bbox_xyxy": ROW["bbox"]} | {"bbox": None}), "aguvis", "xywh")


def test_a_predicted_box_counts_by_its_centre(tmp_path):
    rows = [{**PRO, "pred": [300, 300, 700, 700]}, {**PRO, "pred": [300, 300, 400, 400]}]
    assert outcomes(score_log(write(tmp_path, *rows))) == ["hit", "miss"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"raw": 7}, "raw: .*string, found 7"),
        ({"bbox": [1, 2, 3]}, r"bbox: .*found \[1, 2, 3\]"),
        ({"bbox": [400, 400, 6000, 600]}, "6000.0"),
        ({"img_size": [0, 9]}, r"img_size: .*found \[0, 9\]"),
        ({"correctness": "maybe"}, "correctness: expected one of correct, .*, found 'maybe'"),
    ],
)
def test_a_bad_row_is_named_with_file_and_value(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"log.jsonl: row 1: .*{message}"):
        score_log(write(tmp_path, ROW, {**ROW, **change}), "aguvis")


def test_what_is_missing_is_named(tmp_path):
    lacking = {name: value for name, value in ROW.items() if name != "bbox"}
    for row, message in ((lacking, "row 0: none of the fields bbox, "), ("x", "row 0: expected an object, found 'x'")):
        with pytest.raises(ValueError, match=message):
            score_log(write(tmp_path, row, ROW), "aguvis")
    with pytest.raises(ValueError, match="none of the fields point_px, pred, .*; to read its replies, name"):
        score_log(write(tmp_path, ROW))
    with pytest.raises(ValueError, match="row 0: freetext does not say what its coordinates count"):
        score_log(write(tmp_path, ROW), "freetext")
    with pytest.raises(ValueError, match="the coordinates of aguvis do not depend on one"):
        score_log(write(tmp_path, ROW), "aguvis", size=(10, 10))
    (tmp_path / "log.json").write_text('{"details": []}')
    with pytest.raises(ValueError, match="log.json: the log has no rows"):
        score_log(tmp_path / "log.json")


def test_a_log_that_knows_no_wrong_format_calls_it_wrong(tmp_path):
    unread = {**ROW, "raw": "Sorry.", "correctness": "wrong"}
    assert differences(score_log(write(tmp_path, ROW, unread), "aguvis")) == []
    assert differences(score_log(write(tmp_path, {**unread, "correctness": False}), "aguvis")) == []
    known = {**unread, "correctness": "wrong_format"}
    ((row, own),) = differences(score_log(write(tmp_path, ROW, known, unread), "aguvis"))
    assert (row.outcome, own) == ("wrong_format", "miss")


def test_logs_without_verdicts_are_scored_only(tmp_path):
    judged = score_log(write(tmp_path, {name: ROW[name] for name in ("raw", "bbox", "img_size")}), "aguvis")
    assert judged.verdicts == [None] and differences(judged) == []
    assert "verdict" not in report(judged)
    assert [line.split()[0] for line in report(judged).splitlines()[1:]] == ["overall", "overall", "size"]


def test_the_command_says_what_differs(tmp_path):
    log = write(tmp_path, *([{**ROW, "correctness": "wrong"}] * 12), *([ROW] * 8))
    code, output = forge(log, "--dialect", "aguvis", "--by", "platform,size")
    lines = output.splitlines()
    assert code == 1
    assert lines[1].split() == ["overall", "micro", "100.00%", "[83.89%,", "100.00%]", "20", "20", "0"]
    assert [line.split()[:2] for line in lines[2:5]] == [["overall", "macro"], ["platform", "web"], ["size", "large"]]
    assert lines[6] == "12 of 20 verdicts of the log differ:"
    assert len(lines) == 7 + 10 and lines[7].startswith("  web_0: miss in the log, hit here, click at (0.2500, 0.5000)")


def test_the_command_ends_well_where_all_agree_and_names_errors(tmp_path):
    assert forge(write(tmp_path, ROW), "--dialect", "aguvis")[0] == 0
    assert forge(write(tmp_path, PRO))[0] == 0
    for arguments in (("--by", "colour"), ("--dialect", "nobody"), ("--box", "yxyx"), ("--size", "big")):
        assert forge(write(tmp_path, PRO), *arguments)[0] == 2
    assert forge(tmp_path / "gone.jsonl")[0] == 2


def test_the_command_takes_sizes_from_a_benchmark(tmp_path):
    (tmp_path / "annotations").mkdir()
    row = {name: PRO[name] for name in ("group", "platform", "application", "ui_type", "bbox")}
    row |= {"img_filename": "inventor_windows/a.png", "instruction": "x", "img_size": [2000, 1000]}
    (tmp_path / "annotations/a.json").write_text(json.dumps([row]))
    options = ("--dialect", "aguvis", "--benchmark", tmp_path, "--layout", "screenspot_pro")
    code, output = forge(write(tmp_path, PRO), *options)
    assert code == 0 and "0 of 1 verdicts of the log differ" in output


def test_the_documentation_names_every_layout_field_and_reader():
    text = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    for layout, form in LAYOUTS.items():
        assert any(line.startswith(f"| `{layout}` |") and form.box in line for line in text.splitlines())
    assert all(f"`{name}`" in text for names in NAMES.values() for name in names)
    assert all(f"`{dialect}`" in text for dialect in READERS if dialect != "unified")
