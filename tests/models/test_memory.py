"""What `memory` says in advance is what tensors really take, on a CPU: weights, adapter, activations, KV cache, loss.

A small SmolVLM2 with weights is trained and asked as the project does it, with a GPU's dropout (its mask is of bytes).
"""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from forge_core.models import fit, memory
from forge_core.models.dry_run import Alive
from forge_core.models.load import attach_lora, autocast, load_base, load_processor
from forge_core.params import load
from forge_core.paths import ROOT
from forge_core.training.collate import IGNORED
from forge_core.training.trainer import CHUNK, _cross_entropy, freeze_tower, train_only_labelled

CLASSES = {
    "smolvlm2": (SmolVLMConfig, SmolVLMForConditionalGeneration),
    "idefics3": (Idefics3Config, Idefics3ForConditionalGeneration),
}
TEXT = {"vocab_size": 1144, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 5}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 1024}
VISION = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 3}
PICTURE = {"image_size": 256, "patch_size": 16}  # one tile of 16 x 16 patches
PICTURED = 16  # tokens of a tile, by a scale factor of 4


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    """A folder with a small SmolVLM2."""
    return build("smolvlm2", tmp_path_factory.mktemp("smolvlm2"))


def build(family: str, folder) -> str:
    config_class, model_class = CLASSES[family]
    text = {"model_type": "llama", "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **TEXT, **HEADS}
    config = config_class(
        text_config=text, vision_config=VISION | PICTURE, scale_factor=4, image_token_id=4, tie_word_embeddings=False
    )
    torch.manual_seed(0)
    model_class(config).to(torch.bfloat16).save_pretrained(folder)
    processor = load_processor("embedded")
    processor.image_seq_len = PICTURED
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(params=["float32", "bfloat16"])
def dtype(request, monkeypatch) -> torch.dtype:
    """What models are loaded and run in, whatever this machine would choose."""
    chosen = getattr(torch, request.param)
    monkeypatch.setattr("forge_core.models.load.compute_dtype", lambda: chosen)
    return chosen


@pytest.fixture(autouse=True)
def dropout_of_gpus(monkeypatch):
    def dropout(hidden, p, training, inplace):
        return torch.native_dropout(hidden, p, training)[0] if training else hidden

    monkeypatch.setattr("torch.nn.functional.dropout", dropout)


def params(base: str, **changes):
    """Of a training stage on a base."""
    given = load(ROOT / "params/embedded/03_train_grounding.yaml")
    common = {"base_model": base, "lora_dropout": 0.05, "lora_rank": 8, "batch_size": 3, "max_length": 112}
    return given.model_copy(update=common | changes)


def trainable(given):
    """The model as `stage.trainable_model` makes it, ready for a forward pass."""
    model = load_base(given.base_model, load_in_4bit=given.load_in_4bit)
    model = attach_lora(model, given.lora_rank, given.lora_alpha, given.lora_dropout, given.train_vision)
    train_only_labelled(model)
    if given.train_vision != "lora":
        freeze_tower(model)
    if given.activation_checkpointing:
        model.get_base_model().activation_checkpointing_enable()
    return model.train()


def evaluating(base: str, new: int = 8):
    """Of an evaluation as large as `params`, with answers of `new` tokens."""
    given = load(ROOT / "params/embedded/05_evaluate_screenspot.yaml")
    return given.model_copy(
        update={"base_model": base, "batch_size": 3, "reasoning_tokens": new, "grounding_tokens": 1}
    )


def batch_of(given, supervised: int = 4) -> dict:
    """Rows of `max_length` tokens with a screenshot each, the last `supervised` of them labelled."""
    size = given.batch_size, given.max_length
    ids = torch.randint(5, TEXT["vocab_size"], size)
    ids[:, :PICTURED] = 4
    labels = torch.full(size, IGNORED)
    labels[:, -supervised:] = ids[:, -supervised:]
    return {"input_ids": ids, "labels": labels, "pixel_values": torch.randn(given.batch_size, 1, 3, 256, 256)}


def storages(tensors) -> dict[int, int]:
    """Bytes of each storage behind tensors."""
    found = {tensor.untyped_storage()._cdata: tensor.untyped_storage() for tensor in tensors}
    return {key: storage.nbytes() for key, storage in found.items()}


def kept_for_backward(model, batch: dict) -> tuple[torch.Tensor, int]:
    """(the loss, bytes that the way back needs beside the model's own tensors)."""
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), autocast():
        loss = model(**batch).loss
    own = storages([*model.parameters(), *model.buffers()])
    return loss, sum(size for key, size in storages(kept).items() if key not in own)


@pytest.mark.parametrize("in_4bit", [True, False])
def test_weights(base, dtype, in_4bit):
    given = params(base, load_in_4bit=in_4bit)
    model = load_base(base, load_in_4bit=in_4bit)
    tensors = list(model.parameters())
    for state in [weight.quant_state for weight in model.parameters() if hasattr(weight, "quant_state")]:
        tensors += [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
    assert memory.weights(given, dtype) == pytest.approx(sum(storages(tensors).values()), rel=0.001)


@pytest.mark.parametrize("dtype", ["float32"], indirect=True)
@pytest.mark.parametrize("train_vision", ["none", "connector", "lora"])
def test_adapter_gradients_and_optimizer(base, dtype, train_vision):
    given = params(base, train_vision=train_vision)
    model = trainable(given)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights)
    with autocast():
        loss = model(**batch_of(given)).loss
    loss.backward()
    optimizer.step()
    moments = [value for state in optimizer.state.values() for value in state.values()]
    real = storages([*weights, *(weight.grad for weight in weights), *moments])
    assert memory.TRAINED * memory.trainable(given, given) == pytest.approx(sum(real.values()), rel=0.01)


@pytest.mark.parametrize(
    ("dtype", "checkpointing", "train_vision"),
    [
        ("bfloat16", True, "none"),
        ("bfloat16", False, "none"),
        ("bfloat16", True, "lora"),
        ("float32", False, "lora"),
    ],
    indirect=["dtype"],
)
def test_activations_kept(base, dtype, checkpointing, train_vision):
    given = params(base, activation_checkpointing=checkpointing, train_vision=train_vision)
    loss, kept = kept_for_backward(trainable(given), batch_of(given))
    assert loss.requires_grad
    assert memory.training(given, dtype).kept == pytest.approx(kept, rel=0.05)


@pytest.mark.parametrize("dtype", ["bfloat16"], indirect=True)
def test_activations_kept_by_another_family(tmp_path, dtype):
    given = params(build("idefics3", tmp_path), train_vision="connector", load_in_4bit=False, batch_size=2)
    _, kept = kept_for_backward(trainable(given), batch_of(given))
    assert memory.training(given, dtype).kept == pytest.approx(kept, rel=0.05)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_most_alive_in_a_step(base, dtype, checkpointing):
    given = params(base, activation_checkpointing=checkpointing)
    model, batch, need = trainable(given), batch_of(given, given.max_length), memory.training(given, dtype)
    with Alive() as alive:
        with autocast():
            loss = model(**batch).loss
        loss.backward()
    given_before = need.weights + need.adapter + need.pictures + memory.ALLOWANCE  # also alive, not made in the step
    assert need.total - given_before == pytest.approx(alive.peak, rel=0.05)


def test_most_alive_while_the_tower_runs(base, dtype):
    given = params(base)
    model, pixels = trainable(given), batch_of(given)["pixel_values"]
    with Alive() as alive, torch.no_grad(), autocast():
        model.get_base_model().get_image_features(pixels)
    assert memory.training(given, dtype).tower == pytest.approx(alive.peak, rel=0.05)


def test_kv_cache(base, dtype):
    given = params(base)
    batch, new = batch_of(given), 8
    batch.pop("labels")
    with torch.no_grad(), autocast():
        written = (
            trainable(given)
            .eval()
            .generate(**batch, max_new_tokens=new, min_new_tokens=new, return_dict_in_generate=True)
        )
    layers = written.past_key_values.layers
    real = storages([tensor for layer in layers for tensor in (layer.keys, layer.values)])
    kept = memory.evaluation(evaluating(base, new), given, dtype).kept
    assert kept == pytest.approx(sum(real.values()), rel=0.05)


@pytest.mark.parametrize("dtype", ["bfloat16"], indirect=True)
def test_most_alive_while_prompts_are_read(base, dtype):
    given = params(base)
    text = trainable(given).eval().get_base_model().model.text_model
    shape = given.batch_size, given.max_length
    mask = torch.ones(shape, dtype=torch.long)
    mask[0, 0] = 0  # padding on the left, so that attention needs a mask
    with Alive() as alive, torch.no_grad(), autocast():
        embeddings = torch.randn(*shape, TEXT["hidden_size"], dtype=dtype)
        cache = text(inputs_embeds=embeddings, attention_mask=mask, use_cache=True).past_key_values
    real = storages([tensor for layer in cache.layers for tensor in (layer.keys, layer.values)])
    working = memory.evaluation(evaluating(base), given, dtype).working
    assert working == pytest.approx(alive.peak - sum(real.values()), rel=0.05)


@pytest.mark.parametrize("tokens", [100, CHUNK + 100])
def test_loss(tokens):
    head = torch.nn.Linear(64, 5000, bias=False).requires_grad_(False)
    hidden, targets = torch.randn(tokens, 64, requires_grad=True), torch.randint(5000, (tokens,))
    with Alive() as alive:
        _cross_entropy(head, hidden, targets).backward()
    assert memory.loss_bytes(5000, tokens) == pytest.approx(alive.peak, rel=0.05)


def test_a_square_screenshot_has_most_tiles():
    assert memory._tiles(params("embedded")) == (1, 256**2)  # it does not split


def test_the_first_change_that_fits_is_named(monkeypatch):
    def measure(given) -> memory.Need:
        return memory.Need(0, 0, 0, given.batch_size * fit.GIB, 0, 0, 0)

    moment = fit.Moment("03 step", params("embedded", batch_size=8), measure)
    monkeypatch.setattr(fit, "CARDS", (16,))
    rooms = {9.5: "9.00 of at least 9.5 GiB", 4: "with batch_size: 2 it would", 1.5: "take a smaller base_model"}
    for room, ending in rooms.items():
        monkeypatch.setattr(fit, "least_memory", lambda card, room=room: room)
        assert fit.verdict([moment]).endswith(ending)


def test_without_checkpointing_it_is_offered(base):
    given = params(base, batch_size=1, activation_checkpointing=False)
    offered = [text for text, _ in fit.Moment("03 step", given, memory.training).changes()]
    assert offered == ["activation_checkpointing: true", "max_length: 84", "lora_rank: 4"]
