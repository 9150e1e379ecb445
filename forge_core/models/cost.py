"""What an epoch must cost at least: the arithmetic of LoRA training over what this machine's matrix products reach.

Training is slower than this bound, by how much a probe tells (notebook 03). A forward pass takes 2 FLOP a parameter and
token (Kaplan et al. 2020, arXiv 2001.08361); with frozen weights the way back takes 2 more, for activations alone.
"""

import re
import time
from collections import Counter
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig, PreTrainedModel

from forge_core.models.base_files import base_folder
from forge_core.models.load import LORA_TARGETS, compute_dtype, device, skeleton_of
from forge_core.models.processor import config_of

LARGEST = 8192  # side of the matrices whose product is timed
_PARTS = {"vision_model": "vision tower", "connector": "connector", "text_model.layers": "language layers"}


@dataclass(frozen=True)
class Geometry:
    """Parameters of language model and vision tower, the patches behind one image token, and a patch's side in px."""

    text: int
    vision: int
    patches_per_token: int
    patch: int


def geometry(base: str, revision: str = "main") -> Geometry:
    """The geometry of a base, from its configuration alone: no weight is loaded or allocated."""
    model = skeleton(base, revision)
    text, vision, config = model.model.text_model, model.model.vision_model, model.config
    return Geometry(_linear(text), _linear(vision), config.scale_factor**2, config.vision_config.patch_size)


@dataclass(frozen=True)
class Adapted:
    """Parameters of a base by part, those that LoRA adds to each part, and what it sits on.

    `matrices`: (out, in) of the matrices of the first language layer that have an adapter, by name.
    """

    parts: dict[str, int]
    adapters: dict[str, int]
    matrices: dict[str, tuple[int, int]]
    rank: int


def adapted(base: str, revision: str, rank: int, train_vision: str = "none") -> Adapted:
    """What LoRA of this rank adds to a base, from its configuration alone; `train_vision` as in `attach_lora`."""
    model, adapters, matrices = skeleton(base, revision), Counter(), {}
    for name, module in model.named_modules():
        if re.fullmatch(LORA_TARGETS[train_vision], name):
            adapters[_part(name)] += rank * (module.in_features + module.out_features)
            if ".layers.0." in name and "text_model" in name:
                matrices[name.split(".")[-1]] = (module.out_features, module.in_features)
    parts = Counter()
    for name, parameter in model.named_parameters():
        parts[_part(name)] += parameter.numel()
    return Adapted(dict(parts), dict(adapters), matrices, rank)


def _part(name: str) -> str:
    return next((part for key, part in _PARTS.items() if key in name), "embeddings and head")


def skeleton(base: str, revision: str, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The model without its weights, in the dtype of its configuration or another. Raises OSError where it has none."""
    return skeleton_of(base_folder(base, revision), dtype)


def read_config(base: str, revision: str) -> PretrainedConfig:
    """The configuration of a base, with what its files leave to its class. Raises OSError, ValueError."""
    return config_of(base_folder(base, revision))


def epoch_flop(shape: Geometry, tokens: int, image_tokens: int, recompute: bool = False) -> int:
    """FLOP of an epoch over `tokens` (of them `image_tokens`); `recompute`: with activation checkpointing."""
    language = (6 if recompute else 4) * shape.text * tokens
    return language + 2 * shape.vision * image_tokens * shape.patches_per_token  # the tower is frozen: forward only


def matmul_rate(seconds: float = 1.0) -> float:
    """The highest FLOP a second that matrix products in `compute_dtype` reach on this machine, in about `seconds`.

    The best of many: what other programs take in between must not turn a bound into a guess.
    """
    best, side, end = 0.0, 512, _now() + seconds
    while (start := _now()) < end:
        left, right = (torch.randn(side, side, device=device(), dtype=compute_dtype()) for _ in range(2))
        left @ right  # the first one builds the kernel
        begin = _now()
        left @ right
        spent = _now() - begin
        best = max(best, 2 * side**3 / spent)
        if _now() - start < seconds / 20 and side < LARGEST:  # larger products come nearer to the peak
            side *= 2
    return best


def _linear(module: torch.nn.Module) -> int:
    """Weights that are multiplied with every token: those of linear and convolution layers."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, kinds))


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
