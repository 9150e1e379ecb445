"""Read Python calls out of a text without running anything: what every call-shaped dialect is parsed with.

`ast.parse` builds the tree and only this is let through: one or more calls of plain or dotted names whose arguments
are strings, numbers, True, False, None, and lists, dicts and calls of these.
"""

import ast
import keyword
import re
import warnings
from dataclasses import dataclass

MAX_CHARACTERS = 200_000
_RESERVED = frozenset(keyword.kwlist)
_SIMPLE_CALL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\(([^()\[\]{}\\\n\r\f\0#]*)\)")
_SIMPLE_ARGUMENT = re.compile(
    r" *(?:([A-Za-z_][A-Za-z0-9_]*) *= *)?"
    r"(?:(-?(?:0|[1-9][0-9]{0,8}))(?![\w.])|(-?[0-9]{0,9}\.[0-9]{1,15})(?![\w.])|'([^'\"]*)'|\"([^'\"]*)\") *(?:, *|\Z)"
)
MAX_CALLS = 1_000
_LONG = 2_000  # characters from which a text is first checked for what would make the compiler slow
_FENCE = re.compile(r"\A\s*```[a-z]*[ \t]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL)
_LONG_STRINGS = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_LINE_BREAK = "\ue000"  # private use: as long as a line break, so that offsets stay
_STRINGS = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"")
_LINE_END = re.compile(r"(?<=\n)|(?<=\r)(?!\n)")


class ActionParseError(ValueError):
    """A text that is not the right calls: `offset` is the character where it fails, `expected` what belongs there."""

    def __init__(self, expected: str, text: str, offset: int) -> None:
        self.expected, self.offset = expected, offset
        super().__init__(f"{expected}; character {offset}, near {text[offset : offset + 60]!r}")


@dataclass(frozen=True)
class Call:
    """One call as written: dotted name, arguments by position and by name, and its offset in the text (characters)."""

    name: str
    positional: list
    keywords: dict
    offset: int


def check_length(text: str) -> None:
    """Raises `ActionParseError` on more than `MAX_CHARACTERS` characters."""
    if len(text) > MAX_CHARACTERS:
        raise ActionParseError(f"expected at most {MAX_CHARACTERS} characters, found {len(text)}", text, MAX_CHARACTERS)


def read_calls(text: str) -> list[Call]:
    """The calls of `text`, one per statement, in order; raises `ActionParseError` on anything else, and on no call."""
    check_length(text)
    fence = _FENCE.match(text)
    body = (fence[1] if fence else text).strip()
    start = text.index(body) if fence else len(text) - len(text.lstrip())
    if len(text) > _LONG:
        _check_size(body, text)
    simple = read_simple(body, start)
    if simple:
        return simple
    calls = [_call(statement, body, text, start) for statement in _statements(body, text, start)]
    if not calls:
        raise ActionParseError("expected a call, found nothing", text, 0)
    return calls


def read_calls_over_lines(text: str) -> list[Call]:
    """`read_calls`, where a string may hold a real line break, which Python itself refuses."""
    try:
        return read_calls(text)
    except ActionParseError:
        one_line = _LONG_STRINGS.sub(lambda match: match[0].replace("\n", _LINE_BREAK), text)
        if one_line == text or _LINE_BREAK in text:
            raise
        try:
            calls = read_calls(one_line)
        except ActionParseError as error:
            raise ActionParseError(error.expected, text, error.offset) from None
        return [_with_line_breaks(call) for call in calls]


def _with_line_breaks(value: object) -> object:
    if isinstance(value, Call):
        positional, keywords = _with_line_breaks(value.positional), _with_line_breaks(value.keywords)
        return Call(value.name, positional, keywords, value.offset)
    if isinstance(value, str):
        return value.replace(_LINE_BREAK, "\n")
    if isinstance(value, list):
        return [_with_line_breaks(item) for item in value]
    return {key: _with_line_breaks(item) for key, item in value.items()} if isinstance(value, dict) else value


def read_simple(body: str, start: int = 0) -> list[Call] | None:
    """The calls of a text of plain lines (numbers, strings without quotes and escapes), else None.

    A shortcut past the compiler for what nearly all rows are: where it answers, the compiler would answer the same.
    """
    calls, at = [], 0
    for line in body.split("\n"):
        call = _SIMPLE_CALL.fullmatch(line)
        if call is None or call[1] in _RESERVED:
            return None
        positional, keywords, written, end = [], {}, call[2], 0
        while end < len(written):
            argument = _SIMPLE_ARGUMENT.match(written, end)
            if argument is None or (argument[1] in keywords if argument[1] else keywords) or argument[1] in _RESERVED:
                return None
            _, whole, decimal, single, double = argument.groups()
            value = int(whole) if whole else float(decimal) if decimal else single if double is None else double
            if argument[1]:
                keywords[argument[1]] = value
            else:
                positional.append(value)
            end = argument.end()
        calls.append(Call(call[1], positional, keywords, start + at))
        at += len(line) + 1
    return calls


def bind(call: Call, names: tuple[str, ...]) -> dict[str, object]:
    """The call's arguments by parameter name; raises ValueError on too many, unknown or repeated ones."""
    if len(call.positional) > len(names):
        raise ValueError(f"{call.name}: expected at most {len(names)} arguments, found {len(call.positional)}")
    arguments = dict(zip(names, call.positional, strict=False))
    for name, value in call.keywords.items():
        if name not in names or name in arguments:
            problem = "repeated" if name in arguments else "unknown"
            raise ValueError(f"{call.name}: {problem} argument {name!r}, expected ({', '.join(names)})")
        arguments[name] = value
    return arguments


def _statements(body: str, text: str, start: int) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 'C:\d' is data here, not a mistake to warn about
            return ast.parse(body).body
    except SyntaxError as error:
        offset = start + _offset(body, error.lineno or 1, max((error.offset or 1) - 1, 0), in_bytes=False)
        raise ActionParseError(f"expected Python calls ({error.msg:.80})", text, min(offset, len(text))) from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, endless nesting, endless digits
        raise ActionParseError(f"expected Python calls ({error})", text, 0) from None


def read_literal(text: str) -> object:
    """The value of a text that is one Python literal, such as ShowUI's dicts; raises `ActionParseError`."""
    body = text.strip()
    check_length(text)
    if len(text) > _LONG:
        _check_size(body, text)
    statements = _statements(body, text, len(text) - len(text.lstrip()))
    try:
        if len(statements) != 1 or not isinstance(statements[0], ast.Expr):
            raise ValueError("expected one value")
        return _literal(statements[0].value)
    except (ValueError, RecursionError) as error:
        raise ActionParseError(str(error), text, 0) from None


def _check_size(body: str, text: str) -> None:
    bare = _STRINGS.sub("", body)
    if bare.count("(") > MAX_CALLS or bare.count(",") > 10 * MAX_CALLS or len(bare) > 50 * MAX_CALLS:
        raise ActionParseError(f"expected at most {MAX_CALLS} calls", text, 0)


def _call(statement: ast.stmt, body: str, text: str, start: int) -> Call:
    offset = start + _offset(body, statement.lineno, statement.col_offset)
    node = getattr(statement, "value", None)
    if not isinstance(statement, ast.Expr) or not isinstance(node, ast.Call):
        raise ActionParseError("expected a call", text, offset)
    try:
        return _arguments(node, offset)
    except (ValueError, RecursionError) as error:
        raise ActionParseError(str(error), text, offset) from None


def _arguments(node: ast.Call, offset: int) -> Call:
    keywords = {}
    for named in node.keywords:
        if named.arg is None or named.arg in keywords:
            raise ValueError(f"expected each named argument once, found {named.arg or '**'}")
        keywords[named.arg] = _literal(named.value)
    return Call(_dotted(node.func), [_literal(value) for value in node.args], keywords, offset)


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ValueError("expected a function's name before the parenthesis")


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Constant) and (node.value is None or type(node.value) in (str, int, float, bool)):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Call):
        return _arguments(node, 0)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _literal(node.operand)
        if type(value) in (int, float):
            return -value if isinstance(node.op, ast.USub) else value
    raise ValueError(f"expected a string, a number or a list of them, found {ast.unparse(node)[:60]}")


def _offset(text: str, line: int, column: int, in_bytes: bool = True) -> int:
    """Character offset of a 1-based line and 0-based column, in bytes (syntax tree) or characters."""
    if line == 1 and column == 0:
        return 0
    lines = _LINE_END.split(text)
    before = sum(map(len, lines[: line - 1]))
    if in_bytes and line <= len(lines):
        column = len(lines[line - 1].encode("utf-8", "surrogatepass")[:column].decode("utf-8", "ignore"))
    return before + column
