"""Load a base model (plain or in NF4), its processor, and a LoRA adapter: a new one, or one to continue or evaluate.

`base` is a hub name, a folder, or "embedded" for the tiny VLM that ships with the Forge.
"""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
import transformers
from accelerate import PartialState
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForImageTextToText, BitsAndBytesConfig, PreTrainedModel, ProcessorMixin

from forge_core.models.adapter_folder import CONFIG, WEIGHTS, Targets, read_record, read_targets
from forge_core.models.base_files import base_folder, check_files, count_weights, template_of
from forge_core.models.processor import config_of, naming, read_processor
from forge_core.text import printable

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
    """The processor of a base or a merged folder; `image_size` is the longest edge in px after resizing.

    Raises ValueError where `image_size` is not a multiple of the model's tile (every other size wastes tiles), or where
    the base is of a family that is not known.
    """
    processor = read_processor(base, revision)
    if image_size:
        tile = processor.image_processor.max_image_size["longest_edge"]
        if image_size % tile or image_size < tile:
            raise ValueError(f"image_size {image_size} is not a multiple of the tile of {base}, {tile} px")
        processor.image_processor.size = {"longest_edge": image_size}
    return processor


def adapter_processor(adapter: Path, base: str, revision: str) -> ProcessorMixin:
    """The processor that an adapter was trained with: that of its base, at the image size that forge.json says.

    The files beside the adapter are for plain transformers. They are not used here, but must be whole, ask for no code,
    and have the base's chat template. Raises ValueError and OSError.
    """
    check_files(adapter)
    processor = load_processor(base, revision, read_record(adapter).identity.params.image_size)
    if template_of(adapter) not in (None, processor.chat_template):
        raise ValueError(f"{adapter}: its chat template is not that of {base}")
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
    folder = base_folder(base, revision, weights=True)
    _check_size(folder)
    with _quiet(), naming(folder):
        model = AutoModelForImageTextToText.from_pretrained(
            folder,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
            dtype=dtype,
            device_map={"": where},
            quantization_config=quantisation if load_in_4bit else None,
        )
    if load_in_4bit:
        _keep_weights(model)
    return model.requires_grad_(False)


def skeleton_of(folder: Path, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """The model of a checked base without its weights, in the dtype of its configuration or another."""
    config = config_of(folder)
    with torch.device("meta"), naming(folder):
        return AutoModelForImageTextToText.from_config(
            config, trust_remote_code=False, attn_implementation="sdpa", **({"dtype": dtype} if dtype else {})
        )


def _check_size(folder: Path) -> None:
    """Raise ValueError where the model is larger than its weights: transformers would make up the rest, in memory."""
    asked, there = sum(part.numel() for part in skeleton_of(folder).parameters()), count_weights(folder)
    if asked > 2 * there:  # a head that shares the embeddings' weights is stored once
        raise ValueError(f"{folder / 'config.json'}: a model of {asked:,} parameters, but there are {there:,}")


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
    """A saved adapter on its base; `trainable` continues it (`get_peft_model` would silently start it afresh).

    Raises FileNotFoundError where there is none, ValueError where its files are damaged or not of this base.
    """
    folder = Path(folder)
    found = read_lora(folder)
    _check_weights(model, found, folder / WEIGHTS)
    config = LoraConfig(
        r=found.r,
        lora_alpha=found.lora_alpha,
        lora_dropout=found.lora_dropout,
        target_modules=found.target_modules,
        task_type=found.task_type,
    )
    with _quiet(), naming(folder):
        adapted = PeftModel.from_pretrained(model, folder, is_trainable=trainable, config=config)
    adapted.peft_config["default"].base_model_name_or_path = model.name_or_path  # peft looks there when it saves
    return adapted


def read_lora(folder: Path) -> Targets:
    """What adapter_config.json asks for, and the Forge lets it. Raises FileNotFoundError and ValueError."""
    return read_targets(folder, set(LORA_TARGETS.values()), LoraConfig().to_dict())


def _check_weights(model: PreTrainedModel, found: Targets, file: Path) -> None:
    """Raise ValueError unless the adapter's file is safetensors, with a finite A and B for each target of the base."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing; other kinds of weights are not read")
    wanted = dict(_shapes(model, found))
    try:
        with safe_open(file, "pt") as weights:
            names = set(weights.keys())
            if odd := sorted(names ^ wanted.keys()):
                state = "not one of this base" if odd[0] in names else "missing"
                raise ValueError(f"{file}: {printable(odd[0][:200])} is {state} ({len(odd)} such)")
            for name, shape in wanted.items():
                there = weights.get_slice(name)
                if tuple(there.get_shape()) != shape or there.get_dtype() not in ("F32", "F16", "BF16"):
                    is_now = f"{there.get_dtype()} {tuple(there.get_shape())}"
                    raise ValueError(f"{file}: {name} is {is_now}, but {CONFIG} and the base ask for {shape}")
                if not torch.isfinite(weights.get_tensor(name)).all():
                    raise ValueError(f"{file}: {name} has a NaN or an infinity")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file}: not whole ({error})") from None


def _shapes(model: PreTrainedModel, found: Targets) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name and shape of each matrix that peft saves; it matches patterns whole, and names at the end."""
    for name, module in model.named_modules():
        if isinstance(found.target_modules, str):
            hit = re.fullmatch(found.target_modules, name)
        else:
            hit = any(f".{name}".endswith(f".{target}") for target in found.target_modules)
        if hit and isinstance(module, torch.nn.Linear):
            yield f"base_model.model.{name}.lora_A.weight", (found.r, module.in_features)
            yield f"base_model.model.{name}.lora_B.weight", (module.out_features, found.r)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the libraries' remarks to their own developers: a deprecated name, a bar for a second's work."""
    transformers.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
