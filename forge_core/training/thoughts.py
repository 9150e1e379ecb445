"""What a thought costs and does: tokens by kind, losses token by token, and answers that go on from a given thought."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import ProcessorMixin

from forge_core.actions.calls import ActionParseError
from forge_core.actions.coordinates import CoordFormat
from forge_core.actions.prompts import Answer, answer_text, read_answer
from forge_core.actions.unified import click_point, parse
from forge_core.data.images import open_image
from forge_core.data.schema import Example, read_jsonl
from forge_core.evaluation.predict import continue_texts, encode, prompt, read_screen
from forge_core.evaluation.spot import Agent
from forge_core.models.load import autocast
from forge_core.models.publish import NEW_TOKENS
from forge_core.params import TrainParams
from forge_core.paths import resolve
from forge_core.spot_plots import Frame
from forge_core.training.collate import IGNORED, image_tokens, token_count
from forge_core.training.held_out import NEAR
from forge_core.training.rows import choose

TURNED = {"upper": "lower", "top": "bottom", "left": "right", "above": "below"}
TURNED |= {other: one for one, other in TURNED.items()}


def token_bill(
    processor: ProcessorMixin, rows: Iterable[Example], stage: int, coord_format: CoordFormat
) -> dict[str, float]:
    """Mean tokens for one action: image, prompt, history, thought and call; of these the last two are supervised."""
    total, turns = Counter(), 0
    for row in rows:
        bill = _row_bill(processor, row, stage, coord_format)
        bill["prompt"] = token_count(processor, row, stage, coord_format) - bill.total()
        total, turns = total + bill, turns + len(row.turns)
    return {kind: count / turns for kind, count in total.items()}


def _row_bill(processor: ProcessorMixin, row: Example, stage: int, coord_format: CoordFormat) -> Counter:
    """Of a row, all but the rest of its prompt."""

    def length(text: str) -> int:
        return len(processor.tokenizer(text, add_special_tokens=False).input_ids)

    bill = Counter(image=image_tokens(processor, row.width, row.height))
    for turn in row.turns:
        answer = f" {answer_text(turn, stage, coord_format)}"
        thought = length(answer.partition("<code>")[0]) if stage == 2 else 0
        history = length(turn.history) if stage == 2 else 0
        bill += Counter(thought=thought, call=length(answer) + 1 - thought, history=history)  # 1: the end of the turn
    return bill


def token_losses(model, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Cross-entropy (nats) of each supervised token of a batch, row after row: (N,), without dropout or gradient."""
    model.eval()
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in batch.items() if name not in ("labels", "ids")}
    targets = batch["labels"][:, 1:].to(device)  # (B, T-1): a token is told from those before it
    kept = targets != IGNORED
    with torch.no_grad(), autocast():
        logits = model(**inputs).logits[:, :-1][kept]  # (N, V)
    return F.cross_entropy(logits.float(), targets[kept], reduction="none").cpu()


def held_out_clicks(params: TrainParams, count: int) -> list[Example]:
    """Up to `count` rows whose first turn has a thought and clicks, of the screenshots kept from training.

    Where none are kept (`held_out` is 0, or they have no clicks) they are the file's first ones, which training saw.
    """
    file = resolve(params.data_dir) / f"stage{params.stage}.jsonl"
    kept = choose((row.image for row in read_jsonl(file)), params.held_out, params.seed) if params.held_out else ()
    held = islice(filter(_clicks, (row for row in read_jsonl(file) if row.image in kept)), count)
    return list(held) or list(islice(filter(_clicks, read_jsonl(file)), count))


def _clicks(row: Example) -> bool:
    return bool(row.turns[0].thought and click_point(parse("\n".join(row.turns[0].actions))))


def answers(
    agent: Agent, rows: Sequence[Example], images: Path, thoughts: Sequence[str] | None = None
) -> list[Answer | None]:
    """What a stage-2 agent answers to the first turn of each row; None where that can't be read.

    `thoughts`: what it is made to think, one a row; it then writes the calls alone.
    """
    begun = [f"<think>\n{thought}\n</think>\n<code>\n" for thought in thoughts] if thoughts else [""] * len(rows)
    texts = []
    for row, start in zip(rows, begun, strict=True):
        turn = row.turns[0]
        asked = prompt(agent.processor, 2, row.platform, turn.instruction, agent.coord_format, turn.history)
        texts.append(f"{asked} {start}" if start else asked)
    screens = [encode(agent.model, read_screen(agent.processor, open_image(images / row.image))) for row in rows]
    written = continue_texts(agent.model, agent.processor, texts, screens, NEW_TOKENS[2])
    return [_read(start + text, agent.coord_format) for start, text in zip(begun, written, strict=True)]


def _read(text: str, coord_format: CoordFormat) -> Answer | None:
    try:
        return read_answer(text, coord_format)
    except ActionParseError:
        return None


def turned(thought: str) -> str:
    """The thought with every place in it turned round: upper becomes lower, left becomes right."""
    return re.sub(r"\w+", lambda word: TURNED.get(word[0], word[0]), thought)


def moved(before: Sequence[Answer | None], after: Sequence[Answer | None]) -> int:
    """How many clicks moved by more than `NEAR` of width or height; answers without a click are not counted."""
    pairs = zip(map(_point, before), map(_point, after), strict=True)
    return sum(max(abs(a - b) for a, b in zip(one, other, strict=True)) > NEAR for one, other in pairs if one and other)


def _point(answer: Answer | None) -> tuple[float, float] | None:
    return click_point(answer.actions) if answer else None


def frames(rows: Sequence[Example], found: Sequence[Answer | None], images: Path) -> list[Frame]:
    """For `spot_plots.draw`: each row's screenshot with its instruction, and the answer's click and thought."""
    drawn = []
    for row, answer in zip(rows, found, strict=True):
        picture, asked = open_image(images / row.image), row.turns[0].instruction
        label = f"label: {row.turns[0].thought}"
        if answer is None:
            drawn.append(Frame(picture, asked, problem=f"an answer that can't be read; {label}"))
        else:
            drawn.append(Frame(picture, asked, answer.actions, f"thought: {answer.thought} {label}"))
    return drawn
