"""The files in which AGUVIS' sets lie on the hub, written: messages of a row, and image archives."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

PART_BYTES = 8 << 20  # of a split tar archive
STAGE2_PROMPT = (
    "<image>\nPlease generate the next move according to the UI screenshot, instruction and previous actions.\n\n"
    "Instruction: {}\n\nPrevious actions:\n{}"
)


def human(value: str) -> dict:
    """What the user says."""
    return {"from": "human", "value": value}


def code(value: str) -> dict:
    """The agent's calls."""
    return {"from": "gpt", "recipient": "os", "end_turn": True, "value": value}


def reasoning_turn(asked: str, history: str, thought: str, calls: str) -> list[dict]:
    """The messages of a stage-2 row: instruction and history ("None" where nothing was done), a thought, the calls."""
    thinking = {"from": "gpt", "recipient": "all", "end_turn": False, "value": f"Thought: {thought}"}
    return [human(STAGE2_PROMPT.format(asked, history)), thinking, code(calls)]


def write_zip(folder: Path, name: str, images: Iterator[tuple[str, bytes]]) -> None:
    """Write folder/<name>.zip of (file name, bytes); the same bytes each time."""
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for image, data in images:
            archive.writestr(zipfile.ZipInfo(image), data)


def write_parts(folder: Path, name: str, images: Iterator[tuple[str, bytes]]) -> None:
    """A tar.gz cut into parts _aa, _ab, ... as `split` does."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=1, mtime=0) as zipped,  # no time of day in the header
        tarfile.open(fileobj=zipped, mode="w") as archive,
    ):
        for image, data in images:
            member = tarfile.TarInfo(image)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    whole = buffer.getvalue()
    for number, start in enumerate(range(0, len(whole), PART_BYTES)):
        suffix = chr(97 + number // 26) + chr(97 + number % 26)
        (folder / f"{name}.tar.gz.part_{suffix}").write_bytes(whole[start : start + PART_BYTES])
