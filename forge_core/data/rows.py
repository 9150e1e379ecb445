"""One raw AGUVIS row to its image and turns: a JSON object with `image` and a `conversations` list of messages.

Stage 1: human "<image>\\nClick on 'Save'", gpt "pyautogui.click(x=0.41, y=0.178)", any number of such pairs.
Stage 2: human with "Instruction: ..." and "Previous actions: ...", gpt (recipient "all") "Thought: ...\\nAction: ...",
gpt (recipient "os") with the calls. A system message is left out: the project writes its own. Where a row names several
images, the last is the current screenshot. `boxes`, our own addition, may give the target of each human message as
[left, top, right, bottom], normalised, or null.

`from_smolagents` gives the rows of smolagents' parquet copies this form; their calls are in smol2operator's notation.
"""

import re

from pydantic import ValidationError

from forge_core.actions.calls import ActionParseError
from forge_core.actions.dialects import parse
from forge_core.actions.types import Action
from forge_core.actions.unified import render
from forge_core.data.schema import RowError, Turn
from forge_core.data.special import MARKERS, clean

Exchange = tuple[str, list[dict]]  # a human text and the gpt messages that answer it
Box = tuple[float, float, float, float]  # left, top, right, bottom, normalised; may reach beyond [0, 1]

_CODE = re.compile(r"</?code>")
_ROUND = {"up": "down", "down": "up"}
_LABEL = re.compile(r"^(?:Observation|Thought|Action):[ \t]*", re.MULTILINE)
_REQUEST = re.compile(r"^Instruction:(.*?)(?:^Previous actions:(.*))?\Z", re.DOTALL | re.MULTILINE)


def image_name(row: object) -> str:
    """The image a row names, as text for a report; empty where there is none."""
    return str(row.get("image", "")) if isinstance(row, dict) else ""


def split(row: object) -> tuple[str, list[Exchange]]:
    """(image, exchanges) of a raw row; an exchange is a human text with the gpt messages that follow it."""
    messages = row.get("conversations") if isinstance(row, dict) else None
    image = row.get("image") if isinstance(row, dict) else None
    image = image[-1] if isinstance(image, list) and image else image
    if not isinstance(image, str) or not image:
        raise RowError("no image", repr(image))
    if not _is_utf8(image):
        raise RowError("text is not valid UTF-8", ascii(image))
    if not isinstance(messages, list) or not messages:
        raise RowError("malformed conversation", messages)
    exchanges: list[Exchange] = []
    for message in messages:
        role = message.get("from") if isinstance(message, dict) else None
        if role not in ("system", "human", "gpt") or not isinstance(message.get("value"), str):
            raise RowError("malformed conversation", message)
        if role == "human":
            exchanges.append((message["value"], []))
        elif role == "gpt" and exchanges:
            exchanges[-1][1].append(message)
        elif role == "gpt":
            raise RowError("malformed conversation", "an answer before any instruction")
    if not exchanges:
        raise RowError("malformed conversation", "no instruction")
    return image, exchanges


def read_boxes(row: dict, count: int) -> list[Box | None]:
    """The target of each of the row's `count` exchanges; None where the row does not say."""
    boxes = row.get("boxes") or [None] * count
    if not isinstance(boxes, list) or len(boxes) != count or not all(map(_is_box, boxes)):
        raise RowError("malformed boxes", boxes)
    return [box and tuple(map(float, box)) for box in boxes]


def _is_box(box: object) -> bool:
    if not (isinstance(box, list) and len(box) == 4 and all(isinstance(side, (int, float)) for side in box)):
        return box is None
    left, top, right, bottom = box
    return left < right and top < bottom


def _is_utf8(text: str) -> bool:
    """Whether there is no lone surrogate in it."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def from_smolagents(row: dict, image: str) -> dict:
    """A row of smolagents' parquet in AGUVIS' form; `image` is the name under which its screenshot is written."""
    conversations, texts = [], row.get("texts") or []
    if not isinstance(texts, list) or not all(_is_exchange(text) for text in texts):
        raise RowError("malformed conversation", texts)
    for text in texts:
        thought, _, code = (text.get("assistant") or "").rpartition("</think>")
        thought, code = thought.replace("<think>", ""), _CODE.sub("", code).strip()
        conversations.append({"from": "human", "value": text.get("user")})
        conversations += [{"from": "gpt", "recipient": "all", "value": thought}] if thought else []
        conversations.append({"from": "gpt", "recipient": "os", "value": code})
    return {"image": image, "conversations": conversations}


def _is_exchange(text: object) -> bool:
    return isinstance(text, dict) and isinstance(text.get("assistant") or "", str)


def read_turn(
    exchange: Exchange, stage: int, dialect: str = "aguvis", special: re.Pattern[str] = MARKERS
) -> tuple[Turn, list[Action]]:
    """A turn and its actions. Stage 1: one answer, bare calls. Stage 2: a thought to `all`, then calls to `os`.

    Raises RowError. What `special` matches (`special_pattern` of a base; without one, what no base may see) is taken
    out of instruction, history and thought, and refused in actions: to the model it would be an instruction of its own.
    `dialect` "smolagents" is the unified one with vertical scrolls turned round, as smol2operator did (its README:
    page=-0.1, which is down, became 'up'); they are turned back.
    """
    request, answers = exchange
    if not answers or (stage == 1 and len(answers) > 1) or answers[-1].get("recipient", "os") != "os":
        raise RowError("malformed conversation", [answer["value"] for answer in answers] or f"no answer to {request!r}")
    instruction, history = _request(clean(request, special))
    thought = clean(_LABEL.sub("", "\n".join(clean(answer["value"], special) for answer in answers[:-1])), special)
    if not instruction:
        raise RowError("empty instruction", request)
    if stage == 2 and not thought:
        raise RowError("no thought", answers[-1]["value"])
    calls, actions = _actions(answers[-1]["value"], special, dialect)
    try:
        return Turn(instruction=instruction, history=history, thought=thought or None, actions=calls), actions
    except ValidationError as error:  # half a surrogate pair in a text
        raise RowError("text is not valid UTF-8", error.errors()[0]["msg"]) from None


def _request(text: str) -> tuple[str, str]:
    """(instruction, history) of a human turn; a text without the `Instruction:` line is all instruction."""
    match = _REQUEST.search(text)
    if not match:
        return text, ""
    history = (match[2] or "").strip()
    return match[1].strip(), "" if history == "None" else history


def _actions(code: str, special: re.Pattern[str], dialect: str) -> tuple[list[str], list[Action]]:
    try:
        actions = parse(code, "unified" if dialect == "smolagents" else dialect)
    except ActionParseError as error:
        raise RowError("bad action", f"{code!r}: {error}") from None
    if dialect == "smolagents":
        actions = [_turned(action) for action in actions]
    calls = [render([action]) for action in actions]
    if any(special.search(call) for call in calls):
        raise RowError("special token in an action", code)
    return calls, actions


def _turned(action: Action) -> Action:
    direction = action.arguments.get("direction")
    return Action(action.name, action.arguments | {"direction": _ROUND[direction]}) if direction in _ROUND else action
