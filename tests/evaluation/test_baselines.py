"""Answers without a model: their expectation, the text match, what OCR reads for real, and published rows."""

import json
import socket
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from forge_core.data.sandbox import write_benchmark
from forge_core.data.screenspot import Target, load_v2
from forge_core.evaluation import baselines
from forge_core.evaluation.baselines import (
    PUBLISHED,
    Word,
    asked_text,
    best_match,
    centre,
    ocr,
    published,
    random_accuracy,
    read_lines,
)
from forge_core.evaluation.score import score


def target(name="web_0", bbox=(0.2, 0.2, 0.4, 0.6), instruction="Click on Save", image="a.png", size=(400, 300)):
    given = {"id": name, "image": Path(image), "width": size[0], "height": size[1], "bbox": bbox}
    return Target(**given, instruction=instruction, platform="web", kind="text")


def outcomes(targets, answers):
    return [row.outcome for row in score(targets, answers)]


def line(text, left, top, right, bottom):
    """Words of equal width."""
    words = text.split()
    step = (right - left) / len(words)
    return [Word(word, (left + step * i, top, left + step * (i + 1), bottom)) for i, word in enumerate(words)]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_centre_hits_what_lies_there():
    targets = [target("a", (0.4, 0.4, 0.5, 0.5)), target("b", (0.1, 0.1, 0.3, 0.9))]
    assert outcomes(targets, centre(targets)) == ["hit", "miss"]


def test_random_clicks_are_expected_to_hit_the_mean_area():
    targets = [target(f"web_{i}", (0.1, 0.5, 0.1 + 0.2 * i, 0.9)) for i in (1, 2, 3)]
    assert random_accuracy(targets) == pytest.approx((0.08 + 0.16 + 0.24) / 3)


def test_no_targets_have_no_accuracy():
    with pytest.raises(ValueError, match="no targets"):
        random_accuracy([])


@pytest.mark.parametrize(
    ("instruction", "text"),
    [
        ("Click on Save", "save"),
        ("click the 'Log out' button.", "log out"),
        ("Tap the Home tab", "home"),
        ("Right-click on Music", "music"),
        ("Please open the settings menu", "settings"),
        ("Open Open", "open"),
        ("Open", "open"),  # nothing would remain
        ("Click the Menu button", "menu button"),  # a label that is also a kind
        ("create a new project", "create new project"),
        ("Type it's me", "type it's"),
        ("Openness report", "openness report"),  # a verb is a whole word
        ("添加", "添加"),
    ],
)
def test_asked_text_drops_what_is_not_on_the_screen(instruction, text):
    assert asked_text(instruction) == text


def test_best_match_is_a_run_of_words_and_prefers_a_whole_line():
    lines = [
        line("ask for Help in the Champions League", 0.0, 0.0, 0.7, 0.1),
        line("Help", 0.0, 0.5, 0.1, 0.6),
        line("Help", 0.5, 0.5, 0.6, 0.6),
    ]
    similarity, box = best_match("champions league", lines)
    assert (similarity, box) == (100, pytest.approx((0.5, 0.0, 0.7, 0.1)))
    assert best_match("help", lines) == (100, (0.0, 0.5, 0.1, 0.6))
    assert best_match("help", []) == (0, None)


def test_ocr_reads_each_screenshot_once_and_is_silent_below_the_threshold(capsys):
    screens = {"a.png": [line("Save Cancel", 0.2, 0.2, 0.6, 0.4)], "b.png": []}
    seen = []

    def read(path):
        seen.append(str(path))
        return screens[str(path)]

    targets = [
        target("1", (0.2, 0.2, 0.4, 0.4), "Click on Save"),
        target("2", (0.2, 0.2, 0.4, 0.4), "Click on Save", image="b.png"),
        target("3", (0.2, 0.2, 0.4, 0.4), "Click on Cancel"),
        target("4", (0.2, 0.2, 0.4, 0.4), "show the weather"),
    ]
    answers = ocr(targets, read=read)
    assert list(answers) == ["1", "2", "3", "4"]
    assert outcomes(targets, answers) == ["hit", "wrong_format", "miss", "wrong_format"]
    assert answers["4"] == "" and ocr(targets, threshold=0, read=read)["4"] != ""
    assert seen == ["a.png", "b.png"] * 2
    assert "ocr 2/2 screenshots" in capsys.readouterr().out


def test_ocr_reads_offline_and_says_where(tmp_path, no_network):
    pytest.importorskip("rapidocr", reason="needs the extra baselines")
    baselines._recogniser.cache_clear()
    image = Image.new("RGB", (400, 300), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    boxes = {"Settings": (240, 20), "Log out": (30, 200)}
    for text, corner in boxes.items():
        pen.text(corner, text, "black", font)
    image.save(tmp_path / "screen.png")
    Image.new("RGB", (400, 300), "white").save(tmp_path / "empty.png")
    targets = [
        target(text, (x / 400, y / 300, (x + pen.textlength(text, font)) / 400, (y + 20) / 300), f"Click {text}",
               tmp_path / "screen.png")
        for text, (x, y) in boxes.items()
    ]  # fmt: skip
    assert outcomes(targets, ocr(targets)) == ["hit", "hit"]
    assert read_lines(tmp_path / "empty.png") == []


def test_a_large_screenshot_is_reduced_and_a_small_one_is_left():
    assert [baselines.read_scale(*size) for size in ((320, 512), (2560, 1440), (2880, 5120))] == [1, 1, 0.5]


def test_without_the_extra_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    baselines._recogniser.cache_clear()
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '\.\[baselines\]'"):
        read_lines(tmp_path / "a.png")


@pytest.mark.slow
def test_ocr_finds_the_sandbox_texts_and_hardly_an_icon(tmp_path):
    pytest.importorskip("rapidocr", reason="needs the extra baselines")
    write_benchmark(tmp_path, screens=3, seed=2)
    targets = load_v2(tmp_path)
    hits = {kind: [row.outcome == "hit" for row in score(targets, ocr(targets)) if row.kind == kind]
            for kind in ("text", "icon")}  # fmt: skip
    assert sum(hits["text"]) >= 0.9 * len(hits["text"]) > 0
    assert sum(hits["icon"]) <= 0.2 * len(hits["icon"])


@pytest.mark.slow
def test_ocr_on_real_screenshots(shared_data):
    pytest.importorskip("rapidocr", reason="needs the extra baselines")
    folder = shared_data / "screenspot"
    rows = json.loads((folder / "v2_guiactor_xyxy/screenspot_web_v2.json").read_text(encoding="utf-8"))
    targets = []
    for row in rows:
        image, (width, height) = folder / "images" / row["img_filename"], row["img_size"]
        if image.is_file():
            sides = zip(row["bbox"], (width, height) * 2, strict=True)
            box = [side / whole for side, whole in sides]  # px xyxy to [0, 1]
            targets.append(target(row["instruction"], box, row["instruction"], image, (width, height)))
    assert dict(zip([t.id for t in targets], outcomes(targets, ocr(targets)), strict=True)) == {
        "input word to search in wikidata": "hit",
        "enter the wikipedia page of champions league": "hit",
        "switch language of current page": "wrong_format",  # the text there is 'English'
        "show the picture of gloden trophy owned by ansenal": "wrong_format",
    }


def test_published_rows_are_for_the_same_benchmark_only():
    rows = published("ScreenSpot-v2")
    assert {0.0047, 0.4127, 0.6171} <= {row.value for row in rows if "SmolVLM2" in row.name}
    assert [row.value for row in rows] == sorted(row.value for row in rows)
    assert {row.benchmark for row in rows} == {"ScreenSpot-v2"}
    assert published("sandbox") == [] and published("ScreenSpot") == []


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.benchmark} {row.name}")
def test_a_published_row_is_a_share_with_a_source(row):
    assert 0 <= row.value <= 1 and row.source
