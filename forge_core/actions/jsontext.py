"""Actions as JSON: read from the text of a model, mended where only one reading is possible, and written."""

import json
import re
from collections.abc import Callable

from forge_core.actions.calls import ActionParseError, check_length
from forge_core.actions.steps import Reading, Step

_DECODER = json.JSONDecoder()
_STRING = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
_STRING_OR_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[\]}])', re.DOTALL)
_FENCE = re.compile(r"\A\s*```(?:json)?\s*")
_SURPLUS = " \n\r\t,}]`"  # what may follow: a comma, closing brackets too many, the end of a fence


def read_json(text: str) -> object:
    """The JSON value that a text is; a Markdown fence around it is ignored, prose is refused because it would be lost.

    Mended: trailing commas, closing brackets that are missing or too many. Raises `ActionParseError`.
    """
    check_length(text)
    fence = _FENCE.match(text)
    start = fence.end() if fence else len(text) - len(text.lstrip())
    if text[start : start + 1] not in ("{", "["):
        raise ActionParseError("expected JSON and nothing else", text, start)
    try:
        value, end = _DECODER.raw_decode(text, start)
    except RecursionError:
        raise ActionParseError("expected JSON of a reasonable depth", text, start) from None
    except json.JSONDecodeError as error:
        return _read_mended(text, start, error)
    if text[end:].strip(_SURPLUS):
        raise ActionParseError("expected nothing after the JSON", text, end)
    return value


def read_objects(text: str) -> list[dict]:
    """The object, or the list of objects, that a text is."""
    value = read_json(text)
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, dict) for item in values):
        raise ActionParseError(f"expected JSON objects, found {value!r:.60}", text, 0)
    return values


def write_objects(reading: Reading, item: Callable[[Step], dict]) -> str:
    """One JSON object, or a list of several, `item` making one of a step; raises ValueError on a thought."""
    if reading.thought:
        raise ValueError("the dialect has no place for a thought")
    items = [item(step) for step in reading.steps]
    return json.dumps(items[0] if len(items) == 1 else items, ensure_ascii=False)


def _read_mended(text: str, start: int, error: json.JSONDecodeError) -> object:
    """`text` without trailing commas, and with the brackets closed that are still open at the end."""
    body = _STRING_OR_COMMA.sub(lambda match: match[1] or "", text[start:].rstrip("` \n\r\t")).rstrip(",")
    still_open: list[str] = []
    for mark in re.findall(r"[\[\]{}]", _STRING.sub("", body)):
        if mark in "[{":
            still_open.append("]" if mark == "[" else "}")
        elif still_open and still_open[-1] == mark:
            still_open.pop()
    try:
        value, end = _DECODER.raw_decode(body + "".join(reversed(still_open)))
    except (ValueError, RecursionError):
        raise ActionParseError(f"expected JSON ({error.msg})", text, min(error.pos, len(text))) from None
    if body[end:].strip(_SURPLUS):
        raise ActionParseError("expected nothing after the JSON", text, min(start + end, len(text)))
    return value
