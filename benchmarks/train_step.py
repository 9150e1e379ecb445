"""A training step against smol2operator's on the same rows: samples/s, peak memory, share of the matmul rate.

    python benchmarks/train_step.py --smol2operator CHECKOUT                     # the embedded base, for a CPU
    python benchmarks/train_step.py --geometry 2.2b --smol2operator CHECKOUT     # SmolVLM2-2.2B's geometry, for a GPU
    python benchmarks/train_step.py --geometry 2.2b --layers 1 --batch 1 --accumulation 1 --warmup 1 --steps 1 --rows 4

`2.2b` has random weights, SmolVLM2's classes and files (tests/real_bases/bases.py), and screens enlarged to 1920x1080;
nothing is downloaded.
Trained in turns, in this process, each by the transformers Trainer, `--rounds` times:

- ours: `trainable_model` and `build_trainer` with the params of embedded or vast-16gb.
- smol2operator: its collator from the checkout, and the settings of its recipe.ipynb: full fine-tuning, tower included;
  full logits; checkpointing (not reentrant); AdamW at 2e-5, cosine to a tenth, clipped at 0.2; no data loader workers.
  Not its SFTTrainer (trl 0.21) but that one's parent class: today's trl makes no full logits.
- with our LoRA: that collator, loss and checkpointing on our NF4 base with our LoRA and our workers: as many trainable
  weights as ours, but no label-only logits and no `freeze_tower`.

Equal for all: rows, batch, accumulation (its own, 32, would take long to time), and precision: bf16, or fp32 on a CPU
without bf16. Ours takes the rows grouped by length, the others at random. Memory is CUDA's peak, or that of this
process's RSS (without workers), loading included. Share is the arithmetic that a recipe asks for in language model and
tower (`epoch_flop`, recomputation included; full fine-tuning: 8 FLOP a weight and token) a second, over `matmul_rate`.
"""

import argparse
import gc
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForImageTextToText, ProcessorMixin, Trainer, TrainerCallback

from forge_core.data.images import open_image
from forge_core.data.preprocess import preprocess
from forge_core.data.sandbox import PLATFORMS, write_raw
from forge_core.data.schema import Example, read_jsonl, write_jsonl
from forge_core.models.cost import epoch_flop, geometry, matmul_rate
from forge_core.models.load import attach_lora, compute_dtype, device, load_base, load_processor
from forge_core.params import TrainParams, load
from forge_core.paths import ROOT, locate
from forge_core.training.collate import messages
from forge_core.training.held_out import HeldOut
from forge_core.training.rows import Rows, fitting_rows
from forge_core.training.stage import build_trainer, trainable_model

sys.path.append(str(ROOT / "tests" / "real_bases"))
import bases  # noqa: E402
from bases import WIDE  # noqa: E402

PROFILES = {"embedded": "embedded", "2.2b": "vast-16gb"}
SCREEN = (1920, 1080)  # px


def write_base(folder: Path, layers: int | None) -> None:
    """A base of SmolVLM2-2.2B's geometry with random weights, as it would lie after a download."""
    wide = tuple(part | {"num_hidden_layers": layers} for part in WIDE) if layers else WIDE
    bases.write_base(folder, "smolvlm", wide, device().type)


def write_rows(folder: Path, count: int, screen: tuple[int, int] | None) -> None:
    """`count` stage-1 rows, drawn and preprocessed into `folder`; their screenshots at `screen` px where given."""
    write_raw(folder / "raw", math.ceil(count / len(PLATFORMS)) + 2, 0)
    plan = load(ROOT / "params/embedded/02_preprocess.yaml")
    preprocess(plan.model_copy(update={"raw_dir": str(folder / "raw"), "data_dir": str(folder), "workers": 1}), 1)
    rows = random.Random(0).sample(list(read_jsonl(folder / "stage1.jsonl")), count)
    write_jsonl(folder / "stage1.jsonl", [enlarged(row, folder, screen) for row in rows] if screen else rows)


def enlarged(row: Example, folder: Path, size: tuple[int, int]) -> Example:
    """The row with its screenshot at `size` px."""
    open_image(folder / row.image).resize(size).save(folder / f"{row.id}.png")
    return row.model_copy(update={"image": f"{row.id}.png", "width": size[0], "height": size[1]})


def peer_row(row: Example, images: Path) -> dict:
    """The row as smol2operator's data set has it, with the same words: a decoded image, and texts."""
    system, *chat = [message["content"][-1]["text"] for message in messages(row.turns, 1, row.platform)]
    texts = [{"user": asked, "assistant": said} for asked, said in zip(chat[::2], chat[1::2], strict=True)]
    return {"images": [open_image(images / row.image)], "texts": [{"system": system} | texts[0], *texts[1:]]}


@dataclass
class Variant:
    """One way to train: how its trainer is made, what a row asks for, and what was measured."""

    name: str
    make: Callable[[TrainParams, ProcessorMixin, Rows], Trainer]
    params: TrainParams
    flop: float  # a row
    trained: int = 0
    rates: list[float] = field(default_factory=list)  # samples/s of each round
    memory: float = 0.0  # GiB


def ours(params: TrainParams, processor: ProcessorMixin, rows: Rows) -> Trainer:
    """The trainer as `run_stage` has it, without evaluation."""
    nothing = HeldOut([], processor, params.stage, Path(params.data_dir), params.coord_format)
    return build_trainer(trainable_model(params), processor, rows, nothing, params, Path(params.output_dir))


def peer(params: TrainParams, processor: ProcessorMixin, rows: Rows) -> Trainer:
    """The recipe: every weight of the base is trained."""
    base, settings = locate(params.base_model), {"dtype": compute_dtype(), "attn_implementation": "sdpa"}
    return peer_trainer(AutoModelForImageTextToText.from_pretrained(base, **settings), params, processor, rows)


def peer_lora(params: TrainParams, processor: ProcessorMixin, rows: Rows) -> Trainer:
    """The recipe on our quantised base with our adapter."""
    base = load_base(params.base_model, params.base_revision, params.load_in_4bit)
    model = attach_lora(base, params.lora_rank, params.lora_alpha, params.lora_dropout)
    return peer_trainer(model, params, processor, rows)


def peer_trainer(model: torch.nn.Module, params: TrainParams, processor: ProcessorMixin, rows: Rows) -> Trainer:
    """The settings of recipe.ipynb; batch, accumulation, steps and workers are those of `params`."""
    from utils.collator import create_collate_fn  # of the checkout

    processor.tokenizer.truncation_side = processor.tokenizer.padding_side = "right"
    arguments = transformers.TrainingArguments(
        output_dir=params.output_dir, optim="adamw_torch", learning_rate=2.0e-5, max_grad_norm=0.2, warmup_steps=0.03,
        lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr_rate": 0.1},
        per_device_train_batch_size=params.batch_size, gradient_accumulation_steps=params.gradient_accumulation,
        max_steps=params.max_steps, bf16=compute_dtype() is torch.bfloat16, use_cpu=not torch.cuda.is_available(),
        activation_checkpointing=True, activation_checkpointing_kwargs={"use_reentrant": False},
        dataloader_num_workers=params.num_workers, logging_steps=params.logging_steps, save_strategy="no",
        remove_unused_columns=False, report_to="none", disable_tqdm=True, seed=params.seed,
    )  # fmt: skip
    collate, images = create_collate_fn(processor, 16384), Path(params.data_dir)
    collator = lambda batch: collate([peer_row(row, images) for row in batch])  # noqa: E731
    return Trainer(model, arguments, data_collator=collator, train_dataset=rows)


class Clock(TrainerCallback):
    """Notes when each optimizer step ended."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **_):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def measure(variant: Variant, processor: ProcessorMixin, rows: Rows, warmup: int) -> None:
    """Train one round; its first `warmup` optimizer steps are not timed."""
    gc.collect()
    reset_peak()
    transformers.set_seed(variant.params.seed)
    trainer, clock = variant.make(variant.params, processor, rows), Clock()
    trainer.add_callback(clock)
    trainer.remove_callback(transformers.PrinterCallback)
    loss = trainer.train().training_loss
    variant.memory = max(variant.memory, peak())
    steps, seconds = len(clock.ends) - warmup, clock.ends[-1] - clock.ends[warmup - 1]
    variant.rates.append(steps * variant.params.batch_size * variant.params.gradient_accumulation / seconds)
    variant.trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    print(f"{variant.name}: {variant.rates[-1]:.2f} samples/s, mean loss {loss:.3f}", flush=True)


def reset_peak() -> None:
    """Forget the peak so far: CUDA's, or (Linux) that of this process's RSS."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Peak memory in GiB since `reset_peak`."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**20


def image_tokens(processor: ProcessorMixin, rows: Rows) -> int:
    """Tokens of all rows that stand for patches, without those between the tiles."""
    sizes = [(rows[index].height, rows[index].width) for index in range(len(rows))]
    tiles = [max(count, 1) for count in processor._get_num_multimodal_tokens(sizes)["num_image_patches"]]
    print(f"{len(rows)} rows of {sum(rows.lengths) / len(rows):.0f} tokens, {min(tiles)} to {max(tiles)} tiles")
    return sum(tiles) * processor.image_seq_len


def variants(params: TrainParams, images: int, rows: Rows, workers: int | None) -> list[Variant]:
    """Ours, and the peer's two; `images`: image tokens; `workers` overrides what each has by its own settings."""
    shape, tokens = geometry(params.base_model), sum(rows.lengths)
    lora = [epoch_flop(shape, tokens, images, again) for again in (params.activation_checkpointing, True)]
    full = 8 * (shape.text * tokens + shape.vision * images * shape.patches_per_token)
    counts = (params.num_workers, 0) if workers is None else (workers, workers)
    own, its = (params.model_copy(update={"num_workers": count}) for count in counts)
    return [
        Variant("ours", ours, own, lora[0] / len(rows)),
        Variant("smol2operator", peer, its, full / len(rows)),
        Variant("  with our LoRA", peer_lora, own, lora[1] / len(rows)),
    ]


def show(params: TrainParams, found: list[Variant], rate: float) -> None:
    """Print what was measured; samples/s are the harmonic mean of the rounds, beside it their range."""
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{date.today()}  {machine}  torch {torch.__version__}  transformers {transformers.__version__}")
    size = f"{params.image_size} px, batch {params.batch_size} x {params.gradient_accumulation}, {compute_dtype()}"
    print(f"{size}, matmul rate {rate / 1e12:.3f} TFLOP/s")
    print(f"{'':<16} {'trained':>9} {'workers':>7} {'samples/s':>9} {'rounds':>13} {'GiB':>7} {'share':>6}  ours is")
    own = statistics.harmonic_mean(found[0].rates)
    for one in found:
        mean, rounds = statistics.harmonic_mean(one.rates), f"{min(one.rates):.2f}-{max(one.rates):.2f}"
        print(
            f"{one.name:<16} {one.trained / 1e6:>7.2f} M {one.params.num_workers:>7} {mean:>9.2f} {rounds:>13} "
            f"{one.memory:>7.2f} {mean * one.flop / rate:>6.1%}  {own / mean:.2f} times"
        )


def plan(arguments: argparse.Namespace, folder: Path) -> TrainParams:
    """The params of the geometry's profile, with what the command line says instead; writes base and rows."""
    params = load(ROOT / "params" / PROFILES[arguments.geometry] / "03_train_grounding.yaml")
    changes = {
        "data_dir": str(folder), "output_dir": str(folder / "out"), "wandb": False, "logging_steps": 10**9,
        "save_steps": 10**9, "held_out": 0, "max_steps": arguments.warmup + arguments.steps,
        "batch_size": arguments.batch or params.batch_size, "image_size": arguments.image_size or params.image_size,
        "gradient_accumulation": arguments.accumulation or params.gradient_accumulation,
    }  # fmt: skip
    if arguments.geometry == "2.2b":
        write_base(folder / "base", arguments.layers)
        changes["base_model"] = str(folder / "base")
    write_rows(folder, arguments.rows, SCREEN if arguments.geometry == "2.2b" else None)
    return params.model_copy(update=changes)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", choices=tuple(PROFILES), default="embedded")
    parser.add_argument("--smol2operator", metavar="CHECKOUT", help="a checkout of huggingface/smol2operator")
    for name in ("--batch", "--accumulation", "--image-size"):
        parser.add_argument(name, type=int, help="default: the profile's")
    parser.add_argument("--workers", type=int, help="data loader processes of all; default: each as its recipe has it")
    parser.add_argument("--layers", type=int, help="2.2b with fewer layers, to try it without a GPU")
    parser.add_argument("--rows", type=int, default=160, help="drawn; taken again when used up")
    parser.add_argument("--warmup", type=int, default=4, help="optimizer steps not timed in each round, at least 1")
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps timed in each round")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    sys.path.append(arguments.smol2operator or "")
    with tempfile.TemporaryDirectory() as folder:
        params = plan(arguments, Path(folder))
        processor = load_processor(params.base_model, image_size=params.image_size)
        rows = fitting_rows(Path(folder) / "stage1.jsonl", processor, params)[0]
        found = variants(params, image_tokens(processor, rows), rows, arguments.workers)
        rate, found = matmul_rate(), found if arguments.smol2operator else found[:1]
        for variant in found * arguments.rounds:
            measure(variant, processor, rows, arguments.warmup)
            rate = max(rate, matmul_rate())  # the best of many: other programs may run meanwhile
    show(params, found, rate)


if __name__ == "__main__":
    main()
