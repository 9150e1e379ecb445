"""One raw AGUVIS row to its image and turns: a JSON object with `image` and a `conversations` list of messages.

Stage 1: human "<image>\\nClick on 'Save'", gpt "pyautogui.click(x=0.41, y=0.178)", any number of such pairs.
Stage 2: human with "Instruction: ..." and "Previous actions: ...", gpt (recipient "all") "Thought: ...\\nAction: ...",
gpt (recipient "os") with the calls. A system message is left out: the project writes its own.
"""

import re
import warnings
from pathlib import Path

from PIL import Image
from pydantic import ValidationError

from forge_core.actions.calls import ActionParseError
from forge_core.actions.dialects import parse
from forge_core.actions.types import Action
from forge_core.actions.unified import render
from forge_core.data.schema import Turn

Exchange = tuple[str, list[dict]]  # a human text and the gpt messages that answer it

# Tokens with a meaning to the model or to our answer format; in data they would be instructions to it.
_SPECIAL = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|</?(?:image|think|code|s|unk|pad|bos|eos)>|<row_\d+_col_\d+>"
    r"|<(?:end_of_utterance|fake_token_around_image|global-img)>"
)
_LABEL = re.compile(r"^(?:Observation|Thought|Action):[ \t]*", re.MULTILINE)
_REQUEST = re.compile(r"^Instruction:(.*?)(?:^Previous actions:(.*))?\Z", re.DOTALL | re.MULTILINE)


class RowError(Exception):
    """A row or turn that cannot be used: `reason` is the short name it is counted under, `value` what is wrong."""

    def __init__(self, reason: str, value: object) -> None:
        super().__init__(reason, value)
        self.reason, self.value = reason, value if isinstance(value, str) else repr(value)


def image_name(row: object) -> str:
    """The image a row names, as text for a report; empty where there is none."""
    return str(row.get("image", "")) if isinstance(row, dict) else ""


def split(row: object) -> tuple[str, list[Exchange]]:
    """(image, exchanges) of a raw row; an exchange is a human text with the gpt messages that follow it."""
    messages = row.get("conversations") if isinstance(row, dict) else None
    image = row.get("image") if isinstance(row, dict) else None
    image = image[0] if isinstance(image, list) and len(image) == 1 else image
    if not isinstance(image, str) or not image:
        raise RowError("not one image", repr(image))
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


def read_turn(exchange: Exchange, stage: int) -> tuple[Turn, list[Action]]:
    """A turn and its actions. Stage 1: one answer, bare calls. Stage 2: a thought to `all`, then calls to `os`."""
    request, answers = exchange
    if not answers or (stage == 1 and len(answers) > 1) or answers[-1].get("recipient", "os") != "os":
        raise RowError("malformed conversation", [answer["value"] for answer in answers] or f"no answer to {request!r}")
    instruction, history = _request(clean(request))
    thought = clean(_LABEL.sub("", "\n".join(clean(answer["value"]) for answer in answers[:-1]))).strip()
    if not instruction:
        raise RowError("empty instruction", request)
    if stage == 2 and not thought:
        raise RowError("no thought", answers[-1]["value"])
    calls, actions = _actions(answers[-1]["value"])
    try:
        return Turn(instruction=instruction, history=history, thought=thought or None, actions=calls), actions
    except ValidationError as error:  # half a surrogate pair in a text
        raise RowError("text is not valid UTF-8", error.errors()[0]["msg"]) from None


def clean(text: str) -> str:
    """The text without special tokens; repeated, so that none appears out of the pieces around another."""
    while (stripped := _SPECIAL.sub("", text)) != text:
        text = stripped
    return text.strip()


def _request(text: str) -> tuple[str, str]:
    """(instruction, history) of a human turn; a text without the `Instruction:` line is all instruction."""
    match = _REQUEST.search(text)
    if not match:
        return text, ""
    history = (match[2] or "").strip()
    return match[1].strip(), "" if history == "None" else history


def _actions(code: str) -> tuple[list[str], list[Action]]:
    try:
        actions = parse(code, "aguvis")
    except ActionParseError as error:
        raise RowError("bad action", f"{code!r}: {error}") from None
    calls = [render([action]) for action in actions]
    if any(_SPECIAL.search(call) for call in calls):
        raise RowError("special token in an action", code)
    return calls, actions


def image_size(root: Path, name: str) -> tuple[int, int]:
    """(width, height) in px of an image that lies under `root` and can be decoded."""
    try:
        path = (root / name).resolve()
        if not path.is_relative_to(root.resolve()):
            raise RowError("image outside the archive", name)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                size = image.size
                if image.format == "JPEG":
                    image.draft("RGB", (1, 1))  # an eighth of the size: fast, and reads the file to its end
                    image.load()
                else:
                    image.verify()
    except FileNotFoundError:
        raise RowError("missing image", name) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RowError("unreadable image", f"{name}: {error}") from None
    return size
