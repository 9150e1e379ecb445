"""What the embedded base is pretrained on: made-up screens with dense labels, captions, questions and noise to echo.

Everything is on layouts of the training split, and nothing is an action.
"""

from collections.abc import Iterator
from random import Random

import numpy as np
from PIL import Image
from torch.utils.data import IterableDataset

from forge_core.data.screens import ICONS, KINDS, WORDS, Element, Screen, draw, make_screen
from forge_core.models import embedded

LABELS = (*WORDS, *ICONS)
PLATFORMS = ("web", "desktop", "mobile")
PATCHES = embedded.TILE // embedded.PATCH  # 16 a side
CELLS = PATCHES // embedded.SCALE_FACTOR  # 8 a side: one image token each
BINS = 64  # of 4 units, for an element's centre
LENGTH = 320  # tokens of one conversation


def position(element: Element) -> str:
    """The centre in per mille of width and height: the base's own way to say where something is."""
    x, y = element.centre
    return f"{int(x * 1000):03d},{int(y * 1000):03d}"


def name(element: Element) -> str:
    """What the base calls an element."""
    return f"{element.label} {element.kind}"


def _noun(element: Element, rng: Random) -> str:
    return rng.choice((element.label, element.label, f"the {name(element)}"))


def question(rng: Random, elements: list[Element]) -> tuple[str, str]:
    """One question about the screen with its answer."""
    element, lot = rng.choice(elements), rng.random()
    if lot < 0.55:
        form = rng.choice(("Where is {}?", "Where is {}?", "Find {}.", "Locate {}."))
        return form.format(_noun(element, rng)), position(element)
    if lot < 0.75:
        return f"What is at {position(element)}?", name(element)
    if lot < 0.92:
        return f"Which part of the screen is {_noun(element, rng)} in?", element.region
    return f"What is {element.label}?", name(element)


class Screens(IterableDataset):
    """Endless pretraining samples: pixels (3, 256, 256) uint8, dense labels, token ids and labels (LENGTH,)."""

    def __init__(self, seed: int, skip: int = 0):
        self.seed, self.skip = seed, skip
        self.tokenizer = embedded.build_tokenizer()
        self.vocabulary = [piece for piece in self.tokenizer.get_vocab() if not piece.startswith("<")]
        self.vocabulary.sort()
        self.turn_end = self.encode("<end_of_utterance>\n")
        self.image = (
            "<fake_token_around_image><global-img>" + "<image>" * embedded.IMAGE_TOKENS + "<fake_token_around_image>"
        )

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        rng = Random(self.seed * 1000)
        for _ in range(self.skip):
            self.conversation(rng, list(self.screen(rng).elements))
        while True:
            yield self.sample(rng)

    def screen(self, rng: Random) -> Screen:
        return make_screen(rng, rng.choice(PLATFORMS), "train")

    def noise(self, rng: Random, shortest: int, longest: int) -> str:
        """Random pieces of the vocabulary as text."""
        pieces = rng.choices(self.vocabulary, k=rng.randint(shortest, longest))
        return "".join(pieces).replace("▁", " ").strip() or "a"

    def question(self, rng: Random, elements: list[Element]) -> tuple[str, str]:
        if rng.random() < 0.9:
            return question(rng, elements)
        text = self.noise(rng, 4, 12)
        return f"Repeat: {text}", text

    def sample(self, rng: Random) -> dict[str, np.ndarray]:
        screen = self.screen(rng)
        image = draw(screen).resize((embedded.TILE, embedded.TILE), Image.Resampling.LANCZOS)
        ids, labels = self.conversation(rng, list(screen.elements))
        return {
            "pixels": np.asarray(image).transpose(2, 0, 1).copy(),
            **dense_labels(screen.elements),
            "ids": ids,
            "labels": labels,
        }

    def conversation(self, rng: Random, elements: list[Element]) -> tuple[np.ndarray, np.ndarray]:
        """Turns until the sequence is full; labels only on answers and their end token."""
        system = f"System: {self.noise(rng, 5, 70)}<end_of_utterance>\n" if rng.random() < 0.3 else ""
        ids, first = self.encode(f"<|im_start|>{system}User:{self.image}"), True
        labels = [-100] * len(ids)
        caption = ", ".join(map(name, elements))
        turn = ("Describe the screen.", caption) if rng.random() < 0.25 else self.question(rng, elements)
        while True:
            asked = self.encode(turn[0] if first else f"User: {turn[0]}") + self.turn_end + self.encode("Assistant:")
            answer = self.encode(f" {turn[1]}")
            if len(ids) + len(asked) + len(answer) + 2 > LENGTH:
                break
            ids += asked + answer + self.turn_end
            labels += [-100] * len(asked) + answer + [self.turn_end[0], -100]
            turn, first = self.question(rng, elements), False
        ids += [self.tokenizer.pad_token_id] * (LENGTH - len(ids))
        labels += [-100] * (LENGTH - len(labels))
        return np.array(ids), np.array(labels)


def dense_labels(elements: tuple[Element, ...]) -> dict[str, np.ndarray]:
    """What each patch reads (16, 16), and per image token (8, 8) its element: label, kind, x and y bin."""
    patch = np.zeros((PATCHES, PATCHES), np.int64)  # 0: nothing written here
    label, kind, x_bin, y_bin = (np.full((CELLS, CELLS), -100) for _ in range(4))
    kind[:] = 0
    for element in elements:
        left, top, right, _ = element.box
        inset = 4 if element.kind == "icon" else 8 + 16 * (element.kind == "checkbox")
        row, word = (top + 12) // 16, LABELS.index(element.label) + 1
        patch[row, (left + inset) // 16 : (right - (4 if element.kind == "icon" else 8) - 1) // 16 + 1] = word
        x, y = element.centre
        cell = int(y * CELLS), int(x * CELLS)
        label[cell], kind[cell] = word - 1, KINDS.index(element.kind) + 1
        x_bin[cell], y_bin[cell] = int(x * BINS), int(y * BINS)
    return {"patch": patch, "label": label, "kind": kind, "x": x_bin, "y": y_bin}
