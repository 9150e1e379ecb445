"""What a click depends on: leave out a word of the instruction, or cover a part of the screenshot, and compare.

The agent is asked with the prompt of the evaluation. Covering parts is occlusion (Zeiler and Fergus, arXiv 1311.2901).
Both have bounds, as one prompt of a large base can take seconds: words are left out in at most `PIECES` pieces, and
parts are as small as a budget in seconds allows.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers.modeling_outputs import BaseModelOutputWithPooling

from forge_core.data.images import open_image
from forge_core.data.screenspot import Target
from forge_core.data.special import clean, special_of
from forge_core.evaluation.predict import Screen, continue_texts, encode, prompt, read_screen
from forge_core.evaluation.score import Point, judge
from forge_core.evaluation.spot import Agent
from forge_core.models.chat import END_OF_TURN
from forge_core.models.load import autocast
from forge_core.models.publish import NEW_TOKENS
from forge_core.progress import Progress

BATCH = 16  # prompts that the model reads at once, at most
WRITTEN = 12_000  # tokens of those prompts and their answers together: with long prompts it answers fewer at once
SCORED = 2_048  # tokens that are scored at once: more are no faster, and a CPU is slower with them
PIECES = BATCH - 2  # of an instruction; with the whole one and none they fill a batch
CELLS = 80  # parts of a screenshot, about
FEWEST = 6  # parts, however slow the machine is
SECONDS = 120.0  # for all parts, about
EVERY = 5.0  # s between two lines of progress
EVERY_WORD = "(every word)"


class LeftOut(NamedTuple):
    """The click without `word` of the instruction: its `point` (normalised; None: no click), and whether it is a hit.

    `word` is several words where the instruction is long. `moved` is its distance from the click with every word, a
    share of the screenshot's diagonal; None where one of the two is missing.
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
    """One row a word of the target's instruction, in its order, and a last one (`EVERY_WORD`) without any.

    Of a long instruction neighbouring words are left out together, so that there are at most `PIECES`.
    """
    words = clean(target.instruction, special_of(agent.processor.tokenizer)).split()
    size = -(-len(words) // PIECES) or 1
    starts = range(0, len(words), size)
    fewer = [" ".join(words[:start] + words[start + size :]) for start in starts]
    raws = _answers(agent, target, [target.instruction, *fewer, ""])
    (_, before), *clicks = (judge(raw, target.bbox, agent.coord_format) for raw in raws)
    pieces = [" ".join(words[start : start + size]) for start in starts]
    return [
        LeftOut(piece, point, outcome == "hit", _distance(before, point, target))
        for piece, (outcome, point) in zip([*pieces, EVERY_WORD], clicks, strict=True)
    ]


def cover(
    agent: Agent, target: Target, asked: Sequence[str] = (), cells: int = CELLS, seconds: float = SECONDS
) -> list[Covered]:
    """For each instruction `asked` on the target's screenshot (default: the target's own) what its answer looks at.

    The answer with the whole screenshot is held fixed, and its calls are scored again with each of about `cells` square
    parts covered, so this costs one pass a part and nothing is generated. Where that would take more than about
    `seconds`, the parts are larger and fewer (`choose_grid`). Where no answer is a click no part is covered, and
    nothing is lost. ValueError for less than one cell.
    """
    asked, image = asked or [target.instruction], open_image(target.image)
    questions = list(zip(_prompts(agent, target, asked), _answers(agent, target, asked), strict=True))
    start = time.monotonic()
    whole = _read_encoded(agent, image)
    before = _scores(agent, questions, [whole])
    if any(judge(raw, target.bbox, agent.coord_format)[1] for _, raw in questions):
        rows, after = _score_parts(agent, questions, image, whole, cells, time.monotonic() - start, seconds)
    else:
        print("no answer is a click, so no part is covered", flush=True)
        rows, columns = grid(image.size, cells)
        after = [one * rows * columns for one in before]
    return [
        _lost(agent, target, instruction, raw, [*one, *parts], rows)
        for instruction, (_, raw), one, parts in zip(asked, questions, before, after, strict=True)
    ]


def _score_parts(
    agent: Agent,
    questions: Sequence[tuple[str, str]],
    image: Image.Image,
    whole: Screen,
    cells: int,
    whole_seconds: float,
    seconds: float,
) -> tuple[int, list[list[float]]]:
    """(rows of the grid, each question's scores part by part); `whole_seconds` is what the whole screenshot took."""
    finest, start = grid(image.size, cells), time.monotonic()
    batches = _covered_screens(agent, questions, image, finest, whole)
    found = _scores(agent, questions, next(batches))
    # the shorter time, as the machine may just have been busy
    part_seconds = min(whole_seconds, (time.monotonic() - start) / len(found[0]))
    rows, columns = choose_grid(image.size, cells, part_seconds, seconds)
    print(_plan((rows, columns), finest, part_seconds, seconds), flush=True)
    if (rows, columns) != finest:
        batches, found = _covered_screens(agent, questions, image, (rows, columns), whole), [[] for _ in questions]
    return rows, _all_scores(agent, questions, batches, found, rows * columns)


def grid(size: tuple[int, int], cells: int) -> tuple[int, int]:
    """(rows, columns) of about `cells` parts of a screen of `size` px, as square as can be; ValueError below one."""
    if cells < 1:
        raise ValueError(f"a screenshot has at least one part, not {cells}")
    columns = min(max(round((cells * size[0] / size[1]) ** 0.5), 1), cells)
    return round(cells / columns), columns


def choose_grid(size: tuple[int, int], cells: int, part_seconds: float, seconds: float) -> tuple[int, int]:
    """(rows, columns): the finest grid of up to `cells` parts that takes at most `seconds`, of `FEWEST` parts at least.

    `part_seconds` is what one part takes.
    """
    for count in range(cells, FEWEST, -1):
        rows, columns = grid(size, count)
        if rows * columns * part_seconds <= seconds:
            return rows, columns
    return grid(size, min(cells, FEWEST))


def covered(image: Image.Image, rows: int, columns: int) -> Iterator[Image.Image]:
    """The screenshot with each part in turn, row by row, in its median colour, which mostly is the background's."""
    (width, height), fill = image.size, np.median(np.asarray(image).reshape(-1, 3), axis=0)
    for row, column in product(range(rows), range(columns)):
        left, right = (round(edge * width / columns) for edge in (column, column + 1))  # px
        top, bottom = (round(edge * height / rows) for edge in (row, row + 1))
        picture = image.copy()
        picture.paste(tuple(int(value) for value in fill), (left, top, right, bottom))
        yield picture


def encode_changed(agent: Agent, image: Image.Image, whole: Screen) -> Screen:
    """Like `encode`, for `image` that differs from `whole` in few tiles: the tower sees only those.

    `whole` is of the same size, with pixels and features. Each tile is encoded by itself, so the features are the same.
    """
    read = read_screen(agent.processor, image)
    changed = (read.pixels != whole.pixels).flatten(2).any(-1)[0]  # (tiles,)
    if not changed.any():
        return whole
    part = encode(agent.model, Screen(read.text, read.pixels[:, changed], read.mask[:, changed])).features
    features = whole.features.unflatten(0, (len(changed), -1)).clone()  # (tiles, tokens of a tile, D)
    features[changed] = part.unflatten(0, (int(changed.sum()), -1))
    return Screen(read.text, features=features.flatten(0, 1))


def hits(agent: Agent, targets: Sequence[Target], before: str = "") -> int:
    """How many of the targets the agent hits when their instructions are asked with the words `before` in front."""
    raws = ((_answers(agent, target, [before + target.instruction])[0], target) for target in targets)
    return sum(judge(raw, target.bbox, agent.coord_format)[0] == "hit" for raw, target in raws)


def _prompts(agent: Agent, target: Target, asked: Sequence[str]) -> list[str]:
    return [prompt(agent.processor, agent.stage, target.platform, text, agent.coord_format) for text in asked]


def _answers(agent: Agent, target: Target, asked: Sequence[str]) -> list[str]:
    """What the agent answers to each instruction on the target's screenshot, which is encoded once."""
    screen, found = encode(agent.model, read_screen(agent.processor, open_image(target.image))), []
    texts, new = _prompts(agent, target, asked), NEW_TOKENS[agent.stage]
    count = _at_once(agent, texts, screen, WRITTEN, new)
    for start in range(0, len(texts), count):
        batch = texts[start : start + count]
        found += continue_texts(agent.model, agent.processor, batch, [screen] * len(batch), new)
    return found


def _at_once(agent: Agent, texts: Sequence[str], screen: Screen, most: int, new: int = 0) -> int:
    """How many of the prompts, which become longer by `new` tokens, have `most` tokens together; one to `BATCH`."""
    whole = [text.replace(agent.processor.image_token, screen.text, 1) for text in texts]
    longest = max(map(len, agent.processor.tokenizer(whole)["input_ids"])) + new
    return min(max(most // longest, 1), BATCH)


def _read_encoded(agent: Agent, image: Image.Image) -> Screen:
    """The screenshot with both its pixels and its features."""
    read = read_screen(agent.processor, image)
    return read._replace(features=encode(agent.model, read).features)


def _plan(shape: tuple[int, int], finest: tuple[int, int], part_seconds: float, seconds: float) -> str:
    count, most = (rows * columns for rows, columns in (shape, finest))
    if count == most:
        return f"covering {count} parts, about {part_seconds:.2g} s each"
    return f"covering {count} parts, not {most}: each takes about {part_seconds:.2g} s, and {seconds:g} s is the limit"


def _covered_screens(
    agent: Agent, questions: Sequence[tuple[str, str]], image: Image.Image, shape: tuple[int, int], whole: Screen
) -> Iterator[list[Screen]]:
    """The screenshot with each part of the grid covered in turn, encoded, as many as are scored at once."""
    count = _at_once(agent, [" ".join(question) for question in questions], whole, SCORED)
    pictures = covered(image, *shape)
    while batch := list(islice(pictures, count)):
        yield [encode_changed(agent, picture, whole) for picture in batch]


def _all_scores(
    agent: Agent,
    questions: Sequence[tuple[str, str]],
    batches: Iterator[list[Screen]],
    found: list[list[float]],
    total: int,
) -> list[list[float]]:
    """Each question's scores part by part: those `found` already, and those of the `batches` that are left."""
    progress, shown = Progress(), time.monotonic()
    for screens in batches:
        for before, new in zip(found, _scores(agent, questions, screens), strict=True):
            before += new
        done = len(found[0])
        if time.monotonic() - shown >= EVERY or done == total:
            shown = time.monotonic()
            progress.show(done, total, f"{done} of {total} parts covered")
    return found


def _scores(agent: Agent, questions: Sequence[tuple[str, str]], screens: Sequence[Screen]) -> list[list[float]]:
    """Of each question, a prompt and its answer, the log-probability with each screen."""
    return [_log_probabilities(agent, text, raw, screens) for text, raw in questions]


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
