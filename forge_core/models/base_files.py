"""The files of a base, or of a merged model, checked before transformers reads them: code, other repositories, sizes.

`trust_remote_code=False` is not enough (read in transformers 5.23): a processor's `audio_tokenizer` loads another
repository and asks whether to run its code, whatever the caller said; `attn_implementation` fetches a kernel from the
hub, and an adapter_config.json another base. Nothing here loads torch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Annotated, Literal

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError
from pydantic import Field, model_validator
from safetensors import SafetensorError, safe_open

from forge_core.json_files import Outside, checked, read_model, read_object
from forge_core.models.chat import LONGEST, check_template
from forge_core.models.tokenizer_file import Tokenizer
from forge_core.params import Edge
from forge_core.paths import locate

TEMPLATE = "chat_template.jinja"
SETTINGS = ("processor_config.json", "preprocessor_config.json", "chat_template.json")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json")
INDEX = "model.safetensors.index.json"
MODEL = ("config.json", "generation_config.json", INDEX)
FILES = (*MODEL, *SETTINGS, *TOKENIZER, "merges.txt", TEMPLATE)
ADAPTER = "adapter_config.json"  # beside a base's weights, transformers would load the base that it names
WEIGHTS = "model*.safetensors"

Size = Annotated[int, Field(gt=0, le=2**20)]
Layers = Annotated[int, Field(gt=0, le=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**20)]
TILES = 8  # along an edge, at most; SmolVLM has names for six


class Part(Outside):
    """What a language model and a vision tower are made of; None: the class's own."""

    hidden_size: Size | None = None
    intermediate_size: Size | None = None
    num_hidden_layers: Layers | None = None
    num_attention_heads: Size | None = None
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    vocab_size: Size | None = None
    num_labels: Size | None = None  # transformers makes a name for each


class Text(Part):
    """The language model."""

    model_type: Literal["llama"] = "llama"


class Vision(Part):
    """The vision tower."""

    image_size: Edge | None = None
    patch_size: Edge | None = None


class Config(Outside):
    """config.json."""

    model_type: Literal["idefics3", "smolvlm"]
    scale_factor: Annotated[int, Field(gt=0, le=16)] = 2
    num_labels: Size | None = None
    text_config: Text = Text()
    vision_config: Vision = Vision()


class LongestEdge(Outside):
    """A size in px."""

    longest_edge: Edge


Three = Annotated[list[float], Field(min_length=3, max_length=3)]
IMAGES = tuple(f"{family}ImageProcessor{kind}" for family in ("Idefics3", "SmolVLM") for kind in ("", "Fast", "Pil"))


class Images(Outside):
    """preprocessor_config.json, or `image_processor` in processor_config.json."""

    image_processor_type: Literal[IMAGES] | None = None
    size: LongestEdge | None = None
    max_image_size: LongestEdge | None = None  # of a tile
    image_mean: Three | None = None
    image_std: Three | None = None
    rescale_factor: float | None = None
    do_pad: Literal[True, None] = None
    resample: Annotated[int, Field(ge=0, le=5)] | None = None

    @model_validator(mode="after")
    def _tiles(self):
        if self.size and self.max_image_size and self.size.longest_edge > TILES * self.max_image_size.longest_edge:
            raise ValueError(f"size.longest_edge is more than {TILES} times max_image_size.longest_edge")
        return self


class Processor(Outside):
    """processor_config.json."""

    processor_class: str | None = None
    image_seq_len: Annotated[int, Field(gt=0, le=1024)] | None = None
    image_processor: Images | None = None


class Tokens(Outside):
    """tokenizer_config.json: the classes that read tokenizer.json, and no other file."""

    tokenizer_class: (
        Literal["GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend"] | None
    ) = None
    model_max_length: float | None = None
    model_input_names: list[str] | None = None

    @model_validator(mode="after")
    def _inputs(self):
        if self.model_input_names is not None and not {"input_ids", "attention_mask"} <= set(self.model_input_names):
            raise ValueError(f"model_input_names: no input_ids or attention_mask in {self.model_input_names!s:.80}")
        return self


class Generation(Outside):
    """generation_config.json: who ends an answer. How one is searched for is the Forge's to say."""

    # what changes no search, or is given with each question
    bos_token_id: TokenId | None = None
    eos_token_id: TokenId | list[TokenId] | None = None
    pad_token_id: TokenId | None = None
    use_cache: bool | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    max_length: int | None = None
    max_new_tokens: int | None = None

    @model_validator(mode="after")
    def _no_search(self):
        for name, value in self.model_extra.items():
            if not (value is None or value is False or name in NOTES):
                raise ValueError(f"{name} is {str(value)[:80]!r}, which the Forge's bases do not have")
        return self


NOTES = {"_from_model_config", "transformers_version"}


class Index(Outside):
    """model.safetensors.index.json: names of weights and the file of each, beside it."""

    weight_map: dict[str, Annotated[str, Field(pattern=r"^[\w.-]+\.safetensors$")]]


MODELS = {
    "config.json": Config,
    "generation_config.json": Generation,
    "preprocessor_config.json": Images,
    "processor_config.json": Processor,
    "tokenizer.json": Tokenizer,
    "tokenizer_config.json": Tokens,
    INDEX: Index,
}

# keys that name code, another repository or another file, and patterns of somebody else's making
REFUSED = {
    *("auto_map", "custom_generate", "custom_pipelines", "audio_tokenizer", "quantization_config"),
    *("compression_config", "fast_tokenizer_files", "transformers_weights", "Regex"),
}
ATTENTION = (None, "eager", "sdpa", "flash_attention_2")


def base_folder(base: str, revision: str = "main", weights: bool = False) -> Path:
    """The folder with the files of a base, of the hub's in its cache, all of them checked; `weights` too.

    Raises OSError where they can't be had, ValueError where one is not what a base has.
    """
    folder = Path(locate(base))
    if not folder.is_dir():
        try:
            folder = _fetched(base, revision, weights)
        except (OSError, ValueError) as error:  # a name that no repository can have is a ValueError
            reason = str(error).strip().splitlines()[0]
            raise OSError(f"{base}@{revision}: could not be read ({reason}); wrong name, no network?") from None
    check_files(folder)
    if weights:
        _check_weights(folder)
    return folder


def _fetched(base: str, revision: str, weights: bool) -> Path:
    """The folder in the hub's cache with the files of one commit. Of what is cached already nothing is asked."""
    folder = Path(hf_hub_download(base, "config.json", revision=revision)).parent  # its name is the commit
    for name in (*FILES, ADAPTER):
        if name != INDEX:
            _fetch(base, name, folder)
    if weights and not _fetch(base, "model.safetensors", folder) and _fetch(base, INDEX, folder):
        for name in sorted(set(read_model(Index, folder / INDEX).weight_map.values())):
            hf_hub_download(base, name, revision=folder.name)
    return folder


def _fetch(base: str, name: str, folder: Path) -> bool:
    """Whether the base has that file, which is in `folder` now."""
    cached = try_to_load_from_cache(base, name, revision=folder.name)  # which may know that there is none
    if cached:
        return isinstance(cached, str)
    try:
        hf_hub_download(base, name, revision=folder.name)
    except EntryNotFoundError:  # without a network too
        return False
    return True


def check_files(folder: Path) -> None:
    """Raise ValueError for a file in `folder` that transformers must not read; what is not there is not missed."""
    for name in FILES:
        file = folder / name
        if not file.exists():
            continue
        if name.endswith(".json"):
            check_keys(content := read_object(file), file)
            checked(MODELS.get(name, Outside), content, file)
    if (folder / "additional_chat_templates").exists():
        raise ValueError(f"{folder / 'additional_chat_templates'}: a base here has one chat template")
    template_of(folder)


def check_keys(content: object, file: Path) -> None:
    """Raise ValueError for a key, however deep, that asks for code, another repository, or a kernel from the hub."""
    left = [content]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        if not isinstance(part, dict):
            continue
        for key, value in part.items():
            refused = key in REFUSED and isinstance(value, (str, list, dict)) and value
            if refused or (key.strip("_").startswith("attn_implementation") and not _plain_attention(value)):
                raise ValueError(f"{file}: {key} is refused: {str(value)[:80]!r}")
        left += part.values()


def _plain_attention(value: object) -> bool:
    return isinstance(value, bool) or value in ATTENTION


def template_of(folder: Path) -> str | None:
    """The chat template in a folder, checked; None where it has none. Raises ValueError."""
    found = None
    for name, read in TEMPLATES.items():
        file = folder / name
        text = read(file) if file.exists() else None
        if text is not None:
            check_template(text, file)
            found = text if found is None else found
    return found


def _of_json(file: Path) -> object:
    return read_object(file).get("chat_template")


def _of_text(file: Path) -> str:
    try:
        if not file.is_file():  # a pipe would never end
            raise ValueError("not a file")
        if file.stat().st_size > 4 * LONGEST:
            raise ValueError(f"larger than {4 * LONGEST:,} bytes")
        return file.read_text(encoding="utf-8")
    except (ValueError, OSError) as error:  # what is not UTF-8 is a ValueError
        raise ValueError(f"{file}: not a chat template ({error})") from None


# the first of them counts, as in transformers
TEMPLATES: dict[str, Callable[[Path], object]] = {
    "processor_config.json": _of_json,
    "chat_template.json": _of_json,
    TEMPLATE: _of_text,
    "tokenizer_config.json": _of_json,
}


def count_weights(folder: Path) -> int:
    """The numbers in a folder's safetensors, by their headers. Raises ValueError where they are broken."""
    total = 0
    for file in folder.glob(WEIGHTS):
        with _opened(file) as weights:
            total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118, no dict
    return total


def _check_weights(folder: Path) -> None:
    """Raise ValueError where a folder is an adapter's, has no weights as safetensors, or broken ones."""
    if (folder / ADAPTER).exists():
        raise ValueError(f"{folder / ADAPTER}: a base has no such file; is {folder} an adapter?")
    files = sorted(folder.glob(WEIGHTS))
    if not files:
        raise ValueError(f"{folder} has no weights as safetensors; others are not read")
    for file in files:
        with _opened(file):
            pass


@contextmanager
def _opened(file: Path) -> Iterator[safe_open]:
    if not file.is_file():  # a pipe would never end
        raise ValueError(f"{file}: not a file")
    try:
        with safe_open(file, "pt") as weights:
            yield weights
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file}: not whole ({error})") from None
