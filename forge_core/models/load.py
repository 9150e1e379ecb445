"""Load a base model (plain or in NF4), its processor, and a LoRA adapter: a new one, or one to continue or evaluate.

`base` is a hub name, a folder, or "embedded" for the tiny VLM that ships with the Forge.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
import transformers
from accelerate import PartialState
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, PreTrainedModel, ProcessorMixin

from forge_core.models.processor import read_processor
from forge_core.paths import locate

# By `train_vision`: the language model's linear layers alone, with the connector's, with the vision tower's as well.
# A string is matched against the whole module name.
_TEXT = r".*text_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
_CONNECTOR = r".*connector\.modality_projection\.proj"
_TOWER = r".*vision_model.*\.(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
LORA_TARGETS = {"none": _TEXT, "connector": f"{_TEXT}|{_CONNECTOR}", "lora": f"{_TEXT}|{_CONNECTOR}|{_TOWER}"}
# bitsandbytes matches these from the start of a name; a list given here replaces its default, hence `lm_head`.
NOT_QUANTISED = ["model.vision_model", "model.connector", "lm_head"]


def device() -> torch.device:
    """This process's GPU (`accelerate launch` says which one by LOCAL_RANK), else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def processes() -> PartialState:
    """This process among those that `accelerate launch` started; alone without it."""
    return PartialState(cpu=not torch.cuda.is_available())


@cache
def compute_dtype() -> torch.dtype:
    """bf16 where this machine multiplies it by itself, else (a CPU without such instructions) fp32.

    Emulated, bf16 products on a CPU are 30 to 100 times slower than fp32 (docs/log.md). Raises RuntimeError on a GPU
    without bf16, where training would be slow beyond use.
    """
    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16
        name, capability = torch.cuda.get_device_name(), ".".join(map(str, torch.cuda.get_device_capability()))
        raise RuntimeError(
            f"{name} (compute capability {capability}) has no bf16; take a card with 8.0 or more (RTX 30xx, A100, L4)"
        )
    capable = torch.cpu.get_capabilities()
    native = any(capable.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last one is ARM's
    return torch.bfloat16 if native else torch.float32


def autocast() -> torch.autocast:
    """Matrix products in `compute_dtype`."""
    return torch.autocast(device().type, torch.bfloat16, enabled=compute_dtype() is torch.bfloat16)


def load_processor(base: str, revision: str = "main", image_size: int | None = None) -> ProcessorMixin:
    """The processor of a base or of an adapter folder; `image_size` is the longest edge in px after resizing.

    Raises ValueError where `image_size` is not a multiple of the model's tile (every other size wastes tiles), or where
    the base is of a family that is not known.
    """
    processor = read_processor(locate(base), revision)
    if image_size:
        tile = processor.image_processor.max_image_size["longest_edge"]
        if image_size % tile or image_size < tile:
            raise ValueError(f"image_size {image_size} is not a multiple of the tile of {base}, {tile} px")
        processor.image_processor.size = {"longest_edge": image_size}
    return processor


def load_base(base: str, revision: str = "main", load_in_4bit: bool = True, on_cpu: bool = False) -> PreTrainedModel:
    """The frozen base in `compute_dtype`; `load_in_4bit`: the language model's linear layers in NF4.

    `on_cpu`: in fp32 on the CPU, whatever the machine has, and without waking a GPU (a process that has can't fork
    others that use it).
    """
    dtype, where = (torch.float32, torch.device("cpu")) if on_cpu else (compute_dtype(), device())
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=NOT_QUANTISED,
    )
    with _quiet():
        model = AutoModelForImageTextToText.from_pretrained(
            locate(base),
            revision=revision,
            dtype=dtype,
            device_map={"": where},
            quantization_config=quantisation if load_in_4bit else None,
        )
    if load_in_4bit:
        _keep_weights(model)
    return model.requires_grad_(False)


def _keep_weights(model: PreTrainedModel) -> None:
    """Forbid bitsandbytes to repack the 4-bit weights, for good, when the model is run in eval mode.

    bitsandbytes 0.50.2 does so on a CPU with AVX512-BF16 (Linear4bit.forward). Its product has no backward pass, so
    that after clicks were scored during training, gradients would no longer reach the layers below.
    """
    from bitsandbytes.nn import Linear4bit  # not at import: plain LoRA works where bitsandbytes does not

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def attach_lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float, train_vision: str = "none") -> PeftModel:
    """A new LoRA adapter (fp32) on what `train_vision` says, a key of LORA_TARGETS."""
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=LORA_TARGETS[train_vision],
        task_type="CAUSAL_LM",
    )
    with _quiet():
        return get_peft_model(model, config)


def load_adapter(model: PreTrainedModel, folder: Path, trainable: bool = False) -> PeftModel:
    """A saved adapter on its base; `trainable` continues it (`get_peft_model` would silently start it afresh)."""
    if not (Path(folder) / "adapter_config.json").is_file():
        raise FileNotFoundError(f"{folder} holds no adapter (adapter_config.json); has its training finished?")
    with _quiet():
        adapted = PeftModel.from_pretrained(model, folder, is_trainable=trainable)
    adapted.peft_config["default"].base_model_name_or_path = model.name_or_path  # peft looks there when it saves
    return adapted


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' remarks to their own developers: a deprecated name, a bar for a second's work."""
    transformers.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
