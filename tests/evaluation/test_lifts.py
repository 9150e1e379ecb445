"""Zoom and votes with scripted answers: where they click, how they are written; and with the tiny model, resumed."""

import json
from functools import partial

import pytest
import torch
from PIL import Image, ImageDraw

from forge_core.actions.coordinates import COORD_FORMATS
from forge_core.actions.prompts import is_reasoning_format, read_answer
from forge_core.data.images import open_image
from forge_core.data.screenspot import Target
from forge_core.evaluation import lifts
from forge_core.evaluation.lifts import consensus, elected, window
from forge_core.evaluation.predict import predict
from forge_core.evaluation.score import judge, score
from forge_core.models.load import load_base, load_processor

RED = (255, 0, 0)
BOXES = {"a": (0.1, 0.2, 0.2, 0.25), "corner": (0.0, 0.0, 0.04, 0.04), "edge": (0.9, 0.94, 1.0, 1.0)}
CORNERS = {"4-decimals": 1, "2-decimals": 1, "0-1000": 1000}
THINK = "<think>\nThe red box.\n</think>\n<code>\n{}\n</code>"


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Screenshots of 400 x 300 px with one red box each."""
    folder, found = tmp_path_factory.mktemp("screens"), []
    for name, box in BOXES.items():
        image, whole = Image.new("RGB", (400, 300), "white"), (400, 300) * 2
        left, top, right, bottom = (side * size for side, size in zip(box, whole, strict=True))
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=RED)
        image.save(folder / f"{name}.png")
        given = {"id": name, "image": folder / f"{name}.png", "width": 400, "height": 300, "bbox": box}
        found.append(Target(**given, instruction="Click the red box", platform="web", kind="icon"))
    return found


def click(x, y, coord_format="4-decimals"):
    steps = {"4-decimals": 4, "2-decimals": 2, "0-1000": 3}[coord_format]
    x, y = (round(place, steps) * CORNERS[coord_format] for place in (x, y))
    return f"click(x={x:g}, y={y:g})"


def middle_of_red(image, coord_format="4-decimals"):
    """An oracle: the middle of what is red in the picture that it is shown."""
    red = [(x, y) for x in range(image.width) for y in range(image.height) if image.getpixel((x, y)) == RED]
    x, y = (sum(part) / len(red) + 0.5 for part in zip(*red, strict=True))
    return click(x / image.width, y / image.height, coord_format)


def zoom(targets, first, look, coord_format="4-decimals"):
    """The lift with `look` for a model: it is given the pictures that a model would see, with their targets."""

    def ask(asked, out_file, name, crops):
        pictures = [(open_image(target.image).crop(crops[target.id]), target) for target in asked]
        return dict(zip([target.id for target in asked], look(pictures), strict=True))

    return lifts.zoom(ask, targets, first, None, "", coord_format)


def everyone(targets, raw):
    return {target.id: raw for target in targets}


def beside(box):
    """A miss by 0.15 in x and y, towards the middle of the screen."""
    middles = [(low + high) / 2 for low, high in zip(box[:2], box[2:], strict=True)]
    return click(*(middle + (0.15 if middle < 0.5 else -0.15) for middle in middles))


@pytest.mark.parametrize("coord_format", COORD_FORMATS)
def test_a_sharp_second_look_hits_what_the_first_missed(targets, coord_format):
    first = {target.id: beside(target.bbox) for target in targets}
    assert {row.outcome for row in score(targets, first)} == {"miss"}
    if coord_format == "0-1000":
        first = {name: click(*judge(raw, (0, 0, 1, 1))[1], coord_format) for name, raw in first.items()}
    shown = []

    def oracle(looks):
        shown.extend(image.size for image, _ in looks)
        return [middle_of_red(image, coord_format) for image, _ in looks]

    answers = zoom(targets, first, oracle, coord_format)
    assert list(answers) == [target.id for target in targets]
    assert {row.outcome for row in score(targets, answers, coord_format)} == {"hit"}
    assert shown == [(200, 150)] * 3


def test_a_crop_of_the_whole_screen_changes_no_answer(targets):
    first, second = everyone(targets, "click(x=0.3, y=0.3)"), everyone(targets, "click(x=0.1234, y=0.9876)")
    assert lifts.zoomed(targets, first, second, lifts.windows(targets, first, share=1.0)) == second


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        ((0.5, 0.5), (100, 75, 300, 225)),
        ((0.0, 0.0), (0, 0, 200, 150)),
        ((1.0, 1.0), (200, 150, 400, 300)),
        ((0.3, 0.99), (20, 150, 220, 300)),
    ],
)
def test_a_window_stays_on_the_screen(point, expected):
    assert window(point, (400, 300)) == expected


def test_a_window_is_never_empty():
    assert window((1.0, 0.5), (1, 3), share=0.01) == (0, 1, 1, 2)


def test_the_first_answer_stands_where_a_look_gives_no_place(targets):
    first = {"a": "I see a box.", "corner": "click(x=0.5, y=0.5)", "edge": "click(x=0.25, y=0.5)"}
    second = {"corner": "press(keys=['enter'])", "edge": "nothing"}
    asked = []

    def ask(looks):
        asked.extend(target.id for _, target in looks)
        return [second[target.id] for _, target in looks]

    assert zoom(targets, first, ask) == first
    assert asked == ["corner", "edge"]


def test_zoom_keeps_the_form_of_the_second_answer(targets):
    calls = "press(keys=['ctrl'])\ndouble_click(x=0.5, y=1, element='a')\ndrag(from_coord=[0, 0], to_coord=[1, 0.5])"
    first = everyone(targets[:1], "click(x=0.5, y=0.5)")
    (raw,) = zoom(targets[:1], first, lambda looks: [THINK.format(calls)]).values()
    assert raw == THINK.format(
        "press(keys=['ctrl'])\ndouble_click(x=0.5, y=0.75, element='a')\n"
        "drag(from_coord=[0.25, 0.25], to_coord=[0.75, 0.5])"
    )


def test_thousandths_come_back_finer_than_they_went(targets):
    first = everyone(targets[:1], "click(x=500, y=500)")
    (raw,) = zoom(targets[:1], first, lambda looks: [THINK.format("click(x=301, y=0)")], "0-1000").values()
    assert raw == THINK.format("click(x=400.5, y=250)")
    assert judge(raw, (0, 0, 1, 1), "0-1000")[1] == (0.4005, 0.25)
    assert is_reasoning_format(raw, "0-1000")


def test_the_majority_is_clicked_in_its_middle():
    points = [(0.9, 0.9), (0.5, 0.5), (0.52, 0.5), (0.1, 0.1), (0.51, 0.5)]
    (x, y), first = consensus(points, (1000, 500))
    assert (x, y, first) == (pytest.approx(0.51), pytest.approx(0.5), 1)


def test_a_tie_goes_to_the_larger_region_then_to_the_first_vote():
    apart, near_by = [(0.2, 0.2), (0.23, 0.2)], [(0.8, 0.8), (0.81, 0.8)]
    (x, _), first = consensus(apart + near_by, (1000, 1000))  # overlaps of 10 and 30 px
    assert (x, first) == (pytest.approx(0.805), 2)
    (x, y), first = consensus([(0.7, 0.3), (0.2, 0.2)], (1000, 1000))
    assert (x, y, first) == (pytest.approx(0.7), pytest.approx(0.3), 0)


def test_votes_at_the_rim_stay_on_the_screen():
    (x, y), _ = consensus([(1.0, 0.0)] * 3, (1000, 500))
    assert (x, y) == (pytest.approx(0.99), pytest.approx(0.02))  # the square is cut by the rim


@pytest.mark.parametrize("left", [number / 100 for number in range(10, 60)])
def test_squares_that_touch_do_not_overlap_by_rounding(left):
    two_and_two = [(left, 0.2), (left, 0.2), (round(left + 0.04, 2), 0.2), (round(left + 0.04, 2), 0.2)]
    (x, y), _ = consensus([*two_and_two, *[(0.8, 0.8)] * 3], (1080, 999))
    assert (x, y) == (pytest.approx(0.8), pytest.approx(0.8))


@pytest.mark.parametrize("coord_format", COORD_FORMATS)
def test_votes_beat_one_wrong_answer_and_keep_the_winners_form(targets, coord_format):
    answers = {}
    for target in targets:
        wrong, right = click(0.5, 0.5, coord_format), middle_of_red(Image.open(target.image), coord_format)
        answers[target.id] = elected([wrong, "no click", THINK.format(right), right], target, coord_format)
    assert [row.outcome for row in score(targets, answers, coord_format)] == ["hit"] * 3
    assert {read_answer(raw, coord_format).thought for raw in answers.values()} == {"The red box."}


def test_without_a_vote_the_first_answer_stands(targets):
    assert elected(["no", "idea"], targets[0]) == "no"


@pytest.fixture(scope="module")
def tiny():
    return load_base("embedded", load_in_4bit=False), load_processor("embedded")


@pytest.fixture
def ask(tiny):
    return partial(predict, *tiny, stage=1, fingerprint="base", batch_size=4, max_new_tokens=8)


@pytest.mark.slow
def test_zoom_with_the_tiny_model_is_kept_and_continued(ask, targets, tmp_path):
    first, path = everyone(targets, "click(x=0.5, y=0.5)") | {"a": "no idea"}, tmp_path / "zoom.jsonl"
    whole = lifts.zoom(ask, targets, first, path, "zoom")
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["target_id"] for line in lines} == first.keys() - {"a"}
    path.write_text(f"{header}\n" + json.dumps({"target_id": "corner", "raw": "click(x=0.5, y=1)"}) + "\n")
    again = lifts.zoom(ask, targets, first, path, "zoom")
    assert again == whole | {"corner": lifts.zoomed(targets[1:2], first, {"corner": "click(x=0.5, y=1)"},
                                                    lifts.windows(targets, first))["corner"]}  # fmt: skip
    other = {name: raw.replace("0.5", "0.4") for name, raw in first.items()}  # other crops of the same targets
    lifts.zoom(ask, targets, other, path, "zoom")
    assert path.read_text(encoding="utf-8").splitlines()[0] != header


@pytest.mark.slow
def test_votes_with_the_tiny_model_are_seeded_and_continued(ask, targets, tmp_path, monkeypatch):
    monkeypatch.setitem(lifts.SAMPLING, "temperature", 1.5)  # it was never shown such a screen, and says nothing
    path, state = tmp_path / "votes.jsonl", torch.random.get_rng_state()
    whole = lifts.votes(ask, targets, 3, 7, path, "votes")
    assert torch.equal(torch.random.get_rng_state(), state)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len({json.loads(line)["raw"] for line in lines[1:]}) > 3  # they differ
    path.write_bytes(b"".join(lines[:6]))  # killed in the midst of the second batch
    assert lifts.votes(ask, targets, 3, 7, path, "votes") == whole
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(lines)
    lifts.votes(ask, targets, 3, 8, tmp_path / "other.jsonl", "votes")
    assert (tmp_path / "other.jsonl").read_bytes().splitlines()[1:] != path.read_bytes().splitlines()[1:]
