"""ScreenSpot-v2's layout: pixel xywh boxes become normalised corners, and what does not fit is named."""

import json

import pytest
from PIL import Image

from forge_core.data.screenspot import PLATFORMS, load_v2

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
