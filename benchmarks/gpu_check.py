"""The GPU profiles on drawn screens, at SmolVLM2-2.2B's geometry with random weights: speed and memory.

    bash benchmarks/gpu_check.sh                                             # all three profiles, under 8 minutes
    python benchmarks/gpu_check.py --narrow --steps 2 --answers 4 --profiles vast-16gb   # tries it without a GPU

Of each profile: steps of stage 1 and of stage 2 with clicks on held-out screenshots, a stage 1 that goes on from its
checkpoint, answers of stage 1, and (the first profile) a merge. Nothing is downloaded. Samples/s leave out the first
logged steps; share is the arithmetic of `epoch_flop` a second over `matmul_rate`. The table is printed, and written to
OUT/gpu_check.json.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import torch

from forge_core.data.preprocess import preprocess
from forge_core.data.sandbox import PLATFORMS, write_benchmark, write_raw
from forge_core.data.schema import read_jsonl
from forge_core.data.screenspot import load_v2
from forge_core.evaluation.stages import load_model
from forge_core.models.cost import epoch_flop, geometry, matmul_rate
from forge_core.models.load import compute_dtype, load_processor
from forge_core.models.publish import merge
from forge_core.params import EvaluateParams, TrainParams, load
from forge_core.paths import ROOT
from forge_core.training.collate import image_tokens, token_count
from forge_core.training.stage import StageRun, device_name, run_stage

sys.path.append(str(ROOT / "tests" / "real_bases"))
from bases import NARROW, WIDE, write_base  # noqa: E402

STAGES = {1: "03_train_grounding", 2: "04_train_reasoning"}
SUBSETS = [f"sandbox_{platform}" for platform in PLATFORMS]


def write_rows(folder: Path, screens: int) -> None:
    """Rows of both stages, and a benchmark."""
    write_raw(folder / "raw", screens, seed=0)
    plan = load(ROOT / "params/embedded/02_preprocess.yaml")
    where = {"raw_dir": str(folder / "raw"), "data_dir": str(folder), "stage1_subsets": SUBSETS}
    for stage in STAGES:
        preprocess(plan.model_copy(update=where | {"stage2_subsets": SUBSETS}), stage)
    write_benchmark(folder / "screenspot", screens, seed=0)


def train_params(profile: str, stage: int, folder: Path, steps: int) -> TrainParams:
    """The profile's, with the base and rows of this folder, and so few steps."""
    output = folder / profile
    changes = {
        "base_model": str(folder / "base"), "data_dir": str(folder), "output_dir": str(output / str(stage)),
        "parent_adapter": str(output / "1" / "final") if stage == 2 else "", "max_steps": steps, "wandb": False,
        "save_steps": max(1, steps // 2), "logging_steps": max(1, steps // 4), "held_out": 8,
    }  # fmt: skip
    return load(ROOT / "params" / profile / f"{STAGES[stage]}.yaml").model_copy(update=changes)


def figures(params: TrainParams, done: StageRun, rate: float) -> dict:
    """Samples/s between the first logged steps and the last, the most memory, and the share of the matmul rate."""
    first, *_, last = done.history
    samples = (last["step"] - first["step"]) * params.batch_size * params.gradient_accumulation
    speed = samples / (last["seconds"] - first["seconds"])
    return {
        "samples/s": round(speed, 2), "GiB": round(max(entry["memory_gib"] for entry in done.history), 2),
        "share": round(speed * flop_of_a_row(params) / rate, 3), "losses": [first["loss"], last["loss"]],
        "held-out clicks": done.record["training"]["held_out_clicks"],
    }  # fmt: skip


def flop_of_a_row(params: TrainParams) -> float:
    """The arithmetic that a row of the stage asks for, on average."""
    processor = load_processor(params.base_model, image_size=params.image_size)
    rows = list(read_jsonl(Path(params.data_dir) / f"stage{params.stage}.jsonl"))
    tokens = sum(token_count(processor, row, params.stage, params.coord_format) for row in rows)
    images = sum(image_tokens(processor, row.width, row.height) for row in rows)
    return epoch_flop(geometry(params.base_model), tokens, images, params.activation_checkpointing) / len(rows)


def resumed(params: TrainParams) -> str:
    """Stage 1 once more from its first checkpoint, as if killed after it; whether the losses are the same."""
    output = Path(params.output_dir)
    before = json.loads((output / "final" / "forge.json").read_text())["history"]
    shutil.rmtree(output / "final")
    shutil.rmtree(output / "checkpoints" / f"checkpoint-{params.max_steps}")
    after = run_stage(params).record["history"]
    losses = [[entry["loss"] for entry in history if "loss" in entry] for history in (before, after)]
    return f"losses off by {max(abs(one - other) for one, other in zip(*losses, strict=True)):.2g}"


def answers(profile: str, folder: Path, count: int) -> dict:
    """Answers a second of stage 1, loading aside, and the most memory."""
    evaluation = load(ROOT / "params" / profile / "05_evaluate_screenspot.yaml")
    adapter = str(folder / profile / "1" / "final")
    changes = {"base_model": str(folder / "base"), "grounding_adapter": adapter, "reasoning_adapter": adapter}
    params: EvaluateParams = evaluation.model_copy(update=changes)
    targets, model = load_v2(folder / "screenspot")[:count], load_model(params, "stage 1")
    forget_peak()
    start = time.perf_counter()
    model.ask(params.batch_size)(targets, out_file=folder / profile / "answers.jsonl", name=profile)
    speed = len(targets) / (time.perf_counter() - start)
    return {"answers/s": round(speed, 2), "GiB": peak()}


def forget_peak() -> None:
    """Count the most memory from here."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> float | None:
    """GiB on the card at most; None without one."""
    return round(torch.cuda.max_memory_allocated() / 2**30, 2) if torch.cuda.is_available() else None


def main() -> None:
    """Measure, print, and write the table after each line of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu_check")
    parser.add_argument("--profiles", default="vast-16gb,vast-24gb,vast-80gb")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--narrow", action="store_true", help="two narrow layers, to try it without a GPU")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    began, found = time.perf_counter(), {}

    def note(name: str, value: object) -> None:
        found[name] = value
        print(f"{time.perf_counter() - began:5.0f} s  {name}: {value}", flush=True)
        (arguments.out / "gpu_check.json").write_text(json.dumps(found, indent=1))

    with tempfile.TemporaryDirectory() as name:
        folder, device = Path(name), "cuda" if torch.cuda.is_available() else "cpu"
        note("machine", f"{date.today()}, {device_name(torch.device(device))}, torch {torch.__version__}")
        write_base(folder / "base", "smolvlm", NARROW if arguments.narrow else WIDE, device)
        write_rows(folder, 16 if arguments.narrow else 120)
        rate = matmul_rate()
        note("matmul rate, TFLOP/s", f"{rate / 1e12:.1f} in {compute_dtype()}")
        for profile in arguments.profiles.split(","):
            for stage in STAGES:
                forget_peak()
                params = train_params(profile, stage, folder, arguments.steps)
                note(f"{profile}, stage {stage}", figures(params, run_stage(params), rate))
            note(f"{profile}, answers", answers(profile, folder, arguments.answers))
        first = arguments.profiles.split(",")[0]
        note(f"{first}, stage 1 resumed", resumed(train_params(first, 1, folder, arguments.steps)))
        merge(folder / first / "2" / "final", folder / "merged")
        note("merged", sorted(path.name for path in (folder / "merged").iterdir()))


if __name__ == "__main__":
    main()
