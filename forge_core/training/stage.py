"""Run one stage: rows in, adapter folder out. Notebooks 03 and 04 and `python -m forge_core.training` call `run_stage`.

A finished stage with the same parameters, data and parent is loaded, not repeated; a killed one goes on from its newest
complete checkpoint.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from forge_core import __version__, gpus, shared_memory
from forge_core.json_files import read_object
from forge_core.models.adapter_folder import read_record
from forge_core.models.cost import geometry
from forge_core.models.load import (
    attach_lora,
    compute_dtype,
    load_adapter,
    load_base,
    load_processor,
    processes,
)
from forge_core.nodes import bring, of_all, of_first
from forge_core.params import MODELS, TrainParams
from forge_core.paths import ROOT, locate, resolve
from forge_core.training.adapter import check_parent, save_adapter
from forge_core.training.checkpoints import check_space, checkpoints, describe, newest_complete
from forge_core.training.collate import Collator
from forge_core.training.held_out import HeldOut
from forge_core.training.rows import Rows, fitting_rows
from forge_core.training.trainer import Begun, StageTrainer, StopOnSigterm, Watch, freeze_tower, train_only_labelled

CPU_WEIGHTS = 600e6  # of a base, above which a CPU is refused: a step would take minutes
OUT_OF_MEMORY = (
    "the GPU's memory is full: halve batch_size and double gradient_accumulation, then set activation_checkpointing: "
    "true, then a smaller image_size or max_length (docs/oom.md); the last checkpoint is kept, a new run continues it"
)


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
    if not all(of_all(rows_file.is_file())):
        where = " on another machine" if rows_file.is_file() else ""
        raise FileNotFoundError(f"{rows_file} is missing{where}; notebook 02_preprocess writes it")
    output = resolve(params.output_dir)
    final = output / "final"
    for folder in (output, *([resolve(params.parent_adapter)] if params.parent_adapter else [])):
        bring(folder)
    identity = describe(params, rows_file)
    check_same(identity)
    if of_first((final / "forge.json").is_file()):
        record = read_record(final).model_dump(exclude_unset=True)
        if record["identity"] == identity:
            print(f"{final} is already trained with these parameters and data", flush=True)
            return StageRun(final, record)
    check_device(params)
    set_seed(params.seed)
    processor = load_processor(params.base_model, params.base_revision, params.image_size)
    model = trainable_model(params)
    rows, held, dropped = fitting_rows(rows_file, processor, params)
    with processes().main_process_first():
        folder = checkpoints(output, identity)
    held_out = HeldOut(held, processor, params.stage, resolve(params.data_dir), params.coord_format)
    check_space(model, folder)
    trainer = build_trainer(model, processor, rows, held_out, params, folder)
    if trainer.is_world_process_zero():
        print_plan(model, trainer, rows, dropped)
    train(trainer, folder)
    seconds = trainer.state.log_history[-1]["seconds"]
    training = {
        "data": data_sources(rows_file),
        "rows": len(rows),
        "held_out_rows": len(held),
        "held_out_clicks": best_clicks(trainer.state.log_history),
        "dropped_rows": dropped,
        "steps": trainer.state.global_step,
        "best_step": trainer.state.best_global_step or trainer.state.global_step,
        "seconds": seconds,
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "device": device_name(model.device),
        "processes": trainer.args.world_size,
        "precision": str(compute_dtype()),
        "usd": round(seconds / 3600 * params.usd_per_hour, 2),
    }
    record = {"identity": identity, "forge": __version__, "training": training, "history": trainer.state.log_history}
    if trainer.is_world_process_zero():
        save_adapter(model, processor, record, final)
    bring(final)
    return StageRun(final, record)


def check_same(identity: dict) -> None:
    """Raise ValueError where machines are about to train from different files."""
    found = of_all(identity)
    differ = [name for name in identity if any(each[name] != found[0][name] for each in found)]
    if differ:
        raise ValueError(f"the machines differ in {', '.join(differ)}: give all the same params, rows and base")


def train(trainer: Trainer, folder: Path) -> None:
    """Train from the newest complete checkpoint in `folder` to the end.

    Raises SystemExit (143, as a process that SIGTERM ended) when asked to stop before, with a checkpoint saved,
    MemoryError when the GPU's memory is full, OSError when the disk is, ValueError where a checkpoint holds
    something else than the Forge saves.
    """
    newest, begun = of_first(newest_complete(folder)), Begun()
    trainer.add_callback(begun)
    try:
        trainer.train(resume_from_checkpoint=newest and str(folder / newest))
    except torch.OutOfMemoryError as error:
        raise MemoryError(f"{OUT_OF_MEMORY} ({str(error).splitlines()[0]})") from None
    except Exception as error:
        if isinstance(error, (OSError, RuntimeError, SafetensorError)):  # all three are raised when a disk is full
            check_space(trainer.model, folder, checkpoints=1, after=f"; the last whole checkpoint is kept ({error})")
        if not newest or begun.step or isinstance(error, OSError):
            raise
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{folder / newest}: cannot be continued from ({said:.200}); remove it") from error
    if any(getattr(callback, "asked", False) for callback in trainer.callback_handler.callbacks):
        print(f"SIGTERM: stopped and saved at step {trainer.state.global_step}; a new run continues", flush=True)
        raise SystemExit(143)


def data_sources(rows_file: Path) -> str:
    """Where the rows come from, by the manifest beside them: repository, revision, subsets."""
    manifest = rows_file.with_suffix(".manifest.json")
    if not manifest.is_file():
        return rows_file.name
    found = read_object(manifest)
    try:
        source, subsets = found["source"], ", ".join(found["subsets"])
        return f"{source['repository']}@{source['commit'] or source['revision']} ({subsets})" if source else subsets
    except (KeyError, TypeError) as error:
        raise ValueError(f"{manifest}: not a manifest of notebook 02_preprocess ({error!r})") from None


def check_device(params: TrainParams) -> None:
    """Raise ValueError where there is no GPU and the base is too large for a CPU, OSError where /dev/shm is small."""
    if problem := shared_memory.problem(params):
        raise OSError(problem)
    if torch.cuda.is_available():
        return
    shape = geometry(params.base_model, params.base_revision)
    if shape.text + shape.vision > CPU_WEIGHTS:
        raise ValueError(
            f"no GPU is in sight, and {params.base_model} has {(shape.text + shape.vision) / 1e6:,.0f} M weights: too "
            "many for a CPU; `forge doctor` says why there is none, base_model: embedded trains without one"
        )


def best_clicks(history: list[dict]) -> float | None:
    """The best share of clicks on held-out screenshots; None where there were none."""
    return max((entry["eval_clicks"] for entry in history if "eval_clicks" in entry), default=None)


def device_name(where: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(where) if where.type == "cuda" else where.type


def launch(params: TrainParams) -> StageRun:
    """`run_stage` from a notebook: on every GPU of this machine."""
    if gpus.several():
        name = next(name for name, model in MODELS.items() if model is type(params))
        gpus.on_all("forge_core.training", name, params, torch.cuda.device_count())
    return run_stage(params)  # alone, or the finished adapter


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
        model = attach_lora(base, params.lora_rank, params.lora_alpha, params.lora_dropout, params.train_vision)
    train_only_labelled(model)
    if params.train_vision != "lora":
        freeze_tower(model)
    return model


def build_trainer(model, processor, rows: Rows, held_out: HeldOut, params: TrainParams, folder: Path) -> Trainer:
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
        include_num_input_tokens_seen="non_padding",
        save_steps=params.save_steps,
        save_total_limit=2,
        eval_strategy="steps" if held_out.asked else "no",
        eval_steps=params.save_steps,
        per_device_eval_batch_size=params.eval_batch_size,
        load_best_model_at_end=bool(held_out.asked),
        metric_for_best_model="eval_rank",
        dataloader_num_workers=params.num_workers,
        dataloader_persistent_workers=params.num_workers > 0,
        dataloader_prefetch_factor=shared_memory.PREFETCH if params.num_workers else None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=on_gpu,
        remove_unused_columns=False,
        report_to=tracker(params.wandb),
        run_name=f"{params.run} stage {params.stage}",
        disable_tqdm=True,
        seed=params.seed,
    )
    images = resolve(params.data_dir)
    collator = Collator(processor, params.stage, images, params.pad_to_multiple_of, params.coord_format)
    callbacks = [Watch(params.usd_per_hour), StopOnSigterm()]
    trainer = StageTrainer(
        model,
        arguments,
        data_collator=collator.compact,
        train_dataset=rows,
        eval_dataset=held_out.asked,
        callbacks=callbacks,
    )
    trainer.held_out, trainer.collator = held_out, collator
    trainer.remove_callback(PrinterCallback)  # Watch prints
    return trainer


def tracker(wanted: bool) -> str:
    """Where the Trainer reports to: W&B (offline without a key), or nowhere."""
    if not wanted:
        return "none"
    os.environ.setdefault("WANDB_PROJECT", "churninator-forge")
    os.environ.setdefault("WANDB_DIR", str(ROOT))
    os.environ.setdefault("WANDB_WATCH", "gradients")  # their histograms, weight by weight, at every 100th batch
    if not os.environ.get("WANDB_API_KEY"):
        os.environ["WANDB_MODE"] = "offline"
        print(f"W&B: no WANDB_API_KEY, so offline; later: wandb sync {os.environ['WANDB_DIR']}/wandb/offline-run-*")
    return "wandb"


def print_plan(model: PeftModel, trainer: Trainer, rows: Rows, dropped: int) -> None:
    """Say what is about to be trained."""
    trainable, total = model.get_nb_trainable_parameters()
    args = trainer.args
    step = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    steps = args.max_steps if args.max_steps > 0 else math.ceil(len(rows) / step * args.num_train_epochs)
    print(
        f"{len(rows):,} rows ({dropped:,} too long, dropped), {rows.turns:,} turns, {sum(rows.lengths):,} tokens; "
        f"{steps:,} steps of {step} rows; {trainable / 1e6:.2f} M trainable of {total / 1e6:.1f} M parameters "
        f"in {str(compute_dtype()).removeprefix('torch.')} on {device_name(model.device)}",
        flush=True,
    )
