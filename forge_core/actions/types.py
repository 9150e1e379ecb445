"""The action space: one table of nineteen functions, and the `Action` that is one checked call of one of them.

Coordinates are fractions of the full screenshot, origin top left, x right, y down, both in [0, 1]; four decimals are
kept, which is finer than a pixel on an 8K screen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from forge_core.actions.steps import is_number

Value = float | int | str | list[float] | list[str]
DIRECTIONS = ("up", "down", "left", "right")
UNITS = ("clicks", "pixels")  # of a scroll, where it is not per cent of a page
DECIMALS = 4
MAX_AMOUNT = 100_000  # scroll: per cent of a page, or wheel clicks
MAX_SECONDS = 3_600
MAX_TEXT, MAX_KEYS, MAX_KEY = 10_000, 16, 100  # characters of a text, keys of a combination, characters of a key's name


def coordinate(value: object) -> float:
    """A number in [0, 1], rounded to `DECIMALS`; `nan` and infinities fail the comparison."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError("a finite number in [0, 1]")
    return round(float(value), DECIMALS) + 0.0  # + 0.0 makes -0.0 plain


def point(value: object) -> list[float]:
    """[x, y], both coordinates."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("two numbers [x, y] in [0, 1]")
    return [coordinate(part) for part in value]


def text(value: object) -> str:
    """Any text that can be written as UTF-8 (half of a surrogate pair cannot)."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"valid text of at most {MAX_TEXT} characters")
    return value


def keys(value: object) -> str | list[str]:
    """One key's name, or a list of them: a combination such as ['ctrl', 'c']."""
    names = list(value) if isinstance(value, list | tuple) else [value]
    valid = all(isinstance(name, str) and 1 <= len(name) <= MAX_KEY for name in names)
    if not valid or not 1 <= len(names) <= MAX_KEYS:
        raise ValueError("a key name or a list of key names")
    names = [text(name) for name in names]
    return names if isinstance(value, list | tuple) else names[0]


def direction(value: object) -> str:
    """One of `DIRECTIONS`."""
    if value not in DIRECTIONS:
        raise ValueError(f"one of {', '.join(DIRECTIONS)}")
    return value


def unit(value: object) -> str:
    """One of `UNITS`."""
    if value not in UNITS:
        raise ValueError(f"one of {', '.join(UNITS)}")
    return value


def amount(value: object) -> int:
    """How far to scroll: a whole number of per cent of a page, or of the unit that is given."""
    if not is_number(value) or not 1 <= value <= MAX_AMOUNT or value != int(value):
        raise ValueError(f"a whole number from 1 to {MAX_AMOUNT}")
    return int(value)


def seconds(value: object) -> float | int:
    """A duration in seconds; whole ones are kept as int."""
    if not is_number(value) or not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"a number of seconds from 0 to {MAX_SECONDS}")
    return int(value) if value == int(value) else float(value)


@dataclass(frozen=True)
class Function:
    """One row of the action space: each parameter's name with the check that returns its canonical value.

    `parameters` is what prompts declare; `optional` may be left out and `extra` is for what other dialects say besides.
    """

    name: str
    parameters: dict[str, Callable[[object], Value]]
    optional: tuple[str, ...] = ()
    extra: dict[str, Callable[[object], Value]] = field(default_factory=dict)

    @property
    def signature(self) -> str:
        """The function as prompts declare it: `click(x, y)`."""
        return f"{self.name}({', '.join(self.parameters)})"


_XY = {"x": coordinate, "y": coordinate}
_FROM_TO = {"from_coord": point, "to_coord": point}
_ELEMENT = {"element": text}  # the target in words, where a dialect gives no place or both
FUNCTIONS = {
    function.name: function
    for function in (
        Function("click", _XY, ("x", "y"), _ELEMENT),
        Function("double_click", _XY, ("x", "y"), _ELEMENT),
        Function("triple_click", _XY, ("x", "y"), _ELEMENT),
        Function("right_click", _XY, ("x", "y"), _ELEMENT),
        Function("middle_click", _XY, ("x", "y"), _ELEMENT),
        Function("long_press", _XY, ("x", "y"), _ELEMENT),
        Function("move_mouse", _XY, ("x", "y"), _ELEMENT),
        Function("drag", _FROM_TO, ("from_coord", "to_coord"), {"from_element": text, "to_element": text}),
        Function("swipe", _FROM_TO),
        Function("scroll", {"direction": direction, "amount": amount}, ("amount",), {"unit": unit, **_XY, **_ELEMENT}),
        Function("type", {"text": text}),
        Function("press", {"keys": keys}),
        Function("select_option", {**_XY, "value": text}, ("x", "y"), _ELEMENT),
        Function("wait", {"seconds": seconds}, ("seconds",)),
        Function("open_app", {"app_name": text}),
        Function("navigate_home", {}),
        Function("navigate_back", {}),
        Function("final_answer", {"answer": text}),
        # an action of another dialect that has no counterpart here: kept as it is, and never run
        Function("call_tool", {"tool": text, "arguments": text}),
    )
}
_NEED_A_TARGET = {  # without one of these there is nothing to act on; the others then act where the cursor is
    "long_press": ("x", "element"),
    "move_mouse": ("x", "element"),
    "select_option": ("x", "element"),
    "drag": ("to_coord", "to_element"),
}


@dataclass(frozen=True)
class Action:
    """A call of the action space, checked when it is made.

    Raises ValueError naming function, parameter and value when anything is missing, unknown or out of range.
    """

    name: str
    arguments: dict[str, Value]

    def __post_init__(self) -> None:
        if self.name not in FUNCTIONS:
            raise ValueError(f"{self.name}: not a function of the action space ({', '.join(FUNCTIONS)})")
        object.__setattr__(self, "arguments", _checked(FUNCTIONS[self.name], self.arguments))


def _checked(function: Function, arguments: dict[str, object]) -> dict[str, Value]:
    known = function.parameters | function.extra if function.extra else function.parameters
    for name in arguments:
        if name not in known:
            raise ValueError(f"{function.name}: unknown parameter {name!r}, expected {function.signature}")
    for name in function.parameters:
        if name not in arguments and name not in function.optional:
            raise ValueError(f"{function.name}: {name!r} is missing, expected {function.signature}")
    if ("x" in arguments) != ("y" in arguments):
        missing = "y" if "x" in arguments else "x"
        raise ValueError(f"{function.name}: {missing!r} is missing, expected {function.signature}")
    targets = _NEED_A_TARGET.get(function.name, ())
    if targets and not any(name in arguments for name in targets):
        raise ValueError(f"{function.name}: {targets[0]!r} is missing, expected {function.signature}")
    if "unit" in arguments and "amount" not in arguments:
        raise ValueError(f"{function.name}: 'amount' is missing, expected {function.signature}")
    return {name: _value(function, name, check, arguments[name]) for name, check in known.items() if name in arguments}


def _value(function: Function, name: str, check: Callable[[object], Value], value: object) -> Value:
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{function.name}: {name} must be {error}, not {value!r:.80}") from None
