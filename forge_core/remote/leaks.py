"""Looks for secrets in files and in their names: by the shape of well-known tokens, and by the values of this machine.

`python3 leaks.py PATH...` prints `file:line: kind` for each, never the value. Exit status: 0 none, 1 some, 2 a path
that cannot be read. `-0` reads the paths from standard input, each ended by a NUL. `--names` begins each line with the
file's name as it is, and a tab, for staging.py. Packed files are not opened, links are not followed.
Standard library only and Python 3.9, since it is piped to hosts that may have nothing else.
"""

import base64
import json
import os
import re
import stat
import sys
import urllib.parse
from bisect import bisect
from fnmatch import fnmatch
from typing import NamedTuple

BLOCK, OVERLAP = 1 << 22, 1 << 14  # bytes read at once, and of the block before looked at again
SHORTEST, SHORTEST_MIXED = 12, 8  # bytes of a value that is searched for; of one with letters and digits
LONGEST = 1 << 12  # bytes of a value that are searched for
NAMES = (".env*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*netrc", ".git-credentials", ".npmrc")
NAMES += ("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", ".pypirc", "kaggle.json", "*vast_api_key", "credentials")
NAMES += ("credentials.[!p]*",)  # but credentials.py
VALUE_NAME = re.compile(  # of an environment variable
    r"(?i)(?!.*_(?:FILE|PATH|DIR|SOCK|URL)$)"
    r"(?:.*(?:KEY|TOKEN|SECRET|CREDENTIAL|PASSWO?R?D|PASSPHRASE)S?|(?:.*_)?(?:PAT|PASS|PWD))(?:_|\d|$)|.*_AUTH$"
)

# Where a token may begin: behind no letter or digit, but behind \n, \u003d, %3D and a colour's m.
_EDGE = rb"(?:(?<!%s)|(?<=\\[nrt])|(?<=\\u[0-9a-f]{4})|(?<=%%[0-9A-Fa-f]{2})|(?<=\dm))"
# Kind, the beginnings of such tokens, what follows.
_TOKENS = (
    ("Hugging Face token", "hf_", r"(?:oauth_|jwt_)?[A-Za-z0-9]{30,}(?!\w)"),
    ("Hugging Face token", "api_org_", r"[A-Za-z0-9]{30,}(?!\w)"),
    ("W&B key", "wandb_v1_", r"[\w-]{20,}"),
    ("GitHub token", "gh", r"[oprsu]_[A-Za-z0-9]{36,}"),
    ("GitHub token", "github_pat_", r"\w{30,}"),
    ("GitLab token", "gl", r"(?:pat|dt|rt|cbt|ptt|ft|imt|agent|soat|oas)-[\w.-]{20,}"),
    ("npm token", "npm_", r"[A-Za-z0-9]{36}(?!\w)"),
    ("PyPI token", "pypi-AgE", r"[\w-]{50,}"),
    ("Stripe key", "sk_live_ rk_live_", r"[A-Za-z0-9]{16,}"),
    ("Stripe key", "whsec_", r"[A-Za-z0-9+/]{32,}"),
    ("Anthropic key", "sk-", r"ant-[\w-]{20,}"),
    ("OpenAI key", "sk-", r"(?:(?:proj|svcacct|admin)-[\w-]{20,}|[A-Za-z0-9]{32,}(?![\w-]))"),
    ("OpenRouter key", "sk-", r"or-v1-[0-9a-f]{64}"),
    ("Groq key", "gsk_", r"[A-Za-z0-9]{52}(?!\w)"),
    ("xAI key", "xai-", r"[A-Za-z0-9]{80}(?!\w)"),
    ("Replicate token", "r8_", r"[A-Za-z0-9]{37}(?!\w)"),
    ("RunPod key", "rpa_", r"[A-Z0-9]{40}\w{0,9}(?!\w)"),
    ("Kaggle token", "KGAT_", r"[0-9a-f]{32}(?!\w)"),
    ("Slack token", "xox", r"[abeoprs][.-](?:xoxp-)?[0-9][0-9A-Za-z-]{16,}"),
    ("Slack token", "xapp-", r"[0-9]-[0-9A-Za-z-]{16,}"),
    ("Google key", "GOCSPX-", r"[\w-]{28}(?![\w-])"),
    ("Google token", "ya29.", r"[\w-]{30,}"),
    ("Azure key", "AccountKey= SharedAccessKey=", r"[A-Za-z0-9+/]{43,86}="),
    ("SendGrid key", "SG.", r"[\w-]{22}\.[\w-]{43}(?![\w-])"),
    ("DigitalOcean token", "dop_v1_ doo_v1_ dor_v1_", r"[0-9a-f]{64}"),
    ("Docker Hub token", "dckr_pat_ dckr_oat_", r"[\w-]{27,}"),
    ("age key", "AGE-SECRET-KEY-1", r"[0-9A-Z]{58}"),
    ("PuTTY key", "PuTTY-User-Key-File-", r"[123]: [\w-]+(?:\s|\\[nr])+Encryption: "),
)
_LIKE_BASE64 = (  # these could be a part of a picture in a notebook, so nothing of that kind may be beside them
    ("AWS key", "AKIA ASIA", r"[0-9A-Z]{16}(?![\w+/=])"),
    ("Google key", "AIza", r"[\w-]{35}(?![\w+/=-])"),
    ("Twilio key", "SK", r"[0-9a-f]{32}(?![\w+/=])"),
    ("Databricks token", "dapi", r"[0-9a-f]{32}(?![\w+/=])"),
)
BY_VARIABLE = "secret by its variable's name"
# NAME=value, "NAME": 'value': a word with letters and digits that is no path
_ASSIGNED = rb"""["']?[ \t]?[:=][ \t]?["']?(?![/~.])(?=[^\s"'0-9]{0,99}[0-9])(?=[^\s"'A-Za-z]{0,99}[A-Za-z])"""
# Kind, literal, pattern that begins with the literal. With (?i) in any case; the literal is in lower case then.
_IN_CONTEXT = (
    ("W&B key", b"wandb", rb"(?is)wandb.{0,80}?(?:login|key|password|token)[^\w\n]{1,8}[0-9a-f]{40}(?!\w)"),
    ("W&B key", b"api", rb"(?i)api[_ -]?key[^\w\n]{1,8}[0-9a-f]{40}(?!\w)"),
    ("Vast.ai key", b"api", rb"(?i)api[_ -]?key[^\w\n]{1,8}[0-9a-f]{64}(?!\w)"),
    ("Vast.ai key", b"vast", rb"(?i)vast[\w.-]{0,16}(?:key|token|secret)[^\w\n]{1,8}[0-9a-f]{64}(?!\w)"),
    ("AWS key", b"secret_access_key", rb"(?i)secret_access_key[^\w\n]{1,8}[a-z0-9/+]{40}(?![\w/+])"),
    ("Kaggle key", b'"username"', rb'"username"\s?:\s?"[^"\n]{1,60}",\s{0,9}"key"\s?:\s?"[0-9a-f]{32}"'),
    ("Azure client secret", b"Q~", rb"(?<=[\w.~-]{3}[78])Q~[\w.~-]{31,34}(?![\w.~-])"),
    ("JSON Web Token", b".eyJ", rb"(?<=[\w-]{16})\.eyJ[\w-]{16,8000}\.[\w-]{16}"),
    (
        "private key",
        b"-----BEGIN ",
        rb"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----(?:[\s\"'+,>]|\\[nr])*"
        rb"(?:[A-Za-z0-9+/]{24}|(?:Proc-Type|DEK-Info|Version|Comment|Hash): )",
    ),
    (
        "Authorization header",
        b"authorization",
        rb"""(?i)authorization["']?\s?[:=]\s?["']?(?:bearer|basic|token)\s(?=[\w.~+/=-]*[0-9])[\w.~+/=-]{16,}""",
    ),
    ("password in a URL", b"://", rb"""(?<=[a-z0-9])://[^\0- /?#:@"'<>{}$*]{1,80}:[^\0- /?#@"'<>{}$*]{3,200}@[\w.-]"""),
    ("Jupyter token", b"token=", rb"token=[0-9a-f]{48}(?![0-9a-f])"),
    *(
        (BY_VARIABLE, name, name + _ASSIGNED + rb"[\w+/=-]{20,}(?![\w+/=~.(\[-])")
        for name in (b"_KEY", b"_TOKEN", b"_SECRET", b"_PAT", b"_CREDENTIALS")
    ),
    *(
        (BY_VARIABLE, name, name + _ASSIGNED + rb"[\w+/=~.!@#%^&*-]{8,}(?![\w.(\[-])")
        for name in (b"PASSWORD", b"_PASSWD", b"_PASS", b"_PWD")
    ),
)


def _by_literal() -> dict[bytes, list[tuple[str, re.Pattern]]]:
    """Literal -> the shapes that it begins: looking for it first is fast."""
    shapes = {}
    for tokens, beside in ((_TOKENS, rb"\w"), (_LIKE_BASE64, rb"[\w+/-]")):
        for kind, beginnings, rest in tokens:
            for beginning in beginnings.encode().split():
                pattern = re.compile(_EDGE % beside + re.escape(beginning) + rest.encode())
                shapes.setdefault(beginning, []).append((kind, pattern))
    for kind, literal, pattern in _IN_CONTEXT:
        shapes.setdefault(literal, []).append((kind, re.compile(pattern)))
    return shapes


_SHAPES = _by_literal()
# The bytes of binary files in which texts are looked for: 1 for a byte of text, 0 for a NUL, x for any other.
_CLASSES = bytes(b"1"[0] if 32 <= byte < 127 or byte in b"\t\n\r" else b"x0"[byte == 0] for byte in range(256))


class Leak(NamedTuple):
    """Where a secret lies, and what it is. There is no field for the secret.

    `place` is fit for a terminal: `file:line`, or `file` where the name itself is the matter. Of a name with a secret
    in it, it has the folders before.
    """

    file: str
    line: int  # 0: the name
    kind: str
    place: str


def find(paths, root: str = "") -> list[Leak]:
    """The secrets in these files and in all files below these folders, in the order of names and lines.

    The paths are taken from `root`, which is not looked at itself. Symlinks are not followed.
    Raises OSError where a path is not there or cannot be read.
    """
    values = _values()
    return [leak for path in paths for file in _files(path, root) for leak in _find_in(file, root, values)]


def _files(path: str, root: str):
    path = os.path.normpath(path)
    start = os.path.join(root, path)
    if not os.path.isdir(start) or os.path.islink(start):
        os.lstat(start)
        yield path
        return
    for folder, folders, files in os.walk(start, onerror=_fail):
        folders.sort()
        below = os.path.join(path, os.path.relpath(folder, start))
        yield from (os.path.normpath(os.path.join(below, name)) for name in sorted(files))


def _fail(error: OSError) -> None:
    raise error


def _find_in(file: str, root: str, values: dict[bytes, str]) -> list[Leak]:
    """The secrets of a name and of the file, if it is one. A file that has gone meanwhile has none."""
    path, found = os.path.join(root, file), set()
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            with open(path, "rb") as opened:
                found = set(_places(opened, values))
    except FileNotFoundError:
        return []
    found -= {(line, BY_VARIABLE) for line, kind in found if kind != BY_VARIABLE}  # known better
    kinds, shown = _in_name(file, values)
    leaks = [Leak(file, 0, kind, shown) for kind in sorted(kinds)]
    return leaks + [Leak(file, line, kind, f"{shown}:{line}") for line, kind in sorted(found)]


def _in_name(file: str, values: dict[bytes, str]) -> tuple[set[str], str]:
    """The kinds of secrets in a file's name, and what of the name can be shown."""
    name = os.fsencode(file)
    found = [(start, kind) for start, _, kind in _search(name.replace(b"/", b"\n"), values)]
    kinds = {f"{kind} in a name" for _, kind in found}
    if found:
        name = name[: name.rfind(b"/", 0, min(found)[0]) + 1] + b"***"
    if any(fnmatch(os.path.basename(file).lower(), pattern) for pattern in NAMES):
        kinds.add("by its name a secret")
    return kinds, _printable(os.fsdecode(name))


def _printable(text: str) -> str:
    """Without what a terminal would obey. forge_core.text, which does more, is not on the host."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _places(opened, values: dict[bytes, str]):
    """(line, kind) of each secret, some twice where blocks overlap."""
    window, start_line = b"", 1
    while block := opened.read(BLOCK):
        gone = window[:-OVERLAP]
        start_line += gone.count(b"\n")
        window = window[len(gone) :] + block
        for _, end, kind in _search(window, values):
            yield start_line + window.count(b"\n", 0, end - 1), kind


def _search(window: bytes, values: dict[bytes, str]):
    """(start, end, kind) in these bytes: of values anywhere, of shapes in what could be text."""
    for value, kind in values.items():
        yield from ((place, place + len(value), kind) for place in _all(window, value))
    text, spots = _texts(window)
    lowered = text.lower()
    for literal, shapes in _SHAPES.items():
        any_case = shapes[0][1].flags & re.IGNORECASE
        searched = lowered if any_case else text
        for place in _all(searched, literal):
            for kind, pattern in shapes:
                if match := pattern.match(searched, place):
                    yield _spot(spots, match.start()), _spot(spots, match.end() - 1) + 1, kind


def _all(window: bytes, literal: bytes):
    place = window.find(literal)
    while place >= 0:
        yield place
        place = window.find(literal, place + 1)


def _texts(window: bytes) -> tuple[bytes, list[tuple[int, int, int]]]:
    """What in it could be text, a NUL between its parts, and for each (place in the text, place in the window, step).

    That is all of it where it has no NUL. Else it is each run of SHORTEST letters, of one byte, or of two as UTF-16
    has them (step 2): random bytes have few, so binary files are gone through at the speed of bytes.find.
    """
    if b"\0" not in window:
        return window, [(0, 0, 1)]
    texts, spots, length = [], [], 0
    classes = window.translate(_CLASSES)
    for letters, letter, step in ((classes, b"1", 1), (classes.replace(b"10", b"22"), b"2", 2)):
        run, rest = letter * step * SHORTEST, re.compile(letter + b"+1?")  # the last of UTF-16 BE has no NUL behind it
        start = letters.find(run)
        while start >= 0:
            end = rest.match(letters, start).end()
            texts.append(window[start:end:step])
            spots.append((length, start, step))
            length += len(texts[-1]) + 1
            start = letters.find(run, end)
    return b"\0".join(texts), spots or [(0, 0, 1)]


def _spot(spots: list[tuple[int, int, int]], place: int) -> int:
    """Where in the window a place of the text is."""
    of_text, of_window, step = spots[bisect(spots, (place + 1,)) - 1]
    return of_window + (place - of_text) * step


def _values() -> dict[bytes, str]:
    """The secrets at hand, in each form in which they may be written -> what they are called."""
    at_hand = [(f"value of {name}", value) for name, value in os.environ.items() if VALUE_NAME.match(name)]
    for file, pattern in _own_files():
        at_hand += [(f"secret of {file}", value) for value in re.findall(pattern, _read(file))]
    keys = _read(os.environ.get("FORGE_KEYS_FILE") or "~/.config/churninator-forge/keys.env")
    at_hand += [(f"value of {name}", value) for name, value in re.findall(r"(?m)^\s*(?:export\s+)?(\w+)=(.*)$", keys)]
    named = [(_printable(kind), value.strip().strip("\"'")) for kind, value in at_hand]
    return {form: kind for kind, value in named if _telling(value) for form in _forms(os.fsencode(value)[:LONGEST])}


def _own_files():
    """(file, pattern of the secrets in it)"""
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    cache = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    hub = os.environ.get("HF_TOKEN_PATH") or f"{cache}/token"
    for file in ("~/.vast_api_key", f"{config}/vastai/vast_api_key", hub):
        yield file, r"(?s).+"
    yield os.environ.get("HF_STORED_TOKENS_PATH") or f"{cache}/stored_tokens", r"hf_token\s*=\s*(\S+)"
    yield os.environ.get("NETRC") or "~/.netrc", r"\bpassword\s+(\S+)"
    yield "~/.git-credentials", r"://[^:/\s]*:([^@\s]+)@"
    yield os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials", r"aws_\w*(?:key|token)\s*=\s*(\S+)"
    yield f"{os.environ.get('KAGGLE_CONFIG_DIR') or '~/.kaggle'}/kaggle.json", r'"key"\s*:\s*"([^"]+)"'


def _read(file: str) -> str:
    """The text of a file of the user's; empty where there is none."""
    try:
        with open(os.path.expanduser(file), encoding="utf-8", errors="surrogateescape") as opened:
            return opened.read()
    except OSError:
        return ""


def _telling(value: str) -> bool:
    """Whether a value is looked for: not a path or an address, and not what turns up by chance."""
    path = value.startswith(("/", "~", ".")) and os.path.exists(os.path.expanduser(value))
    if path or re.match(r"https?://[^@]*$", value):
        return False
    mixed = re.search("[0-9]", value) and re.search("[A-Za-z]", value)
    return len(os.fsencode(value)) >= (SHORTEST_MIXED if mixed else SHORTEST)


def _forms(value: bytes) -> set[bytes]:
    """A value as it is, in UTF-16, in a URL, in JSON, and in base64, where what follows it may change the end."""
    forms = {value, b"\0".join(value[i : i + 1] for i in range(len(value)))}
    forms |= {urllib.parse.quote(value, safe="").encode(), json.dumps(os.fsdecode(value))[1:-1].encode()}
    whole = value[: len(value) // 3 * 3]
    if len(whole) * 4 // 3 >= SHORTEST:
        forms |= {base64.b64encode(whole), base64.urlsafe_b64encode(whole)}
    return forms


def main(arguments: list[str]) -> int:
    names = arguments[:1] == ["--names"]
    paths = arguments[names:]
    try:
        if paths == ["-0"]:
            paths = [os.fsdecode(name) for name in sys.stdin.buffer.read().split(b"\0") if name]
        leaks = find(paths)
    except OSError as error:
        print(f"not searched: {_in_name(str(error.filename), _values())[1]}: {error.strerror}", file=sys.stderr)
        return 2
    for leak in leaks:
        name = os.fsencode(leak.file) + b"\t" if names else b""
        sys.stdout.buffer.write(name + f"{leak.place}: {leak.kind}\n".encode())
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
