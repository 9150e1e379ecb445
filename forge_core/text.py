"""Text from outside (hosts, providers, pages, archives, models) on its way to a terminal or a line of a file."""

import json
import unicodedata


def printable(text: str, lines: bool = False) -> str:
    r"""`text` with each character that a terminal would obey, hide or turn around written as its escape (`\x1b`).

    Kept are letters, marks, numbers, punctuation, symbols and spaces (Unicode's categories L, M, N, P, S, Zs); with
    `lines`, line feeds and tabs too.
    """
    return "".join(character if _shown(character, lines) else _escape(character) for character in text)


def _shown(character: str, lines: bool) -> bool:
    if character.isprintable():
        return True
    return (lines and character in "\n\t") or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def one_line(value: object) -> str:
    """A name or an error in a line, 200 characters at most; of an error that says nothing, what kind it is."""
    return printable(" ".join(f"{value!s:.200}".split())) or type(value).__name__


def code(value: object) -> str:
    """`value` as code in a line of Markdown: no markup, no end of the line, no end of the code."""
    return f"`{printable(str(value)).replace('`', chr(39))}`"


def front_matter(**fields: str) -> str:
    """The YAML block at the head of a model card; a value is one JSON string, which YAML reads as it is."""
    lines = [f"{name}: {json.dumps(printable(value), ensure_ascii=False)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---\n\n"])
