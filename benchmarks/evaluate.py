"""Answering a benchmark against one `generate` a target, with the same model, in one run.

    python benchmarks/evaluate.py                              # the embedded course's adapters, after `make course`
    python benchmarks/evaluate.py --geometry 2.2b --stage 1    # SmolVLM2-2.2B's geometry, for a GPU

One at a time: the processor and `generate` on each target, as the model's own page shows it. Ours: `predict`, which
answers in batches, encodes each screenshot once, and reads the next ones meanwhile. Both are greedy; the share of equal
answers is shown. `2.2b` has screens of 1920x1080 px and random weights, so its answers have all `--tokens` tokens.
"""

import argparse
import tempfile
import time
from datetime import date
from pathlib import Path

import torch
from train_step import SCREEN, write_base

from forge_core.data.images import open_image
from forge_core.data.sandbox import write_benchmark
from forge_core.data.screenspot import Target, load_v2
from forge_core.evaluation.predict import predict, prompt
from forge_core.models.load import autocast, compute_dtype, load_adapter, load_base, load_processor
from forge_core.params import load
from forge_core.paths import ROOT, resolve

PROFILES = {"embedded": "embedded", "2.2b": "vast-16gb"}


def one_at_a_time(model, processor, targets: list[Target], stage: int, tokens: int) -> dict[str, str]:
    """Answers by target id."""
    answers, end = {}, processor.tokenizer.convert_tokens_to_ids("<end_of_utterance>")
    for target in targets:
        text = prompt(processor, stage, target.platform, target.instruction)
        inputs = processor(text=[text], images=[[open_image(target.image)]], return_tensors="pt").to(model.device)
        with torch.no_grad(), autocast():
            ids = model.generate(**inputs, do_sample=False, max_new_tokens=tokens, eos_token_id=end)
        new = ids[:, inputs["input_ids"].shape[1] :]
        answers[target.id] = processor.tokenizer.batch_decode(new, skip_special_tokens=True)[0].strip()
    return answers


def enlarged(targets: list[Target], folder: Path) -> list[Target]:
    """The targets with their screenshots at `SCREEN` px."""
    images = {}
    for image in {target.image for target in targets}:
        images[image] = folder / image.name
        open_image(image).resize(SCREEN).save(images[image])
    size = {"width": SCREEN[0], "height": SCREEN[1]}
    return [target.model_copy(update={"image": images[target.image], **size}) for target in targets]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geometry", choices=tuple(PROFILES), default="embedded")
    parser.add_argument("--stage", type=int, choices=(1, 2), action="append", help="default: both")
    parser.add_argument("--screens", type=int, default=40, help="a platform; each has three targets")
    parser.add_argument("--batch", type=int, help="default: the profile's")
    parser.add_argument("--tokens", type=int, help="max_new_tokens; default: the profile's")
    arguments = parser.parse_args()
    params = load(ROOT / "params" / PROFILES[arguments.geometry] / "05_evaluate_screenspot.yaml")
    batch = arguments.batch or params.batch_size
    machine = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    print(f"{date.today()}  {machine}  torch {torch.__version__}  {compute_dtype()}  batch {batch}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_benchmark(folder / "benchmark", arguments.screens, 1)
        targets, base = load_v2(folder / "benchmark"), params.base_model
        if arguments.geometry == "2.2b":
            base, targets = str(folder / "base"), enlarged(targets, folder)
            write_base(folder / "base", None)
        for stage in arguments.stage or (1, 2):
            model = load_base(base, load_in_4bit=params.load_in_4bit)
            processor = load_processor(base, image_size=params.image_size)
            if arguments.geometry == "embedded":
                adapter = (params.grounding_adapter, params.reasoning_adapter)[stage - 1]
                model, processor = load_adapter(model, resolve(adapter)), load_processor(str(resolve(adapter)))
            tokens = arguments.tokens or (params.grounding_tokens, params.reasoning_tokens)[stage - 1]
            compare(model.eval(), processor, targets, stage, tokens, batch, folder)


def compare(model, processor, targets: list[Target], stage: int, tokens: int, batch: int, folder: Path) -> None:
    """Time both ways on the same targets and print one line; what is not timed warms both up."""
    ways = {
        "one at a time": lambda some, _: one_at_a_time(model, processor, some, stage, tokens),
        "ours": lambda some, file: predict(model, processor, some, stage, file, "x", batch, tokens, log_every=1e9),
    }
    rates, answers = {}, {}
    for name, way in ways.items():
        way(targets[:batch], folder / f"warm {stage}")
        start = time.perf_counter()
        answers[name] = way(targets, folder / f"answers {stage}")
        rates[name] = len(targets) / (time.perf_counter() - start)
    first, second = answers.values()
    equal = sum(first[target.id] == second[target.id] for target in targets)
    print(
        f"stage {stage}: {len(targets)} targets, one at a time {rates['one at a time']:.2f}, ours {rates['ours']:.2f} "
        f"samples/s, {rates['ours'] / rates['one at a time']:.1f} times; {equal} answers equal",
        flush=True,
    )


if __name__ == "__main__":
    main()
