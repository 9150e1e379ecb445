"""Raw AGUVIS rows to `Example` rows: convert actions, merge, drop duplicates, curate, and list what is broken.

Reads raw_dir/stage{N}/; writes out_dir/stage{N}.jsonl, .rejected.jsonl and .manifest.json. Memory is flat however many
rows there are, the output does not depend on the number of workers, and a killed run goes on where it was.

    forge data preprocess params/embedded/02_preprocess.yaml
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path

import PIL
from pydantic import BaseModel, ValidationError

from forge_core import __version__
from forge_core.actions.prompts import DECLARED
from forge_core.data import archives, engines
from forge_core.data.chunks import Chunk, chunks
from forge_core.data.convert import Task, convert, look
from forge_core.data.images import INSIDE, join
from forge_core.data.schema import write_jsonl, write_lines
from forge_core.data.sources import Subset, subsets
from forge_core.data.special import special_pattern, tokens_of_base
from forge_core.data.unpacking import ArchiveError, check_zip
from forge_core.data.work import ACTION, CURATION, PLATFORM, Work
from forge_core.params import PreprocessParams
from forge_core.paths import resolve
from forge_core.progress import Progress
from forge_core.results import digest

IMAGES = 64  # looked at in one task
# Parameters of PreprocessParams that change the output; a threshold only decides whether there is one.
DECIDING = (
    *("seed", "max_turns", "max_rows", "use_shares", "drop_near_duplicates", "drop_off_screen", "max_target_share"),
    *("min_target_px", "max_platform_share", "max_action_share", "image_size"),
)


class Rejected(BaseModel):
    """One turn (or, with turn None, one row) that was left out: where it stands, why, and the value that is wrong."""

    subset: str
    row: int
    turn: int | None
    file: str
    reason: str
    value: str


class SubsetReport(BaseModel):
    """Counts of one subset: turns + duplicates + those in `rejected` and `dropped` (by reason) are all that was read.

    `left_out` rows of `rows` were not read: they are not in the share that AGUVIS takes.
    """

    rows: int = 0
    left_out: int = 0
    examples: int = 0
    turns: int = 0
    duplicates: int = 0
    rejected: dict[str, int] = {}
    dropped: dict[str, int] = {}
    functions: dict[str, int] = {}

    @property
    def rejected_share(self) -> float:
        """Rejected of everything read, in [0, 1]."""
        lost = sum(self.rejected.values())
        return lost / max(1, self.turns + self.duplicates + sum(self.dropped.values()) + lost)

    def line(self) -> str:
        """The counts in words."""
        parts = [f"{self.rows:,} rows -> {self.turns:,} turns"]
        parts += [f"{self.left_out:,} rows left out"] * (self.left_out > 0)
        parts += [f"{self.duplicates:,} duplicates", f"{sum(self.rejected.values()):,} rejected"]
        parts += [f"{reason} {count:,}" for reason, count in (*self.rejected.items(), *self.dropped.items())]
        return "; ".join(parts)


class Report(BaseModel):
    """What `preprocess` did; the manifest beside the output is this, as JSON. `source` is the download's note."""

    stage: int
    subsets: dict[str, SubsetReport]
    examples: int
    params: dict
    source: dict | None
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
    params: PreprocessParams, stage: int, engine: AbstractContextManager[engines.Map] | None = None
) -> Report:
    """Convert a stage's subsets as `params` say, on `engine` (default: `params.workers` processes here).

    An output made from the same inputs is kept. Raises FileNotFoundError or ValueError (ArchiveError) where an input is
    missing or broken as a whole, and ValueError where more than `max_rejected_share` of a subset's turns are rejected:
    out_dir/stage{N}.rejected.jsonl lists them, and a run with another threshold goes on from there.
    """
    raw, out = resolve(params.raw_dir) / f"stage{stage}", resolve(params.data_dir)
    chosen = subsets(stage, params.stage1_subsets if stage == 1 else params.stage2_subsets)
    archives.follow(raw, out / "images" / raw.name)
    deciding = {name: getattr(params, name) for name in DECIDING}
    special = special_pattern(tokens_of_base(params.base_model, params.base_revision))
    inputs = _inputs_hash(raw, chosen, [special.pattern, stage, [subset.name for subset in chosen], deciding])
    for subset in chosen:
        image_root(subset, raw, out)  # an archive that can't be used is found before hours of work
    output, manifest = out / f"stage{stage}.jsonl", out / f"stage{stage}.manifest.json"
    finished = _finished(manifest, output, inputs)
    if finished and all(counts.rejected_share <= params.max_rejected_share for counts in finished.subsets.values()):
        print(f"stage {stage}: {output} is up to date, {finished.examples:,} examples", flush=True)
        return finished
    for stale in (manifest, output):  # a run that fails must not leave an older output that looks like its own
        stale.unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    with closing(Work(out / f"stage{stage}.work.sqlite", f"{inputs} {raw}")) as work:
        try:
            with engine or engines.local(params.workers) as each:
                for subset in chosen:
                    _read_subset(work, subset, raw, out, params, special, each)
        finally:
            write_lines(out / f"stage{stage}.rejected.jsonl", _rejected(work))
        curate(work, params)
        reports = {subset.name: SubsetReport() for subset in chosen}
        count = write_lines(output, _examples(work, chosen, params.max_turns, reports, out))
        report = Report(
            stage=stage, subsets=reports, examples=count, params=deciding, source=_source(raw), inputs_sha256=inputs,
            output=output.name, output_sha256=digest(output), versions=_versions(),
        )  # fmt: skip
        write_jsonl(manifest, [report])
        work.remove()
    return report


def _read_subset(
    work: Work,
    subset: Subset,
    raw: Path,
    out: Path,
    params: PreprocessParams,
    special: re.Pattern[str],
    each: engines.Map,
) -> None:
    """Take a subset's rows and the sizes of its images into the work file, from where an earlier run stopped."""
    files = raw_files(raw, subset)
    root, images = image_root(subset, raw, out)
    parquet = files[0].suffix == ".parquet"
    number = work.subset(subset.name, subset.platform, root)
    if not work.one("SELECT whole FROM subset WHERE id = ?", number):
        share, done = subset.share if params.use_shares else 1.0, work.rows_done(number)
        tasks = (
            Task(chunk, subset.stage, subset.name, share, params.seed, special, images if parquet else None)
            for chunk in limited_chunks(files, params.max_rows)
            if chunk.first >= done
        )
        progress = _Progress(f"stage {subset.stage} {subset.name}", "rows", done)
        for result in each(convert, tasks):
            work.add(number, result)
            progress.add(result.rows)
        unseen = work.list_images(number)
        progress = _Progress(f"stage {subset.stage} {subset.name}", "images", 0, unseen)
        for seen in each(look, work.unseen(number, IMAGES)):
            work.add_seen(*seen)
            progress.add(len(seen[1]))
        work.finish(number)
    _check_share(work, number, subset, raw, params.max_rejected_share)


def raw_files(raw: Path, subset: Subset) -> list[Path]:
    """The files with a subset's rows: its JSON, or the parquet files of smolagents' copy."""
    if (raw / subset.json).is_file():
        return [raw / subset.json]
    files = sorted((raw / subset.name).glob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{raw / subset.json} is missing; notebook 01 or `forge data download` gets it")
    return files


def image_root(subset: Subset, raw: Path, out: Path) -> tuple[str, Path]:
    """(where image names start from, the folder for images that are not read in place).

    A zip is read where it lies (`archive.zip::folder`); a tar.gz is unpacked, once, and parquet's images are written,
    to out/images/stage{N}/<archive>. Where `raw` lies below `out`, what was fetched of an unpacked tar.gz is removed.
    """
    images = out / "images" / raw.name / subset.archive
    if raw_files(raw, subset)[0].suffix == ".parquet":
        images = images.with_name(subset.name)
        images.mkdir(parents=True, exist_ok=True)
        return str(images), images
    archive = archives.find(raw, subset.archive)
    if archive.suffix != ".zip":
        unpacked, note = archives.unpack(archive, images), _download(raw)
        if note.get("commit") and archives.belongs(raw, out):
            archives.discard(archive, unpacked, note["commit"], note.get("fetched", {}))
        return str(unpacked / subset.image_root), images
    with check_zip(archive) as zipped:
        names = zipped.namelist()
    if not any(name.startswith(subset.image_root) for name in names):
        tops = ", ".join(sorted({name.split("/")[0] for name in names})[:5])
        raise ArchiveError(f"{archive}: it has no folder {subset.image_root!r}, but {tops}")
    return f"{archive}{INSIDE}{subset.image_root}", images


def curate(work: Work, params: PreprocessParams) -> None:
    """Mark the turns that the params' switches drop. Boxes are judged only where the raw rows give them."""
    values = {name: getattr(params, name) for name, *_ in CURATION} | {"image_size": params.image_size}
    neutral = {"max_target_share": 1.0}
    work.curate({name: value for name, value in values.items() if value and value != neutral.get(name)})
    if params.max_platform_share < 1:
        work.balance(PLATFORM, params.max_platform_share, "balance by platform")
    if params.max_action_share < 1:
        work.balance(ACTION, params.max_action_share, "balance by action")


def limited_chunks(files: list[Path], max_rows: int) -> Iterator[Chunk]:
    """The chunks of a subset's files, their rows numbered through, up to `max_rows` rows (0: all)."""
    first = 0
    for file in files:
        for chunk in chunks(file):
            count = min(chunk.count, max_rows - first) if max_rows else chunk.count
            if not count:
                return
            yield replace(chunk, first=first, count=count)
            first += count


def _check_share(work: Work, number: int, subset: Subset, raw: Path, limit: float) -> None:
    counts = SubsetReport(**work.counts(number))
    print(f"stage {subset.stage} {subset.name}: {counts.line()}{_undeclared(counts, subset)}", flush=True)
    if counts.rejected_share > limit:
        first = next(row for row in _rejected(work) if f'"subset":"{subset.name}"' in row)
        raise ValueError(
            f"{raw_files(raw, subset)[0]}: {counts.rejected_share:.1%} of the turns are rejected, more than "
            f"max_rejected_share {limit:.1%} ({counts.line()}); the first: {first}; all are in "
            f"{work.path.parent / f'stage{subset.stage}.rejected.jsonl'}"
        )


def _undeclared(counts: SubsetReport, subset: Subset) -> str:
    """A remark on functions that the data emits and the system prompt does not declare."""
    declared = DECLARED[subset.stage, subset.platform]
    others = [name for name in counts.functions if name not in declared]
    return f" (not in the system prompt: {', '.join(others)})" if others else ""


def _rejected(work: Work) -> Iterator[str]:
    for subset, row, turn, file, reason, value in work.rejected():
        yield Rejected(subset=subset, row=row, turn=turn, file=file, reason=reason, value=value).model_dump_json()


def _examples(
    work: Work, chosen: list[Subset], max_turns: int, reports: dict[str, SubsetReport], out: Path
) -> Iterator[str]:
    """The examples as JSON, in the order of the raw rows; a screenshot with more turns is cut into several examples."""
    for subset in chosen:
        number, count = work.one("SELECT id FROM subset WHERE name = ?", subset.name), 0
        root = os.path.relpath(work.one("SELECT root FROM subset WHERE id = ?", number), out)
        for row, image, width, height, turns in work.screens(number, subset.stage):
            for cut, start in enumerate(range(0, len(turns), max_turns)):
                head = {
                    "id": f"{subset.name}-{row:06d}" + (f"-{cut}" if cut else ""), "source": subset.name,
                    "platform": subset.platform, "image": join(root, image), "width": width, "height": height,
                    "turns": [],
                }  # fmt: skip
                text = json.dumps(head, ensure_ascii=False, separators=(",", ":"))  # as pydantic writes an Example
                yield text.removesuffix("]}") + ",".join(turns[start : start + max_turns]) + "]}"
                count += 1
        reports[subset.name] = SubsetReport(**work.counts(number), examples=count)


def _inputs_hash(raw: Path, chosen: list[Subset], options: list) -> str:
    """Hash of all that decides the output: options, versions, the JSON files, and larger files by name and size."""
    content, sizes = [], set()
    for subset in chosen:
        files = raw_files(raw, subset)
        if files[0].suffix == ".json":
            content.append(digest(files[0]))
            sizes |= set(archives.sizes(archives.find(raw, subset.archive)).items())
        else:
            sizes |= {(file.name, file.stat().st_size) for file in files}
    return hashlib.sha256(json.dumps([options, _versions(), content, sorted(sizes)]).encode()).hexdigest()


def _finished(manifest: Path, output: Path, inputs: str) -> Report | None:
    """The report of an earlier run with the same inputs whose output is still what it wrote."""
    try:
        report = Report.model_validate_json(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None
    unchanged = report.inputs_sha256 == inputs and output.exists() and digest(output) == report.output_sha256
    return report if unchanged else None


def _source(raw: Path) -> dict | None:
    """Where the raw data came from, as the download noted it."""
    note = _download(raw)
    return note | {"files": None, "fetched": None} if note else None


def _download(raw: Path) -> dict:
    """The note of the download that brought the raw data; {} where none did."""
    note = raw / "source.json"
    return json.loads(note.read_text()) if note.is_file() else {}


def _versions() -> dict[str, str]:
    return {"forge": __version__, "pillow": PIL.__version__}


class _Progress:
    """Show 'guienv: 12,800 of 70,394 images, 3,200 a second' at most every 5 seconds."""

    def __init__(self, name: str, what: str, done: int, total: int | None = None) -> None:
        self.name, self.what, self.done, self.first, self.total = name, what, done, done, total
        self.start = self.last = time.monotonic()
        self.progress = Progress()

    def add(self, count: int) -> None:
        self.done += count
        if time.monotonic() - self.last >= 5:
            self.last = time.monotonic()
            speed = (self.done - self.first) / (self.last - self.start)
            of = f" of {self.total:,}" if self.total else ""
            text = f"{self.name}: {self.done:,}{of} {self.what}, {speed:,.0f} a second"
            self.progress.show(self.done, self.total or 0, text)
