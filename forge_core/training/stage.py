"""Run one stage: rows in, adapter folder out. Notebooks 03 and 04 and `python -m forge_core.training` call `run_stage`.

A finished stage with the same parameters, data and parent is loaded, not repeated; a killed one goes on from its newest
complete checkpoint.
"""

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers import PrinterCallback, ProcessorMixin, Trainer, TrainingArguments, set_seed

from forge_core import __version__
from forge_core.actions.coordinates import CoordFormat
from forge_core.data.schema import Example, read_jsonl
from forge_core.models.load import attach_lora, compute_dtype, load_adapter, load_base, load_processor, locate
from forge_core.params import TrainParams
from forge_core.paths import ROOT, resolve
from forge_core.results import digest
from forge_core.training.collate import Collator, token_count
from forge_core.training.trainer import Watch, freeze_tower, train_only_labelled

WHERE = ("run", "output_dir", "data_dir", "parent_adapter", "logging_steps", "save_steps", "num_workers", "wandb")


@dataclass(frozen=True)
class StageRun:
    """What a stage left behind: its adapter folder and the record that lies in it as `forge.json`."""

    adapter: Path
    record: dict

    @property
    def history(self) -> list[dict]:
        """One dict per logging step: step, loss, learning_rate, grad_norm."""
        return [entry for entry in self.record["history"] if "loss" in entry]


def run_stage(params: TrainParams) -> StageRun:
    """Train stage `params.stage` and return its adapter folder, `output_dir/final`."""
    rows_file = resolve(params.data_dir) / f"stage{params.stage}.jsonl"
    if not rows_file.is_file():
        raise FileNotFoundError(f"{rows_file} is missing; notebook 02_preprocess writes it")
    output = resolve(params.output_dir)
    identity = describe(params, rows_file)
    final = output / "final"
    if (final / "forge.json").is_file():
        record = json.loads((final / "forge.json").read_text())
        if record["identity"] == identity:
            print(f"{final} is already trained with these parameters and data", flush=True)
            return StageRun(final, record)
    set_seed(params.seed)
    processor = load_processor(params.base_model, params.base_revision, params.image_size)
    model = trainable_model(params)
    rows, dropped = fitting_rows(rows_file, processor, params)
    trainer = build_trainer(model, processor, rows, params, checkpoints(output, identity))
    print_plan(model, trainer, rows, dropped)
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=newest_complete(output / "checkpoints"))
    training = {
        "rows": len(rows),
        "dropped_rows": dropped,
        "steps": trainer.state.global_step,
        "seconds": round(time.monotonic() - began, 1),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "device": str(model.device),
        "precision": str(compute_dtype()),
    }
    record = {"identity": identity, "forge": __version__, "training": training, "history": trainer.state.log_history}
    save_adapter(model, processor, record, final)
    return StageRun(final, record)


def inputs_of(params: TrainParams) -> list[Path]:
    """The files that decide the outcome: rows, parent adapter, and the base where it is a folder."""
    base = Path(locate(params.base_model))
    parent = [resolve(params.parent_adapter)] if params.parent_adapter else []
    return [resolve(params.data_dir) / f"stage{params.stage}.jsonl", *parent, *([base] if base.is_dir() else [])]


def trainable_model(params: TrainParams) -> PeftModel:
    """Base with a new adapter, or with its parent's to continue; ready to train."""
    base = load_base(params.base_model, params.base_revision, params.load_in_4bit)
    if params.parent_adapter:
        model = load_adapter(base, resolve(params.parent_adapter), trainable=True)
        check_parent(model, params)
    else:
        model = attach_lora(base, params.lora_rank, params.lora_alpha, params.lora_dropout)
    train_only_labelled(model)
    freeze_tower(model)
    return model


def check_parent(model: PeftModel, params: TrainParams) -> None:
    """Raise ValueError where the parent adapter has not the rank, alpha, dropout and coordinates of the params."""
    parent = model.peft_config["default"]
    for name, value in (
        ("lora_rank", parent.r),
        ("lora_alpha", parent.lora_alpha),
        ("lora_dropout", parent.lora_dropout),
        ("coord_format", coord_format_of(resolve(params.parent_adapter))),
    ):
        if getattr(params, name) != value:
            raise ValueError(
                f"{name} is {getattr(params, name)}, but the parent adapter {params.parent_adapter} has {value}; "
                "an adapter that is continued keeps its shape and coordinates"
            )


def coord_format_of(adapter: Path) -> CoordFormat:
    """How an adapter folder learned to write places, by its forge.json; "4-decimals" where that does not say."""
    file = adapter / "forge.json"
    record = json.loads(file.read_text()) if file.is_file() else {}
    return record.get("identity", {}).get("params", {}).get("coord_format", "4-decimals")


def fitting_rows(file: Path, processor: ProcessorMixin, params: TrainParams) -> tuple[list[Example], int]:
    """Rows of at most `max_length` tokens, and how many were dropped: a cut row would lose image tokens."""
    rows = list(read_jsonl(file))
    fitting = [
        row for row in rows if token_count(processor, row, params.stage, params.coord_format) <= params.max_length
    ]
    if not fitting:
        raise ValueError(f"{file}: none of {len(rows)} rows fits in max_length {params.max_length} tokens")
    return fitting, len(rows) - len(fitting)


def build_trainer(model, processor, rows: list[Example], params: TrainParams, folder: Path) -> Trainer:
    """The transformers Trainer with the arguments that these parameters stand for."""
    on_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=params.batch_size,
        gradient_accumulation_steps=params.gradient_accumulation,
        num_train_epochs=params.epochs,
        max_steps=params.max_steps or -1,
        learning_rate=params.learning_rate,
        weight_decay=params.weight_decay,
        warmup_steps=params.warmup_steps,
        lr_scheduler_type="cosine",
        bf16=compute_dtype() is torch.bfloat16,
        use_cpu=not on_gpu,
        activation_checkpointing=params.activation_checkpointing,
        logging_steps=params.logging_steps,
        logging_nan_inf_filter=False,
        save_steps=params.save_steps,
        save_total_limit=2,
        dataloader_num_workers=params.num_workers,
        dataloader_persistent_workers=params.num_workers > 0,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        report_to=tracker(params.wandb),
        run_name=f"{params.run} stage {params.stage}",
        disable_tqdm=True,
        seed=params.seed,
    )
    images = resolve(params.data_dir)
    collator = Collator(processor, params.stage, images, params.pad_to_multiple_of, params.coord_format)
    trainer = Trainer(model, arguments, data_collator=collator, train_dataset=rows, callbacks=[Watch()])
    trainer.remove_callback(PrinterCallback)  # Watch prints
    return trainer


def tracker(wanted: bool) -> str:
    """Where the Trainer reports to: W&B (offline without a key), or nowhere."""
    if not wanted:
        return "none"
    os.environ.setdefault("WANDB_PROJECT", "churninator-forge")
    os.environ.setdefault("WANDB_DIR", str(ROOT))
    if not os.environ.get("WANDB_API_KEY"):
        os.environ["WANDB_MODE"] = "offline"
        print(f"W&B: no WANDB_API_KEY, so offline; later: wandb sync {os.environ['WANDB_DIR']}/wandb/offline-run-*")
    return "wandb"


def describe(params: TrainParams, rows_file: Path) -> dict:
    """What decides the outcome of a stage: parameters, and by hash the data, the parent, and a base in a folder."""
    parent = resolve(params.parent_adapter) / "adapter_model.safetensors" if params.parent_adapter else None
    if parent and not parent.is_file():
        raise FileNotFoundError(f"{parent} is missing; the stage before this one writes it")
    base = Path(locate(params.base_model))
    return {
        "stage": params.stage,
        "base_sha256": digest(base) if base.is_dir() else None,  # from the hub, the revision tells
        "params": {name: value for name, value in params.model_dump().items() if name not in WHERE},
        "data_sha256": digest(rows_file),
        "parent_adapter": params.parent_adapter or None,
        "parent_sha256": digest(parent) if parent else None,
    }


def checkpoints(output: Path, identity: dict) -> Path:
    """The folder for checkpoints; those of another training are removed."""
    folder, mark = output / "checkpoints", output / "checkpoints" / "identity.json"
    if folder.is_dir() and (not mark.is_file() or json.loads(mark.read_text()) != identity):
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps(identity, indent=1))
    return folder


def newest_complete(folder: Path) -> str | None:
    """The newest checkpoint that can be resumed; the Trainer writes `trainer_state.json` last."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1])):
        if complete(checkpoint):
            print(f"resuming from {checkpoint.name}", flush=True)
            return str(checkpoint)
    return None


def complete(checkpoint: Path) -> bool:
    """Whether state and optimizer are there and the adapter can be read to its end."""
    if not all((checkpoint / name).is_file() for name in ("trainer_state.json", "optimizer.pt", "scheduler.pt")):
        return False
    try:
        with safe_open(checkpoint / "adapter_model.safetensors", "pt"):
            return True
    except (OSError, SafetensorError) as error:
        print(f"{checkpoint.name} is broken ({error}); trying the one before", flush=True)
        return False


def print_plan(model: PeftModel, trainer: Trainer, rows: list[Example], dropped: int) -> None:
    """Say what is about to be trained."""
    trainable, total = model.get_nb_trainable_parameters()
    print(
        f"{len(rows)} rows ({dropped} too long, dropped) · {sum(len(row.turns) for row in rows)} turns · "
        f"{trainable / 1e6:.2f} M trainable of {total / 1e6:.1f} M parameters on {model.device}",
        flush=True,
    )


def save_adapter(model: PeftModel, processor: ProcessorMixin, record: dict, final: Path) -> None:
    """Write the adapter folder in one move: adapter, processor with its image size, forge.json, model card."""
    draft = final.with_name("final.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft)
    processor.save_pretrained(draft)
    (draft / "forge.json").write_text(json.dumps(record, indent=1))
    (draft / "README.md").write_text(model_card(record))
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)


def model_card(record: dict) -> str:
    """The README of an adapter folder, with the metadata that the hub reads."""
    params, training = record["identity"]["params"], record["training"]
    stage = {1: "grounding", 2: "reasoning"}[record["identity"]["stage"]]
    return (
        f"---\nbase_model: {params['base_model']}\nlibrary_name: peft\npipeline_tag: image-text-to-text\n---\n\n"
        f"# Churninator, stage {record['identity']['stage']}: {stage}\n\n"
        f"A LoRA adapter (rank {params['lora_rank']}) for `{params['base_model']}`, revision "
        f"`{params['base_revision']}`, made with the Churninator Forge {record['forge']}.\n\n"
        f"- Rows: {training['rows']}, steps: {training['steps']}\n"
        f"- Training took {training['seconds']} s on {training['device']}, in {training['precision']}\n"
        f"- Image size (longest edge): {params['image_size']} px; the processor here has it set\n"
        f"- Coordinates in prompts and answers: {params['coord_format']}\n"
        f"- Base in 4 bits during training: {params['load_in_4bit']}\n"
        f"- Parent adapter: {record['identity']['parent_adapter'] or 'none'}\n"
        f"- Data sha256: {record['identity']['data_sha256']}\n"
    )
