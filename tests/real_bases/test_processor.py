"""Processors of real bases: the same text and pixels as transformers' own, and files that open as the base's class."""

import json
import shutil

import pytest
import torch
from bases import FAMILIES, SPECIAL, WIDE, write_files
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Idefics3Processor

from forge_core.data.schema import Example, Turn
from forge_core.data.special import special_pattern, tokens_of, tokens_of_base
from forge_core.models.cost import adapted
from forge_core.models.load import load_processor
from forge_core.training.collate import Collator, messages, token_count
from forge_core.training.rows import fitting_rows

SIZES = [(1920, 1080), (1080, 2400), (333, 517), (100, 90), (2000, 60)]
CLICK = Turn(instruction="Save", actions=["click(x=0.41, y=0.178)"])


def screen(size, folder) -> Example:
    """A row on a screenshot of `size` px, no two parts of it alike."""
    name = f"{size[0]}x{size[1]}.bmp"
    Image.merge("RGB", [Image.linear_gradient("L").rotate(90 * turn).resize(size) for turn in range(3)]).save(
        folder / name
    )
    return Example(id=name, source="s", platform="web", image=name, width=size[0], height=size[1], turns=[CLICK])


def tile_of(base) -> int:
    return FAMILIES[json.loads((base / "config.json").read_text())["model_type"]][1]


@pytest.mark.parametrize("along", (1, 2, 3))
def test_rows_have_the_tokens_and_pixels_of_transformers_own_processor(base, along, tmp_path):
    processor = load_processor(str(base), image_size=along * tile_of(base))
    images = AutoImageProcessor.from_pretrained(base, backend="pil")
    images.size = {"longest_edge": along * tile_of(base)}
    plain = Idefics3Processor(
        images,
        AutoTokenizer.from_pretrained(base),
        image_seq_len=processor.image_seq_len,
        chat_template=json.loads((base / "chat_template.json").read_text())["chat_template"],
    )
    text = plain.apply_chat_template(messages([CLICK], 1, "web"))
    for row in (screen(size, tmp_path) for size in SIZES):
        theirs = plain(text=text, images=[[Image.open(tmp_path / row.image)]], return_tensors="pt")
        ours = Collator(processor, 1, tmp_path, 1)([row])
        assert ours["input_ids"].tolist() == theirs["input_ids"].tolist()
        assert torch.allclose(ours["pixel_values"], theirs["pixel_values"], atol=1e-6)
        assert token_count(processor, row, 1) == ours["input_ids"].shape[1]


def test_a_batch_travels_as_bytes_and_arrives_as_the_floats_of_its_rows(base, tmp_path):
    rows = [screen(size, tmp_path) for size in SIZES[:3]]
    collate = Collator(load_processor(str(base), image_size=2 * tile_of(base)), 1, tmp_path, 8)
    sent, whole = collate.compact(rows), collate(rows)
    side, most = tile_of(base), int(sent["tiles"].max())
    assert sent["pixel_values"].nbytes == 3 * most * 3 * side * side  # rows, tiles, colours, px: a byte each
    assert sum(value.nbytes for name, value in sent.items() if name not in ("pixel_values", "ids")) < 1e5
    for row, pixels, tiles in zip(rows, whole["pixel_values"], sent["tiles"], strict=True):
        alone = collate.processor.image_processor([[Image.open(tmp_path / row.image)]], return_tensors="pt")
        assert torch.allclose(pixels[:tiles], alone["pixel_values"][0], atol=1e-6)
        assert not pixels[tiles:].any() and pixels[:tiles].flatten(1).any(1).all()


def test_every_special_token_is_known_and_kept_out(base, tmp_path):
    assert len(SPECIAL) == 145
    processor = load_processor(str(base))
    assert sorted(tokens_of(processor.tokenizer)) == sorted(tokens_of_base(str(base))) == sorted(SPECIAL)
    special = special_pattern(SPECIAL)
    assert all(special.fullmatch(token) for token in SPECIAL)


def test_a_row_with_a_special_token_of_this_base_is_not_trained_on(base, tmp_path):
    from small_training import train_params

    row = screen((64, 48), tmp_path).model_copy(
        update={"turns": [Turn(instruction="Open <jupyter_code>", actions=CLICK.actions)]}
    )
    (tmp_path / "stage1.jsonl").write_text(row.model_dump_json() + "\n")
    params = train_params(tmp_path, tmp_path, base_model=str(base))
    with pytest.raises(ValueError, match=r"stage1.jsonl: row 64x48.bmp holds '<jupyter_code>', a special token"):
        fitting_rows(tmp_path / "stage1.jsonl", load_processor(str(base)), params)


def test_what_is_saved_opens_as_the_class_the_base_names(base, tmp_path):
    size = 2 * tile_of(base)
    load_processor(str(base), image_size=size).save_pretrained(tmp_path)
    load_processor(str(tmp_path)).save_pretrained(tmp_path / "again")
    files = sorted(path.name for path in tmp_path.iterdir() if path.is_file())
    assert files == sorted(path.name for path in (tmp_path / "again").iterdir())
    assert all((tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)
    named = json.loads((base / "preprocessor_config.json").read_text())
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert saved["processor_class"] == named["processor_class"]
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["processor_class"] == named["processor_class"]
    assert saved["image_processor"]["image_processor_type"] == named["image_processor_type"]
    assert saved["image_processor"]["size"] == {"longest_edge": size}
    if "video_sampling" in named:  # the half that is not used here is as the base has it
        video = saved["video_processor"]
        assert video["video_processor_type"] == "SmolVLMVideoProcessor"
        assert (video["size"], video["video_sampling"]) == (named["size"], named["video_sampling"])


def test_a_base_of_another_family_is_named(base, tmp_path):
    folder = shutil.copytree(base, tmp_path / "other", ignore=shutil.ignore_patterns("*.safetensors"))
    settings = json.loads((folder / "processor_config.json").read_text()) | {"processor_class": "PixtralProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(settings))
    with pytest.raises(
        ValueError, match=r"other: its processor is PixtralProcessor; known are Idefics3Processor, Smol"
    ):
        load_processor(str(folder))
    for file in ("processor_config.json", "chat_template.json"):
        (folder / file).unlink()
    with pytest.raises(OSError, match=f"{folder}@main: no processor_config.json could be read"):
        load_processor(str(folder))
    with pytest.raises(OSError, match=f"{tmp_path / 'nothing'}@main: could not be read"):
        load_processor(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match=f"image_size -{tile_of(base)} is not a multiple of the tile"):
        load_processor(str(base), image_size=-tile_of(base))


def test_the_wide_geometry_is_that_of_smolvlm2(tmp_path):
    parts = adapted(str(write_files(tmp_path / "wide", "smolvlm", WIDE)), "main", 16).parts
    millions = {name: round(count / 1e6, 1) for name, count in parts.items()}
    tower = {"vision tower": 413.0, "connector": 21.2}
    assert millions == tower | {"language layers": 1610.7, "embeddings and head": 201.9}
