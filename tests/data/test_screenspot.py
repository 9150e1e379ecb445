"""ScreenSpot in every layout: boxes become normalised corners, and what does not fit is named."""

import io
import json
from collections import Counter

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from raw_rows import eps, without_pixels

from forge_core.data.screenspot import LAYOUTS, PLATFORMS, load, load_v2, read_json
from forge_core.data.sources import BENCHMARKS

ROW = {
    "img_filename": "a.png",
    "bbox": [20, 10, 40, 30],
    "instruction": "save",
    "data_type": "text",
    "data_source": "windows",
}


def write(folder, rows, size=(200, 100), names=("a.png",)):
    """A benchmark whose web file holds `rows`; the other platforms are empty."""
    (folder / "screenspotv2_image").mkdir()
    for name in names:
        Image.new("1", size).save(folder / "screenspotv2_image" / name)
    for platform in PLATFORMS:
        path = folder / f"screenspot_{platform}_v2.json"
        path.write_text(json.dumps(rows if platform == "web" else []), encoding="utf-8")


def test_pixel_xywh_becomes_normalised_corners(tmp_path):
    write(tmp_path, [ROW, {**ROW, "data_type": "icon", "bbox": [0, 0, 200, 100]}])
    first, second = load_v2(tmp_path)
    assert first.bbox == pytest.approx((0.1, 0.1, 0.3, 0.4))
    assert (first.id, first.platform, first.kind, first.width, first.height) == ("web_0", "web", "text", 200, 100)
    assert first.image == tmp_path / "screenspotv2_image" / "a.png"
    assert (second.id, second.kind, second.bbox) == ("web_1", "icon", (0, 0, 1, 1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"bbox": [20, 10, 40]}, "bbox"),
        ({"bbox": [120, 60, 160, 90]}, r"\[120.0, 60.0, 160.0, 90.0\]"),  # corners, not width and height
        ({"bbox": [20, 10, 0, 30]}, "bbox"),
        ({"bbox": [-5, 10, 40, 30]}, "bbox"),
        ({"data_type": "image"}, "data_type.*'image'"),
        ({"instruction": ""}, "instruction"),
        ({"img_filename": "gone.png"}, "gone.png"),
    ],
)
def test_a_bad_row_is_named_with_file_and_value(tmp_path, change, named):
    write(tmp_path, [ROW, {**ROW, **change}])
    with pytest.raises((ValueError, FileNotFoundError), match=rf"screenspot_web_v2.json: row 1: .*{named}"):
        load_v2(tmp_path)


def test_missing_or_broken_files_are_named(tmp_path):
    write(tmp_path, [ROW])
    (tmp_path / "screenspot_mobile_v2.json").write_text("[", encoding="utf-8")
    with pytest.raises(ValueError, match="screenspot_mobile_v2.json: not JSON"):
        load_v2(tmp_path)
    (tmp_path / "screenspot_mobile_v2.json").unlink()
    with pytest.raises(FileNotFoundError, match="screenspot_mobile_v2.json"):
        load_v2(tmp_path)


def test_the_published_boxes_load(tmp_path, shared_data):
    """All 1,272 real rows, put back into pixel xywh, one of which ends 1 px outside its screenshot."""
    corners = {}
    (tmp_path / "screenspotv2_image").mkdir()
    for platform in PLATFORMS:
        published = json.loads(
            (shared_data / "screenspot/v2_guiactor_xyxy" / f"screenspot_{platform}_v2.json").read_text()
        )
        rows = []
        for index, row in enumerate(published):
            left, top, right, bottom = row["bbox"]
            image = tmp_path / "screenspotv2_image" / row["img_filename"]
            if not image.exists():
                Image.new("1", row["img_size"]).save(image, compress_level=1)
            corners[f"{platform}_{index}"] = row["bbox"]
            rows.append({**row, "bbox": [left, top, right - left, bottom - top], "data_type": row["ui_type"]})
        (tmp_path / f"screenspot_{platform}_v2.json").write_text(json.dumps(rows), encoding="utf-8")
    targets = load_v2(tmp_path)
    assert [sum(t.platform == platform for t in targets) for platform in PLATFORMS] == [437, 334, 501]
    assert sum(target.kind == "text" for target in targets) == 290 + 194 + 234
    for target in targets:
        pixels = [value * side for value, side in zip(target.bbox, (target.width, target.height) * 2, strict=True)]
        assert pixels == pytest.approx(corners[target.id], abs=1.01 if target.bbox[2] == 1 else 1e-6)


# One made-up benchmark: name, size in px, box in px corners, instruction, kind, platform, source (v1, v2).
SCREENS = [
    ("web_a.png", (200, 100), (20, 10, 60, 40), "save", "text", "web", "gitlab"),
    ("web_a.png", (200, 100), (0, 0, 200, 100), "save", "icon", "web", "gitlab"),
    ("pc_b.png", (400, 300), (100, 150, 300, 300), "open it", "icon", "desktop", "windows"),
    ("mobile_c.png", (90, 160), (9, 16, 18, 32), "go back", "text", "mobile", "ios"),
]


def xywh(box):
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def pictures(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, size, *_ in SCREENS:
        Image.new("1", size).save(folder / name)


def by_platform(folder, pattern, row):
    for platform in PLATFORMS:
        rows = [row(*screen) for screen in SCREENS if screen[5] == platform]
        (folder / pattern.format(platform)).write_text(json.dumps(rows), encoding="utf-8")


def write_seeclick(folder, pattern="screenspot_{}.json", images="screenspot_imgs"):
    pictures(folder / images)
    by_platform(
        folder,
        pattern,
        lambda name, size, box, asked, kind, platform, source: {
            "img_filename": name,
            "bbox": xywh(box),
            "instruction": asked,
            "data_type": kind,
            "data_source": source,
        },
    )


def write_v2(folder):
    write_seeclick(folder, "screenspot_{}_v2.json", "screenspotv2_image")


def write_v2_xyxy(folder):
    pictures(folder / "screenspotv2_image")
    by_platform(
        folder,
        "screenspot_{}_v2.json",
        lambda name, size, box, asked, kind, platform, source: {
            "img_filename": name,
            "bbox": box,
            "instruction": asked,
            "img_size": size,
            "platform": source,
            "ui_type": kind,
            "group": platform,
        },
    )


def write_uground(folder):
    pictures(folder / "screenspot_imgs")
    lines = [
        {"image": name, "bbox": xywh(box), "instruction": asked, "data_type": kind, "data_source": source, "scale": 1.4}
        | {"platform": platform, "description": "a\u2028b"}
        for name, _, box, asked, kind, platform, source in SCREENS
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    (folder / "re_gpt-4o.jsonl").write_text(text, encoding="utf-8")


def write_parquet(folder, rows=SCREENS):
    packed = []
    for name, (width, height), (left, top, right, bottom), asked, kind, _, source in rows:
        data = io.BytesIO()
        Image.new("1", (width, height)).save(data, "PNG")
        box = [left / width, top / height, right / width, bottom / height]
        row = {"file_name": name, "bbox": box, "instruction": asked, "data_type": kind, "data_source": source}
        packed.append(row | {"image": {"bytes": data.getvalue(), "path": None}})
    (folder / "data").mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(packed), folder / "data" / "test-00000-of-00001.parquet")


def write_pro(folder):
    pictures(folder / "images")
    (folder / "annotations").mkdir()
    rows = [
        {"img_filename": name, "bbox": box, "instruction": asked, "application": source, "group": "OS"}
        | {"platform": platform, "ui_type": kind, "img_size": size, "instruction_cn": "x"}
        for name, size, box, asked, kind, platform, source in SCREENS
    ]
    for start in (0, 2):
        (folder / "annotations" / f"part_{start}.json").write_text(json.dumps(rows[start : start + 2]))


WRITERS = {
    "screenspot_v2": write_v2,
    "screenspot_v2_xyxy": write_v2_xyxy,
    "screenspot_v1": write_parquet,
    "screenspot_v1_json": write_seeclick,
    "screenspot_v1_uground": write_uground,
    "screenspot_pro": write_pro,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_targets(tmp_path, layout):
    WRITERS[layout](tmp_path)
    targets = load(tmp_path, layout)
    assert len({target.id for target in targets}) == len(targets) == 4
    for target, (name, size, box, asked, kind, platform, source) in zip(targets, SCREENS, strict=True):
        assert target.image.name == name and target.image.is_file()
        assert (target.width, target.height) == size
        assert target.bbox == pytest.approx([edge / side for edge, side in zip(box, size * 2, strict=True)])
        told = (target.instruction, target.kind, target.platform, target.application, target.group)
        assert told == (asked, kind, platform, source, "OS" if layout == "screenspot_pro" else "")


def test_every_benchmark_that_can_be_downloaded_has_a_layout():
    assert {benchmark.layout for benchmark in BENCHMARKS.values()} <= LAYOUTS.keys() == WRITERS.keys()
    with pytest.raises(ValueError, match="no layout 'v3'; there are screenspot_v2, "):
        load(".", "v3")


@pytest.mark.parametrize(
    ("layout", "other"),
    [("screenspot_v2", "screenspot_v2_xyxy"), ("screenspot_v2_xyxy", "screenspot_v2")],
)
def test_a_file_of_another_layout_is_refused_not_reinterpreted(tmp_path, layout, other):
    WRITERS[layout](tmp_path)
    with pytest.raises(ValueError, match=r"screenspot_web_v2.json: row 0: .*_type"):
        load(tmp_path, other)


def test_corners_are_not_taken_for_width_and_height(tmp_path):
    write_v2_xyxy(tmp_path)
    path = tmp_path / "screenspot_desktop_v2.json"
    path.write_text(path.read_text().replace("[100, 150, 300, 300]", "[100, 150, 100, 150]"))
    with pytest.raises(
        ValueError, match=r"desktop_v2.json: row 0: bbox \[100.0, 150.0, 100.0, 150.0\] is no px xyxy box"
    ):
        load(tmp_path, "screenspot_v2_xyxy")


def test_pictures_may_be_missing_where_rows_give_their_size(tmp_path):
    write_pro(tmp_path)
    (tmp_path / "images/web_a.png").unlink()
    assert load(tmp_path, "screenspot_pro", images=False)[0].width == 200
    with pytest.raises(FileNotFoundError, match="part_0.json: row 0: screenshot .*web_a.png is missing"):
        load(tmp_path, "screenspot_pro")
    Image.new("1", (201, 100)).save(tmp_path / "images/web_a.png")
    with pytest.raises(
        ValueError, match=r"row 0: the row gives \[200, 100\] px, the screenshot .* has \[201, 100\] px"
    ):
        load(tmp_path, "screenspot_pro", images=False)


def test_pictures_of_rows_without_a_size_are_needed(tmp_path):
    write_seeclick(tmp_path)
    (tmp_path / "screenspot_imgs/pc_b.png").unlink()
    with pytest.raises(FileNotFoundError, match="row 0: .*pc_b.png is missing, and the row does not give its size"):
        load(tmp_path, "screenspot_v1_json", images=False)


def test_pictures_in_a_parquet_file_are_written_once(tmp_path):
    write_parquet(tmp_path)
    first = load(tmp_path, "screenspot_v1")
    assert {target.image.parent for target in first} == {tmp_path / "data/images"}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data/images").iterdir()}
    assert sorted(path.name for path in before) == ["mobile_c.png", "pc_b.png", "web_a.png"]
    assert load(tmp_path, "screenspot_v1") == first
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "data/images").iterdir()}


@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a/../../out.png", "..\\out.png"])
def test_pictures_stay_inside_the_folder(tmp_path, name):
    write_parquet(tmp_path, [(name, *SCREENS[0][1:])])
    with pytest.raises(ValueError, match="lies outside the folder"):
        load(tmp_path, "screenspot_v1")
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("data", [eps(), without_pixels()[:40], b""])
def test_a_screenshot_that_is_no_picture_is_named_with_its_row(tmp_path, data):
    write_pro(tmp_path)
    (tmp_path / "images/web_a.png").write_bytes(data)
    with pytest.raises(
        OSError, match="part_0.json: row 0: screenshot .*web_a.png: (not a picture|a picture that cann)"
    ):
        load(tmp_path, "screenspot_pro")


def test_a_name_that_no_disk_takes_is_named(tmp_path):
    write_parquet(tmp_path, [("x" * 300, *SCREENS[0][1:])])
    with pytest.raises(ValueError, match="test-00000-of-00001.parquet: the screenshot 'xx.* has a name of more than"):
        load(tmp_path, "screenspot_v1")


def test_what_is_no_benchmark_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"annotations/\*.json: missing; the layout screenspot_pro has"):
        load(tmp_path, "screenspot_pro")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(ValueError, match="a.parquet: not parquet"):
        load(tmp_path, "screenspot_v1")
    write_uground(tmp_path)
    (tmp_path / "re_gpt-4-turbo.jsonl").write_text("")
    with pytest.raises(ValueError, match="each of re_gpt-4-turbo.jsonl, re_gpt-4o.jsonl has all rows"):
        load(tmp_path, "screenspot_v1_uground")
    (tmp_path / "re_gpt-4-turbo.jsonl").unlink()
    (tmp_path / "re_gpt-4o.jsonl").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="re_gpt-4o.jsonl: not JSON"):
        load(tmp_path, "screenspot_v1_uground")
    (tmp_path / "re_gpt-4o.jsonl").write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(ValueError, match="re_gpt-4o.jsonl:2: not JSON"):
        load(tmp_path, "screenspot_v1_uground")


def test_json_and_json_lines_are_told_apart_by_what_they_hold(tmp_path):
    path = tmp_path / "a.json"
    for text, held in (("[\n1\n]", [1]), ('{"a":\n1}', {"a": 1}), ('{"a": 1}\n\n{"a": 2}\n', [{"a": 1}, {"a": 2}])):
        path.write_text(text)
        assert read_json(path) == held


def kinds(targets):
    return dict(Counter((target.platform, target.kind) for target in targets))


V2_KINDS = {
    **{("web", "text"): 234, ("web", "icon"): 203, ("desktop", "text"): 194, ("desktop", "icon"): 140},
    **{("mobile", "text"): 290, ("mobile", "icon"): 211},
}
V1_KINDS = {
    **{("web", "text"): 230, ("web", "icon"): 206, ("desktop", "text"): 194, ("desktop", "icon"): 140},
    **{("mobile", "text"): 273, ("mobile", "icon"): 229},
}


def test_published_v2_corrected(shared_data):
    targets = load(shared_data / "screenspot/v2_guiactor_xyxy", "screenspot_v2_xyxy", images=False)
    assert kinds(targets) == V2_KINDS
    assert len({target.id for target in targets}) == 1272
    assert {target.application for target in targets} >= {"windows", "macos", "ios", "android", "gitlab", "shop"}
    assert {target.group for target in targets} == {""}


def test_published_v1_agrees_with_v2_where_it_was_not_corrected(shared_data, tmp_path):
    v2 = load(shared_data / "screenspot/v2_guiactor_xyxy", "screenspot_v2_xyxy", images=False)
    sizes = {target.image.name: (target.width, target.height) for target in v2}
    source = shared_data / "screenspot/v1_uground_xywh/re_gpt-4o.jsonl"
    (tmp_path / "re_gpt-4o.jsonl").symlink_to(source)
    (tmp_path / "screenspot_imgs").mkdir()
    rows = read_json(source)
    for row in rows:
        image = tmp_path / "screenspot_imgs" / row["image"]
        if not image.exists():  # 39 rows show a screenshot that v2 dropped; its size is not known here
            Image.new("1", sizes.get(row["image"], (4000, 4000))).save(image, compress_level=1)
    v1 = load(tmp_path, "screenspot_v1_uground")
    assert kinds(v1) == V1_KINDS
    boxes = {(target.image.name, target.bbox) for target in v2}
    assert sum((target.image.name, target.bbox) in boxes for target in v1) == 1111
    # what guessing would do: so many rows could be corners just as well
    assert sum(right > left and bottom > top for left, top, right, bottom in (row["bbox"] for row in rows)) == 66


def test_published_pro(shared_data, tmp_path):
    (tmp_path / "annotations").mkdir()
    published = shared_data / "screenspot/pro_from_logs_xyxy/screenspot_pro_1581.json"
    (tmp_path / "annotations/all.json").symlink_to(published)
    targets = load(tmp_path, "screenspot_pro", images=False)
    assert kinds(targets) == {("desktop", "text"): 977, ("desktop", "icon"): 604}
    groups = Counter(target.group for target in targets)
    assert groups == {"Creative": 341, "Dev": 299, "CAD": 261, "Scientific": 254, "Office": 230, "OS": 196}
    assert len({target.application for target in targets}) == 26
    assert min(target.bbox[1] for target in targets) == 0  # one published box begins 1 px above its screenshot


def test_two_published_screenshots_with_their_targets(shared_data, tmp_path):
    pictures = list((shared_data / "screenspot/images").iterdir())
    names = {path.name for path in pictures}
    for folder in ("screenspotv2_image", "screenspot_imgs"):
        (tmp_path / folder).mkdir()
        for path in pictures:
            (tmp_path / folder / path.name).symlink_to(path)
    for platform in PLATFORMS:
        rows = read_json(shared_data / "screenspot/v2_guiactor_xyxy" / f"screenspot_{platform}_v2.json")
        kept = [row for row in rows if row["img_filename"] in names]
        (tmp_path / f"screenspot_{platform}_v2.json").write_text(json.dumps(kept))
    rows = read_json(shared_data / "screenspot/v1_uground_xywh/re_gpt-4o.jsonl")
    lines = [json.dumps(row) for row in rows if row["image"] in names]
    (tmp_path / "re_gpt-4o.jsonl").write_text("\n".join(lines))
    v2, v1 = load(tmp_path, "screenspot_v2_xyxy"), load(tmp_path, "screenspot_v1_uground")
    assert len(v2) == 4 and len(v1) == 4
    assert {(target.width, target.height, target.platform) for target in v1 + v2} == {(2560, 1440, "web")}
    assert {(target.image.name, target.bbox) for target in v1} == {(target.image.name, target.bbox) for target in v2}
