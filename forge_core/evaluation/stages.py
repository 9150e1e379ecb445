"""Score the three models of the course on one benchmark: the base, stage 1 and stage 2, each on the same targets."""

from pathlib import Path
from random import Random

from forge_core.actions.prompts import is_reasoning_format, read_answer
from forge_core.data.sandbox import asked_label
from forge_core.data.screenspot import Target
from forge_core.evaluation.predict import predict
from forge_core.evaluation.score import Rate, Scored, accuracy, score, write_scored
from forge_core.models.load import compute_dtype, load_adapter, load_base, load_processor, locate
from forge_core.params import EvaluateParams
from forge_core.paths import resolve
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


def evaluate(params: EvaluateParams, targets: list[Target], name: str, folder: Path) -> list[Scored]:
    """Score the model called `name`: "base", "stage 1" or "stage 2"; answers and verdicts are kept in `folder`."""
    adapter = {"base": "", "stage 1": params.grounding_adapter, "stage 2": params.reasoning_adapter}[name]
    stage = 2 if name == "stage 2" else 1
    model = load_base(params.base_model, params.base_revision, params.load_in_4bit)
    processor = load_processor(params.base_model, params.base_revision, params.image_size)
    coord_format = coord_format_of(resolve(adapter)) if adapter else "4-decimals"
    if adapter:
        model = load_adapter(model, resolve(adapter))
        processor = load_processor(str(resolve(adapter)))  # as it was trained
    answers = predict(
        model,
        processor,
        targets,
        stage,
        folder / f"answers_{name.replace(' ', '_')}.jsonl",
        fingerprint=identity(params, adapter),
        batch_size=params.batch_size,
        max_new_tokens=params.reasoning_tokens if stage == 2 else params.grounding_tokens,
        name=name,
        coord_format=coord_format,
    )
    scored = score(targets, answers, coord_format)
    write_scored(folder / f"scored_{name.replace(' ', '_')}.jsonl", scored)
    return scored


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
