"""Read Python calls out of a text without running anything: what every call-shaped dialect is parsed with.

`ast.parse` builds the tree and only this is let through: one or more calls of plain or dotted names whose arguments
are strings, numbers and flat lists of them.
"""

import ast
import re
import warnings
from dataclasses import dataclass

MAX_CHARACTERS = 200_000
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


def read_calls(text: str) -> list[Call]:
    """The calls of `text`, one per statement, in order; raises `ActionParseError` on anything else, and on no call."""
    if len(text) > MAX_CHARACTERS:
        raise ActionParseError(f"expected at most {MAX_CHARACTERS} characters, found {len(text)}", text, MAX_CHARACTERS)
    body = text.strip()
    start = len(text) - len(text.lstrip())
    calls = [_call(statement, text, start) for statement in _statements(body, text, start)]
    if not calls:
        raise ActionParseError("expected a call, found nothing", text, 0)
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
        raise ActionParseError(f"expected Python calls ({error.msg})", text, min(offset, len(text))) from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes, endless nesting, endless digits
        raise ActionParseError(f"expected Python calls ({error})", text, 0) from None


def _call(statement: ast.stmt, text: str, start: int) -> Call:
    offset = start + _offset(text.strip(), statement.lineno, statement.col_offset)
    node = getattr(statement, "value", None)
    if not isinstance(statement, ast.Expr) or not isinstance(node, ast.Call):
        raise ActionParseError("expected a call", text, offset)
    try:
        keywords = {}
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in keywords:
                raise ValueError(f"expected each named argument once, found {keyword.arg or '**'}")
            keywords[keyword.arg] = _literal(keyword.value)
        return Call(_dotted(node.func), [_literal(value) for value in node.args], keywords, offset)
    except (ValueError, RecursionError) as error:
        raise ActionParseError(str(error), text, offset) from None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    raise ValueError("expected a function's name before the parenthesis")


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Constant) and type(node.value) in (str, int, float):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        value = _literal(node.operand)
        if type(value) in (int, float):
            return -value if isinstance(node.op, ast.USub) else value
    raise ValueError(f"expected a string, a number or a list of them, found {ast.unparse(node)[:60]}")


def _offset(text: str, line: int, column: int, in_bytes: bool = True) -> int:
    """Character offset of a 1-based line and 0-based column, in bytes (syntax tree) or characters."""
    lines = _LINE_END.split(text)
    before = sum(map(len, lines[: line - 1]))
    if in_bytes and line <= len(lines):
        column = len(lines[line - 1].encode("utf-8", "surrogatepass")[:column].decode("utf-8", "ignore"))
    return before + column
