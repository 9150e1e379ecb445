"""The adapter folder that a stage leaves: adapter, processor with its image size, forge.json, model card."""

import json
import shutil
from pathlib import Path

from peft import PeftModel
from transformers import ProcessorMixin


def save_adapter(model: PeftModel, processor: ProcessorMixin, record: dict, final: Path) -> None:
    """Write the adapter folder in one move: adapter, processor with its image size, forge.json, model card."""
    draft = final.with_name("final.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    # by its name: peft would write the folder where the base lies on this machine
    model.peft_config["default"].base_model_name_or_path = record["identity"]["params"]["base_model"]
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
