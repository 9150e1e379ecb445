"""`forge merge` on the shipped base, with an adapter that has learned one answer by heart."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor
from typer.testing import CliRunner

from forge_core.cli import app
from forge_core.data.schema import Example, Turn
from forge_core.data.screenspot import PLATFORMS
from forge_core.models import load as load_module
from forge_core.models.load import attach_lora, load_adapter, load_base, load_processor
from forge_core.params import load
from forge_core.paths import EMBEDDED_BASE, ROOT
from forge_core.results import digest
from forge_core.training.checkpoints import describe
from forge_core.training.collate import Collator

pytestmark = pytest.mark.slow


def run(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """Three targets on three screens; the middle of the screen is in the first two."""
    folder = tmp_path_factory.mktemp("screenspot_tiny")
    (folder / "screenspotv2_image").mkdir()
    for number, platform in enumerate(PLATFORMS):
        image, corner = Image.new("RGB", (256, 128), (200, 220, 60 * number)), 220 if number == 2 else 100
        ImageDraw.Draw(image).rectangle((corner, 40, corner + 30, 90), fill="navy")
        image.save(folder / "screenspotv2_image" / f"{platform}.png")
        row = {
            "img_filename": f"{platform}.png",
            "bbox": [corner, 40, 30, 50],
            "instruction": "Save",
            "data_type": "icon",
        }
        (folder / f"screenspot_{platform}_v2.json").write_text(json.dumps([row]))
    return folder


@pytest.fixture(scope="module")
def adapter(benchmark, tmp_path_factory):
    """An adapter folder that has learned by heart to click the middle of those three screens."""
    folder = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(1)
    processor = load_processor("embedded", image_size=512)
    model = attach_lora(load_base("embedded", load_in_4bit=False), rank=8, alpha=16, dropout=0.0)
    turn = Turn(instruction="Save", actions=["click(x=0.45, y=0.5)"])
    rows = [
        Example(id=name, source="test", platform=name, image=f"{name}.png", width=256, height=128, turns=[turn])
        for name in PLATFORMS
    ]
    batch = Collator(processor, 1, benchmark / "screenspotv2_image", 64)(rows)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=5e-3)
    for _ in range(60):
        loss = model(**{name: value for name, value in batch.items() if name != "ids"}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.01:
            break
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    params = load(ROOT / "params/embedded/03_train_grounding.yaml")
    changed = params.model_copy(update={"image_size": 512, "coord_format": "4-decimals"})
    identity = describe(changed, benchmark / "screenspot_web_v2.json")
    (folder / "forge.json").write_text(json.dumps({"identity": identity, "forge": "test", "training": {}}))
    return folder


def copied(adapter, folder):
    return Path(shutil.copytree(adapter, folder))


@pytest.fixture(scope="module")
def merged(adapter, benchmark, tmp_path_factory):
    """The merged folder, and what the command printed."""
    out = tmp_path_factory.mktemp("out") / "new" / "merged"
    done = run("merge", adapter, out, "--benchmark", benchmark)
    assert done.exit_code == 0, done.output
    return out, done.stdout


def test_every_weight_is_base_plus_adapter_in_bf16(merged, adapter):
    weights, base = load_file(merged[0] / "model.safetensors"), load_file(EMBEDDED_BASE / "model.safetensors")
    lora = load_file(adapter / "adapter_model.safetensors")
    assert weights.keys() == base.keys()
    changed = 0
    for name, weight in weights.items():
        key = f"base_model.model.{name.removesuffix('.weight')}"
        expected = base[name].float()
        if f"{key}.lora_A.weight" in lora:
            expected = expected + 16 / 8 * lora[f"{key}.lora_B.weight"] @ lora[f"{key}.lora_A.weight"]
            changed += not torch.equal(weight, base[name])
        assert weight.dtype == torch.bfloat16
        assert torch.allclose(weight.float(), expected, rtol=2**-7, atol=1e-6), name
    assert changed == len(lora) / 2


def test_the_merged_model_answers_as_the_adapter_on_the_unquantised_base(merged, adapter, benchmark):
    processor = AutoProcessor.from_pretrained(merged[0])
    image = Image.open(benchmark / "screenspotv2_image" / "web.png")
    inputs = processor(text="<image>Save", images=[image], return_tensors="pt")
    models = [
        AutoModelForImageTextToText.from_pretrained(merged[0], dtype=torch.float32),
        load_adapter(load_base("embedded", load_in_4bit=False), adapter),
        load_base("embedded", load_in_4bit=False),
    ]
    with torch.no_grad():
        ours, theirs, base = (model.eval()(**inputs).logits.float().softmax(-1) for model in models)
    assert torch.allclose(ours, theirs, atol=0.05) and not torch.allclose(ours, base, atol=0.5)


def test_the_folder_opens_with_plain_transformers_and_says_what_it_is(merged, adapter):
    out = merged[0]
    model = AutoModelForImageTextToText.from_pretrained(out)
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
    assert "float32" not in (out / "config.json").read_text()
    assert AutoProcessor.from_pretrained(out).image_processor.size == {"longest_edge": 512}
    assert not list(out.glob("adapter*")) and [path.name for path in out.parent.iterdir()] == [out.name]
    record, before = (json.loads((folder / "forge.json").read_text()) for folder in (out, adapter))
    assert record["merged"] is True and record["identity"] == before["identity"]
    assert record["adapter_sha256"] == digest(adapter / "adapter_model.safetensors")
    for file in out.glob("*.*"):
        assert str(ROOT).encode() not in file.read_bytes() and str(adapter).encode() not in file.read_bytes()


def test_what_was_written_is_scored(merged, benchmark):
    out, told = merged
    score = json.loads((out / "forge.json").read_text())["score"]
    assert (score["hits"], score["n"], score["wrong_format"], score["dtype"]) == (2, 3, 0, "bfloat16")
    assert score["benchmark"] == benchmark.name
    assert (score["low"], score["high"]) == pytest.approx((0.2077, 0.9385), abs=1e-4)
    line = f"click accuracy on {benchmark.name}: 2 of 3, 66.7% [20.8%, 93.9%] (95% Wilson interval), bfloat16 weights"
    assert line in told and line in (out / "README.md").read_text()


def test_without_a_benchmark_the_card_says_that_nothing_was_measured(adapter, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.tmp").mkdir()
    (tmp_path / "empty.tmp" / "of a killed run").touch()
    assert run("merge", adapter, tmp_path / "empty").exit_code == 0
    assert json.loads((tmp_path / "empty" / "forge.json").read_text())["score"] is None
    assert "This very folder: click accuracy not measured" in (tmp_path / "empty" / "README.md").read_text()
    assert not (tmp_path / "empty" / "of a killed run").exists() and not (tmp_path / "empty.tmp").exists()


@pytest.mark.parametrize("computed_in", [torch.float32, torch.bfloat16])
def test_the_weights_are_the_same_on_a_machine_that_computes_in(computed_in, merged, adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(load_module, "compute_dtype", lambda: computed_in)
    assert run("merge", adapter, tmp_path / "out").exit_code == 0
    assert digest(tmp_path / "out" / "model.safetensors") == digest(merged[0] / "model.safetensors")


def test_a_broken_adapter_is_an_error_and_not_a_model(adapter, tmp_path):
    folder = copied(adapter, tmp_path / "adapter")
    weights = load_file(folder / "adapter_model.safetensors")
    next(iter(weights.values()))[0, 0] = torch.nan
    save_file(weights, folder / "adapter_model.safetensors")
    done = run("merge", folder, tmp_path / "out")
    assert done.exit_code == 2 and "NaN" in done.stderr and not (tmp_path / "out").exists()


def test_a_merge_that_cannot_be_is_one_line_and_writes_nothing(adapter, benchmark, tmp_path):
    full, other = tmp_path / "full", tmp_path / "other"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    changed = copied(adapter, tmp_path / "changed")
    record = json.loads((changed / "forge.json").read_text())
    record["identity"]["base_sha256"] = "0" * 64
    (changed / "forge.json").write_text(json.dumps(record))
    for arguments, message in (
        ((adapter, full), f"{full} is there already; remove it, or name another folder"),
        ((full, other), f"{full} has no adapter_config.json; an adapter folder is checkpoints/"),
        ((changed, other), "the base embedded has changed since"),
        ((adapter, other, "--benchmark", full), "screenspot_web_v2.json: missing"),
    ):
        done = run("merge", *arguments)
        assert done.exit_code == 2 and done.stdout == "" and done.stderr.count("\n") == 1
        assert message in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed", "full"]
    assert [path.name for path in full.iterdir()] == ["mine.txt"]
