"""What a model gets of a screenshot and its chat: tiles, targets in their pixels, and the kind of each token."""

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from transformers import ProcessorMixin

from forge_core.data.explore import Sample
from forge_core.data.rows import Box
from forge_core.data.schema import Example
from forge_core.models.chat import END_OF_TURN
from forge_core.training.collate import IGNORED, Collator

KINDS = ("template", "system prompt", "image", "instruction", "answer")


class Views(NamedTuple):
    """The pixels of a screenshot as the vision tower gets them, uint8.

    `tiles` is (rows, columns, side, side, 3). `whole` is (side, side, 3): all of it squeezed to one tile, which a model
    that cuts gets too, and which is the only tile of one that does not.
    """

    tiles: np.ndarray
    whole: np.ndarray

    def together(self) -> np.ndarray:
        """The tiles without the cuts, (rows * side, columns * side, 3)."""
        rows, columns, side = self.tiles.shape[:3]
        return self.tiles.swapaxes(1, 2).reshape(rows * side, columns * side, 3)


class Zoom(NamedTuple):
    """A picture, (height, width, 3) in uint8, and where in it a target lies: normalised (left, top, right, bottom)."""

    name: str
    pixels: np.ndarray
    box: Box


class Part(NamedTuple):
    """A run of tokens of one kind, a key of KINDS: their text, and how many they are."""

    kind: str
    text: str
    tokens: int


def tile_side(processor: ProcessorMixin) -> int:
    """The side of a tile in px: what the vision tower takes at once."""
    return processor.image_processor.max_image_size["longest_edge"]


def cutting(processor: ProcessorMixin, along: int) -> ProcessorMixin:
    """A copy that cuts each screenshot, `along` tiles along its longest edge (1: one tile, nothing is cut)."""
    copy = deepcopy(processor)
    copy.image_processor.size = {"longest_edge": along * tile_side(processor)}
    copy.image_processor.do_image_splitting = True
    return copy


def grid(processor: ProcessorMixin, width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of tiles that a screenshot of this size in px is cut into; (1, 1): squeezed to one."""
    _, rows, columns = processor.image_processor.get_number_of_image_patches(height, width, {})
    return max(rows, 1), max(columns, 1)


def views(processor: ProcessorMixin, image: Image.Image) -> Views:
    """What the processor makes of an RGB image, turned back from numbers around 0 to colours."""
    pixels = np.asarray(processor.image_processor([[image]], return_tensors="pt")["pixel_values"])[0]  # (N, 3, H, W)
    mean, std = (np.array(each) for each in (processor.image_processor.image_mean, processor.image_processor.image_std))
    colours = np.clip((pixels.transpose(0, 2, 3, 1) * std + mean) * 255, 0, 255).round().astype(np.uint8)
    rows, columns = grid(processor, *image.size)
    return Views(colours[: rows * columns].reshape(rows, columns, *colours.shape[1:]), colours[-1])


def box_px(processor: ProcessorMixin, box: Box, width: int, height: int) -> tuple[float, float]:
    """(width, height) of a normalised box in px of the tiles, for a screenshot of `width` x `height` px."""
    rows, columns = grid(processor, width, height)
    side = tile_side(processor)
    return (box[2] - box[0]) * columns * side, (box[3] - box[1]) * rows * side


def seen_targets(samples: Sequence[Sample], processor: ProcessorMixin) -> list[tuple[str, float, float]]:
    """(platform, width, height) of every box that the samples have, in px of the tiles."""
    return [
        (example.platform, *box_px(processor, box, example.width, example.height))
        for example, boxes in samples
        for box in filter(None, boxes)
    ]


def zooms(processor: ProcessorMixin, image: Image.Image, box: Box, windows: int) -> list[Zoom]:
    """A target on the screenshot, on its tiles, and on the whole squeezed to one tile.

    The screenshot is made to fill a desktop, `windows` times side by side and one above the other, in its full size.
    """
    desktop = np.tile(np.asarray(image), (windows, windows, 1))
    place = windows // 2  # the window in the middle
    left, top, right, bottom = ((side + place) / windows for side in box)
    seen = views(processor, Image.fromarray(desktop))
    pictures = {"full size": desktop, "tiles": seen.together(), "one tile": seen.whole}
    return [Zoom(name, pixels, (left, top, right, bottom)) for name, pixels in pictures.items()]


def parts(processor: ProcessorMixin, example: Example, stage: int, images: Path) -> list[Part]:
    """The chat of an example as a model is trained on it, cut where the kind of the tokens changes.

    `images` is the folder that the example's image is relative to. The kinds: "answer" is what is supervised, with its
    end mark; "image" all that stands for the screenshot, marks between tiles included; "template" the names of those
    who speak and the other end marks. Raises OSError where the image is missing or broken.
    """
    batch = Collator(processor, stage, images, 1)([example])
    ids, labels = (batch[name][0].tolist() for name in ("input_ids", "labels"))
    tokens = [processor.tokenizer.decode([token]) for token in ids]
    marks = [place for place, token in enumerate(tokens) if token == processor.fake_image_token]
    kinds = [
        "answer" if label != IGNORED else "image" if marks[0] <= place <= marks[-1] else kind
        for place, (label, kind) in enumerate(zip(labels, _spoken(tokens), strict=True))
    ]
    runs = [[token for token, _ in run] for _, run in groupby(zip(ids, kinds, strict=True), key=lambda pair: pair[1])]
    names = [kind for kind, _ in groupby(kinds)]
    return [Part(kind, processor.tokenizer.decode(run), len(run)) for kind, run in zip(names, runs, strict=True)]


def bill(found: Sequence[Part]) -> dict[str, int]:
    """Tokens by kind, in the order of KINDS."""
    tokens = Counter()
    for part in found:
        tokens[part.kind] += part.tokens
    return {kind: tokens[kind] for kind in KINDS}


def _spoken(tokens: Sequence[str]) -> Iterator[str]:
    """The kind of each token, by who speaks: SmolVLM's chat is `Name: text<end_of_utterance>`, the system first."""
    named, said = False, "system prompt"
    for token in tokens:
        yield said if named and token != END_OF_TURN else "template"
        if token == END_OF_TURN:
            named, said = False, "instruction"
        elif token.endswith(":"):
            named = True
