"""Raw AGUVIS rows to `Example` rows: unpack images, convert actions, merge, drop duplicates, list what is broken.

Reads raw_dir/stage{N}/<json> and archives; writes out_dir/stage{N}.jsonl, .rejected.jsonl, .manifest.json and images/.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import PIL
from pydantic import BaseModel, ValidationError

from forge_core import __version__
from forge_core.actions.prompts import DECLARED
from forge_core.actions.types import Action
from forge_core.data import archives
from forge_core.data.rows import RowError, image_name, image_size, read_turn, split
from forge_core.data.schema import Example, Turn, write_jsonl
from forge_core.data.sources import Subset, subsets
from forge_core.results import digest


class Rejected(BaseModel):
    """One turn (or, with turn None, one row) that was left out: where it stands, why, and the value that is wrong."""

    subset: str
    row: int
    turn: int | None
    file: str
    reason: str
    value: str


class SubsetReport(BaseModel):
    """Counts of one subset. turns + duplicates + the rejected ones are all that was read."""

    rows: int = 0
    examples: int = 0
    turns: int = 0
    duplicates: int = 0
    rejected: dict[str, int] = {}
    functions: dict[str, int] = {}

    @property
    def rejected_share(self) -> float:
        """Rejected of everything read, in [0, 1]."""
        lost = sum(self.rejected.values())
        return lost / max(1, self.turns + self.duplicates + lost)

    def line(self) -> str:
        """The counts in words."""
        reasons = "".join(f", {reason} {count}" for reason, count in self.rejected.items())
        return (
            f"{self.rows} rows -> {self.examples} examples, {self.turns} turns; {self.duplicates} duplicates,"
            f" {sum(self.rejected.values())} rejected{reasons}"
        )


class Report(BaseModel):
    """What `preprocess` did; the manifest beside the output is this, as JSON."""

    stage: int
    subsets: dict[str, SubsetReport]
    examples: int
    inputs_sha256: str
    output: str
    output_sha256: str
    versions: dict[str, str]

    def rows(self) -> list[dict]:
        """One flat dict per subset, for a table."""
        return [{"stage": self.stage, "subset": name, **counts.model_dump()} for name, counts in self.subsets.items()]

    def files(self, out_dir: Path) -> list[Path]:
        """What stands for the output: the JSONL, and the marks of the unpacked archives (not each image)."""
        marks = (out_dir / "images" / f"stage{self.stage}").glob(f"*/{archives.MARKER}")
        return [out_dir / self.output, *sorted(marks)]


def preprocess(
    raw_dir: Path,
    out_dir: Path,
    stage: int,
    subset_names: list[str],
    max_turns: int,
    max_rejected_share: float = 0.05,
    max_rows: int = 0,
) -> Report:
    """Convert the named subsets of a stage; `max_rows` rows of each (0: all), at most `max_turns` turns an example.

    An output made from the same inputs is kept. Raises FileNotFoundError where an input is missing, and ValueError
    where more than `max_rejected_share` of a subset's turns are rejected: out_dir/stage{N}.rejected.jsonl lists them.
    """
    if max_turns < 1 or max_rows < 0:
        raise ValueError(f"max_turns must be at least 1 and max_rows at least 0, not {max_turns} and {max_rows}")
    raw, out = Path(raw_dir) / f"stage{stage}", Path(out_dir)
    chosen = subsets(stage, subset_names)
    roots = {subset.name: image_root(subset, raw, out) for subset in chosen}
    output, manifest = out / f"stage{stage}.jsonl", out / f"stage{stage}.manifest.json"
    options = (stage, [subset.name for subset in chosen], max_turns, max_rejected_share, max_rows)
    inputs = _inputs_hash(raw, chosen, options)
    finished = _finished(manifest, output, inputs)
    if finished:
        print(f"stage {stage}: {output} is up to date, {finished.examples} examples")
        return finished
    for stale in (manifest, output):  # a run that fails must not leave an older output that looks like its own
        stale.unlink(missing_ok=True)
    reports, rejected = {}, []
    rows = _examples(chosen, raw, out, roots, (max_turns, max_rows, max_rejected_share), reports, rejected)
    try:
        count = write_jsonl(output, rows)
    finally:
        write_jsonl(out / f"stage{stage}.rejected.jsonl", rejected)
    report = Report(
        stage=stage, subsets=reports, examples=count, inputs_sha256=inputs, output=output.name,
        output_sha256=_sha256(output), versions=_versions(),
    )  # fmt: skip
    write_jsonl(manifest, [report])
    return report


def _examples(
    chosen: list[Subset], raw: Path, out: Path, roots: dict[str, Path], limits: tuple[int, int, float],
    reports: dict[str, SubsetReport], rejected: list[Rejected],
) -> Iterator[Example]:  # fmt: skip
    """All examples, one subset after the other; fills `reports` and `rejected`, stops at a subset above the share."""
    max_turns, max_rows, max_rejected_share = limits
    for subset in chosen:
        rows = read_rows(raw / subset.json)
        work = _Work(subset, roots[subset.name], out, SubsetReport(rows=min(len(rows), max_rows or len(rows))))
        for index, row in enumerate(rows[: work.report.rows]):
            work.add(index, row)
        reports[subset.name] = work.report
        rejected += work.rejected
        if work.report.rejected_share > max_rejected_share:
            print(f"stage {subset.stage} {subset.name}: {work.report.line()}", flush=True)
            raise ValueError(
                f"{raw / subset.json}: {work.report.rejected_share:.1%} of the turns are rejected, more than the"
                f" {max_rejected_share:.1%} allowed ({work.report.line()}); first: {work.rejected[0].model_dump_json()}"
            )
        yield from work.examples(max_turns)
        print(f"stage {subset.stage} {subset.name}: {work.report.line()}{work.undeclared()}", flush=True)


@dataclass
class _Screen:
    """One screenshot and the turns collected on it: file, path for the JSONL, width and height (px), first row."""

    file: str
    path: str
    size: tuple[int, int]
    row: int
    turns: list[Turn] = field(default_factory=list)


@dataclass
class _Work:
    """One subset on its way from raw rows to examples."""

    subset: Subset
    root: Path
    out: Path
    report: SubsetReport
    rejected: list[Rejected] = field(default_factory=list)
    screens: dict[object, _Screen] = field(default_factory=dict)
    seen: set[tuple[str, str, str]] = field(default_factory=set)

    def add(self, index: int, row: object) -> None:
        """Take one raw row in: its good turns are collected, the others are listed."""
        try:
            name, exchanges = split(row)
        except RowError as error:
            self._reject(index, None, image_name(row), error)
            return
        screen = self._screen(index, name)
        for number, exchange in enumerate(exchanges):
            try:
                if isinstance(screen, RowError):
                    raise screen
                turn, actions = read_turn(exchange, self.subset.stage)
            except RowError as error:
                self._reject(index, number, name, error)
            else:
                self._keep(screen, turn, actions)

    def examples(self, max_turns: int) -> Iterator[Example]:
        """The examples, in the order of the raw rows; a screenshot with more turns is cut into several examples."""
        for screen in self.screens.values():
            for cut, start in enumerate(range(0, len(screen.turns), max_turns)):
                self.report.examples += 1
                yield Example(
                    id=f"{self.subset.name}-{screen.row:06d}" + (f"-{cut}" if cut else ""),
                    source=self.subset.name, platform=self.subset.platform, image=screen.path,
                    width=screen.size[0], height=screen.size[1], turns=screen.turns[start : start + max_turns],
                )  # fmt: skip

    def undeclared(self) -> str:
        """A remark on functions that the data emits and the system prompt does not declare."""
        declared = DECLARED[self.subset.stage, self.subset.platform]
        others = [name for name in self.report.functions if name not in declared]
        return f" (not in the system prompt: {', '.join(others)})" if others else ""

    def _screen(self, index: int, name: str) -> _Screen | RowError:
        """The screen a row belongs to: stage 1 keeps all rows of one image together, stage 2 rows stay apart."""
        key = name if self.subset.stage == 1 else index
        if key not in self.screens:
            try:
                size = image_size(self.root, name)
            except RowError as error:
                return error
            path = Path(os.path.relpath(self.root / name, self.out)).as_posix()
            self.screens[key] = _Screen(name, path, size, index)
        return self.screens[key]

    def _keep(self, screen: _Screen, turn: Turn, actions: list[Action]) -> None:
        key = (screen.file, turn.instruction, turn.history)
        if key in self.seen:
            self.report.duplicates += 1
            return
        self.seen.add(key)
        screen.turns.append(turn)
        self.report.turns += 1
        _count(self.report.functions, *(action.name for action in actions))

    def _reject(self, row: int, turn: int | None, file: str, error: RowError) -> None:
        _count(self.report.rejected, error.reason)
        self.rejected.append(
            Rejected(
                subset=self.subset.name, row=row, turn=turn, file=_utf8(file), reason=error.reason,
                value=_utf8(error.value[:500]),
            )
        )  # fmt: skip


def _count(counts: dict[str, int], *names: str) -> None:
    for name, count in Counter(names).items():
        counts[name] = counts.get(name, 0) + count


def image_root(subset: Subset, raw: Path, out: Path) -> Path:
    """Unpack the subset's images to out/images/stage{N}/<archive> and return the folder its image names start from."""
    unpacked = archives.unpack(archives.find(raw, subset.archive), out / "images" / raw.name / subset.archive)
    return unpacked / subset.image_root


def read_rows(path: Path) -> list:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not a JSON list of rows ({error})") from None
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a JSON list of rows, found {type(rows).__name__}")
    return rows


def _inputs_hash(raw: Path, chosen: list[Subset], options: tuple) -> str:
    """Hash of all that decides the output: options, versions, the JSON files, and the archives by name and size."""
    parts = [part for subset in chosen for part in archives.parts(archives.find(raw, subset.archive))]
    sizes = sorted({(part.name, part.stat().st_size) for part in parts})
    content = [_sha256(raw / subset.json) for subset in chosen]
    return hashlib.sha256(json.dumps([options, _versions(), content, sizes]).encode()).hexdigest()


def _finished(manifest: Path, output: Path, inputs: str) -> Report | None:
    """The report of an earlier run with the same inputs whose output is still what it wrote."""
    try:
        report = Report.model_validate_json(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None
    unchanged = report.inputs_sha256 == inputs and output.exists() and _sha256(output) == report.output_sha256
    return report if unchanged else None


def _versions() -> dict[str, str]:
    return {"forge": __version__, "pillow": PIL.__version__}


def _sha256(path: Path) -> str:
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; download the subset, or draw the sandbox's")
    return digest(path)


def _utf8(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
