"""Any action of the action space, for hypothesis."""

from hypothesis import strategies as st

from forge_core.actions.types import DIRECTIONS, FUNCTIONS, MAX_AMOUNT, MAX_KEY, MAX_KEYS, MAX_SECONDS, UNITS, Action

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
COORDINATE = st.floats(0, 1)
POINT = st.lists(COORDINATE, min_size=2, max_size=2)
KEY = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_KEY)
VALUES = {
    "x": COORDINATE, "y": COORDINATE, "from_coord": POINT, "to_coord": POINT, "text": TEXT, "value": TEXT,
    "app_name": TEXT, "answer": TEXT, "keys": KEY | st.lists(KEY, min_size=1, max_size=MAX_KEYS),
    "direction": st.sampled_from(DIRECTIONS), "amount": st.integers(1, MAX_AMOUNT),
    "unit": st.sampled_from(UNITS), "element": TEXT, "from_element": TEXT, "to_element": TEXT, "tool": TEXT,
    "arguments": TEXT,
    "seconds": st.floats(0, MAX_SECONDS) | st.integers(0, MAX_SECONDS),
}  # fmt: skip


@st.composite
def an_action(draw: st.DrawFn) -> Action:
    function = draw(st.sampled_from(list(FUNCTIONS.values())))
    left_out = draw(st.sets(st.sampled_from([*function.optional, *function.extra]))) if function.optional else set()
    arguments = {name: draw(VALUES[name]) for name in function.parameters | function.extra if name not in left_out}
    try:
        return Action(function.name, arguments)
    except ValueError:  # x without y, a unit without an amount, no target
        return Action(function.name, {name: draw(VALUES[name]) for name in function.parameters})
