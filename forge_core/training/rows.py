"""The rows of a stage for the Trainer: those that fit, and an order that puts rows of like length into one batch."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from heapq import nsmallest
from pathlib import Path

import torch
from torch.utils.data import Dataset
from transformers import ProcessorMixin
from transformers.trainer_pt_utils import LengthGroupedSampler

from forge_core.data.schema import Example, read_jsonl
from forge_core.data.special import special_of
from forge_core.params import TrainParams
from forge_core.training.collate import token_count


class Rows(Dataset):
    """Examples kept as JSON, which takes a tenth of the memory, with their `lengths` in tokens."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.lengths: list[int] = []
        self.turns = 0

    def add(self, row: Example, length: int) -> None:
        """Append a row of `length` tokens."""
        self.lines.append(row.model_dump_json().encode())
        self.lengths.append(length)
        self.turns += len(row.turns)

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Example:
        return Example.model_validate_json(self.lines[index])


def fitting_rows(file: Path, processor: ProcessorMixin, params: TrainParams) -> tuple[Rows, list[Example], int]:
    """Rows of at most `max_length` tokens, those of the held-out screenshots, and how many were dropped.

    A row that is too long is never cut: it would lose image tokens. Raises ValueError where none is left, and where a
    row holds a special token of the base: it was preprocessed for another.
    """
    rows, held, dropped = Rows(), [], 0
    special = special_of(processor.tokenizer)
    kept_out = choose((row.image for row in read_jsonl(file)), params.held_out, params.seed) if params.held_out else ()
    for row in read_jsonl(file):
        if found := next(filter(None, map(special.search, texts_of(row))), None):
            raise ValueError(
                f"{file}: row {row.id} holds {found[0]!r}, a special token of {params.base_model}; was notebook 02 run "
                "for another base_model?"
            )
        if row.image in kept_out:
            held.append(row)
            continue
        length = token_count(processor, row, params.stage, params.coord_format)
        if length <= params.max_length:
            rows.add(row, length)
        else:
            dropped += 1
    if not len(rows):
        if not dropped:
            raise ValueError(f"{file}: held_out {params.held_out} leaves none of its {len(held)} rows to train on")
        raise ValueError(f"{file}: none of {dropped} rows fits in max_length {params.max_length} tokens")
    return rows, held, dropped


def texts_of(row: Example) -> Iterator[str]:
    """What of a row the model reads as text."""
    for turn in row.turns:
        yield from (turn.instruction, turn.history, turn.thought or "", *turn.actions)


def choose(images: Iterable[str], count: int, seed: int) -> set[str]:
    """`count` of these names, by lot."""

    def lot(image: str) -> bytes:
        return blake2b(f"{seed} {image}".encode(), digest_size=8).digest()

    return set(nsmallest(count, set(images), key=lot))


class LengthGrouped(LengthGroupedSampler):
    """Shuffles rows so that each `group` (an optimizer step's rows, over all processes) has like lengths.

    The longest group comes first, so that memory which is too short shows at once; the others follow in random order,
    while the base class would sort fifty at a time from long to short. Length goes with platform and subset, so that
    the model would see one of them for many steps and unlearn the others: the loss then jumps with every fifty.
    The order depends on seed and epoch alone: the same in each process, and after a resume.
    """

    def __init__(self, rows: Rows, group: int, seed: int) -> None:
        super().__init__(group, lengths=rows.lengths, generator=torch.Generator())
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate's data loader at the start of each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator.manual_seed(self.seed + self.epoch)
        order = list(super().__iter__())
        starts = torch.arange(0, len(order), self.batch_size)
        whole = len(order) // self.batch_size  # the last group may be short of rows, and stays last
        if whole > 1:
            starts[1:whole] = starts[1:whole][torch.randperm(whole - 1, generator=self.generator)]
        for start in starts.tolist():
            yield from order[start : start + self.batch_size]
