"""Training by hand, for the lessons: the tiny VLM on the CPU, one batch, and a loop that fits on a screen.

Nothing here wakes a GPU, so that a launcher can still fork the processes which use it.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from peft import PeftModel

from forge_core.actions.coordinates import CoordFormat
from forge_core.actions.prompts import answer_text
from forge_core.data.images import open_image
from forge_core.data.schema import Example
from forge_core.models.chat import CHAT_TEMPLATE, END_OF_TURN
from forge_core.models.load import attach_lora, load_base, load_processor
from forge_core.training.collate import Collator, messages
from forge_core.training.trainer import freeze_tower, train_only_labelled

STEPS, RATE, RANK = 20, 4e-3, 32


def tiny_model(seed: int = 0) -> PeftModel:
    """The embedded base in fp32 on the CPU with a new LoRA; the same for the same seed."""
    torch.manual_seed(seed)
    model = attach_lora(load_base("embedded", load_in_4bit=False, on_cpu=True), RANK, 2 * RANK, 0.0)
    train_only_labelled(model)
    freeze_tower(model)
    return model


def tiny_collator(images: Path, coord_format: CoordFormat) -> Collator:
    """Stage 1's collator for `tiny_model`, without padding; `images` is the folder that the rows' paths start from."""
    return Collator(load_processor("embedded"), 1, images, 1, coord_format)


def overfit(model: PeftModel, batch: Mapping, optimizer: torch.optim.Optimizer) -> list[float]:
    """Train `STEPS` steps on one batch alone; the loss (nats a supervised token) before each."""
    losses = []
    for _ in range(STEPS):
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def learn(collate: Collator, row: Example, labels: torch.Tensor) -> tuple[list[float], list[str]]:
    """Losses and answers of a new tiny model that learns one row by heart from these labels (1, T)."""
    model = tiny_model()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    losses = overfit(model, collate([row]) | {"labels": labels}, torch.optim.AdamW(weights, lr=RATE))
    return losses, answers(model, collate, row)


def answers(model: PeftModel, collate: Collator, row: Example, new_tokens: int = 32) -> list[str]:
    """What the model writes, greedily, to each question of a row, with the right answers to those before it."""
    tokenizer = collate.processor.tokenizer
    chats = [_asked(collate, row, number) for number in range(1, len(row.turns) + 1)]
    inputs = collate.processor.apply_chat_template(
        chats,
        chat_template=CHAT_TEMPLATE,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        processor_kwargs={"return_tensors": "pt", "text_kwargs": {"padding": True, "padding_side": "left"}},
    )
    end = tokenizer.convert_tokens_to_ids(END_OF_TURN)
    options = {"do_sample": False, "eos_token_id": end, "pad_token_id": tokenizer.pad_token_id}
    model.eval()
    with torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=new_tokens, **options)  # (B, prompt + new)
    new = ids[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def _asked(collate: Collator, row: Example, number: int) -> list[dict]:
    """The conversation up to the question `number`, counted from one."""
    chat = messages(row.turns[:number], collate.stage, row.platform, coord_format=collate.coord_format)[:-1]
    chat[1]["content"][0]["image"] = open_image(collate.images / row.image)
    return chat


def verbatim(said: list[str], row: Example, coord_format: CoordFormat) -> int:
    """How many of stage 1's answers to a row are the labelled ones, character for character."""
    wanted = [answer_text(turn, 1, coord_format) for turn in row.turns]
    return sum(one == other for one, other in zip(said, wanted, strict=True))
