"""JSON values in the text of a model: found at an offset, and mended where only one reading is possible."""

import json
import re

from forge_core.actions.calls import MAX_CHARACTERS, ActionParseError

_DECODER = json.JSONDecoder()
_STRING = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
_TRAILING_COMMA = re.compile(r",(\s*[\]}])")
_FENCE = re.compile(r"```(?:json)?\s*")


def read_json(text: str, start: int = 0) -> object:
    """The first JSON value at or after `start`. Mended: a trailing comma, closing brackets that are missing or too
    many.

    Raises `ActionParseError` where there is none.
    """
    if len(text) > MAX_CHARACTERS:
        raise ActionParseError(f"expected at most {MAX_CHARACTERS} characters, found {len(text)}", text, MAX_CHARACTERS)
    at = min((found for found in (text.find("{", start), text.find("[", start)) if found >= 0), default=-1)
    if at < 0:
        raise ActionParseError("expected JSON, found none", text, min(start, len(text)))
    try:
        return _decode(text, at)
    except json.JSONDecodeError as error:
        try:
            return _decode(_mended(text[at:]), 0)
        except json.JSONDecodeError:
            raise ActionParseError(f"expected JSON ({error.msg})", text, min(error.pos, len(text))) from None


def read_object(text: str, start: int = 0) -> dict:
    """`read_json`, for what has to be an object."""
    value = read_json(text, start)
    if not isinstance(value, dict):
        raise ActionParseError(f"expected a JSON object, found {value!r:.60}", text, start)
    return value


def read_list(text: str) -> list[dict]:
    """The object, or the list of objects, that a text is; a Markdown fence around it is ignored."""
    value = read_json(text)
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, dict) for item in values):
        raise ActionParseError(f"expected JSON objects, found {value!r:.60}", text, 0)
    return values


def only_json(text: str) -> list[dict]:
    """`read_list` of a text that holds nothing else: prose around the JSON is refused, because it would be lost."""
    body = _FENCE.sub("", text).strip()
    if body[:1] not in ("{", "["):
        raise ActionParseError("expected JSON and nothing else", text, 0)
    value, end = _decode_to(body)
    if body[end:].strip(" \n\r\t}]"):
        raise ActionParseError("expected nothing after the JSON", text, min(end, len(text)))
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(item, dict) for item in values):
        raise ActionParseError(f"expected JSON objects, found {value!r:.60}", text, 0)
    return values


def _decode_to(body: str) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(body)
    except (ValueError, RecursionError):
        return read_json(body), len(body)


def _decode(text: str, at: int) -> object:
    try:
        return _DECODER.raw_decode(text, at)[0]
    except RecursionError:
        raise ActionParseError("expected JSON of a reasonable depth", text, at) from None


def _mended(text: str) -> str:
    """Without trailing commas, and with the brackets closed that are still open at the end."""
    text = _TRAILING_COMMA.sub(r"\1", text.split("</tool_call>")[0])
    open_brackets: list[str] = []
    for mark in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        if mark in "[{":
            open_brackets.append("]" if mark == "[" else "}")
        elif open_brackets and open_brackets[-1] == mark:
            open_brackets.pop()
        elif mark in open_brackets:  # `{"a": [1, 2}`: one reading, the inner bracket closes too
            return text
    return text.rstrip().rstrip(",") + "".join(reversed(open_brackets))
