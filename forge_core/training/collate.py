"""Turn rows into chat messages, and messages into padded batches whose labels are exactly the assistant's tokens."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import ProcessorMixin

from forge_core.actions.coordinates import CoordFormat
from forge_core.actions.prompts import answer_text, system_prompt
from forge_core.data.images import open_image
from forge_core.data.schema import Example, Turn
from forge_core.models.chat import CHAT_TEMPLATE
from forge_core.models.processor import RAW, normalise, pack

IGNORED = -100  # label that cross-entropy skips


def messages(
    turns: Sequence[Turn],
    stage: int,
    platform: str,
    with_answers: bool = True,
    coord_format: CoordFormat = "4-decimals",
) -> list[dict]:
    """Chat messages of one screenshot; the image belongs to the first user turn."""
    chat = [_message("system", system_prompt(stage, platform, coord_format))]
    for number, turn in enumerate(turns):
        asked = turn.instruction
        if stage == 2:
            asked = f"Instruction: {turn.instruction}\nPrevious actions:\n{turn.history or 'None'}"
        chat.append(_message("user", asked))
        if number == 0:
            chat[-1]["content"].insert(0, {"type": "image"})
        if with_answers:
            chat.append(_message("assistant", answer_text(turn, stage, coord_format)))
    return chat


def _message(role: str, text: str) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text}]}


class Collator:
    """Batches examples: `input_ids`, `attention_mask`, `labels` (B, T), `pixel_values` (B, tiles, 3, H, W) and `ids`.

    T is padded on the right up to a multiple of `pad_to_multiple_of`. Raises ValueError for a row without one
    supervised token: its loss would be NaN. Called, it makes a batch as the model takes it. A data loader's workers use
    `compact`, whose pixels are bytes, and the process that trains `expand`: a worker's batch lies in shared memory, of
    which a container has 64 MB by default.
    """

    def __init__(
        self,
        processor: ProcessorMixin,
        stage: int,
        images: Path,
        pad_to_multiple_of: int,
        coord_format: CoordFormat = "4-decimals",
    ):
        self.processor, self.stage, self.images, self.multiple = processor, stage, images, pad_to_multiple_of
        self.coord_format = coord_format

    def __call__(self, examples: Sequence[Example]) -> dict:
        return self.expand(self.compact(examples))

    def expand(self, batch: dict) -> dict:
        """A batch of `compact` with its pixels normalised, float32, on the device where they are."""
        rest = {name: value for name, value in batch.items() if name != "tiles"}
        return rest | {"pixel_values": normalise(self.processor, batch["pixel_values"], batch["tiles"])}

    def compact(self, examples: Sequence[Example]) -> dict:
        """The batch with `pixel_values` as uint8 and, in place of zeros behind the last tile, `tiles` (B,)."""
        chats = [
            messages(example.turns, self.stage, example.platform, coord_format=self.coord_format)
            for example in examples
        ]
        for chat, example in zip(chats, examples, strict=True):
            chat[1]["content"][0]["image"] = open_image(self.images / example.image)
        batch = self.processor.apply_chat_template(
            chats,
            chat_template=CHAT_TEMPLATE,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            processor_kwargs={
                "images_kwargs": RAW | {"return_tensors": "pt"},  # texts as lists: their masks are made token by token
                "text_kwargs": {"padding": True, "padding_side": "right", "pad_to_multiple_of": self.multiple},
            },
        )
        supervised = torch.tensor(batch.pop("assistant_masks")).bool()
        for example, row in zip(examples, supervised, strict=True):
            if not row.any():
                raise ValueError(f"{example.id}: no supervised token in this row")
        tensors = pack({name: torch.as_tensor(value) for name, value in batch.items()})
        labels = tensors["input_ids"].masked_fill(~supervised, IGNORED)  # (B, T); the model shifts them
        return tensors | {"labels": labels, "ids": [example.id for example in examples]}


def token_count(
    processor: ProcessorMixin, example: Example, stage: int, coord_format: CoordFormat = "4-decimals"
) -> int:
    """Tokens of a row, image tokens included, without opening its image."""
    chat = messages(example.turns, stage, example.platform, coord_format=coord_format)
    text = processor.tokenizer.apply_chat_template(chat, chat_template=CHAT_TEMPLATE, tokenize=False)
    words = len(processor.tokenizer(text, add_special_tokens=False).input_ids) - 1  # without the image's one
    return words + image_tokens(processor, example.width, example.height)


def image_tokens(processor: ProcessorMixin, width: int, height: int) -> int:
    """Tokens that a screenshot of this size in px costs, those between its tiles included."""
    return processor._get_num_multimodal_tokens([(height, width)])["num_image_tokens"][0]
