"""Answer every target of a benchmark: batched, greedy, written batch by batch so that a killed run continues.

The answers' file is JSONL. Its first line says what the answers depend on; the rest is one `Prediction` a line. Asked
again with the same header, only what is missing is computed; with another one the file is started afresh.
Several processes (`accelerate launch`) share the work: each writes a part beside the file, and the first joins them,
also from other machines' disks.
"""

import glob
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import PartialState
from PIL import Image
from transformers.modeling_outputs import BaseModelOutputWithPooling

from forge_core.actions.coordinates import CoordFormat
from forge_core.data.images import open_image
from forge_core.data.schema import Turn
from forge_core.data.screenspot import PLATFORMS, Target
from forge_core.data.special import clean, special_of
from forge_core.evaluation.score import Prediction
from forge_core.models.chat import END_OF_TURN
from forge_core.models.load import autocast, processes
from forge_core.models.processor import naming
from forge_core.nodes import of_all
from forge_core.progress import Progress
from forge_core.training.collate import messages

Window = tuple[int, int, int, int]  # left, top, right, bottom in px
View = tuple[Path, Window | None]  # a screenshot, and the part of it; None: the whole


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
    crops: Mapping[str, Window] | None = None,
    sampling: Mapping[str, object] | None = None,
) -> dict[str, str]:
    """Raw answer by target id, in the order of `targets`; also in `out_file`.

    `fingerprint` names the model and adapter; with the stage, the prompts (and so `coord_format`), the targets, the
    image size, `max_new_tokens`, `crops` and `sampling` it decides whether an earlier file is continued. `crops`: the
    parts of their screenshots that targets are asked on (id -> px); `sampling` are arguments of `generate`, with a
    `seed`, where answers are not greedy. A progress line for `name` (default: the stage) is printed every `log_every`
    seconds. ValueError names a line of an earlier file that is damaged.
    """
    out_file, group = Path(out_file), processes()
    crops, sampling = dict(crops or {}), dict(sampling or {})
    header = _header(processor, targets, stage, fingerprint, max_new_tokens, coord_format)
    header |= {"crops": _digest(crops)} if crops else {}
    header |= {"sampling": sampling, "batch_size": batch_size} if sampling else {}
    answers = _joined(out_file, header, group)
    mine = _share(targets, group)
    batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    # whole batches are asked again, as who else is in a batch decides what is drawn
    todo = [batch for batch in batches if any(target.id not in answers for target in batch)]
    alone = group.num_processes == 1
    part = out_file if alone else out_file.with_name(f"{out_file.name}.{group.process_index}")
    model.eval()
    missing = sum(target.id not in answers for batch in todo for target in batch)
    progress = _Progress(name or f"stage {stage}", len(answers), len(answers) + missing, log_every)
    ask = partial(_ask, model, processor, stage, max_new_tokens, coord_format, sampling)
    with part.open("ab") as file:
        if not alone:
            file.write(_line(header))
        for batch, screens in _with_screens(model, processor, todo, crops):
            for target, raw in zip(batch, ask(batch, screens), strict=True):
                if target.id not in answers:
                    answers[target.id] = raw
                    file.write(_line(Prediction(target_id=target.id, raw=raw).model_dump()))
            file.flush()
            if group.is_main_process:
                progress.show(len(answers))
    if not alone:
        group.wait_for_everyone()
        answers = _joined(out_file, header, group)
    return {target.id: answers[target.id] for target in targets}


def kept(
    out_file: Path, fingerprint: str, targets: Sequence[Target], answer: Callable[[Sequence[Target]], dict[str, str]]
) -> dict[str, str]:
    """What `answer` gives for `targets`: asked once, by one process, and kept in a file as `predict` keeps its own."""
    group = processes()
    header = {"fingerprint": fingerprint, "targets": _targets_digest(targets)}
    answers = _joined(out_file, header, group)
    if len(answers) < len(targets):
        if group.is_main_process:
            given = [Prediction(target_id=name, raw=raw).model_dump() for name, raw in answer(targets).items()]
            out_file.write_bytes(b"".join(map(_line, [header, *given])))
        group.wait_for_everyone()
        answers = _joined(out_file, header, group)
    return {target.id: answers[target.id] for target in targets}


def _share(targets: Sequence[Target], group: PartialState) -> list[Target]:
    """This process's targets: those on one screenshot stay together, and neighbours have screenshots of one size."""
    groups: dict[tuple[int, int, str], list[Target]] = {}
    for target in targets:
        groups.setdefault((target.width, target.height, str(target.image)), []).append(target)
    mine = sorted(groups)[group.process_index :: group.num_processes]
    return [target for key in mine for target in groups[key]]


def _with_screens(
    model, processor, batches: Sequence[Sequence[Target]], crops: Mapping[str, Window]
) -> "Iterator[tuple[Sequence[Target], list[Screen]]]":
    """Batches with their encoded screenshots; those of the next one are read while the model works on this one."""

    def view(target: Target) -> View:
        return target.image, crops.get(target.id)

    def read(batch: Sequence[Target], before: Sequence[Target]) -> dict[View, Screen]:
        known = set(map(view, before))  # whose targets go on from the batch before, and which is encoded already
        views = [seen for seen in dict.fromkeys(map(view, batch)) if seen not in known]
        return {(image, part): read_screen(processor, open_image(image).crop(part)) for image, part in views}

    encoded: dict[View, Screen] = {}
    with ThreadPoolExecutor(1) as pool:
        ahead = [pool.submit(read, batch, ()) for batch in batches[:1]]
        for batch, following in zip_longest(batches, batches[1:]):
            screens = ahead.pop().result()
            ahead += [pool.submit(read, following, batch)] if following else []
            went_on = {seen: encoded[seen] for seen in map(view, batch) if seen in encoded}
            encoded = went_on | {seen: encode(model, screen) for seen, screen in screens.items()}
            yield batch, [encoded[view(target)] for target in batch]


def _ask(
    model,
    processor,
    stage: int,
    tokens: int,
    coord_format: CoordFormat,
    sampling: Mapping[str, object],
    batch: Sequence[Target],
    screens: "Sequence[Screen]",
) -> list[str]:
    texts = [prompt(processor, stage, target.platform, target.instruction, coord_format) for target in batch]
    if not sampling:
        return continue_texts(model, processor, texts, screens, tokens)
    device = next(model.parameters()).device
    drawn = _digest([sampling["seed"], [target.id for target in batch]])
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(drawn[:8], 16))  # so that a continued run draws what an unbroken one does
        options = {name: value for name, value in sampling.items() if name != "seed"}
        return continue_texts(model, processor, texts, screens, tokens, do_sample=True, **options)


def prompt(
    processor,
    stage: int,
    platform: str,
    instruction: str,
    coord_format: CoordFormat = "4-decimals",
    history: str = "",
) -> str:
    """The text the model is asked to continue, as trained: system prompt, screenshot, instruction, open answer.

    `history`, what was done before, is read by stage 2 only. Special tokens in both texts are taken out.
    """
    special = special_of(processor.tokenizer)
    # unchecked: its actions are what is asked for
    turn = Turn.model_construct(instruction=clean(instruction, special), history=clean(history, special), actions=[])
    chat = messages([turn], stage, platform, with_answers=False, coord_format=coord_format)
    with naming("the base", "its chat template cannot be used"):
        return processor.apply_chat_template(chat, add_generation_prompt=True)


class Screen(NamedTuple):
    """A screenshot as the model takes it: the text that stands for it, and its `pixels` or, once encoded, `features`.

    `pixels`: (1, tiles, 3, H, W); `mask`: (1, tiles, H, W); `features`: (image tokens, D).
    """

    text: str
    pixels: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    features: torch.Tensor | None = None


def read_screen(processor, image: Image.Image) -> Screen:
    """Resize, cut into tiles and normalise a screenshot."""
    read = processor.image_processor([[image]], return_row_col_info=True, return_tensors="pt")
    return Screen(processor.replace_image_token(read, 0), read["pixel_values"], read["pixel_attention_mask"])


def encode(model, screen: Screen) -> Screen:
    """Run the vision tower, once for all that will be asked about the screenshot."""
    device = next(model.parameters()).device
    with torch.no_grad(), autocast():
        found = model.get_image_features(screen.pixels.to(device), screen.mask.to(device), return_dict=True)
    return Screen(screen.text, features=found.pooler_output[0])


def continue_texts(
    model, processor, texts: Sequence[str], screens: Sequence[Screen], max_new_tokens: int, **sampling
) -> list[str]:
    """What the model writes after each text with its encoded screenshot, up to the end of its turn.

    Greedy, unless `sampling` (arguments of `generate`) says otherwise.
    """
    tokenizer, device = processor.tokenizer, next(model.parameters()).device
    whole = [text.replace(processor.image_token, screen.text, 1) for text, screen in zip(texts, screens, strict=True)]
    inputs = tokenizer(whole, padding=True, padding_side="left", return_tensors="pt").to(device)
    features = BaseModelOutputWithPooling(pooler_output=[screen.features for screen in screens])
    with torch.no_grad(), autocast():
        ids = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            mm_encoder_outputs={"image": features},
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.convert_tokens_to_ids(END_OF_TURN),
            pad_token_id=tokenizer.pad_token_id,
            **{"do_sample": False} | sampling,
        )  # (B, prompt + new)
    new = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def _header(
    processor, targets: Sequence[Target], stage: int, fingerprint: str, max_new_tokens: int, coord_format: CoordFormat
) -> dict:
    return {
        "fingerprint": fingerprint,
        "stage": stage,
        "max_new_tokens": max_new_tokens,
        "image_size": dict(processor.image_processor.size),
        "prompts": _digest([prompt(processor, stage, platform, "", coord_format) for platform in PLATFORMS]),
        "targets": _targets_digest(targets),
    }


def _targets_digest(targets: Sequence[Target]) -> str:
    return _digest([(target.id, target.image.name, target.instruction, target.bbox) for target in targets])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _joined(out_file: Path, header: dict, group: PartialState) -> dict[str, str]:
    """The answers so far, of all processes and of earlier runs; the first process puts them all into `out_file`."""
    out_file.parent.mkdir(parents=True, exist_ok=True)
    parts = sorted(out_file.parent.glob(f"{glob.escape(out_file.name)}.[0-9]*"))
    here = [line for file in (out_file, *parts) for line in _whole_lines(file, _line(header))]
    lines = list(dict.fromkeys(line for found in of_all(here) for line in found))  # on a shared disk all see the same
    if group.is_main_process:
        fresh = out_file.with_name(out_file.name + ".new")
        fresh.write_bytes(b"".join([_line(header), *lines]))
        os.replace(fresh, out_file)
    group.wait_for_everyone()  # the parts are needed until all are in `out_file`
    if group.is_local_main_process:
        for part in parts:
            part.unlink(missing_ok=True)
    group.wait_for_everyone()  # before anyone begins a new part
    return dict(_read(out_file, number, line) for number, line in enumerate(lines, start=2))


def _line(value: dict) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _whole_lines(file: Path, head: bytes) -> list[bytes]:
    """The lines after `head`, none where the file begins otherwise, without half a line that a killed run left."""
    data = file.read_bytes() if file.is_file() else b""
    first, *lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True) or [b""]
    return lines if first == head else []


def _read(path: Path, number: int, line: bytes) -> tuple[str, str]:
    try:
        prediction = Prediction.model_validate_json(line)
    except ValueError as error:
        raise ValueError(f"{path}:{number}: damaged answer (delete the file to start afresh): {error}") from None
    return prediction.target_id, prediction.raw


class _Progress:
    """Show 'name 128/300 · 12.3 samples/s' at most every `every` seconds, and when all is done."""

    def __init__(self, name: str, done: int, total: int, every: float):
        self.name, self.first, self.total, self.every = name, done, total, every
        self.progress = Progress()
        self.start = self.last = time.monotonic()

    def show(self, done: int) -> None:
        now = time.monotonic()
        if now - self.last >= self.every or done == self.total:
            self.last = now
            speed = (done - self.first) / max(now - self.start, 1e-9)
            self.progress.show(done, self.total, f"{self.name} {done}/{self.total} · {speed:.1f} samples/s")
