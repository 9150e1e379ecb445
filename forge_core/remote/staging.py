"""The part of sync_from_vast.sh that handles files: list and hash them, compare the copies, move them in place.

`manifest PATH...` runs on the host, the others in the project's folder here: `plan PATH...` takes from the list what
does not come, `verify` compares, `move` moves, `show` lets text through without what a terminal would obey. The host
is not trusted, so its list is: names below the PATHs alone, none that leads out of them, none that a program here would
obey or import by itself. Standard library only and Python 3.9, like leaks.py.
"""

import hashlib
import os
import re
import shutil
import sys
from datetime import datetime, timezone

PULL, INCOMING, REPLACED, PROOF = ".vast/pull", ".vast/incoming", ".vast/replaced", ".vast/pulled.sha256"
NOT_FILES = ("symlink", "special")
PARTIAL = {".rsync-partial", ".~tmp~"}  # where rsync keeps what has not come whole
UNPRINTABLE, CHANGED, WITHHELD = 8, 4, 3  # exit statuses
MADE_HERE = ("runs", "checkpoints", "data")  # what the Forge makes; none of its code lies there
LONGEST_PART, LONGEST = 240, 2000  # bytes of a name, so that a suffix fits too
# Obeyed by git, editors, shells, JupyterLab, make, Matplotlib and W&B, or imported by a Python that starts beside it.
OBEYED = r"\..*|(jupyter|ipython).*config.*|.*\.(py[a-z]?|so|pyd|dylib|dll)|(gnu|bsd)?makefile|matplotlibrc|wandb"
OBEYED = re.compile(OBEYED, re.IGNORECASE)


def manifest(*paths: str) -> int:
    """Print `<sha256>  <file>` for each file, and `symlink  <name>` or `special  <name>` for what is not copied."""
    for name in _names(paths):
        if any(map(_is_control, name)):
            print(f"a name with a line break or another control character: {name!a}", file=sys.stderr)
            return UNPRINTABLE
        if digest := _digest(name):
            sys.stdout.buffer.write(os.fsencode(f"{digest}  {name}\n"))
    return 0


def _names(paths: tuple[str, ...]):
    for path in paths:
        if os.path.isdir(path) and not _link_in(path):
            for folder, folders, files in os.walk(path, onerror=_fail):
                links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
                folders[:] = sorted(set(folders) - PARTIAL)
                yield from (os.path.join(folder, name) for name in sorted(files + links))
        else:
            yield path


def _link_in(path: str) -> bool:
    """Whether the path or a folder on its way is a symlink."""
    parts = path.split("/")
    return any(os.path.islink("/".join(parts[: i + 1])) for i in range(len(parts)))


def _fail(error: OSError) -> None:
    raise error


def _digest(name: str) -> str:
    """SHA-256 in hex, or what it is instead of a file; empty where it has gone."""
    if _link_in(name):
        return "symlink"
    if not os.path.isfile(name):
        return "special" if os.path.exists(name) else ""
    digest = hashlib.sha256()
    try:
        with open(name, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        return ""
    return digest.hexdigest()


def plan(*paths: str) -> int:
    """Write what to copy: names for rsync in `wanted`, their list in `manifest`, what is not copied in `skipped`."""
    leaked, wanted, skipped = {leak.partition("\t")[0] for leak in _lines("leaks")}, {}, set()
    for line in _lines("listed"):
        what, _, name = line.partition("  ")
        if problem := _problem(what, name, paths):
            print(f"the host lists {problem}: {_shown(line):.300}", file=sys.stderr)
            return 1
        if what in NOT_FILES:
            skipped.add(f"{what}: {name}")
        elif any(OBEYED.fullmatch(part) for part in name.split("/")):
            skipped.add(f"could run here: {name}")
        elif name in leaked:
            _remove(os.path.join(INCOMING, name))
        else:
            wanted[name] = what
    _write("wanted", [name + "\0" for name in wanted])
    _write("manifest", [f"{digest}  {name}\n" for name, digest in wanted.items()])
    _write("skipped", [f"{line}\n" for line in sorted(skipped)])
    return 0


def _problem(what: str, name: str, paths: tuple[str, ...]) -> str:
    """What is wrong with a line of the host's list; "" if nothing is."""
    parts = name.split("/")
    if what not in NOT_FILES and not re.fullmatch("[0-9a-f]{64}", what):
        return "something that is no SHA-256"
    if not any(f"{name}/".startswith(f"{path}/") for path in paths) or {"", ".", ".."} & set(parts):
        return "a file that was not asked for"
    if max(len(os.fsencode(part)) for part in parts) > LONGEST_PART or len(os.fsencode(name)) > LONGEST:
        return "a name that is too long"
    return "a name with a control character" if any(map(_is_control, name)) else ""


def _is_control(character: str) -> bool:
    return ord(character) < 32 or 127 <= ord(character) < 160


def check(*paths: str) -> int:
    """Refuse paths, in their plain form, that are not below what the Forge makes."""
    for path in paths:
        if path.split("/")[0] not in MADE_HERE:
            print(f"only what lies below {', '.join(MADE_HERE)} is fetched, not {_shown(path)}", file=sys.stderr)
            return 1
    return 0


def show() -> int:
    """Copy standard input to standard output, without what a terminal would obey."""
    for line in sys.stdin.buffer:
        print(_shown(line.decode(errors="replace").rstrip("\r\n")), flush=True)
    return 0


def verify() -> int:
    """Print the files whose copy is not what the list says."""
    differing = [name for name, digest in _wanted() if _digest(os.path.join(INCOMING, name)) != digest]
    for name in differing:
        print(f"differs: {_shown(name)}")
    return 1 if differing else 0


def move() -> int:
    """Move all copies in place, each in one step, and say what came and what did not."""
    names = [name for name, _ in _wanted()]
    if blocked := [name for name in names if _blocked(name)]:
        print("\n".join(f"in the way, nothing was moved: {_shown(name)}" for name in blocked))
        return CHANGED
    size = sum(os.path.getsize(os.path.join(INCOMING, name)) for name in names)
    kept_in = os.path.join(REPLACED, datetime.now(timezone.utc).strftime("%Y-%m-%dT%H-%M-%SZ"))  # noqa: UP017 (3.9)
    for name in names:
        copy = os.path.join(INCOMING, name)
        if os.path.exists(name) and not _goes_on(name, copy):
            _keep(name, os.path.join(kept_in, name))
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)
        _replace(copy, name)
    os.replace(os.path.join(PULL, "manifest"), PROOF)
    shutil.rmtree(INCOMING)
    return _report(len(names), size)


def _report(files: int, size: int) -> int:
    for line in _lines("skipped"):
        print(f"not copied, {_shown(line)}")
    leaks = sorted({leak.partition("\t")[::2] for leak in _lines("leaks")})
    for _, said in leaks:
        print(f"withheld, a secret in {_shown(said)}")
    withheld = len({name for name, _ in leaks})
    print(f"{files} files, {size} bytes, each as SHA-256 says ({PROOF}); withheld: {withheld}")
    return WITHHELD if leaks else 0


def _blocked(name: str) -> bool:
    """Whether something that is no file is at its place, or on its way something that is no folder or leads elsewhere.

    Its first folder may be a link of this side (runs on another disk).
    """
    parts = name.split("/")
    on_the_way = ["/".join(parts[:i]) for i in range(1, len(parts))]
    if any(os.path.lexists(folder) and not os.path.isdir(folder) for folder in on_the_way):
        return True
    top, place = os.path.realpath(parts[0]), os.path.realpath(name)
    return os.path.islink(name) or os.path.isdir(name) or not place.startswith(top + os.sep)


def _goes_on(old: str, new: str) -> bool:
    """Whether the new file begins with all of the old one, as a log does that has grown."""
    with open(old, "rb") as old_file, open(new, "rb") as new_file:
        while block := old_file.read(1 << 20):
            if new_file.read(len(block)) != block:
                return False
    return True


def _keep(name: str, place: str) -> None:
    os.makedirs(os.path.dirname(place), exist_ok=True)
    try:
        os.link(name, place)
    except OSError:  # another disk, or one without hard links
        shutil.copy2(name, place)
    print(f"replaced {_shown(name)}; yours is now {_shown(place)}")


def _replace(copy: str, name: str) -> None:
    try:
        os.replace(copy, name)
    except OSError:  # another disk
        folder, file = os.path.split(name)
        beside = os.path.join(folder, f".incoming-{file}")  # a name that no file of a host has
        shutil.copy2(copy, beside)
        os.replace(beside, name)


def _remove(name: str) -> None:
    if os.path.exists(name):
        os.remove(name)


def _wanted():
    return [(name, digest) for digest, _, name in (line.partition("  ") for line in _lines("manifest"))]


def _lines(file: str) -> list[str]:
    with open(os.path.join(PULL, file), "rb") as opened:
        return [os.fsdecode(line) for line in opened.read().split(b"\n") if line]


def _write(file: str, texts: list[str]) -> None:
    with open(os.path.join(PULL, file), "wb") as opened:
        opened.write(b"".join(os.fsencode(text) for text in texts))


def _shown(text: str) -> str:
    """The text without what a terminal would obey."""
    return "".join(character if character.isprintable() else "?" for character in text)


if __name__ == "__main__":
    commands = {function.__name__: function for function in (manifest, check, plan, verify, move, show)}
    sys.exit(commands[sys.argv[1]](*sys.argv[2:]))
