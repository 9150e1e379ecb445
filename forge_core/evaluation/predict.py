"""Answer every target of a benchmark: batched, greedy, written batch by batch so that a killed run continues.

The answers' file is JSONL. Its first line says what the answers depend on; the rest is one `Prediction` a line. Asked
again with the same header, only what is missing is computed; with another one the file is started afresh.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from forge_core.actions.coordinates import CoordFormat
from forge_core.data.images import open_image
from forge_core.data.schema import Turn
from forge_core.data.screenspot import PLATFORMS, Target
from forge_core.evaluation.score import Prediction
from forge_core.models.load import autocast
from forge_core.training.collate import messages


def predict(
    model,
    processor,
    targets: Sequence[Target],
    stage: int,
    out_file: str | Path,
    fingerprint: str,
    batch_size: int = 16,
    max_new_tokens: int = 32,
    log_every: float = 5.0,
    name: str | None = None,
    coord_format: CoordFormat = "4-decimals",
) -> dict[str, str]:
    """Raw answer by target id, in the order of `targets`; also in `out_file`.

    `fingerprint` names the model and adapter; with the stage, the prompts (and so `coord_format`), the targets, the
    image size and `max_new_tokens` it decides whether an earlier file is continued. A progress line for `name`
    (default: the stage) is printed every `log_every` seconds. ValueError names a line of an earlier file that is
    damaged.
    """
    out_file = Path(out_file)
    header = _header(processor, targets, stage, fingerprint, max_new_tokens, coord_format)
    answers = _resume(out_file, header)
    # neighbours share the screenshot, so a batch needs little padding
    todo = sorted((t for t in targets if t.id not in answers), key=lambda t: (t.platform, str(t.image), t.id))
    model.eval()
    progress = _Progress(name or f"stage {stage}", len(answers), len(targets), log_every)
    with out_file.open("a", encoding="utf-8") as file:
        for start in range(0, len(todo), batch_size):
            batch = todo[start : start + batch_size]
            texts = _answer(model, processor, batch, stage, max_new_tokens, coord_format)
            for target, raw in zip(batch, texts, strict=True):
                answers[target.id] = raw
                file.write(Prediction(target_id=target.id, raw=raw).model_dump_json() + "\n")
            file.flush()
            progress.show(len(answers))
    return {target.id: answers[target.id] for target in targets}


def prompt(processor, stage: int, platform: str, instruction: str, coord_format: CoordFormat = "4-decimals") -> str:
    """The text the model is asked to continue, as trained: system prompt, screenshot, instruction, open answer."""
    turn = Turn.model_construct(instruction=instruction, actions=[])  # unchecked: its actions are what is asked for
    chat = messages([turn], stage, platform, with_answers=False, coord_format=coord_format)
    return processor.apply_chat_template(chat, add_generation_prompt=True)


def _answer(
    model, processor, batch: Sequence[Target], stage: int, max_new_tokens: int, coord_format: CoordFormat
) -> list[str]:
    texts = [prompt(processor, stage, target.platform, target.instruction, coord_format) for target in batch]
    return continue_texts(model, processor, texts, [open_image(target.image) for target in batch], max_new_tokens)


def continue_texts(
    model, processor, texts: Sequence[str], images: Sequence[Image.Image], max_new_tokens: int
) -> list[str]:
    """What the model writes, greedily, after each text with its image, up to the end of its turn."""
    device = next(model.parameters()).device
    inputs = processor(
        text=list(texts),
        images=[[image] for image in images],
        padding=True,
        padding_side="left",
        return_tensors="pt",
    ).to(device)
    tokenizer = processor.tokenizer
    with torch.no_grad(), autocast():
        ids = model.generate(
            **inputs,
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.convert_tokens_to_ids("<end_of_utterance>"),
            pad_token_id=tokenizer.pad_token_id,
        )  # (B, prompt + new)
    new = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def _header(
    processor, targets: Sequence[Target], stage: int, fingerprint: str, max_new_tokens: int, coord_format: CoordFormat
) -> dict:
    asked = [(target.id, target.image.name, target.instruction, target.bbox) for target in targets]
    return {
        "fingerprint": fingerprint,
        "stage": stage,
        "max_new_tokens": max_new_tokens,
        "image_size": dict(processor.image_processor.size),
        "prompts": _digest([prompt(processor, stage, platform, "", coord_format) for platform in PLATFORMS]),
        "targets": _digest(asked),
    }


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _resume(out_file: Path, header: dict) -> dict[str, str]:
    """Answers of an earlier run with the same header; leaves a file that ends with a whole line, ready to append to."""
    out_file.parent.mkdir(parents=True, exist_ok=True)
    data = out_file.read_bytes() if out_file.is_file() else b""
    whole = data[: data.rfind(b"\n") + 1]  # a killed run may leave half a line
    first, *lines = whole.splitlines(keepends=True) or [b""]
    head = json.dumps(header).encode() + b"\n"
    kept = lines if first == head else []
    part = out_file.with_name(out_file.name + ".part")
    part.write_bytes(head + b"".join(kept))
    os.replace(part, out_file)
    return dict(_read(out_file, number, line) for number, line in enumerate(kept, start=2))


def _read(path: Path, number: int, line: bytes) -> tuple[str, str]:
    try:
        prediction = Prediction.model_validate_json(line)
    except ValueError as error:
        raise ValueError(f"{path}:{number}: damaged answer (delete the file to start afresh): {error}") from None
    return prediction.target_id, prediction.raw


class _Progress:
    """Print 'name 128/300 · 12.3 samples/s' at most every `every` seconds, and when all is done."""

    def __init__(self, name: str, done: int, total: int, every: float):
        self.name, self.first, self.total, self.every = name, done, total, every
        self.start = self.last = time.monotonic()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last >= self.every or done == self.total:
            self.last = now
            speed = (done - self.first) / max(now - self.start, 1e-9)
            print(f"{self.name} {done}/{self.total} · {speed:.1f} samples/s", flush=True)
