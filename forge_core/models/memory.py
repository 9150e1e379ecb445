"""What training and evaluation need on the card, part by part: behind `forge doctor --profile`.

From the base's configuration and the params alone: no weight is loaded, no GPU is asked, and **nothing here has been
measured on a GPU**. Rows are taken at their longest (`max_length`) and screenshots at their largest (square).
"""

from dataclasses import dataclass, replace
from functools import cache
from math import ceil

import torch
from transformers import PreTrainedModel

from forge_core.models.cost import adapted as lora_of
from forge_core.models.cost import skeleton
from forge_core.models.dry_run import Adapted, cache_bytes, picture_pass, reading, text_step
from forge_core.models.load import NOT_QUANTISED, load_processor
from forge_core.params import EvaluateParams, TrainParams
from forge_core.training.held_out import SLACK
from forge_core.training.trainer import CHUNK

Params = TrainParams | EvaluateParams

ALLOWANCE = 2**30  # bytes: CUDA's context, cuBLAS's workspace, what the allocator rounds up. Allowed for, not measured
TRAINED = 16  # bytes a trainable weight: itself, its gradient and AdamW's two moments, fp32


@dataclass(frozen=True)
class Need:
    """Bytes on the card, by part. `logits` and `working` are never alive at once, nor `tower` and `kept`."""

    weights: int
    adapter: int  # training: with gradients and optimizer
    pictures: int  # training: the pixels of a step; answering: the features of a batch
    kept: int  # training: activations for the way back; answering: the KV cache
    working: int  # one layer at work: made again, and its gradients; answering: while the prompts are read
    logits: int
    tower: int  # while the vision tower runs

    @property
    def total(self) -> int:
        """The most that is alive at once, with the allowance."""
        steps = max(self.tower, self.kept + max(self.working, self.logits))
        return self.weights + self.adapter + self.pictures + steps + ALLOWANCE


def training(params: TrainParams, dtype: torch.dtype = torch.bfloat16) -> Need:
    """A step of 03 or 04; `dtype` is what the weights that are not in 4 bits are held in."""
    vocabulary, adapted, (tiles, area) = _vocabulary(params), _adapted(params, params, dtype), _tiles(params)
    batch, again, pictured = params.batch_size, params.activation_checkpointing, params.train_vision != "none"
    text = text_step(adapted, batch, params.max_length, again)
    picture = picture_pass(adapted, batch * tiles, pictured, again)
    as_bytes = 3 * batch * params.gradient_accumulation * tiles * area  # the Trainer sends an optimizer step's at once
    as_floats = 12 * batch * tiles * area  # fp32, this micro-batch's
    return Need(
        weights=weights(params, dtype),
        adapter=TRAINED * trainable(params, params),
        pictures=as_bytes + as_floats,
        kept=text.kept + (picture.kept if pictured else 0),
        working=text.working + _unpacked(params, dtype),
        logits=loss_bytes(vocabulary, batch * params.max_length),
        tower=picture.kept + picture.working + batch * tiles * area * (3 * dtype.itemsize + 1),  # cast; and a mask
    )


def held_out(params: TrainParams, dtype: torch.dtype = torch.bfloat16) -> Need:
    """Answering held-out screenshots during 03 or 04, with the optimizer on the card."""
    need = _answering(params, params, params.eval_batch_size, params.max_length, SLACK, dtype)
    return replace(need, adapter=TRAINED * trainable(params, params))


def evaluation(params: EvaluateParams, trained: TrainParams, dtype: torch.dtype = torch.bfloat16) -> Need:
    """05, on an adapter as `trained` makes it; its prompts are no longer than a training row may be."""
    new = max(params.grounding_tokens, params.reasoning_tokens)
    return _answering(params, trained, params.batch_size, trained.max_length, new, dtype)


def weights(params: Params, dtype: torch.dtype) -> int:
    """Bytes of the base: with `load_in_4bit` NF4 for linear layers outside NOT_QUANTISED; the rest is `dtype`."""
    model = _skeleton(params)
    packed = _packed(model) if params.load_in_4bit else []
    whole = sum(weight.numel() for weight in model.parameters()) - sum(packed)
    return sum(map(nf4_bytes, packed)) + whole * dtype.itemsize


def nf4_bytes(count: int) -> int:
    """A matrix of so many weights as bitsandbytes stores it, its scales packed too (QLoRA, arXiv 2305.14314).

    Half a byte a weight; a byte for the scale of each 64; four for the scale of each 256 of these, and for their mean;
    the 16 levels of NF4 and the 256 of the scales' format.
    """
    scales = ceil(count / 64)
    return ceil(count / 2) + scales + 4 * ceil(scales / 256) + 4 + 4 * 16 + 4 * 256


def trainable(params: Params, trained: TrainParams) -> int:
    """Weights of the adapter that `trained` asks for, on the base of `params`."""
    return sum(_lora(params.base_model, params.base_revision, trained.lora_rank, trained.train_vision).values())


def loss_bytes(vocabulary: int, tokens: int) -> int:
    """What the loss has at once, at CHUNK positions or fewer: log-softmax, its gradient, that of the logits, fp32."""
    return 12 * vocabulary * min(CHUNK, tokens)


def _answering(params: Params, trained: TrainParams, batch: int, prompt: int, new: int, dtype: torch.dtype) -> Need:
    """`batch` answers of `new` tokens to prompts of `prompt` tokens; screenshots are encoded one by one."""
    vocabulary, adapted, (tiles, area) = _vocabulary(params), _adapted(params, trained, dtype), _tiles(params)
    screen = picture_pass(adapted, tiles, trains=False)
    return Need(
        weights=weights(params, dtype),
        adapter=4 * trainable(params, trained),
        pictures=batch * screen.kept,
        kept=cache_bytes(adapted, batch, prompt + new),
        working=reading(adapted, batch, prompt) + _unpacked(params, dtype),
        logits=batch * vocabulary * (dtype.itemsize + 4),  # at one position; and in fp32
        tower=screen.working + tiles * area * (12 + 8 + 3 * dtype.itemsize + 8),  # pixels and mask, sent and selected
    )


@cache
def _lora(base: str, revision: str, rank: int, train_vision: str) -> dict[str, int]:
    return lora_of(base, revision, rank, train_vision).adapters


def _unpacked(params: Params, dtype: torch.dtype) -> int:
    """A 4-bit matrix is unpacked for each product; the largest counts."""
    return max(_packed(_skeleton(params))) * dtype.itemsize if params.load_in_4bit else 0


def _packed(model: PreTrainedModel) -> list[int]:
    """Weights of each matrix that `load_base` puts in 4 bits."""
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return [module.weight.numel() for name, module in linear if not name.startswith(tuple(NOT_QUANTISED))]


def _tiles(params: Params) -> tuple[int, int]:
    """(tiles of a square screenshot, the whole as one of them included; px of a tile)."""
    return _cut(params.base_model, params.base_revision, params.image_size)


@cache
def _cut(base: str, revision: str, image_size: int) -> tuple[int, int]:
    images = load_processor(base, revision, image_size).image_processor
    tiles = images.get_number_of_image_patches(image_size, image_size)[0]
    return max(1, tiles), images.max_image_size["longest_edge"] ** 2


def _adapted(params: Params, trained: TrainParams, dtype: torch.dtype) -> Adapted:
    lora = trained.lora_rank, trained.lora_dropout, trained.train_vision
    return Adapted(params.base_model, params.base_revision, *lora, dtype)


@cache
def _base(base: str, revision: str) -> PreTrainedModel:
    return skeleton(base, revision)


def _skeleton(params: Params) -> PreTrainedModel:
    return _base(params.base_model, params.base_revision)


def _vocabulary(params: Params) -> int:
    return _skeleton(params).config.text_config.vocab_size
