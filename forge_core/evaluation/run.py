"""Evaluate the course's models and what stands beside them on one benchmark: behind notebook 05 and `forge eval`.

forge eval params/embedded/05_evaluate_screenspot.yaml --limit 60
accelerate launch -m forge_core.evaluation --params params/vast-24gb/05_evaluate_screenspot.yaml   # on several GPUs
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import wandb
from matplotlib.figure import Figure

from forge_core import evaluation_plots as more_plots
from forge_core import gpus, plots
from forge_core.data.images import mark, open_image
from forge_core.data.sandbox import MARK
from forge_core.data.screenspot import PLATFORMS, Target, load
from forge_core.evaluation import baselines
from forge_core.evaluation.compare import mcnemar, needed
from forge_core.evaluation.predict import kept, prompt
from forge_core.evaluation.report import ranked, write_report
from forge_core.evaluation.samples import join
from forge_core.evaluation.score import Row, Scored, read_scored, score, table
from forge_core.evaluation.stages import choose, evaluate, lift_names, scored_file
from forge_core.models.load import adapter_processor, processes
from forge_core.params import EvaluateParams
from forge_core.paths import notebook_dir, resolve
from forge_core.training.adapter import coord_format_of
from forge_core.training.stage import tracker

NOTEBOOK = "05_evaluate_screenspot"
COURSE = ("base", "stage 1", "stage 2")
BY = ("platform", "kind", "application", "size")
BENCHMARKS = {  # as others call what lies in each layout
    "screenspot_v2": "ScreenSpot-v2",
    "screenspot_v2_xyxy": "ScreenSpot-v2",
    "screenspot_pro": "ScreenSpot-Pro",
}
SAMPLES = 100  # with pictures, in W&B


@dataclass(frozen=True)
class Evaluation:
    """Judged answers by model, each in the order of `targets`: baselines, the course's models, and their lifts."""

    params: EvaluateParams
    targets: list[Target]
    runs: dict[str, list[Scored]]

    @property
    def course(self) -> dict[str, list[Scored]]:
        """Base, stage 1 and stage 2 alone."""
        return {name: self.runs[name] for name in COURSE}

    @property
    def folder(self) -> Path:
        """Where answers, verdicts, figures and the report are."""
        return notebook_dir(self.params.run, NOTEBOOK)

    def tables(self) -> dict[str, list[Row]]:
        """The accuracy table of each model."""
        return {name: table(rows, BY) for name, rows in self.runs.items()}


def run(params: EvaluateParams) -> Evaluation:
    """Ask and judge all models. What was answered before, by the same model on the same targets, is not asked again."""
    targets = choose(load(resolve(params.benchmark_dir), params.benchmark), params.limit, params.seed)
    runs = {}
    if "centre" in params.baselines:
        runs["centre"] = score(targets, baselines.centre(targets))
    if "ocr" in params.baselines:
        file = notebook_dir(params.run, NOTEBOOK) / "answers_ocr.jsonl"
        runs["ocr"] = score(targets, kept(file, "ocr", targets, baselines.ocr))
    asked = gpus.several()
    if asked:
        gpus.on_all("forge_core.evaluation", NOTEBOOK, params, torch.cuda.device_count())
    folder = notebook_dir(params.run, NOTEBOOK)
    for name in (*COURSE, *(["merged"] if params.merged_model else [])):
        runs |= _read(params, name, folder) if asked else evaluate(params, targets, name, folder)
    return Evaluation(params, targets, runs)


def _read(params: EvaluateParams, name: str, folder: Path) -> dict[str, list[Scored]]:
    """What `evaluate` gave in other processes."""
    labels = [name, *(f"{name}, {lift}" for lift in lift_names(params, name))]
    return {label: read_scored(scored_file(folder, label)) for label in labels}


def dots(evaluation: Evaluation) -> list[more_plots.Dot]:
    """Every model and baseline, and what others published on the same whole benchmark."""
    rows = {name: table(scored)[0] for name, scored in evaluation.runs.items()}
    found = [more_plots.Dot(name, row.value, row.low, row.high, False) for name, row in rows.items()]
    if "random" in evaluation.params.baselines:
        expected = baselines.random_accuracy(evaluation.targets)
        found.append(more_plots.Dot("random click, expected", expected, None, None, False))
    real = BENCHMARKS.get(evaluation.params.benchmark, "") if not drawn_here(evaluation) else ""
    return found + [more_plots.Dot(row.name, row.value, None, None, True) for row in baselines.published(real)]


def drawn_here(evaluation: Evaluation) -> bool:
    """Whether the benchmark is the sandbox's: ScreenSpot's file format, but none of its screens."""
    return (resolve(evaluation.params.benchmark_dir) / MARK).is_file()


def figures(evaluation: Evaluation) -> dict[str, tuple[str, Figure]]:
    """Name -> what it shows in words, and the figure."""
    course, targets = evaluation.course, evaluation.targets
    tables = {name: table(rows) for name, rows in course.items()}
    first, second = course["stage 1"], course["stage 2"]
    return {
        "accuracy": ("Click accuracy of base, stage 1 and stage 2", plots.accuracy_bars(tables)),
        "comparison": ("Click accuracy of all models and baselines", more_plots.accuracy_dots(dots(evaluation))),
        "flow": ("What each stage changed, target by target", plots.sample_flow(*course.values())),
        "sizes": ("Click accuracy by size of the target", more_plots.accuracy_by_size(course, targets)),
        "distance": ("How far from the target clicks are", more_plots.distance(course, targets)),
        "clicks_stage1": ("Where clicks of stage 1 go", more_plots.click_map(first, targets, "Stage 1: clicks")),
        "clicks_stage2": ("Where clicks of stage 2 go", more_plots.click_map(second, targets, "Stage 2: clicks")),
        "gallery_stage1": ("Hits and misses of stage 1", plots.gallery(first, targets, "Stage 1")),
        "gallery_stage2": ("Hits and misses of stage 2", plots.gallery(second, targets, "Stage 2")),
    }


def prompts(params: EvaluateParams) -> dict[str, str]:
    """What the two stages are asked, platform by platform; {instruction} stands for the target's."""
    found = {}
    for stage, adapter in ((1, params.grounding_adapter), (2, params.reasoning_adapter)):
        processor = adapter_processor(resolve(adapter), params.base_model, params.base_revision)
        coord_format = coord_format_of(resolve(adapter))
        for platform in PLATFORMS:
            found[f"stage {stage}, {platform}"] = prompt(processor, stage, platform, "{instruction}", coord_format)
    return found


def summary(evaluation: Evaluation) -> list[str]:
    """The evaluation in a few lines: each model's accuracy with its interval, and stage 2 against stage 1."""
    lines = []
    for name, rows in evaluation.runs.items():
        micro, macro, *_ = table(rows)
        lines.append(
            f"{name}: {micro.value:.1%} [{micro.low:.1%}, {micro.high:.1%}] ({micro.k} of {micro.n}), macro "
            f"{macro.value:.1%}, {micro.wrong_format} without a click"
        )
    gained, lost, p = mcnemar(evaluation.runs["stage 1"], evaluation.runs["stage 2"])
    count = needed(gained, lost, len(evaluation.targets))
    settles = f"about {count:,} targets would settle such a difference" if count else "no difference to settle"
    lines.append(f"stage 1 to stage 2: {gained} gained, {lost} lost, p = {p:.2g} (McNemar, exact); {settles}")
    return lines


def report(params: EvaluateParams) -> Evaluation:
    """`run`, and from the first process its summary on the screen, figures, report.html, and W&B if it is wanted."""
    evaluation = run(params)
    if processes().is_main_process:
        print("\n".join(summary(evaluation)), flush=True)
        drawn = figures(evaluation)
        for name, (_, figure) in drawn.items():
            plots.save(figure, evaluation.folder / f"{name}.png")
        print(write(evaluation, drawn))
    return evaluation


def write(evaluation: Evaluation, drawn: dict[str, tuple[str, Figure]]) -> Path:
    """Write report.html (and log to W&B where the params ask for it); returns its path."""
    params = evaluation.params
    where = f"{params.benchmark_dir}, {len(evaluation.targets):,} targets"
    notes = [f"Benchmark: {where}{', drawn by the sandbox' if drawn_here(evaluation) else ''}.", *summary(evaluation)]
    path = write_report(
        evaluation.folder / "report.html",
        f"Churninator {params.run}: click accuracy",
        evaluation.tables(),
        evaluation.course,
        evaluation.targets,
        {words: figure for words, figure in drawn.values()},
        prompts(params),
        notes,
    )
    _to_wandb(evaluation, drawn)
    return path


def _to_wandb(evaluation: Evaluation, drawn: dict[str, tuple[str, Figure]]) -> None:
    params = evaluation.params
    if tracker(params.wandb) == "none":
        return
    rows = [[name, *row.model_dump().values()] for name, table in evaluation.tables().items() for row in table]
    shown = []
    for sample in ranked(join(evaluation.course, evaluation.targets))[:SAMPLES]:
        image = open_image(sample.target.image)
        for name, answer in sample.answers.items():
            picture = mark(image, sample.target.bbox, answer.point)
            picture.thumbnail((1000, 1000))
            caption = f"{name}: {answer.outcome} · {sample.target.instruction}\n{answer.raw}"
            shown.append(wandb.Image(picture, caption=caption))
    with wandb.init(name=f"{params.run} evaluation", job_type="evaluation", config=params.model_dump()) as run:
        table = wandb.Table(columns=["model", *Row.model_fields], data=rows)
        run.log({"accuracy": table, "samples": shown} | {words: wandb.Image(fig) for words, fig in drawn.values()})
