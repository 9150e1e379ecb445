"""A captured app on the course's own road, behind notebook 06: its rows, stage 2 continued on them, scores, doubts.

What notebook 06 does not set is as notebooks 02, 04 and 05 of the same run had it.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from forge_core.capture import run as capture_run
from forge_core.capture.rows import PLATFORMS
from forge_core.capture.sites import Place, opened
from forge_core.capture.store import MANIFEST
from forge_core.capture.walk import Settings, size_of
from forge_core.data.screenspot import Target, load_v2
from forge_core.evaluation import hesitation
from forge_core.evaluation.live import Run, run_live
from forge_core.evaluation.score import Scored
from forge_core.evaluation.spot import load_agent
from forge_core.evaluation.stages import evaluate, load_model
from forge_core.params import EvaluateParams, OwnAppParams, PreprocessParams, ReasoningParams, of_run
from forge_core.paths import notebook_dir, resolve

NAME = "06_your_own_app"


def captured(params: OwnAppParams) -> dict:
    """Capture the places, write rows and test set; returns the manifest (see `capture.run`)."""
    looks = Settings(viewports=tuple(params.viewports), themes=tuple(params.themes), pages=params.pages)
    return capture_run.run(places(params), params.capture_dir, looks, params.seed, params.test_share)


def places(params: OwnAppParams) -> list[str]:
    """Addresses as they are, folders from the project's root."""
    return [place if "://" in place else str(resolve(place)) for place in params.places]


def preprocessing(params: OwnAppParams) -> PreprocessParams:
    """The captured rows through notebook 02; only of the shapes of screen that were captured."""
    written = json.loads((resolve(params.capture_dir) / MANIFEST).read_text())["files"]
    names = [f"capture_{name}" for name in PLATFORMS if written[f"stage2/capture_{name}.json"]]
    folders = {"raw_dir": f"{params.capture_dir}/raw", "data_dir": f"{params.capture_dir}/rows"}
    return of_run(params.run, "02_preprocess", **folders, stage1_subsets=names, stage2_subsets=names)


def training(params: OwnAppParams) -> ReasoningParams:
    """Notebook 04 once more, from its own adapter, on the captured rows; no screenshot is kept from them."""
    before = of_run(params.run, "04_train_reasoning")
    changes = {name: getattr(params, name) for name in ("seed", "output_dir", "learning_rate", "epochs")}
    return of_run(
        params.run, "04_train_reasoning", **changes, held_out=0, data_dir=f"{params.capture_dir}/rows",
        parent_adapter=f"{before.output_dir}/final",
    )  # fmt: skip


def evaluating(params: OwnAppParams, adapter: str | Path) -> EvaluateParams:
    """Notebook 05 with an adapter on the captured test set."""
    return of_run(
        params.run, "05_evaluate_screenspot", seed=params.seed, benchmark="screenspot_v2",
        benchmark_dir=f"{params.capture_dir}/screenspot", reasoning_adapter=str(adapter), zoom=False, votes=0,
    )  # fmt: skip


def scored(params: OwnAppParams, adapter: str | Path, name: str) -> list[Scored]:
    """Judged answers of an adapter, called `name`, to the targets of the pages kept from training."""
    asked = evaluating(params, adapter)
    return evaluate(asked, load_v2(resolve(asked.benchmark_dir)), "stage 2", _folder(params, name))["stage 2"]


def doubts(
    params: OwnAppParams, adapter: str | Path, targets: Sequence[Target], known: dict[str, list[hesitation.Element]]
) -> list[hesitation.Hesitation]:
    """How sure an adapter is of targets, by `params.draws` answers to each; `known` elements by screenshot."""
    asked = evaluating(params, adapter)
    loaded = load_model(asked, "stage 2")
    file = _folder(params, "doubts") / "drawn.jsonl"
    drawn = hesitation.ask(loaded.ask(asked.batch_size), targets, params.draws, params.seed, file, "drawn answers")
    return hesitation.hesitations(targets, drawn, known, loaded.coord_format)


def act(params: OwnAppParams, adapter: str | Path) -> Run:
    """Let an adapter follow `params.instruction` on the first place, live, in a window like the first viewport."""
    agent, size = load_agent(adapter), size_of(params.viewports[0])
    platform = "mobile" if size[0] < size[1] else "web"

    def decide(image, asked: str, history: str) -> str:
        return agent.answer(image, asked, platform, history)

    with opened(Place(places(params)[0]), set()) as site:
        return run_live(site.starts[0], decide, params.instruction, params.live_steps, size, agent.coord_format)


def _folder(params: OwnAppParams, name: str) -> Path:
    folder = notebook_dir(params.run, NAME) / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
