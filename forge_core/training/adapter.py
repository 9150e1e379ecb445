"""The adapter folder that a stage leaves: adapter, processor with its image size, forge.json, model card."""

import json
import shutil
from pathlib import Path

from peft import PeftModel
from transformers import ProcessorMixin

from forge_core.actions.coordinates import CoordFormat
from forge_core.models.adapter_folder import RECORD, read_record
from forge_core.models.load import LORA_TARGETS
from forge_core.params import TrainParams
from forge_core.paths import resolve
from forge_core.text import code, front_matter


def save_adapter(model: PeftModel, processor: ProcessorMixin, record: dict, final: Path) -> None:
    """Write the adapter folder in one move: adapter, processor with its image size, forge.json, model card."""
    draft = final.with_name("final.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft)
    _name_base(draft / "adapter_config.json", record["identity"]["params"]["base_model"])
    processor.save_pretrained(draft)
    (draft / "forge.json").write_text(json.dumps(record, indent=1))
    (draft / "README.md").write_text(model_card(record))
    shutil.rmtree(final, ignore_errors=True)
    draft.rename(final)


def _name_base(config: Path, base: str) -> None:
    """Say the base's name where peft wrote the folder in which it lies on this machine."""
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": base}, indent=2))


def model_card(record: dict) -> str:
    """The README of an adapter folder, with the metadata that the hub reads."""
    params, training = record["identity"]["params"], record["training"]
    stage = {1: "grounding", 2: "reasoning"}[record["identity"]["stage"]]
    return (
        f"{front_matter(base_model=params['base_model'], library_name='peft', pipeline_tag='image-text-to-text')}"
        f"# Churninator, stage {record['identity']['stage']}: {stage}\n\n"
        f"A LoRA adapter (rank {params['lora_rank']}) for {code(params['base_model'])}, revision "
        f"{code(params['base_revision'])}, made with the Churninator Forge {record['forge']}.\n\n"
        f"- Rows: {training['rows']}, optimizer steps: {training['steps']}, the adapter is that of step "
        f"{training['best_step']}\n"
        f"- Clicks on held-out screenshots (within 5% of the point): {_share(training['held_out_clicks'])}\n"
        f"- Hardware: {training['processes']} x {training['device']}, {training['precision'].removeprefix('torch.')}; "
        f"{training['seconds']} s, {_dollars(training['usd'])}\n"
        f"- Image size (longest edge): {params['image_size']} px; the processor here has it set\n"
        f"- Coordinates in prompts and answers: {params['coord_format']}\n"
        f"- Base in 4 bits during training: {params['load_in_4bit']}\n"
        f"- Parent adapter: {code(record['identity']['parent_adapter'] or 'none')}\n"
        f"- Data: {code(training['data'])}; sha256 {record['identity']['data_sha256']}\n"
        f"- Learning rate {params['learning_rate']}, {params['batch_size']} x {params['gradient_accumulation']} rows a "
        f"step and device, LoRA alpha {params['lora_alpha']}, dropout {params['lora_dropout']}\n"
    )


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"


def _dollars(value: float) -> str:
    return f"${value:.2f}" if value else "cost not known"


def check_parent(model: PeftModel, params: TrainParams) -> None:
    """Raise ValueError where the parent adapter has not the shape and coordinates of the params."""
    parent = model.peft_config["default"]
    for name, value in (
        ("lora_rank", parent.r),
        ("lora_alpha", parent.lora_alpha),
        ("lora_dropout", parent.lora_dropout),
        ("train_vision", next((name for name, each in LORA_TARGETS.items() if each == parent.target_modules), None)),
        ("coord_format", coord_format_of(resolve(params.parent_adapter))),
    ):
        if getattr(params, name) != value:
            raise ValueError(
                f"{name} is {getattr(params, name)}, but the parent adapter {params.parent_adapter} has {value}; "
                "an adapter that is continued keeps its shape and coordinates"
            )


def coord_format_of(adapter: Path) -> CoordFormat:
    """How an adapter or merged folder learned to write places; "4-decimals" where there is no forge.json that says.

    Raises what `read_record` raises.
    """
    return read_record(adapter).identity.params.coord_format if (adapter / RECORD).exists() else "4-decimals"
