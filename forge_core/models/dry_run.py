"""Passes through a base's modules on tensors that have a shape and no contents: seconds, and no memory, at any size.

What a pass keeps is decided by many libraries (autocast, peft, attention, checkpointing), so it is not put down here as
a formula: the modules themselves are run, and the bytes counted that are alive at once, as a GPU's allocator would hold
them before it rounds up. `FakeTensorMode` is private to PyTorch (`torch._subclasses`, read in 2.13.0).
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

import torch
from peft import PeftModel
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PretrainedConfig, PreTrainedModel

from forge_core.models.cost import read_config, skeleton
from forge_core.models.load import attach_lora

# Here transformers (5.23.0) looks whether rows are packed; without contents it can't see that they are not.
PACKED = "transformers.masking_utils.find_packed_sequence_indices"
DEPTHS = 2, 3  # layers that are run: each further one keeps as much as the third does


@dataclass(frozen=True)
class Adapted:
    """A base with a new adapter; `dtype` is that of the base's weights and, where it is bf16, of autocast."""

    base: str
    revision: str
    rank: int
    dropout: float
    train_vision: str
    dtype: torch.dtype = torch.bfloat16


@cache
def config(adapted: Adapted) -> PretrainedConfig:
    """The base's, with what its files leave to its class."""
    return read_config(adapted.base, adapted.revision)


@dataclass(frozen=True)
class Pass:
    """Bytes: `kept` is alive after the way forward; `working` comes on top when most is alive, there or back."""

    kept: int
    working: int


class Alive(TorchDispatchMode):
    """Bytes of tensors made under it, alive `now` and at most (`peak`). What kernels use inside is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        given = set(map(_key, _tensors((args, kwargs))))  # a view of a weight is nothing new
        for tensor in _tensors(made):
            key, size = _key(tensor), tensor.untyped_storage().nbytes()
            if key not in self.seen and key not in given:
                self.seen.add(key)
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(tensor.untyped_storage(), self._drop, key, size)
        return made

    def _drop(self, key: int, size: int) -> None:
        self.seen.discard(key)
        self.now -= size


@cache
def text_step(adapted: Adapted, batch: int, length: int, checkpointing: bool) -> Pass:
    """Forward and back through the language model, on `batch` rows of `length` tokens.

    At work at once is one layer: with checkpointing what it keeps, made again, and in both cases its gradients.
    """
    asks = checkpointing or adapted.train_vision != "none"  # whether gradients reach the embeddings

    def forward(model, width: int) -> tuple:
        embeddings = torch.empty(batch, length, width, dtype=adapted.dtype, requires_grad=asks)
        return (model.text_model(inputs_embeds=embeddings, use_cache=False).last_hidden_state.sum(),)

    shallow, deep = (_watch(adapted, depth, forward, True, checkpointing) for depth in DEPTHS)
    return _at_depth(shallow, deep, config(adapted).text_config.num_hidden_layers)


@cache
def picture_pass(adapted: Adapted, tiles: int, trains: bool, checkpointing: bool = False) -> Pass:
    """Vision tower and connector on so many tiles; `trains`: and back, through those of them that have an adapter.

    Without, image features are all that is kept.
    """
    tower_trains = trains and adapted.train_vision == "lora"
    shape = config(adapted).vision_config
    patches = (shape.image_size // shape.patch_size) ** 2

    def forward(model, _) -> tuple:
        embeddings = torch.empty(tiles, patches, shape.hidden_size, dtype=adapted.dtype, requires_grad=tower_trains)
        tower = model.vision_model
        with torch.set_grad_enabled(tower_trains):
            hidden = tower.post_layernorm(tower.encoder(inputs_embeds=embeddings).last_hidden_state)
        features = model.connector(hidden)
        return (features.sum() if trains else features,)

    shallow, deep = (_watch(adapted, depth, forward, trains, checkpointing) for depth in DEPTHS)
    return _at_depth(shallow, deep, shape.num_hidden_layers)


@cache
def reading(adapted: Adapted, batch: int, length: int) -> int:
    """Most bytes alive, the KV cache aside, while prompts of `length` tokens are read, padded on the left."""
    layers = min(DEPTHS[0], config(adapted).text_config.num_hidden_layers)

    def forward(model, width: int) -> tuple:
        embeddings = torch.empty(batch, length, width, dtype=adapted.dtype)
        mask = torch.empty(batch, 1, length, length, dtype=torch.bool)
        read = model.text_model(inputs_embeds=embeddings, attention_mask=mask, use_cache=True)
        return read.last_hidden_state, read.past_key_values

    done = _watch(adapted, layers, forward, False, False)
    return done.kept + done.working - cache_bytes(adapted, batch, length, layers)


def cache_bytes(adapted: Adapted, batch: int, length: int, layers: int | None = None) -> int:
    """The KV cache: a key and a value for each row, token, layer and KV head."""
    shape = config(adapted).text_config
    head = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    width = 2 * shape.num_key_value_heads * head * adapted.dtype.itemsize
    return batch * length * (layers or shape.num_hidden_layers) * width


def _watch(adapted: Adapted, layers: int, forward: Callable[..., tuple], trains: bool, checkpointing: bool) -> Pass:
    """`forward` takes the model and its hidden size, and gives what the caller holds, first what to go back from."""
    model, base = _cut(adapted, layers)
    model.train(trains)
    if checkpointing:
        base.activation_checkpointing_enable()
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=adapted.dtype is torch.bfloat16)
    with FakeTensorMode(), patch(PACKED, lambda positions: None):
        _fill(model)
        with Alive() as alive:
            with torch.set_grad_enabled(trains), autocast:
                held = forward(base.model, base.config.text_config.hidden_size)
            kept = alive.now  # autocast's copies of the adapter go when it ends
            if trains:
                held[0].backward()
            return Pass(kept, alive.peak - kept)


def _cut(adapted: Adapted, layers: int) -> tuple[PeftModel, PreTrainedModel]:
    """The base with its adapter, and without: no weights, and so many layers in the language model and in the tower."""
    base = skeleton(adapted.base, adapted.revision, adapted.dtype).requires_grad_(False)
    for part in (base.model.text_model, base.model.vision_model.encoder):
        part.layers = part.layers[:layers]
    return attach_lora(base, adapted.rank, adapted.rank, adapted.dropout, adapted.train_vision), base


def _fill(model: PeftModel) -> None:
    """Put tensors of the mode that is on in place of those without a device; dropout as GPUs do it."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                empty = torch.empty(weight.shape, dtype=weight.dtype)
                module._parameters[name] = torch.nn.Parameter(empty, requires_grad=weight.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
        if isinstance(module, torch.nn.Dropout) and module.training:
            module.forward = _dropout_of_gpus


def _dropout_of_gpus(hidden: torch.Tensor) -> torch.Tensor:
    """It keeps a mask of one byte an element, where a CPU's keeps a float."""
    return torch.native_dropout(hidden, 0.5, True)[0]


def _at_depth(shallow: Pass, deep: Pass, layers: int) -> Pass:
    """From `DEPTHS` layers to all."""
    return Pass(deep.kept + (layers - DEPTHS[1]) * (deep.kept - shallow.kept), deep.working)


def _tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _key(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
