"""The hit rule against published verdicts, the three outcomes, Wilson intervals and the table by group."""

import json

import pytest

from forge_core.data.screenspot import Target
from forge_core.evaluation.score import Scored, accuracy, judge, read_scored, score, table, verdict, write_scored
from forge_core.evaluation.stages import format_rate, naming_rate

BOX = (0.2, 0.4, 0.3, 0.5)  # normalised xyxy
OUTCOMES = {"correct": "hit", "wrong": "miss", "wrong_format": "wrong_format"}


def scored(outcome, platform="web", kind="text", target_id="t", **more):
    return Scored(target_id=target_id, raw="", platform=platform, kind=kind, outcome=outcome, point=None, **more)


def test_published_verdicts_are_reproduced(shared_data):
    path = shared_data / "predictions/scorer_fixtures.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    wrong = [row["id"] for row in rows if verdict(row["point_px"], row["bbox_xyxy"]) != OUTCOMES[row["correctness"]]]
    assert len(rows) == 2853
    assert wrong == []


@pytest.mark.parametrize("point", [(0.2, 0.4), (0.3, 0.5), (0.2, 0.5), (0.25, 0.4)])
def test_edges_belong_to_the_box(point):
    assert verdict(point, BOX) == "hit"


@pytest.mark.parametrize("point", [(0.1999, 0.45), (0.3001, 0.45), (0.25, 0.3999), (0.25, 0.5001)])
def test_just_outside_is_a_miss(point):
    assert verdict(point, BOX) == "miss"


@pytest.mark.parametrize(
    ("raw", "outcome", "point"),
    [
        ("click(x=0.25, y=0.45)", "hit", (0.25, 0.45)),
        ("<think>\nThe Save button.\n</think>\n<code>\nclick(x=0.25, y=0.45)\n</code>", "hit", (0.25, 0.45)),
        ("click(x=0.9, y=0.45)", "miss", (0.9, 0.45)),
        ("press(keys=['enter'])\nclick(x=0.25, y=0.45)", "hit", (0.25, 0.45)),
        ("press(keys=['enter'])", "wrong_format", None),  # an action, but it points nowhere
        ("click(x=25, y=45)", "wrong_format", None),  # not normalised
        ("click(x=0.25, y=", "wrong_format", None),
        ("The Save button is in the upper right.", "wrong_format", None),
        ("", "wrong_format", None),
    ],
)
def test_judge(raw, outcome, point):
    assert judge(raw, BOX) == (outcome, point)


THOUSANDTHS = {
    "click(x=0.25, y=0.45)": "click(x=250, y=450)",
    "click(x=0.9, y=0.45)": "click(x=900, y=450)",
    "click(x=0.2, y=0.5)": "click(x=200, y=500)",
    "drag(from_coord=[0.1, 0.2], to_coord=[0.25, 0.45])": "drag(from_coord=[100, 200], to_coord=[250, 450])",
    "click(x=1.001, y=0.45)": "click(x=1001, y=450)",
    "The Save button.": "The Save button.",
}


def test_thousandths_score_like_the_same_answers_in_fractions(tmp_path):
    targets = [
        Target(id=i, image=tmp_path, width=9, height=9, bbox=BOX, instruction="x", platform="web", kind="icon")
        for i in THOUSANDTHS
    ]
    fractions = score(targets, {text: text for text in THOUSANDTHS})
    thousandths = score(targets, THOUSANDTHS, "0-1000")
    assert [row.outcome for row in fractions] == ["hit", "miss", "hit", *["wrong_format"] * 3]
    told = {"raw", "coord_format"}
    assert [row.model_dump(exclude=told) for row in thousandths] == [row.model_dump(exclude=told) for row in fractions]
    write_scored(tmp_path / "scored.jsonl", thousandths)
    assert {row.coord_format for row in read_scored(tmp_path / "scored.jsonl")} == {"0-1000"}


def test_rates_read_an_answer_in_its_own_format(tmp_path):
    said = "<think>\nThe {} button.\n</think>\n<code>\nclick(x=250, y=450)\n</code>"
    targets = [
        Target(id=i, image=tmp_path, width=9, height=9, bbox=BOX, instruction=asked, platform="web", kind="icon")
        for i, asked in (("a", "Click on Save"), ("b", "Click on Open"))
    ]
    answers = {target.id: said.format("Save") for target in targets}
    thousandths, fractions = score(targets, answers, "0-1000"), score(targets, answers)
    assert (format_rate(thousandths).k, naming_rate(thousandths, targets).k) == (2, 1)
    assert (format_rate(fractions).k, naming_rate(fractions, targets).k) == (0, 0)


def test_score_keeps_the_order_and_names_a_missing_answer(tmp_path):
    targets = [
        Target(id=i, image=tmp_path, width=9, height=9, bbox=BOX, instruction="x", platform=p, kind="icon")
        for i, p in (("b", "web"), ("a", "mobile"))
    ]
    rows = score(targets, {"a": "click(x=0.9, y=0.9)", "b": "click(x=0.25, y=0.45)"})
    assert [(row.target_id, row.platform, row.outcome) for row in rows] == [
        ("b", "web", "hit"),
        ("a", "mobile", "miss"),
    ]
    with pytest.raises(KeyError, match="'a'"):
        score(targets, {"b": ""})


def test_wilson_interval():
    """Values of Newcombe 1998, table I: 81 of 263 and 0 of 20."""
    rate = accuracy(81, 263)
    assert (round(rate.low, 4), round(rate.high, 4)) == (0.2553, 0.3662)
    rate = accuracy(0, 20)
    assert rate.low == pytest.approx(0, abs=1e-12) and round(rate.high, 4) == 0.1611
    with pytest.raises(ValueError, match="0 hits of 0"):
        accuracy(0, 0)


def test_table_counts_every_outcome_and_averages_cells():
    rows = [scored("hit"), scored("hit"), scored("hit"), scored("wrong_format"), scored("miss", "mobile", "icon")]
    micro, macro, web, mobile, text, icon = table(rows)
    assert (micro.k, micro.n, micro.wrong_format, micro.value) == (3, 5, 1, 0.6)
    assert (macro.name, macro.value, macro.low) == ("macro", (0.75 + 0) / 2, None)  # two filled cells of four
    assert (web.group, web.name, web.k, web.n, web.wrong_format) == ("platform", "web", 3, 4, 1)
    assert (mobile.name, mobile.value) == ("mobile", 0)
    assert (text.group, text.n, icon.n) == ("kind", 4, 1)
    with pytest.raises(ValueError, match="0 hits of 0"):
        table([])


def test_the_macro_mean_is_over_platforms_and_kinds_whatever_is_counted():
    rows = [scored("hit", application="a", area=0.1), scored("miss", application="b", area=0.001)]
    rows += [scored("hit", "mobile", "icon", application="a", area=0.0001), scored("hit", "mobile", "icon")]
    _, macro, *counted = table(rows, ("application", "size"))
    assert macro.value == table(rows)[1].value == (0.5 + 1) / 2
    assert [(row.group, row.name, row.k, row.n) for row in counted] == [
        *[("application", "a", 2, 2), ("application", "b", 0, 1), ("application", "", 1, 1)],
        *[("size", "", 1, 1), ("size", "small", 1, 1), ("size", "medium", 0, 1), ("size", "large", 1, 1)],
    ]


@pytest.mark.parametrize(
    ("pixels", "size"),
    [((30, 30), "small"), ((32, 32), "small"), ((33, 33), "medium"), ((101, 101), "medium"), ((102, 102), "large")],
)
def test_sizes_are_those_of_an_icon_and_a_button_on_a_full_hd_screen(pixels, size, tmp_path):
    asked = {"id": "a", "image": tmp_path, "width": 1920, "height": 1080, "instruction": "x", "platform": "web"}
    box = (0.5, 0.5, 0.5 + pixels[0] / 1920, 0.5 + pixels[1] / 1080)
    target = Target(bbox=box, kind="icon", application="gitlab", group="OS", **asked)
    (row,) = score([target], {"a": ""})
    assert (row.size, row.application, row.group) == (size, "gitlab", "OS")
    assert row.area == pytest.approx(pixels[0] * pixels[1] / (1920 * 1080))


def test_older_files_of_scored_rows_load(tmp_path):
    old = '{"target_id": "a", "raw": "", "platform": "web", "kind": "icon", "outcome": "hit", "point": [0.1, 0.25]}\n'
    (tmp_path / "scored.jsonl").write_text(old)
    (row,) = read_scored(tmp_path / "scored.jsonl")
    assert (row.application, row.group, row.area, row.size, row.coord_format) == ("", "", 0, "", "4-decimals")


def test_scored_rows_survive_the_file(tmp_path):
    rows = [Scored(target_id="a", raw="x\u2028\n'é", platform="web", kind="icon", outcome="hit", point=(0.1, 0.25))]
    write_scored(tmp_path / "scored.jsonl", rows + [scored("miss")])
    assert read_scored(tmp_path / "scored.jsonl") == rows + [scored("miss")]
    with (tmp_path / "scored.jsonl").open("a") as file:
        file.write('{"target_id": 1}\n')
    with pytest.raises(ValueError, match=r"scored.jsonl:3"):
        read_scored(tmp_path / "scored.jsonl")
