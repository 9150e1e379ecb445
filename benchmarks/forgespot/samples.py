"""Training samples from screens: pixels, what each patch reads, questions, answers, and where to look for them.

A sample is a whole screen or, for a quarter of the arithmetic and a sixteenth of the attention, a quarter of one:
positions and answers stay those of the whole screen.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset, get_worker_info

from benchmarks.forgespot.drawn import draw
from benchmarks.forgespot.model import CALL, LETTERS, PATCH, PLATFORMS, SCALE_FACTOR, build_processor
from benchmarks.forgespot.words import ICONS
from forge_core.actions.prompts import system_prompt
from forge_core.capture.rows import instruction
from forge_core.capture.store import Item
from forge_core.data.images import open_image

SLOTS, UNKNOWN = 5, 255  # letters that a patch may hold
CODE = {letter: number for number, letter in enumerate(LETTERS, 1)}  # 0: no letter
WORD_LOOKS, LOOKS = 48, 96  # supervised looks of a sample: for words of instructions, for answers


class Samples(IterableDataset):
    """Endless samples; a share `drawn` of them drawn, the rest from `folders` of rendered ones (`render.py`).

    `budget` is the tokens that questions may take, `quarters` cuts each screen in four.
    """

    def __init__(
        self, folders: list[Path], fonts: Path, drawn: float, tile: int, quarters: bool, budget: int, seed: int
    ):
        self.fonts, self.drawn, self.tile, self.quarters = fonts, drawn, tile, quarters
        self.budget, self.seed = budget, seed
        self.rows = [
            (folder / "images", line)
            for folder in folders
            for line in (folder / "screens.jsonl").read_text().splitlines()
        ]
        self.side = tile // PATCH // SCALE_FACTOR  # image tokens a side of a whole screen
        self.processor = build_processor(tile)
        self.tokenizer = self.processor.tokenizer
        self.call = [self.encode(part) for part in CALL]
        self.end = self.encode("<end_of_utterance>")
        self.first_place = self.tokenizer.convert_tokens_to_ids("0.000")
        shown = "<image>" * (self.side // (1 + quarters)) ** 2
        image = f"<fake_token_around_image><global-img>{shown}<fake_token_around_image>"
        before = [f"<|im_start|>System: {system_prompt(1, name)}<end_of_utterance>\nUser:" for name in PLATFORMS]
        self.before = [self.encode(f"{text}{image}") for text in before]
        self.length = -(-(max(map(len, self.before)) + budget) // 64) * 64

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        worker = get_worker_info()
        rng = Random(f"{self.seed} {worker.id if worker else 0}")
        while True:
            image, row = self.screen(rng)
            pixels = self.squeeze(image)
            letters = read(row, self.tile)
            if not self.quarters:
                yield self.sample(rng, row, pixels, letters, 0, 0)
                continue
            half, patches = self.tile // 2, self.tile // PATCH // 2
            for down in (0, 1):
                for right in (0, 1):
                    part = pixels[:, down * half : (down + 1) * half, right * half : (right + 1) * half]
                    read_here = letters[down * patches : (down + 1) * patches, right * patches : (right + 1) * patches]
                    yield self.sample(rng, row, part, read_here, down, right)

    def screen(self, rng: Random) -> tuple[Image.Image, dict]:
        if not self.rows or rng.random() < self.drawn:
            return draw(rng, self.fonts)
        images, line = rng.choice(self.rows)
        row = json.loads(line)
        return open_image(images / row["image"]), row

    def squeeze(self, image: Image.Image) -> np.ndarray:
        """(3, tile, tile) uint8, as the processor makes it, before normalisation."""
        longest = self.tile * 5 // 4
        edges = [longest * edge // max(image.size) for edge in image.size]
        edges = tuple(edge + edge % 2 for edge in edges)
        small = image.resize(edges, Image.Resampling.LANCZOS) if edges != image.size else image
        return np.asarray(small.resize((self.tile, self.tile), Image.Resampling.LANCZOS)).transpose(2, 0, 1)

    def sample(self, rng: Random, row: dict, pixels: np.ndarray, letters: np.ndarray, down: int, right: int) -> dict:
        """One part of a screen with as many questions as there is room for."""
        parts = 1 + self.quarters
        window = (right / parts, down / parts, (right + 1) / parts, (down + 1) / parts)
        ids = list(rng.choice(self.before))
        group, position, labels = [0] * len(ids), list(range(len(ids))), [-100] * len(ids)
        words, looks, places = [], [], []
        known = unique_words(row)
        for number, (asked, name, box) in enumerate(questions(rng, row, window), start=1):
            encoded = self.tokenizer(asked, add_special_tokens=False, return_offsets_mapping=True)
            question = encoded.input_ids + self.end + self.encode("\nAssistant:")
            x, y = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            place = [self.first_place + min(999, int(value * 1000)) for value in (x, y)]
            answer = [*self.call[0], place[0], *self.call[1], *self.call[2], place[1], *self.call[3], *self.end]
            start, base = len(ids), group.count(0)
            if start + len(question) + len(answer) > self.length or len(places) + 2 > LOOKS:
                break
            begun = asked.rfind(name) if name in asked else -1
            words += looked_up(encoded.offset_mapping, begun, name, known, start)
            ids += question + answer
            group += [number] * (len(question) + len(answer))
            position += range(base, base + len(question) + len(answer))
            first = start + len(question) + len(self.call[0]) - 1
            second = first + 1 + len(self.call[1]) + len(self.call[2])
            shown = [*self.call[0], -100, *self.call[1], *self.call[2], -100, *self.call[3], *self.end]
            labels += [-100] * len(question) + shown
            spread = [max(2.0, 1000 * (box[side + 2] - box[side]) / 6) for side in (0, 1)]
            places += [(first, place[0], spread[0]), (second, place[1], spread[1])]
            looks += [(at, *middle(box)) for at in (first, second)]
        rng.shuffle(words)
        room = self.length - len(ids)
        tokens = self.side // parts
        return {
            "pixels": np.ascontiguousarray(pixels),
            "letters": np.ascontiguousarray(letters),
            "corner": np.array([down * tokens, right * tokens]),
            "ids": np.array(ids + [self.tokenizer.pad_token_id] * room),
            "labels": np.array(labels + [-100] * room),
            "group": np.array(group + [-1] * room),
            "position": np.array(position + [0] * room),
            "words": self.boxes(words, WORD_LOOKS, down * tokens, right * tokens, tokens),
            "looks": self.boxes(looks, LOOKS, down * tokens, right * tokens, tokens),
            "places": padded(places, LOOKS, 3).astype(np.float32),
        }

    def boxes(self, looks: list, count: int, top: int, left: int, tokens: int) -> np.ndarray:
        """(count, 5): token of the text, then first and last row and column of image tokens to look at; -1: none."""
        found = []
        for at, x0, y0, x1, y1 in looks:
            rows = [min(tokens - 1, max(0, int(value * self.side) - top)) for value in (y0, y1)]
            columns = [min(tokens - 1, max(0, int(value * self.side) - left)) for value in (x0, x1)]
            found.append((at, *rows, *columns))
        return padded(found, count, 5)


def padded(rows: list[tuple], count: int, width: int) -> np.ndarray:
    filled = np.full((count, width), -1.0)
    if rows:
        filled[: min(count, len(rows))] = rows[:count]
    return filled if width == 3 else filled.astype(np.int64)


def read(row: dict, tile: int) -> np.ndarray:
    """(patches, patches, SLOTS) uint8: the letters whose middle lies in a patch, from left to right; 0 is none.

    All `UNKNOWN` where the row does not say its words, as those of `forge capture` don't.
    """
    side = tile // PATCH
    found = np.full((side, side, SLOTS), 0 if row["words"] else UNKNOWN, np.uint8)
    held: dict[tuple[int, int], int] = {}
    for text, top, bottom, middles in row["words"]:
        down = int((top + bottom) / 2 / row["height"] * side)
        for letter, x in zip(text, middles, strict=True):
            across = int(x / row["width"] * side)
            if letter in CODE and 0 <= down < side and 0 <= across < side:
                slot = held.get((down, across), 0)
                if slot < SLOTS:
                    found[down, across, slot] = CODE[letter]
                    held[down, across] = slot + 1
    return found


def unique_words(row: dict) -> dict[str, tuple[float, float, float, float]]:
    """The extent (left, top, right, bottom in [0, 1]) of each word that stands on the screen once."""
    counts = Counter(word[0] for word in row["words"])
    width, height = row["width"], row["height"]
    return {
        text: (min(middles) / width, (top + bottom) / 2 / height, max(middles) / width, (top + bottom) / 2 / height)
        for text, top, bottom, middles in row["words"]
        if counts[text] == 1
    }


def looked_up(offsets: list[tuple[int, int]], begun: int, name: str, known: dict, start: int) -> list[tuple]:
    """(last token, extent) for each word of `name`, which begins at letter `begun` of the instruction."""
    found, at = [], begun
    ends = {end: index for index, (_, end) in enumerate(offsets)}
    for word in name.split(" ") if begun >= 0 else ():
        at += len(word)
        if word in known and at in ends:
            found.append((start + ends[at], *known[word]))
        at += 1
    return found


def middle(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    """The inner half of a box, at most 0.06 wide and high."""
    (x, y), (wide, high) = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), (box[2] - box[0], box[3] - box[1])
    wide, high = min(wide / 4, 0.03), min(high / 4, 0.03)
    return x - wide, y - high, x + wide, y + high


def questions(rng: Random, row: dict, window: tuple[float, float, float, float]) -> Iterator[tuple[str, str, tuple]]:
    """(instruction, name, box in [0, 1]) of what lies in the window: items told apart by their names, and word runs."""
    width, height, items = row["width"], row["height"], row["items"]
    counts = Counter((name, *context) for _, name, _, _, _, _, _, *context in items)
    found = []
    for role, name, left, top, right, bottom, kind, *context in items:
        if counts[name, *context] == 1:
            called = synonym(rng, name) if kind == "icon" else name
            item = Item(role=role, name=called, box=(left, top, right, bottom), kind=kind, context=tuple(context))
            box = (left / width, top / height, right / width, bottom / height)
            found.append((instruction(item, rng), called, box))
    runs = list(word_runs(rng, row, 12 if len(found) > 12 else 40))
    chosen = [each for each in [*found, *runs] if inside(each[2], window)]
    rng.shuffle(chosen)
    yield from chosen


def synonym(rng: Random, name: str) -> str:
    called = ICONS.get(name.lower())
    found = rng.choice(called) if called and rng.random() < 0.7 else name
    return found.capitalize() if rng.random() < 0.5 else found


def word_runs(rng: Random, row: dict, count: int) -> Iterator[tuple[str, str, tuple]]:
    """Runs of one to four words of a line as if they were links."""
    words, width, height = row["words"], row["width"], row["height"]
    counts = Counter(word[0] for word in words)
    for _ in range(count if words else 0):
        first = rng.randrange(len(words))
        last = first
        while last < first + rng.randrange(4) and last + 1 < len(words) and follows(words[last], words[last + 1]):
            last += 1
        run = words[first : last + 1]
        name = " ".join(word[0] for word in run)
        if len(name) < 2 or len(name) > 60 or all(counts[word[0]] > 1 for word in run):
            continue
        (_, top, bottom, first_middles), last_middles = run[0], run[-1][3]
        start, end = min(first_middles), max(last_middles)  # a word may be broken over two lines
        item = Item(role=rng.choice(("link", "button")), name=name, box=(0, 0, 1, 1), kind="text")
        box = ((start - 4) / width, top / height, (end + 4) / width, bottom / height)
        yield instruction(item, rng), name, box


def follows(one: list, other: list) -> bool:
    """Whether a word stands right after another one on its line."""
    return one[1] == other[1] and 0 < other[3][0] - one[3][-1] < 2.2 * (one[2] - one[1])


def inside(box: tuple, window: tuple) -> bool:
    """Whether a box has its middle in the window."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return window[0] <= x < window[2] and window[1] <= y < window[3]


def collate(samples: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}
