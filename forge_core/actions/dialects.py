"""Every dialect in one table, and the four things to do with them: parse, render, convert, detect.

parse("click(start_box='(495,30)')", "uitars")                -> [Action("click", {"x": 0.495, "y": 0.03})]
convert(text, "aguvis", "qwen25vl", target_size=(1092, 728))  -> '<tool_call>\\n{"name": "computer_use", ...'
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from forge_core.actions import (
    agentnet,
    aguvis,
    aitw,
    androidcontrol,
    anthropic,
    cogagent,
    free_text,
    guicourse,
    mind2web,
    omniact,
    openai,
    os_atlas,
    prompts,
    qwen,
    seeclick,
    showui,
    ui_tars,
)
from forge_core.actions.calls import ActionParseError
from forge_core.actions.coordinates import (
    FRACTION,
    PER_999,
    PER_1000,
    PIXELS,
    RESIZED,
    UNSAID,
    extent,
    to_fractions,
    to_units,
)
from forge_core.actions.steps import Reading, Step
from forge_core.actions.types import Action
from forge_core.actions.unified import POINTING


@dataclass(frozen=True)
class Dialect:
    """How to read a dialect, how to write it (None: read-only), what its coordinates count, and what it looks like."""

    read: Callable[[str], Reading]
    write: Callable[[Reading], str] | None
    units: tuple[float, float] | str
    sign: re.Pattern

    @property
    def needs_size(self) -> bool:
        """Whether `parse` and `render` need the size of the image that the coordinates count."""
        return isinstance(self.units, str)


# In the order in which `detect` names them: the more particular form first.
DIALECTS = {
    "unified": Dialect(prompts.read, prompts.write, FRACTION, prompts.SIGN),
    "omniact": Dialect(omniact.read, None, FRACTION, omniact.SIGN),
    "aguvis": Dialect(aguvis.read, aguvis.write, FRACTION, aguvis.SIGN),
    "agentnet": Dialect(agentnet.read, agentnet.write, FRACTION, agentnet.SIGN),
    "opencua": Dialect(agentnet.read, agentnet.write, RESIZED, agentnet.SIGN),
    "uitars": Dialect(ui_tars.read, ui_tars.write, PER_1000, ui_tars.SIGN),
    "uitars15": Dialect(ui_tars.read, ui_tars.write_15, RESIZED, ui_tars.SIGN),
    "qwen2vl": Dialect(qwen.read_boxes, None, PER_1000, qwen.BOX_SIGN),
    "qwen25vl": Dialect(qwen.read, qwen.write, RESIZED, qwen.SIGN),
    "qwen3vl": Dialect(qwen.read, qwen.write, PER_999, qwen.SIGN),
    "osatlas": Dialect(os_atlas.read, os_atlas.write, PER_1000, os_atlas.SIGN),
    "guicourse": Dialect(guicourse.read, None, PER_1000, guicourse.SIGN),
    "cogagent": Dialect(cogagent.read, None, PER_1000, cogagent.SIGN),
    "showui": Dialect(showui.read, showui.write, FRACTION, showui.SIGN),
    "androidcontrol": Dialect(androidcontrol.read, androidcontrol.write, PIXELS, androidcontrol.SIGN),
    "aitw": Dialect(aitw.read, None, FRACTION, aitw.SIGN),
    "mind2web": Dialect(mind2web.read, None, PIXELS, mind2web.SIGN),
    "openai": Dialect(openai.read, openai.write, PIXELS, openai.SIGN),
    "anthropic": Dialect(anthropic.read, anthropic.write, PIXELS, anthropic.SIGN),
    "seeclick": Dialect(seeclick.read, seeclick.write, FRACTION, seeclick.SIGN),
    "freetext": Dialect(free_text.read, None, UNSAID, free_text.SIGN),
}
Size = tuple[float, float] | None


def parse(text: str, dialect: str, size: Size = None) -> list[Action]:
    """Actions of a text. `size` is (width, height) of the image whose pixels the coordinates count, where they do.

    Raises `ActionParseError` (a ValueError with `offset` and `expected`) on a text that is not of the dialect, and
    ValueError on an unknown dialect or a size that is needed and missing.
    """
    return read(text, dialect, size).actions


def read(text: str, dialect: str, size: Size = None) -> prompts.Answer:
    """Like `parse`, with the thought that stands before the actions."""
    if dialect == "unified":
        return prompts.read_answer(text)
    corner = extent(_dialect(dialect).units, size)
    reading = _read(text, dialect)
    return prompts.Answer(reading.thought, [_action(step, corner, text) for step in reading.steps])


def read_point(text: str, dialect: str, size: Size = None) -> tuple[float, float] | None:
    """(x, y) of the first place pointed at, as fractions, unrounded and unbounded, for scoring; None without one.

    Raises like `parse`, except that a place outside the screen is returned as it is.
    """
    corner = extent(_dialect(dialect).units, size)
    for step in _read(text, dialect).steps:
        if step.name in POINTING and "x" in step.arguments:
            place = to_fractions(step.arguments, corner)
            return place["x"], place["y"]
    return None


def render(actions: list[Action], dialect: str, size: Size = None, thought: str | None = None) -> str:
    """The text of actions, coordinates rounded to the dialect's units.

    The text is read back before it is returned: raises ValueError where the dialect is read-only, has no word for an
    action, or would read the text differently.
    """
    spoken = _dialect(dialect)
    if spoken.write is None:
        raise ValueError(f"{dialect} is read-only; these can be written: {', '.join(_writable())}")
    corner = extent(spoken.units, size)
    steps = [Step(action.name, to_units(action.arguments, corner)) for action in actions]
    written = Reading(steps, thought)
    try:
        text = spoken.write(written)
        faithful = _read(text, dialect) == written
    except ValueError as error:
        raise ValueError(f"{dialect} cannot say this: {error}") from None
    if not faithful:
        raise ValueError(f"{dialect} cannot say this: {text!r:.200} would be read differently")
    return text


def convert(text: str, source: str, target: str, source_size: Size = None, target_size: Size = None) -> str:
    """A text of one dialect in another, its thought included; raises like `parse` and `render`."""
    answer = read(text, source, source_size)
    return render(answer.actions, target, target_size, answer.thought)


def detect(text: str) -> list[str]:
    """Every dialect that `text` looks like and can be read as, the most particular first; free text only on its own.

    More than one where only the coordinates' units tell them apart, which a text does not say.
    """
    head = text[:20_000]
    names = [name for name, dialect in DIALECTS.items() if dialect.sign.search(head) and _reads(text, name)]
    return names[:-1] if len(names) > 1 and names[-1] == "freetext" else names


def _dialect(name: str) -> Dialect:
    if name not in DIALECTS:
        raise ValueError(f"unknown dialect {name!r}; there are {', '.join(DIALECTS)}")
    return DIALECTS[name]


def _writable() -> list[str]:
    return [name for name, dialect in DIALECTS.items() if dialect.write]


def _read(text: str, dialect: str) -> Reading:
    try:
        return DIALECTS[dialect].read(text)
    except ActionParseError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ActionParseError(str(error) or type(error).__name__, text, 0) from None


def _reads(text: str, dialect: str) -> bool:
    try:
        if DIALECTS[dialect].needs_size:
            return bool(_read(text, dialect).steps)
        return bool(parse(text, dialect))
    except ValueError:
        return False


def _action(step: Step, corner: tuple[float, float], text: str) -> Action:
    try:
        return Action(step.name, to_fractions(step.arguments, corner))
    except ValueError as error:
        raise ActionParseError(str(error), text, step.offset) from None
