"""Text form of the action space: Python calls, one a line. `parse(render(actions)) == actions` for every action."""

from collections.abc import Sequence

from forge_core.actions.calls import ActionParseError, Call, bind, read_calls
from forge_core.actions.coordinates import FRACTION, to_fractions
from forge_core.actions.steps import Step
from forge_core.actions.types import DECIMALS, FUNCTIONS, Action, Value

POINTING = (
    *("click", "double_click", "triple_click", "right_click", "middle_click"),
    *("long_press", "move_mouse", "select_option"),
)


def parse(text: str, corner: tuple[float, float] = FRACTION) -> list[Action]:
    """Actions of a text such as `click(x=0.41, y=0.178)`, arguments by name or by position.

    `corner` is (x, y) of the bottom right corner in the units of the text's coordinates; the actions have fractions.
    Raises `ActionParseError` (a ValueError with `offset` and `expected`) on anything that is not a valid call.
    """
    return [_action(call, text, corner) for call in read_calls(text)]


def render(actions: Sequence[Action | Step]) -> str:
    """Canonical text: one call a line, every argument by name, coordinates with at most four decimals."""
    return "\n".join(f"{action.name}({_arguments(action)})" for action in actions)


def click_point(actions: list[Action]) -> tuple[float, float] | None:
    """(x, y) in [0, 1] of the first pointing action that carries a point, else None."""
    for action in actions:
        if action.name in POINTING and "x" in action.arguments:
            return action.arguments["x"], action.arguments["y"]
    return None


def _action(call: Call, text: str, corner: tuple[float, float]) -> Action:
    if call.name not in FUNCTIONS:
        raise ActionParseError(f"expected one of {', '.join(FUNCTIONS)}, found {call.name:.80}", text, call.offset)
    try:
        function = FUNCTIONS[call.name]
        if len(call.positional) > len(function.parameters):
            raise ValueError(f"{call.name}: expected at most {len(function.parameters)} arguments without a name")
        arguments = bind(call, (*function.parameters, *function.extra))
        return Action(call.name, to_fractions(arguments, corner))
    except ValueError as error:
        raise ActionParseError(str(error), text, call.offset) from None


def _arguments(action: Action | Step) -> str:
    return ", ".join(f"{name}={_value(name, value)}" for name, value in action.arguments.items())


def _value(name: str, value: Value) -> str:
    if name in ("x", "y"):
        return number_text(value)
    if name in ("from_coord", "to_coord"):
        return f"[{number_text(value[0])}, {number_text(value[1])}]"
    return repr(value)


def number_text(value: float) -> str:
    """A number with at most `DECIMALS` decimals and no exponent, as calls are written."""
    return f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".")
