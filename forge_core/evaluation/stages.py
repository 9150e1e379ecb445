"""Score the three models of the course on one benchmark: the base, stage 1 and stage 2, each on the same targets."""

from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

from peft import PeftModel
from transformers import PreTrainedModel, ProcessorMixin

from forge_core.actions.coordinates import CoordFormat
from forge_core.actions.prompts import is_reasoning_format, read_answer
from forge_core.data.sandbox import asked_label
from forge_core.data.screenspot import Target
from forge_core.evaluation import lifts
from forge_core.evaluation.predict import predict
from forge_core.evaluation.score import Rate, Scored, accuracy, score, write_scored
from forge_core.models.adapter_folder import read_record
from forge_core.models.load import (
    adapter_processor,
    compute_dtype,
    load_adapter,
    load_base,
    load_processor,
    processes,
)
from forge_core.params import EvaluateParams
from forge_core.paths import locate, resolve
from forge_core.results import digest
from forge_core.training.adapter import coord_format_of


def choose(targets: list[Target], limit: int, seed: int) -> list[Target]:
    """`limit` random targets, all of them for 0, in the benchmark's order; the same for every model.

    Each platform x kind keeps its share, rounded by largest remainder; of equal ones the first of the benchmark.
    """
    if not 0 < limit < len(targets):
        return targets
    cells: dict[tuple[str, str], list[int]] = {}
    for index, target in enumerate(targets):
        cells.setdefault((target.platform, target.kind), []).append(index)
    whole = {cell: divmod(limit * len(indices), len(targets)) for cell, indices in cells.items()}  # count, remainder
    left = limit - sum(count for count, _ in whole.values())
    first = sorted(cells, key=lambda cell: -whole[cell][1])[:left]
    rng = Random(seed)
    chosen = [rng.sample(indices, whole[cell][0] + (cell in first)) for cell, indices in cells.items()]
    return [targets[index] for index in sorted(sum(chosen, []))]


class Loaded(NamedTuple):
    """A model ready to be asked: of which stage its prompts are, how it writes places, and what decides its answers."""

    model: PreTrainedModel | PeftModel
    processor: ProcessorMixin
    stage: int
    coord_format: CoordFormat
    max_new_tokens: int
    identity: str

    def ask(self, batch_size: int) -> lifts.Ask:
        """`predict` with this model: it takes targets, out_file and name."""
        return partial(
            predict,
            self.model,
            self.processor,
            stage=self.stage,
            fingerprint=self.identity,
            batch_size=batch_size,
            max_new_tokens=self.max_new_tokens,
            coord_format=self.coord_format,
        )


def load_model(params: EvaluateParams, name: str) -> Loaded:
    """The model called `name`: "base", "stage 1", "stage 2", or "merged" (a folder that `forge merge` wrote)."""
    if name == "merged":
        return _load_merged(params)
    adapter = {"base": "", "stage 1": params.grounding_adapter, "stage 2": params.reasoning_adapter}[name]
    stage = 2 if name == "stage 2" else 1
    base = params.base_model, params.base_revision
    if adapter:  # as it was trained
        processor, coord_format = adapter_processor(resolve(adapter), *base), coord_format_of(resolve(adapter))
        model = load_adapter(load_base(*base, params.load_in_4bit), resolve(adapter))
    else:
        processor, coord_format = load_processor(*base, params.image_size), "4-decimals"
        model = load_base(*base, params.load_in_4bit)
    tokens = params.reasoning_tokens if stage == 2 else params.grounding_tokens
    return Loaded(model, processor, stage, coord_format, tokens, identity(params, adapter))


def _load_merged(params: EvaluateParams) -> Loaded:
    folder = resolve(params.merged_model)
    stage = read_record(folder).identity.stage
    tokens = params.reasoning_tokens if stage == 2 else params.grounding_tokens
    model, processor = load_base(str(folder), load_in_4bit=False), load_processor(str(folder))
    decides = f"merged {digest(folder)} {compute_dtype()}"
    return Loaded(model, processor, stage, coord_format_of(folder), tokens, decides)


def evaluate(params: EvaluateParams, targets: list[Target], name: str, folder: Path) -> dict[str, list[Scored]]:
    """Score the model called `name`, and the lifts that `params` ask for on top of a trained one.

    Keys are `name`, "`name`, zoom" and "`name`, 8 votes"; answers and verdicts are kept in `folder`.
    """
    loaded = load_model(params, name)
    file = folder / f"answers_{name.replace(' ', '_')}.jsonl"
    ask = loaded.ask(params.batch_size)
    answers = {name: ask(targets, out_file=file, name=name)}
    for lift in lift_names(params, name):
        out_file = file.with_stem(f"{file.stem}_{lift.replace(' ', '_')}")
        label, coord_format = f"{name}, {lift}", loaded.coord_format
        if lift == "zoom":
            answers[label] = lifts.zoom(ask, targets, answers[name], out_file, label, coord_format)
        else:
            answers[label] = lifts.votes(ask, targets, params.votes, params.seed, out_file, label, coord_format)
    scored = {label: score(targets, found, loaded.coord_format) for label, found in answers.items()}
    if processes().is_main_process:
        for label, rows in scored.items():
            write_scored(scored_file(folder, label), rows)
    return scored


def lift_names(params: EvaluateParams, name: str) -> list[str]:
    """What is asked of a trained model beside its plain answers."""
    if name == "base":
        return []
    return (["zoom"] if params.zoom else []) + ([f"{params.votes} votes"] if params.votes > 1 else [])


def scored_file(folder: Path, name: str) -> Path:
    """Where the verdicts on a model are kept."""
    return folder / f"scored_{name.replace(',', '').replace(' ', '_')}.jsonl"


def identity(params: EvaluateParams, adapter: str) -> str:
    """What decides the answers: base (by content where it is a folder), its precision, and the adapter's content."""
    base = Path(locate(params.base_model))
    weights = digest(base) if base.is_dir() else f"{params.base_model}@{params.base_revision}"
    precision = f"{'nf4' if params.load_in_4bit else 'plain'} {compute_dtype()}"
    return f"{weights} {precision} {digest(adapter) if adapter else 'no adapter'}"


def format_rate(scored: list[Scored]) -> Rate:
    """Share of answers in the think/code form of stage 2."""
    return accuracy(sum(_is_reasoned(row) for row in scored), len(scored))


def naming_rate(scored: list[Scored], targets: list[Target]) -> Rate | None:
    """Share of thoughts that name the element asked for; None where the benchmark is not the sandbox's own."""
    labels = {target.id: asked_label(target.instruction) for target in targets}
    if None in labels.values():
        return None
    named = [_is_reasoned(row) and labels[row.target_id] in _words(row) for row in scored]
    return accuracy(sum(named), len(named))


def _is_reasoned(row: Scored) -> bool:
    return is_reasoning_format(row.raw, row.coord_format)


def _words(row: Scored) -> list[str]:
    return (read_answer(row.raw, row.coord_format).thought or "").replace(".", " ").split()
