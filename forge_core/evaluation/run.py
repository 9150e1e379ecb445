"""Evaluate the course's models and what stands beside them on one benchmark: behind notebook 05 and `forge eval`.

forge eval params/embedded/05_evaluate_screenspot.yaml --limit 60
accelerate launch -m forge_core.evaluation --params params/vast-24gb/05_evaluate_screenspot.yaml   # on several GPUs
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import wandb
from accelerate import notebook_launcher
from matplotlib.figure import Figure

from forge_core import evaluation_plots, plots
from forge_core.data.screenspot import PLATFORMS, Target, load
from forge_core.evaluation import baselines
from forge_core.evaluation.compare import mcnemar, needed
from forge_core.evaluation.logs import text_table
from forge_core.evaluation.predict import prompt
from forge_core.evaluation.report import write_report
from forge_core.evaluation.score import Row, Scored, read_scored, score, table
from forge_core.evaluation.stages import choose, evaluate, load_processor, scored_file
from forge_core.params import EvaluateParams
from forge_core.paths import notebook_dir, resolve
from forge_core.training.stage import tracker

COURSE = ("base", "stage 1", "stage 2")
BY = ("platform", "kind", "application", "size")
SHOWN = 100  # samples with pictures in W&B
PUBLISHED = {
    "screenspot_v2": "ScreenSpot-v2",
    "screenspot_v2_xyxy": "ScreenSpot-v2",
    "screenspot_pro": "ScreenSpot-Pro",
}


@dataclass(frozen=True)
class Evaluation:
    """Judged answers by model, in the order of the benchmark's `targets`: baselines, the course's models, their lifts."""

    params: EvaluateParams
    targets: list[Target]
    runs: dict[str, list[Scored]]

    @property
    def course(self) -> dict[str, list[Scored]]:
        """Base, stage 1 and stage 2 alone."""
        return {name: self.runs[name] for name in COURSE}

    def tables(self) -> dict[str, list[Row]]:
        """Accuracy tables by model."""
        return {name: table(rows, BY) for name, rows in self.runs.items()}


def run(params: EvaluateParams) -> Evaluation:
    """Ask and judge all models; from a notebook, on every GPU of this machine. What is kept is not asked again."""
    targets = choose(load(resolve(params.benchmark_dir), params.benchmark), params.limit, params.seed)
    folder = notebook_dir(params.run, "05_evaluate_screenspot")
    runs = {}
    for name in params.baselines:
        answers = BASELINES[name](targets, params.seed)
        runs[name] = score(targets, answers)
    for name in (*COURSE, *(["merged"] if params.merged_model else [])):
        runs |= launch(params, targets, name, folder)
    return Evaluation(params, targets, runs)


BASELINES = {
    "centre": lambda targets, seed: baselines.centre(targets),
    "random": baselines.random_click,
    "ocr": lambda targets, seed: baselines.ocr(targets),
}


def launch(params: EvaluateParams, targets: list[Target], name: str, folder: Path) -> dict[str, list[Scored]]:
    """`evaluate`, on every GPU of this machine where there are several and no launcher has started this process."""
    count = torch.cuda.device_count()
    if count > 1 and not torch.distributed.is_torchelastic_launched():
        notebook_launcher(evaluate, (params, targets, name, folder), num_processes=count)
        names = [name] if name == "base" else [name, *lift_names(params, name)]
        return {label: read_scored(scored_file(folder, label)) for label in names}
    return evaluate(params, targets, name, folder)
