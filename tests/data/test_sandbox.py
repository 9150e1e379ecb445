"""The sandbox writes the real sets' formats, the same each time, and never a test screen into training."""

import hashlib
import json
from random import Random

import pytest
from raw_rows import preprocess_params

from forge_core.data import sandbox
from forge_core.data.images import open_image
from forge_core.data.preprocess import preprocess
from forge_core.data.schema import read_jsonl
from forge_core.data.screens import PIXELS_PER_CELL, UNITS, draw, make_screen
from forge_core.data.screenspot import load_v2

NAMES = ["sandbox_web", "sandbox_desktop", "sandbox_mobile"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sandbox")
    sandbox.write_raw(folder / "raw", screens=12, seed=3)
    sandbox.write_benchmark(folder / "benchmark", screens=12, seed=3)
    for stage in (1, 2):
        preprocess(preprocess_params(folder / "raw", folder, stage1_subsets=NAMES, stage2_subsets=NAMES), stage)
    return folder


def _pixels(path) -> str:
    return hashlib.sha256(open_image(path).tobytes()).hexdigest()


def test_train_and_test_share_no_layout_and_no_image(drawn):
    seeds = [(platform, n) for platform in PIXELS_PER_CELL for n in range(60)]
    layouts = [
        {make_screen(Random(f"{platform} {n}"), platform, split).layout for platform, n in seeds}
        for split in ("train", "test")
    ]
    assert not layouts[0] & layouts[1]
    rows = [row for stage in (1, 2) for row in read_jsonl(drawn / f"stage{stage}.jsonl")]
    train = {_pixels(drawn / row.image) for row in rows}
    test = {_pixels(path) for path in (drawn / "benchmark").rglob("*.png")}
    assert len(train) == 72 and len(test) == 36
    assert not train & test


def test_same_seed_gives_the_same_bytes(drawn, tmp_path):
    sandbox.write_raw(tmp_path, screens=12, seed=3)
    first, again = (
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (drawn / "raw", tmp_path)
    )
    assert first == again


def test_another_seed_gives_other_screens(drawn, tmp_path):
    sandbox.write_benchmark(tmp_path, screens=12, seed=4)
    first = {_pixels(path) for path in (drawn / "benchmark").rglob("*.png")}
    assert not first & {_pixels(path) for path in tmp_path.rglob("*.png")}


def test_no_raw_row_is_rejected_and_both_archive_forms_are_there(drawn):
    assert (drawn / "raw/stage1/sandbox_mobile.tar.gz.part_aa").is_file()
    assert (drawn / "raw/stage2/sandbox_web.zip").is_file()
    for stage in (1, 2):
        assert (drawn / f"stage{stage}.rejected.jsonl").read_text() == ""
        assert len(list(read_jsonl(drawn / f"stage{stage}.jsonl"))) == 36


def test_stage1_packs_turns_and_stage2_thinks(drawn):
    assert all(2 <= len(row.turns) <= 8 for row in read_jsonl(drawn / "stage1.jsonl"))
    assert all(len(row.turns) == 1 and row.turns[0].thought for row in read_jsonl(drawn / "stage2.jsonl"))


def test_benchmark_has_every_platform_and_kind(drawn):
    targets = load_v2(drawn / "benchmark")
    assert {(target.platform, target.kind) for target in targets} == {
        (platform, kind) for platform in ("web", "desktop", "mobile") for kind in ("text", "icon")
    }


def test_every_benchmark_instruction_names_one_label(drawn):
    for platform in ("web", "desktop", "mobile"):
        for row in json.loads((drawn / f"benchmark/screenspot_{platform}_v2.json").read_text()):
            label = sandbox.asked_label(row["instruction"])
            assert (label in sandbox.ICONS) == (row["data_type"] == "icon")
    assert sandbox.asked_label("view the newest message") is None


@pytest.mark.parametrize("platform", PIXELS_PER_CELL)
def test_elements_lie_on_the_screen_apart_and_differ_in_label(platform):
    for number in range(100):
        screen = make_screen(Random(number), platform, "train")
        boxes = [element.box for element in screen.elements]
        assert all(0 <= left < right <= UNITS and 0 <= top < bottom <= UNITS for left, top, right, bottom in boxes)
        for one, (left, top, right, bottom) in enumerate(boxes):
            for x1, y1, x2, y2 in boxes[one + 1 :]:
                assert x2 <= left or right <= x1 or y2 <= top or bottom <= y1, (number, platform)
        labels = [(element.kind == "icon", element.label) for element in screen.elements]
        assert len(set(labels)) == len(labels)


def test_every_element_leaves_a_mark_on_the_picture():
    screen = make_screen(Random(5), "web", "train")
    whole = draw(screen)
    for element in screen.elements:
        others = tuple(other for other in screen.elements if other is not element)
        without = draw(type(screen)(**{**vars(screen), "elements": others}))
        box = tuple(round(value * side) for value, side in zip(element.bbox, screen.size * 2, strict=True))
        assert whole.crop(box).tobytes() != without.crop(box).tobytes(), element


def test_a_finished_drawing_is_not_repeated(drawn, capsys):
    before = (drawn / "raw/stage1/sandbox_web.zip").stat().st_mtime_ns
    sandbox.write_raw(drawn / "raw", screens=12, seed=3)
    assert "already drawn" in capsys.readouterr().out
    assert (drawn / "raw/stage1/sandbox_web.zip").stat().st_mtime_ns == before
