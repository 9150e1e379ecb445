"""Looks for secrets in files: by the shape of well-known tokens, and by the very values that this machine holds.

`python3 leaks.py PATH...` prints `file:line: kind` for each, never the value. Exit status: 0 none, 1 some, 2 a path
that cannot be read. `-0` reads the names from standard input, each ended by a NUL. Packed files are not opened.
Standard library only and Python 3.9, since it is piped to hosts that may have nothing else.
"""

import os
import re
import stat
import sys
from typing import NamedTuple

BLOCK, OVERLAP = 1 << 22, 1 << 12  # bytes read at once, and of the block before looked at again
SHORTEST = 12  # bytes of a value that is searched for: shorter ones turn up by chance
VALUE_NAMES = ("_API_KEY", "_TOKEN", "_SECRET", "PASSWORD")


class Leak(NamedTuple):
    """Where a secret lies, and what it is. There is no field for the secret."""

    file: str
    line: int
    kind: str


# Kind, literal, pattern: looking for the literal that the pattern begins with is fast. With (?i), any case.
_SHAPES = [
    (kind, literal, re.compile(pattern))
    for kind, literal, pattern in (
        ("Hugging Face token", b"hf_", rb"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]{30,}(?![A-Za-z0-9_])"),
        ("W&B key", b"wandb_v1_", rb"wandb_v1_[A-Za-z0-9_-]{20,}"),
        ("W&B key", b"wandb", rb"(?is)wandb.{0,80}?(?:login|key|password|token)[^\w\n]{1,8}[0-9a-f]{40}(?!\w)"),
        *(
            (kind, b"api", rb"(?i)api[_ -]?key[^\w\n]{1,8}[0-9a-f]{%d}(?!\w)" % digits)
            for kind, digits in (("W&B key", 40), ("Vast.ai key", 64))
        ),
        ("Vast.ai key", b"vast", rb"(?i)vast[\w.-]{0,16}(?:key|token|secret)[^\w\n]{1,8}[0-9a-f]{64}(?!\w)"),
        *(
            ("GitHub token", literal, literal + rb"[A-Za-z0-9]{36,}")
            for literal in (b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_")
        ),
        ("GitHub token", b"github_pat_", rb"github_pat_[A-Za-z0-9_]{30,}"),
        *(
            ("AWS key", literal, rb"(?<![A-Za-z0-9/+_])%s[0-9A-Z]{16}(?![A-Za-z0-9/+=_])" % literal)
            for literal in (b"AKIA", b"ASIA")
        ),
        ("AWS key", b"secret_access_key", rb"(?i)secret_access_key[^\w\n]{1,8}[a-z0-9/+]{40}(?![\w/+])"),
        ("Anthropic key", b"sk-ant-", rb"(?<![\w-])sk-ant-[\w-]{20,}"),
        ("OpenAI key", b"sk-", rb"(?<![\w-])sk-(?:(?:proj|svcacct|admin)-[\w-]{20,}|[A-Za-z0-9]{32,}(?![\w-]))"),
        ("Slack token", b"xox", rb"(?<!\w)xox[abeoprs]-[0-9][0-9A-Za-z-]{16,}"),
        ("Google key", b"AIza", rb"(?<![\w/+-])AIza[\w-]{35}(?![\w/+=-])"),
        (
            "private key",
            b"-----BEGIN ",
            rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----(?:\s|\\[nr])*[\w+/:-]{8}",
        ),
        (
            "Authorization header",
            b"authorization",
            rb"""(?i)authorization["']?\s?[:=]\s?["']?(?:bearer|basic|token)\s(?=[\w.~+/=-]*[0-9])[\w.~+/=-]{16,}""",
        ),
        ("password in a URL", b"://", rb"""(?<=[a-z0-9])://[^\s/?#:@"'<>{}$*]{1,80}:[^\s/?#@"'<>{}$*]{3,200}@[\w.-]"""),
        ("Jupyter token", b"token=", rb"token=[0-9a-f]{48}(?![0-9a-f])"),
    )
]


def find(paths) -> list[Leak]:
    """The secrets in these files and in all files below these folders. Symlinks are not followed.

    Raises OSError where a path is not there or cannot be read.
    """
    values = _values()
    return [leak for path in paths for file in _files(path) for leak in _find_in(file, values)]


def _files(path: str):
    path = os.path.normpath(path)
    if not os.path.isdir(path) or os.path.islink(path):
        os.lstat(path)
        yield path
        return
    for folder, folders, files in os.walk(path, onerror=_fail):
        folders.sort()
        yield from (os.path.normpath(os.path.join(folder, name)) for name in sorted(files))


def _fail(error: OSError) -> None:
    raise error


def _find_in(file: str, values: dict[bytes, str]) -> list[Leak]:
    """The secrets of one file, in the order of lines. A file that has gone meanwhile has none."""
    try:
        if not stat.S_ISREG(os.lstat(file).st_mode):
            return []
        with open(file, "rb") as opened:
            found = set(_places(opened, values))
    except FileNotFoundError:
        return []
    return [Leak(file, line, kind) for line, kind in sorted(found)]


def _places(opened, values: dict[bytes, str]):
    """(line, kind) of each secret, some twice where blocks overlap."""
    window, start_line, text = b"", 1, None
    while block := opened.read(BLOCK):
        if text is None:
            text = b"\0" not in block[: 1 << 13]
        gone = window[:-OVERLAP]
        start_line += gone.count(b"\n")
        window = window[len(gone) :] + block
        for place, kind in _search(window, values, text):
            yield start_line + window.count(b"\n", 0, place), kind


def _search(window: bytes, values: dict[bytes, str], text: bool):
    """(place, kind) in these bytes: of values in any file, of shapes in text only."""
    for value, kind in values.items():
        yield from ((place, kind) for place in _all(window, value))
    lowered = window.lower() if text else b""
    for kind, literal, pattern in _SHAPES if text else ():
        searched = lowered if pattern.flags & re.IGNORECASE else window
        for place in _all(searched, literal):
            if match := pattern.match(searched, place):
                yield match.end() - 1, kind


def _all(window: bytes, literal: bytes):
    place = window.find(literal)
    while place >= 0:
        yield place
        place = window.find(literal, place + 1)


def _values() -> dict[bytes, str]:
    """The secrets at hand -> what they are called."""
    at_hand = [(f"value of {name}", value) for name, value in os.environ.items() if name.endswith(VALUE_NAMES)]
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    cache = os.environ.get("HF_HOME") or "~/.cache/huggingface"
    for file in ("~/.vast_api_key", f"{config}/vastai/vast_api_key", f"{cache}/token"):
        at_hand.append((f"content of {file}", _read(file)))
    passwords = re.findall(r"\bpassword\s+(\S+)", _read("~/.netrc"))
    at_hand += [("password of ~/.netrc", password) for password in passwords]
    keys = _read(os.environ.get("FORGE_KEYS_FILE") or "~/.config/churninator-forge/keys.env")
    for name, value in re.findall(r"^\s*(?:export\s+)?(\w+)=(.*)$", keys, re.MULTILINE):
        at_hand.append((f"value of {name}", value.strip().strip("\"'")))
    encoded = [(os.fsencode(value.strip()), kind) for kind, value in at_hand]
    return {value: kind for value, kind in encoded if len(value) >= SHORTEST}


def _read(file: str) -> str:
    """The text of a file of the user's; empty where there is none."""
    try:
        with open(os.path.expanduser(file), encoding="utf-8", errors="surrogateescape") as opened:
            return opened.read()
    except OSError:
        return ""


def main(arguments: list[str]) -> int:
    try:
        if arguments == ["-0"]:
            arguments = [os.fsdecode(name) for name in sys.stdin.buffer.read().split(b"\0") if name]
        leaks = find(arguments)
    except OSError as error:
        print(f"not searched: {error}", file=sys.stderr)
        return 2
    for leak in leaks:
        sys.stdout.buffer.write(os.fsencode(f"{leak.file}:{leak.line}: {leak.kind}\n"))
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
