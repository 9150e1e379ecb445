"""A stage of QLoRA on the shipped base: it learns, stage 2 continues stage 1, a killed run ends as an unbroken one."""

import json
import shutil
from collections import Counter

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from small_training import evaluate_params, train_params

from forge_core.data.schema import read_jsonl
from forge_core.data.screenspot import Target
from forge_core.evaluation.stages import evaluate
from forge_core.models.load import autocast, load_adapter, load_base, load_processor
from forge_core.params import GroundingParams, ReasoningParams
from forge_core.training import trainer
from forge_core.training.checkpoints import complete, newest_complete
from forge_core.training.collate import Collator
from forge_core.training.held_out import SHOWN, HeldOut
from forge_core.training.rows import fitting_rows
from forge_core.training.stage import run_stage, trainable_model

pytestmark = pytest.mark.slow


def adapter(folder) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


def logits(model, batch) -> torch.Tensor:
    inputs = {name: value for name, value in batch.items() if name not in ("labels", "ids")}
    with torch.no_grad(), autocast():
        return model.eval()(**inputs).logits


def test_the_loss_falls_and_every_adapter_weight_learns(grounded):
    assert grounded.history[-1]["loss"] < grounded.history[0]["loss"]
    weights = adapter(grounded.adapter)
    assert len(weights) == 2 * 4 * 7 and all("text_model" in name for name in weights)
    assert all(weight.abs().sum() > 0 for weight in weights.values())  # lora_B starts at zero


@pytest.mark.parametrize(("held_out", "num_workers"), ((0, 2), (5, 0)))
def test_a_killed_run_ends_as_an_unbroken_one(data, tmp_path, held_out, num_workers):
    asked = train_params(data, tmp_path, held_out=held_out, num_workers=num_workers)
    whole, weights = run_stage(asked), adapter(tmp_path / "final")
    shutil.rmtree(tmp_path / "final")  # as if killed after step 5; the second epoch begins within the rest
    shutil.rmtree(tmp_path / "checkpoints" / "checkpoint-10")
    resumed = run_stage(asked)
    again = adapter(resumed.adapter)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert [entry["loss"] for entry in resumed.history] == [entry["loss"] for entry in whole.history]
    assert resumed.record["training"]["best_step"] == whole.record["training"]["best_step"]


def test_a_truncated_newest_checkpoint_is_passed_over(grounded, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(grounded.adapter.parent / "checkpoints", checkpoints)
    assert newest_complete(checkpoints).endswith("checkpoint-10")
    broken = checkpoints / "checkpoint-10" / "adapter_model.safetensors"
    broken.write_bytes(broken.read_bytes()[:-100])
    assert newest_complete(checkpoints).endswith("checkpoint-5")
    (checkpoints / "checkpoint-5" / "trainer_state.json").unlink()
    assert not complete(checkpoints / "checkpoint-5") and newest_complete(checkpoints) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rng_state.pth", {}),
        ("rng_state.pth", b"torn"),
        ("optimizer.pt", {}),
        ("adapter_model.safetensors", {"base_model.model.model.text_model.layers.0.self_attn.q_proj.lora_A.weight": 3}),
        ("trainer_state.json", b'{"global_step": 10, "another": 1}'),
    ],
)
def test_a_checkpoint_of_something_else_is_named(grounded, data, tmp_path, name, content):
    shutil.copytree(grounded.adapter.parent / "checkpoints", tmp_path / "checkpoints")
    file = tmp_path / "checkpoints" / "checkpoint-10" / name
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif file.suffix == ".safetensors":
        save_file({key: torch.zeros(size, size) for key, size in content.items()}, file)
    else:
        torch.save(content, file)
    with pytest.raises(ValueError) as found:
        run_stage(train_params(data, tmp_path))
    assert "checkpoint-10: cannot be continued from (" in str(found.value) and "\n" not in str(found.value)


def test_finished_work_is_not_repeated_and_changed_work_is(grounded, data, capsys):
    again = run_stage(train_params(data, grounded.adapter.parent))
    assert "already trained" in capsys.readouterr().out and again.record == grounded.record
    assert run_stage(train_params(data, grounded.adapter.parent, logging_steps=2)).record == grounded.record
    changed = train_params(data, grounded.adapter.parent, learning_rate=1e-3)
    with pytest.raises(FileNotFoundError, match="parent"):
        run_stage(changed.model_copy(update={"parent_adapter": str(data / "parent")}))


def test_stage_2_starts_as_stage_1_and_trains_all_of_it(grounded, data, tmp_path):
    second = train_params(data, tmp_path, ReasoningParams, parent_adapter=str(grounded.adapter))
    rows = list(read_jsonl(data / "stage1.jsonl"))[:2]
    batch = Collator(load_processor(str(grounded.adapter)), 1, data, 64)(rows)
    continued = trainable_model(second)
    names = {name for name, parameter in continued.named_parameters() if parameter.requires_grad}
    assert len(names) == len(adapter(grounded.adapter)) and all(".default." in name for name in names)
    finished = load_adapter(load_base("embedded"), grounded.adapter)
    assert torch.equal(logits(continued, batch), logits(finished, batch))
    assert not torch.equal(logits(finished, batch), logits(load_base("embedded"), batch))


def test_stage_2_with_another_shape_is_refused(grounded, data, tmp_path):
    with pytest.raises(ValueError, match="lora_rank is 4, but the parent adapter .* has 8"):
        run_stage(train_params(data, tmp_path, ReasoningParams, parent_adapter=str(grounded.adapter), lora_rank=4))


def test_stage_2_with_other_coordinates_is_refused(grounded, data, tmp_path):
    second = train_params(data, tmp_path, ReasoningParams, parent_adapter=str(grounded.adapter), coord_format="0-1000")
    with pytest.raises(ValueError, match="coord_format is 0-1000, but the parent adapter .* has 4-decimals"):
        run_stage(second)


def test_an_adapter_that_does_not_say_its_format_is_4_decimals(grounded, data, tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(grounded.adapter, parent)
    record = json.loads((parent / "forge.json").read_text())
    del record["identity"]["params"]["coord_format"]
    (parent / "forge.json").write_text(json.dumps(record))
    second = train_params(data, tmp_path, ReasoningParams, parent_adapter=str(parent))
    trainable_model(second)
    (parent / "forge.json").unlink()
    trainable_model(second)
    with pytest.raises(ValueError, match="has 4-decimals"):
        trainable_model(second.model_copy(update={"coord_format": "2-decimals"}))


@pytest.mark.parametrize(("coord_format", "outcome"), [("4-decimals", "wrong_format"), ("0-1000", "hit")])
def test_the_adapter_remembers_its_format_and_evaluation_undoes_it(data, tmp_path, coord_format, outcome):
    stage = run_stage(train_params(data, tmp_path / "out", coord_format=coord_format, max_steps=1))
    assert f"Coordinates in prompts and answers: {coord_format}\n" in (stage.adapter / "README.md").read_text()
    row = next(read_jsonl(data / "stage1.jsonl"))
    target = Target(
        id="a", image=data / row.image, width=row.width, height=row.height, bbox=(0.4, 0.1, 0.5, 0.2),
        instruction="Save", platform=row.platform, kind="text",
    )  # fmt: skip
    asked = evaluate_params(tmp_path, stage.adapter, stage.adapter, grounding_tokens=2)
    evaluate(asked, [target], "stage 1", tmp_path)
    answers = tmp_path / "answers_stage_1.jsonl"
    header = answers.read_text().splitlines()[0]
    answers.write_text(f'{header}\n{{"target_id": "a", "raw": "click(x=410, y=178)"}}\n')
    (row,) = evaluate(asked, [target], "stage 1", tmp_path)["stage 1"]  # continues the file: only the scoring is left
    assert (row.raw, row.outcome, row.coord_format) == ("click(x=410, y=178)", outcome, coord_format)
    (row,) = evaluate(asked, [target], "base", tmp_path)["base"]
    assert row.coord_format == "4-decimals"


def test_loss_at_labels_only_is_the_models_own_loss(data):
    model = trainable_model(train_params(data, data / "unused", lora_dropout=0.0)).eval()
    rows = list(read_jsonl(data / "stage1.jsonl"))[:3]
    batch = Collator(load_processor("embedded"), 1, data, 64)(rows)
    with torch.no_grad():
        ours = model(**batch).loss
        whole = model(**{name: value for name, value in batch.items() if name not in ("labels", "ids")}).logits
    shifted = whole[:, :-1].float().flatten(0, 1)
    assert torch.allclose(ours, torch.nn.functional.cross_entropy(shifted, batch["labels"][:, 1:].flatten()), atol=1e-5)


def test_accumulating_four_times_one_is_a_batch_of_four(data, tmp_path, fp32):
    losses = []
    for batch_size, accumulation in ((4, 1), (1, 4)):
        changes = {"batch_size": batch_size, "gradient_accumulation": accumulation, "max_steps": 3, "lora_dropout": 0.0}
        stage = run_stage(train_params(data, tmp_path / str(batch_size), **changes))
        losses.append([entry["loss"] for entry in stage.history])
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)  # means of means are off by over 1e-3


def test_activation_checkpointing_changes_no_loss(data, tmp_path):
    losses = []
    for wanted in (False, True):
        changes = {"activation_checkpointing": wanted, "max_steps": 2, "lora_dropout": 0.0}
        stage = run_stage(train_params(data, tmp_path / str(wanted), **changes))
        losses.append([entry["loss"] for entry in stage.history])
    assert losses[0] == losses[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_base_too_large_for_a_cpu_is_refused_before_it_is_loaded(data, tmp_path):
    transformers.SmolVLMConfig(text_config={"model_type": "llama"}).save_pretrained(tmp_path / "large")  # no weights
    said = r"no GPU is in sight, and .*large has \d,\d+ M weights.* base_model: embedded"
    with pytest.raises(ValueError, match=said):
        run_stage(train_params(data, tmp_path / "out", base_model=str(tmp_path / "large")))


def test_rows_over_the_length_are_dropped_and_counted(data, tmp_path):
    with pytest.raises(ValueError, match=r"stage1.jsonl: none of \d+ rows fits in max_length 32"):
        run_stage(train_params(data, tmp_path, max_length=32))
    with pytest.raises(ValueError, match=r"stage1.jsonl: held_out 99 leaves none of its \d+ rows to train on"):
        run_stage(train_params(data, tmp_path, held_out=99))
    stage = run_stage(train_params(data, tmp_path, max_length=240, max_steps=1))
    total = len(list(read_jsonl(data / "stage1.jsonl")))
    assert 0 < stage.record["training"]["dropped_rows"] < total
    assert stage.record["training"]["rows"] + stage.record["training"]["dropped_rows"] == total


def test_wandb_without_a_key_keeps_the_run_and_says_how_to_upload(data, tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "")  # monkeypatch puts back what the run changes
    stage = run_stage(train_params(data, tmp_path / "out", max_steps=1, held_out=3, wandb=True))
    assert "wandb sync" in capfd.readouterr().out
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    screenshots = list(tmp_path.glob("wandb/offline-run-*/files/media/images/held out screenshots*.png"))
    assert len(screenshots) == stage.record["training"]["held_out_rows"] <= SHOWN


def test_a_loss_that_is_not_finite_stops_and_names_the_rows(data, tmp_path):
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf) on rows sandbox_\w+-\d+.*, sandbox_"):
        run_stage(train_params(data, tmp_path, learning_rate=1e30))


@pytest.mark.parametrize(
    ("train_vision", "parts"),
    [
        ("none", {"text_model": 4 * 7}),
        ("connector", {"text_model": 4 * 7, "connector": 1}),
        ("lora", {"text_model": 4 * 7, "connector": 1, "vision_model": 4 * 6}),
    ],
)
def test_train_vision_says_what_learns(data, tmp_path, train_vision, parts):
    stage = run_stage(train_params(data, tmp_path, train_vision=train_vision, max_steps=2))
    learned = [name.split(".model.model.")[-1].split(".")[0] for name, weight in adapter(stage.adapter).items()
               if "lora_B" in name and weight.abs().sum() > 0]  # fmt: skip
    assert Counter(learned) == parts


def test_logits_in_chunks_give_the_same_loss_and_gradients(data, monkeypatch):
    model = trainable_model(train_params(data, data / "unused", lora_dropout=0.0))
    batch = Collator(load_processor("embedded"), 1, data, 64)(list(read_jsonl(data / "stage1.jsonl"))[:3])
    results = []
    for chunk in (10_000, 7):
        monkeypatch.setattr(trainer, "CHUNK", chunk)
        model.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        results.append((loss.detach(), [p.grad.clone() for p in model.parameters() if p.requires_grad]))
    torch.testing.assert_close(*(loss for loss, _ in results))
    torch.testing.assert_close(*(gradients for _, gradients in results), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("stage", (1, 2))
def test_held_out_screenshots_are_scored_at_each_save_and_the_best_is_kept(data, grounded, tmp_path, stage):
    changes = {"held_out": 5, "max_steps": 7, "save_steps": 3}
    changes |= {"parent_adapter": str(grounded.adapter)} if stage == 2 else {}
    asked = train_params(data, tmp_path, ReasoningParams if stage == 2 else GroundingParams, **changes)
    record = run_stage(asked).record
    scored = {entry["step"]: entry["eval_clicks"] for entry in record["history"] if "eval_clicks" in entry}
    assert list(scored) == [3, 6, 7] and all(round(5 * share) == pytest.approx(5 * share) for share in scored.values())
    training = record["training"]
    assert training["held_out_clicks"] == max(scored.values()) == scored[training["best_step"]]
    assert training["held_out_rows"] > 0
    assert training["rows"] + training["held_out_rows"] == len(list(read_jsonl(data / f"stage{stage}.jsonl")))


def test_no_held_out_screenshot_is_trained_on(data):
    asked = train_params(data, data / "unused", held_out=5)
    rows, held, _ = fitting_rows(data / "stage1.jsonl", load_processor("embedded"), asked)
    trained = {rows[index].image for index in range(len(rows))}
    assert len({row.image for row in held}) == 5 and not trained & {row.image for row in held}


def test_scoring_in_between_changes_no_step(data, tmp_path):
    losses = []
    for save_steps in (2, 100):
        stage = run_stage(
            train_params(data, tmp_path / str(save_steps), held_out=5, max_steps=4, save_steps=save_steps)
        )
        losses.append([entry["loss"] for entry in stage.history])
    assert losses[0] == losses[1]


def test_a_base_that_never_acts_hits_nothing_held_out(data):
    rows = list(read_jsonl(data / "stage1.jsonl"))[:4]
    held = HeldOut(rows, load_processor("embedded"), 1, data, "4-decimals")
    assert [row.id for row, _ in held.asked] == [row.id for row in rows]
    share, shown = held.score(load_base("embedded"), batch_size=3)
    assert share == 0 and [row["instruction"] for row in shown] == [row.turns[0].instruction for row in rows]
    assert all(row["outcome"] == "wrong_format" for row in shown)
