"""Turn rows into chat messages, and messages into padded batches whose labels are exactly the assistant's tokens."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from transformers import ProcessorMixin

from forge_core.actions.prompts import answer_text, system_prompt
from forge_core.data.schema import Example, Turn
from forge_core.models.chat import CHAT_TEMPLATE

IGNORED = -100  # label that cross-entropy skips


def messages(turns: Sequence[Turn], stage: int, platform: str, with_answers: bool = True) -> list[dict]:
    """Chat messages of one screenshot; the image belongs to the first user turn."""
    chat = [_message("system", system_prompt(stage, platform))]
    for number, turn in enumerate(turns):
        asked = turn.instruction
        if stage == 2:
            asked = f"Instruction: {turn.instruction}\nPrevious actions:\n{turn.history or 'None'}"
        chat.append(_message("user", asked))
        if number == 0:
            chat[-1]["content"].insert(0, {"type": "image"})
        if with_answers:
            chat.append(_message("assistant", answer_text(turn, stage)))
    return chat


def _message(role: str, text: str) -> dict:
    return {"role": role, "content": [{"type": "text", "text": text}]}


def open_image(path: Path) -> Image.Image:
    """The screenshot as RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


class Collator:
    """Batches examples: `input_ids`, `attention_mask`, `labels` (B, T) and `pixel_values` (B, tiles, 3, H, W).

    T is padded on the right up to a multiple of `pad_to_multiple_of`. Raises ValueError for a row without one
    supervised token: its loss would be NaN.
    """

    def __init__(self, processor: ProcessorMixin, stage: int, images: Path, pad_to_multiple_of: int):
        self.processor, self.stage, self.images, self.multiple = processor, stage, images, pad_to_multiple_of

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        chats = [messages(example.turns, self.stage, example.platform) for example in examples]
        for chat, example in zip(chats, examples, strict=True):
            chat[1]["content"][0]["image"] = open_image(self.images / example.image)
        batch = self.processor.apply_chat_template(
            chats,
            chat_template=CHAT_TEMPLATE,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            processor_kwargs={
                "return_tensors": "pt",
                "padding": True,
                "padding_side": "right",
                "pad_to_multiple_of": self.multiple,
            },
        )
        supervised = torch.as_tensor(batch.pop("assistant_masks")).bool()
        batch["labels"] = batch["input_ids"].masked_fill(~supervised, IGNORED)  # (B, T); the model shifts them
        for example, row in zip(examples, supervised, strict=True):
            if not row.any():
                raise ValueError(f"{example.id}: no supervised token in this row")
        return dict(batch)


def token_count(processor: ProcessorMixin, example: Example, stage: int) -> int:
    """Tokens of a row, image tokens included, without opening its image."""
    text = processor.tokenizer.apply_chat_template(
        messages(example.turns, stage, example.platform), chat_template=CHAT_TEMPLATE, tokenize=False
    )
    (image_tokens,) = processor._get_num_multimodal_tokens([(example.height, example.width)])["num_image_tokens"]
    return len(processor.tokenizer(text, add_special_tokens=False).input_ids) - 1 + image_tokens
