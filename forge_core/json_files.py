"""JSON files that others wrote: read within bounds, checked against a model; a fault is one line with the file."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

LARGEST = 64 * 2**20  # bytes; the largest that are read, of tokenizers, have some 20 MB
SHOWN = 80  # characters of a wrong value
Model = TypeVar("Model", bound=BaseModel)


class Outside(BaseModel):
    """What such a file must hold where it is used. Strict, no NaN; keys that nobody here uses are kept as they are."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True, allow_inf_nan=False)


def read_object(file: Path) -> dict:
    """The JSON object in `file`. Raises FileNotFoundError where there is no such file, else ValueError."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: {'not a file' if file.exists() else 'no such file'}")
    if file.stat().st_size > LARGEST:
        raise ValueError(f"{file}: larger than {LARGEST >> 20} MiB")
    try:
        content = from_json(file.read_bytes())  # nesting has a limit, and the text must be UTF-8
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file}: must be an object, got {_short(content)}")
    return content


def read_model(model: type[Model], file: Path) -> Model:
    """The object in `file` as `model`. Raises what `read_object` and `checked` raise."""
    return checked(model, read_object(file), file)


def checked(model: type[Model], content: dict, file: Path) -> Model:
    """`content` of `file` as `model`. Raises ValueError that names the file, the first wrong field and its value."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        name, wrong, value = first_wrong(error)
        rest = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        if error.errors()[0]["type"] == "missing":
            raise ValueError(f"{file}: {name} is missing{rest}") from None
        if not name:  # a rule over several fields: its message says all
            raise ValueError(f"{file}: {wrong.removeprefix('Value error, ')}{rest}") from None
        raise ValueError(f"{file}: {name}: {wrong}, got {_short(value)}{rest}") from None


def first_wrong(error: ValidationError) -> tuple[str, str, object]:
    """Of the first thing that is wrong the name ("" for all of it), what pydantic says, and the value."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"], first["input"]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
