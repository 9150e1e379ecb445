"""Text around the actions: the system prompts, generated from the action table, and the two answer formats.

Stage 1 (grounding) answers bare calls. Stage 2 (reasoning) thinks first:

    <think>
    The Save button is in the upper right. I click it.
    </think>
    <code>
    click(x=0.41, y=0.178)
    </code>
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from forge_core.actions.calls import ActionParseError
from forge_core.actions.coordinates import COORD_FORMATS, CoordFormat, in_format
from forge_core.actions.steps import Reading, Step
from forge_core.actions.types import FUNCTIONS, Action
from forge_core.actions.unified import parse, render

if TYPE_CHECKING:
    from forge_core.data.schema import Turn

_POINTER = ("click", "double_click", "right_click", "move_mouse", "drag")
_KEYBOARD = ("scroll", "type", "press", "wait", "final_answer")
# Which functions the data of a stage and platform emits, and the prompt declares.
DECLARED = {
    (1, "web"): _POINTER,
    (1, "desktop"): (*_POINTER, "scroll"),
    (1, "mobile"): ("click", "double_click", "right_click"),
    (2, "web"): (*_POINTER, *_KEYBOARD, "select_option"),
    (2, "desktop"): (*_POINTER, *_KEYBOARD),
    (2, "mobile"): ("click", "long_press", "swipe", *_KEYBOARD, "open_app", "navigate_home", "navigate_back"),
}
_REASONED = "<think>\n{thought}\n</think>\n<code>\n{calls}\n</code>"
SIGN = re.compile(rf"\A\s*(?:<think>|<code>|(?:{'|'.join(FUNCTIONS)})\()")
_REASONING = re.compile(r"\s*(?:<think>(.*?)</think>\s*)?<code>(.*)</code>\s*", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """What a model answered: its thought (None where it gave none) and its actions."""

    thought: str | None
    actions: list[Action]


def system_prompt(stage: int, platform: str, coord_format: CoordFormat = "4-decimals") -> str:
    """The system prompt of a stage (1 or 2) on a platform; raises ValueError on any other."""
    if (stage, platform) not in DECLARED:
        raise ValueError(f"no prompt for stage {stage!r} on {platform!r}; there is one for {sorted(DECLARED)}")
    calls = ", ".join(FUNCTIONS[name].signature for name in DECLARED[stage, platform])
    scale = COORD_FORMATS[coord_format].sentence
    if stage == 1:
        return f"You control a {platform} screen. Answer with one of {calls}. {scale}"
    form = "<think>\nwhat you see and what you do\n</think>\n<code>\ncalls\n</code>"
    return f"You control a {platform} screen. Think, then act, in this form:\n{form}\nCalls: {calls}. {scale}"


def answer_text(turn: "Turn", stage: int, coord_format: CoordFormat = "4-decimals") -> str:
    """The answer a model learns for `turn`; stage 2 needs a thought and raises ValueError without one."""
    calls = "\n".join(turn.actions)  # in fractions of up to four decimals
    if coord_format != "4-decimals":
        calls = render([Step(action.name, in_format(action.arguments, coord_format)) for action in parse(calls)])
    if stage == 1:
        return calls
    if not turn.thought:
        raise ValueError(f"a stage 2 answer needs a thought; the turn {turn.instruction!r:.80} has none")
    return _REASONED.format(thought=turn.thought, calls=calls)


def read_answer(text: str, coord_format: CoordFormat = "4-decimals") -> Answer:
    """The inverse of `answer_text` for both stages: reads the `<code>` block where there is one, else the whole text.

    The actions have fractions again. Raises `ActionParseError` when the text is neither, or when a call is wrong.
    """
    corner = COORD_FORMATS[coord_format].corner
    block = _REASONING.fullmatch(text)
    if block:
        thought = block[1].strip() if block[1] is not None else None
        return Answer(thought, parse(block[2], corner))
    if text.lstrip().startswith(("<think>", "<code>")):
        raise ActionParseError("expected <think>...</think> and <code>...</code>, nothing else", text, 0)
    return Answer(None, parse(text, corner))


def read(text: str) -> Reading:
    """`read_answer` as a dialect's reading."""
    answer = read_answer(text)
    return Reading([Step(action.name, action.arguments) for action in answer.actions], answer.thought)


def write(reading: Reading) -> str:
    """Calls, or the `<think>/<code>` form where there is a thought."""
    calls = render([Action(step.name, step.arguments) for step in reading.steps])
    return _REASONED.format(thought=reading.thought, calls=calls) if reading.thought else calls


def is_reasoning_format(text: str, coord_format: CoordFormat = "4-decimals") -> bool:
    """Whether the text is a whole stage 2 answer: a thought, then valid calls in a code block."""
    try:
        return bool(read_answer(text, coord_format).thought)
    except ActionParseError:
        return False
