"""What a click depends on: leave out a word of the instruction, or cover a part of the screenshot, and compare.

The agent is asked with the prompt of the evaluation. Covering parts is occlusion (Zeiler and Fergus, arXiv 1311.2901).
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers.modeling_outputs import BaseModelOutputWithPooling

from forge_core.data.images import open_image
from forge_core.data.screenspot import Target
from forge_core.data.special import clean, special_pattern, tokens_of
from forge_core.evaluation.predict import Screen, continue_texts, encode, prompt, read_screen
from forge_core.evaluation.score import Point, judge
from forge_core.evaluation.spot import Agent
from forge_core.models.chat import END_OF_TURN
from forge_core.models.load import autocast
from forge_core.models.publish import NEW_TOKENS

BATCH = 16  # prompts that the model reads at once
CELLS = 80  # parts of a screenshot, about
EVERY_WORD = "(every word)"


class LeftOut(NamedTuple):
    """The click without `word` of the instruction: its `point` (normalised; None: no click), and whether it is a hit.

    `moved` is its distance from the click with every word, a share of the screenshot's diagonal; None where one of the
    two is missing.
    """

    word: str
    point: Point | None
    hit: bool
    moved: float | None


class Covered(NamedTuple):
    """What the answer to `instruction` looks at.

    `point`: its click (normalised; None: no click). `probability`: of its calls, in [0, 1], as if it had thought the
    same. `lost`: (rows, columns), the share of that probability, in [0, 1], which is gone when a part is covered.
    """

    target: Target
    instruction: str
    point: Point | None
    probability: float
    lost: np.ndarray


def leave_out(agent: Agent, target: Target) -> list[LeftOut]:
    """One row a word of the target's instruction, in its order, and a last one (`EVERY_WORD`) without any."""
    words = clean(target.instruction, special_pattern(tokens_of(agent.processor.tokenizer))).split()
    fewer = [" ".join(words[:place] + words[place + 1 :]) for place in range(len(words))]
    raws = _answers(agent, target, [target.instruction, *fewer, ""])
    (_, before), *clicks = (judge(raw, target.bbox, agent.coord_format) for raw in raws)
    return [
        LeftOut(word, point, outcome == "hit", _distance(before, point, target))
        for word, (outcome, point) in zip([*words, EVERY_WORD], clicks, strict=True)
    ]


def cover(agent: Agent, target: Target, asked: Sequence[str] = (), cells: int = CELLS) -> list[Covered]:
    """For each instruction `asked` on the target's screenshot (default: the target's own) what its answer looks at.

    The answer with the whole screenshot is held fixed, and its calls are scored again with each of about `cells` square
    parts covered, so this costs one pass a part and nothing is generated. ValueError for less than one cell.
    """
    asked = asked or [target.instruction]
    image = open_image(target.image)
    rows, columns = grid(image.size, cells)
    texts, raws = _prompts(agent, target, asked), _answers(agent, target, asked)
    chances = [[] for _ in asked]  # nats, the whole screenshot first
    for screens in _encoded(agent, [image, *covered(image, rows, columns)]):
        for found, text, raw in zip(chances, texts, raws, strict=True):
            found += _log_probabilities(agent, text, raw, screens)
    return [_lost(agent, target, *each, rows) for each in zip(asked, raws, chances, strict=True)]


def grid(size: tuple[int, int], cells: int) -> tuple[int, int]:
    """(rows, columns) of about `cells` parts of a screen of `size` px, as square as can be; ValueError below one."""
    if cells < 1:
        raise ValueError(f"a screenshot has at least one part, not {cells}")
    columns = min(max(round((cells * size[0] / size[1]) ** 0.5), 1), cells)
    return round(cells / columns), columns


def covered(image: Image.Image, rows: int, columns: int) -> Iterator[Image.Image]:
    """The screenshot with each part in turn, row by row, in its median colour, which mostly is the background's."""
    (width, height), fill = image.size, np.median(np.asarray(image).reshape(-1, 3), axis=0)
    for row, column in product(range(rows), range(columns)):
        left, right = (round(edge * width / columns) for edge in (column, column + 1))  # px
        top, bottom = (round(edge * height / rows) for edge in (row, row + 1))
        picture = image.copy()
        picture.paste(tuple(int(value) for value in fill), (left, top, right, bottom))
        yield picture


def hits(agent: Agent, targets: Sequence[Target], before: str = "") -> int:
    """How many of the targets the agent hits when their instructions are asked with the words `before` in front."""
    raws = ((_answers(agent, target, [before + target.instruction])[0], target) for target in targets)
    return sum(judge(raw, target.bbox, agent.coord_format)[0] == "hit" for raw, target in raws)


def _prompts(agent: Agent, target: Target, asked: Sequence[str]) -> list[str]:
    return [prompt(agent.processor, agent.stage, target.platform, text, agent.coord_format) for text in asked]


def _answers(agent: Agent, target: Target, asked: Sequence[str]) -> list[str]:
    """What the agent answers to each instruction on the target's screenshot, which is encoded once."""
    screen, texts = encode(agent.model, read_screen(agent.processor, open_image(target.image))), []
    for start in range(0, len(asked), BATCH):
        batch = _prompts(agent, target, asked[start : start + BATCH])
        screens = [screen] * len(batch)
        texts += continue_texts(agent.model, agent.processor, batch, screens, NEW_TOKENS[agent.stage])
    return texts


def _encoded(agent: Agent, images: Sequence[Image.Image]) -> Iterator[list[Screen]]:
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        yield [encode(agent.model, read_screen(agent.processor, image)) for image in batch]


def _log_probabilities(agent: Agent, text: str, raw: str, screens: Sequence[Screen]) -> list[float]:
    """Of the calls in the answer `raw` and its end, given `text` and the thought, with each encoded screen (nats)."""
    tokenizer, device = agent.processor.tokenizer, next(agent.model.parameters()).device
    asked = text.replace(agent.processor.image_token, screens[0].text, 1)
    calls = raw.rpartition("<code>")[2] + END_OF_TURN
    whole = f"{asked} {raw}{END_OF_TURN}"  # as in training
    read = tokenizer(whole, return_offsets_mapping=True)
    count = sum(end > len(whole) - len(calls) for _, end in read["offset_mapping"])
    ids = torch.tensor([read["input_ids"]] * len(screens), device=device)  # (B, T): one text, so nothing is padded
    features = BaseModelOutputWithPooling(pooler_output=[screen.features for screen in screens])
    with torch.no_grad(), autocast():
        logits = agent.model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_encoder_outputs={"image": features},
            logits_to_keep=count + 1,
            use_cache=False,
        ).logits[:, :-1]  # (B, count, V): each says what follows it
    return logits.float().log_softmax(-1).gather(2, ids[:, -count:, None]).sum((1, 2)).tolist()


def _lost(agent: Agent, target: Target, asked: str, raw: str, chances: Sequence[float], rows: int) -> Covered:
    whole, parts = chances[0], np.array(chances[1:])
    lost = -np.expm1(np.minimum(parts - whole, 0)).reshape(rows, -1)
    point = judge(raw, target.bbox, agent.coord_format)[1]
    return Covered(target, asked, point, float(np.exp(whole)), lost)


def _distance(before: Point | None, after: Point | None, target: Target) -> float | None:
    """Share of the screenshot's diagonal, measured in px."""
    if not (before and after):
        return None
    size = np.array([target.width, target.height])
    return float(np.linalg.norm((np.array(after) - before) * size) / np.linalg.norm(size))
