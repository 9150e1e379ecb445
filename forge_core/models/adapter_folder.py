"""An adapter folder, or a merged one, as somebody else may have written it: checked before a library reads it.

Of adapter_config.json four values are used (rank, alpha, dropout, targets); whatever else would make peft 0.21 load or
compute something else is refused. Nothing here loads torch.
"""

from pathlib import Path
from typing import Annotated, Literal

from huggingface_hub.utils import HFValidationError, validate_repo_id
from pydantic import AfterValidator, Field, StringConstraints

from forge_core.actions.coordinates import CoordFormat
from forge_core.json_files import Outside, checked, read_object
from forge_core.params import Alpha, Edge, Rank
from forge_core.paths import locate
from forge_core.text import printable

CONFIG, RECORD, WEIGHTS = "adapter_config.json", "forge.json", "adapter_model.safetensors"
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _base_name(name: str) -> str:
    if printable(name) != name:
        raise ValueError("a base is a name of the hub or a folder, without odd characters")
    if not Path(locate(name)).is_dir():
        try:
            validate_repo_id(name)
        except HFValidationError:
            raise ValueError("a base is a name of the hub or a folder that is there") from None
    return name


BaseName = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_base_name)]
# it becomes a part of a path in the hub's cache
Revision = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][\w.-]*(/\w[\w.-]*)*$", max_length=200)]

ModuleName = Annotated[str, StringConstraints(pattern=r"^\w+(\.\w+)*$", max_length=200)]


class Params(Outside):
    """What of the training's parameters decides how the adapter is used."""

    seed: Annotated[int, Field(ge=0)]
    base_model: BaseName
    base_revision: Revision
    image_size: Edge
    coord_format: CoordFormat = "4-decimals"  # before it was a parameter
    load_in_4bit: bool
    lora_rank: Rank


class Identity(Outside):
    """What decided the adapter (`training.checkpoints.describe`)."""

    stage: Literal[1, 2]
    base_sha256: Sha256 | None  # null: a base of the hub
    params: Params
    data_sha256: Sha256


class Record(Outside):
    """forge.json; `model_dump(exclude_unset=True)` is the file again."""

    identity: Identity


class Targets(Outside):
    """adapter_config.json: what is used of it."""

    peft_type: Literal["LORA"]
    task_type: Literal["CAUSAL_LM"]
    r: Rank
    lora_alpha: Alpha
    lora_dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: str | Annotated[list[ModuleName], Field(min_length=1, max_length=1000)]


# what peft notes for people, or sets by itself
NOTES = {"peft_version", "base_model_name_or_path", "revision", "inference_mode"}


def read_record(folder: Path) -> Record:
    """forge.json of an adapter or merged folder. Raises FileNotFoundError and ValueError, one line with the file."""
    return checked(Record, _read(folder, RECORD), folder / RECORD)


def read_targets(folder: Path, patterns: set[str], neutral: dict) -> Targets:
    """adapter_config.json of a folder; a pattern in it must be one of `patterns` (a made one may match for hours).

    `neutral` has peft's own value of each setting. One with another value changes what peft does, so it is refused, as
    is a setting that this peft does not know, unless it is off. Raises FileNotFoundError and ValueError.
    """
    content, file = _read(folder, CONFIG), folder / CONFIG
    found = checked(Targets, content, file)
    if isinstance(found.target_modules, str) and found.target_modules not in patterns:
        raise ValueError(f"{file}: target_modules is a pattern that is not the Forge's: {found.target_modules[:80]!r}")
    for name, value in content.items():
        if name in Targets.model_fields or name in NOTES or not value:
            continue
        if value != neutral[name] if name in neutral else not _is_idle(value):
            raise ValueError(f"{file}: {name} is {str(value)[:80]!r}, which the Forge's adapters do not have")
    return found


def _is_idle(value: object) -> bool:
    """A number or a word, of a setting that this peft does not know, does nothing while no switch is on."""
    return type(value) in (int, float, str)


def _read(folder: Path, name: str) -> dict:
    if not (folder / name).exists():
        raise FileNotFoundError(f"{folder} has no {name}; an adapter folder is checkpoints/<run>/<stage>/final")
    return read_object(folder / name)
