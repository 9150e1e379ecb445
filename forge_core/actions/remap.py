"""A custom action space: a YAML file renames, transforms, drops and defaults functions and parameters of this one.

    click: {name: touch, parameters: {x: x_coord, y: y_coord}, scale: {x: 1000, y: 1000}}
    scroll:
      name: scroll_view
      parameters: {direction: towards, amount: distance}
      values: {direction: {up: north, down: south}}
      drop: [unit]
    double_click: {name: double_touch, defaults: {x: 0.5, y: 0.5}}

What the file does not name stays as it is. `scale` multiplies and rounds to a whole number. Only calls change: every
other character of a text stays where it is.
"""

import keyword
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from forge_core.actions.calls import ActionParseError
from forge_core.actions.types import FUNCTIONS, Action
from forge_core.actions.unified import number_text, parse
from forge_core.json_files import first_wrong

_CALL = re.compile(rf"(?<![\w.])(?:{'|'.join(FUNCTIONS)})\(")
_TOKEN = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|[()]")


class Change(BaseModel):
    """What becomes of one function; parameters are named as they are here, before they are renamed."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = None
    parameters: dict[str, str] = {}
    values: dict[str, dict[str | float | int, str | float | int]] = {}
    scale: dict[str, float] = {}
    drop: list[str] = []
    defaults: dict[str, str | float | int | list] = {}

    @field_validator("name")
    @classmethod
    def _name(cls, name: str | None) -> str | None:
        if name is not None and not all(
            part.isidentifier() and not keyword.iskeyword(part) for part in name.split(".")
        ):
            raise ValueError(f"{name!r} is not a function's name")
        return name

    @model_validator(mode="after")
    def _parameters(self) -> "Change":
        for name in self.parameters.values():
            if not name.isidentifier() or keyword.iskeyword(name):
                raise ValueError(f"{name!r} is not a parameter's name")
        return self


class Remap:
    """A checked custom space; made by `read_remap`."""

    def __init__(self, changes: dict[str, Change]) -> None:
        self.changes = changes
        self._names()
        for name, change in changes.items():
            self._check(name, change)

    def text(self, text: str) -> str:
        """`text` with every call of the action space rewritten; what only looks like one stays as it is."""
        parts, done = [], 0
        for start, end in _calls(text):
            try:
                actions = parse(text[start:end])
            except ActionParseError:
                continue
            parts += [text[done:start], self.call(actions[0])]
            done = end
        return "".join([*parts, text[done:]])

    def call(self, action: Action) -> str:
        """One action as a call of the custom space."""
        change = self.changes.get(action.name, Change())
        arguments = {name: value for name, value in action.arguments.items() if name not in change.drop}
        for name, value in change.defaults.items():
            arguments.setdefault(name, value)
        written = (f"{change.parameters.get(name, name)}={_value(change, name, arguments[name])}" for name in arguments)
        return f"{change.name or action.name}({', '.join(written)})"

    def _names(self) -> None:
        unknown = [name for name in self.changes if name not in FUNCTIONS]
        if unknown:
            raise ValueError(f"{unknown[0]}: not a function of the action space ({', '.join(FUNCTIONS)})")
        names = [self.changes[name].name or name if name in self.changes else name for name in FUNCTIONS]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two functions would be called {twice[0]}")

    def _check(self, name: str, change: Change) -> None:
        known = FUNCTIONS[name].parameters | FUNCTIONS[name].extra
        for field in ("parameters", "values", "scale", "drop", "defaults"):
            for parameter in getattr(change, field):
                if parameter not in known:
                    raise ValueError(f"{name}.{field}: {name} has no {parameter!r}, it has {', '.join(known)}")
        renamed = [change.parameters.get(parameter, parameter) for parameter in known if parameter not in change.drop]
        if twice := [parameter for parameter in renamed if renamed.count(parameter) > 1]:
            raise ValueError(f"{name}.parameters: two would be called {twice[0]}")
        for parameter, value in change.defaults.items():
            try:
                known[parameter](value)
            except ValueError as error:
                raise ValueError(f"{name}.defaults.{parameter}: must be {error}, not {value!r}") from None


def read_remap(path: Path) -> Remap:
    """The custom space of a YAML file; raises ValueError naming file, function and value."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        if not isinstance(content, dict):
            raise ValueError(f"expected functions and what becomes of them, found {content!r:.80}")
        return Remap({str(name): Change.model_validate(change or {}) for name, change in content.items()})
    except ValidationError as error:
        name, wrong, value = first_wrong(error)
        raise ValueError(f"{path}: {name}: {wrong}, got {value!r:.120}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def remap_rows(rows: Iterable[BaseModel], remap: Remap) -> Iterator[BaseModel]:
    """Example rows with the calls of their turns rewritten."""
    for row in rows:
        turns = [turn.model_copy(update={"actions": [remap.text(call) for call in turn.actions]}) for turn in row.turns]
        yield row.model_copy(update={"turns": turns})


def _calls(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of what looks like a call of the action space, its brackets matched outside strings."""
    done = 0
    for found in _CALL.finditer(text):
        if found.start() < done:
            continue
        depth = 0
        for token in _TOKEN.finditer(text, found.end() - 1):
            depth += {"(": 1, ")": -1}.get(token[0], 0)
            if depth == 0:
                done = token.end()
                yield found.start(), done
                break
            if depth > 3:  # no call nests: prose
                break


def _value(change: Change, name: str, value: object) -> str:
    if name in change.scale:
        factor = change.scale[name]
        return repr([round(part * factor) for part in value] if isinstance(value, list) else round(value * factor))
    if name in change.values and not isinstance(value, list):
        value = change.values[name].get(value, value)
    return number_text(value) if isinstance(value, float) else repr(value)
