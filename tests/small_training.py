"""A small data set, and parameters to train on it for a few steps."""

from pathlib import Path

from raw_rows import preprocess_params

from forge_core.data.preprocess import preprocess
from forge_core.data.sandbox import write_raw
from forge_core.params import EvaluateParams, GroundingParams, TrainParams

NAMES = ["sandbox_web", "sandbox_desktop", "sandbox_mobile"]


def write_rows(folder: Path) -> Path:
    """Draw 24 screens for each stage and preprocess them into `folder`."""
    write_raw(folder / "raw", screens=8, seed=5)
    for stage in (1, 2):
        names = {"stage1_subsets": NAMES, "stage2_subsets": NAMES}
        preprocess(preprocess_params(folder / "raw", folder, max_turns=4, **names), stage)
    return folder


def train_params(data: Path, output: Path, model: type[TrainParams] = GroundingParams, **changes) -> TrainParams:
    """Ten steps of eight rows, with changes."""
    values = {
        "run": "test", "seed": 1, "base_model": "embedded", "base_revision": "main", "parent_adapter": "",
        "data_dir": str(data), "output_dir": str(output), "image_size": 512, "coord_format": "4-decimals",
        "load_in_4bit": True, "lora_rank": 8, "lora_alpha": 16, "lora_dropout": 0.1, "train_vision": "none",
        "learning_rate": 2e-3, "usd_per_hour": 0.0,
        "weight_decay": 0.0, "warmup_steps": 0.0, "batch_size": 8, "gradient_accumulation": 1, "epochs": 1.0,
        "max_steps": 10, "max_length": 640, "pad_to_multiple_of": 64, "logging_steps": 1, "save_steps": 5,
        "held_out": 0, "eval_batch_size": 8, "activation_checkpointing": False, "num_workers": 0, "wandb": False,
    }  # fmt: skip
    return model(**{**values, **changes})


def evaluate_params(benchmark: Path, grounding: Path, reasoning: Path, **changes) -> EvaluateParams:
    """All targets of a benchmark in ScreenSpot-v2's layout, with changes."""
    values = {
        "run": "test", "seed": 1, "benchmark": "screenspot_v2", "benchmark_dir": str(benchmark),
        "base_model": "embedded", "base_revision": "main", "grounding_adapter": str(grounding),
        "reasoning_adapter": str(reasoning), "image_size": 512, "load_in_4bit": True, "batch_size": 4,
        "grounding_tokens": 32, "reasoning_tokens": 256, "limit": 0, "baselines": [], "merged_model": "",
        "zoom": False, "votes": 0, "wandb": False,
    }  # fmt: skip
    return EvaluateParams(**{**values, **changes})
