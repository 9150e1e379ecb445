"""Whether a profile fits a card, and what to change where it does not: `models/memory.py` as text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial

from forge_core.gpus import CARDS, least_memory
from forge_core.models.memory import ALLOWANCE, Need, Params, evaluation, held_out, training
from forge_core.params import EvaluateParams, TrainParams

GIB = 2**30
ROWS = {  # label -> what it shows of a moment; None: nothing
    "weights of the base": lambda moment: moment.need.weights,
    "adapter (training: gradients, AdamW)": lambda moment: moment.need.adapter,
    "screenshots, or their features": lambda moment: moment.need.pictures,
    "activations kept, checkpointed": lambda moment: moment.activations(True),
    "activations kept, not checkpointed": lambda moment: moment.activations(False),
    "KV cache": lambda moment: None if moment.trains else moment.need.kept,
    "a layer at work": lambda moment: moment.need.working,
    "logits": lambda moment: moment.need.logits,
    "vision tower at work": lambda moment: moment.need.tower,
    "allowance: CUDA, cuBLAS, gaps": lambda moment: ALLOWANCE,
    "at once, at most": lambda moment: moment.need.total,
}


@dataclass(frozen=True)
class Moment:
    """Something a profile does on the card; `measure` says what it needs with these params or others."""

    name: str
    params: Params
    measure: Callable[[Params], Need]
    batch: str = "batch_size"  # the parameter that says how many rows or targets are taken at a time

    @cached_property
    def need(self) -> Need:
        return self.measure(self.params)

    @property
    def trains(self) -> bool:
        return self.measure is training

    def activations(self, checkpointed: bool) -> int | None:
        """Bytes kept in a training step, with checkpointing or without, whichever the params choose."""
        if not self.trains:
            return None
        return training(self.params.model_copy(update={"activation_checkpointing": checkpointed})).kept

    def changes(self) -> Iterator[tuple[str, Params]]:
        """Each change that saves memory, alone, in the order of docs/oom.md.

        `image_size` is not among them: rows are counted at `max_length`, image tokens included.
        """
        size = getattr(self.params, self.batch)
        while size > 1:
            size //= 2
            yield self._with(**{self.batch: size})
        if isinstance(self.params, TrainParams):
            if self.trains and not self.params.activation_checkpointing:
                yield self._with(activation_checkpointing=True)
            yield self._with(max_length=self.params.max_length * 3 // 4)
            yield self._with(lora_rank=max(1, self.params.lora_rank // 2))

    def _with(self, **changed: int) -> tuple[str, Params]:
        [(name, value)] = changed.items()
        return f"{name}: {str(value).lower()}", self.params.model_copy(update=changed)


def moments(grounding: TrainParams, reasoning: TrainParams, evaluating: EvaluateParams) -> list[Moment]:
    """What a profile does on the card, in order."""
    found = []
    for number, params in (("03", grounding), ("04", reasoning)):
        found.append(Moment(f"{number} step", params, training))
        if params.held_out:
            found.append(Moment(f"{number} held-out", params, held_out, "eval_batch_size"))
    return [*found, Moment("05", evaluating, partial(evaluation, trained=reasoning))]


def table(found: list[Moment]) -> str:
    """GiB of each part, a column a moment; in brackets what the params do not choose."""
    lines = [f"{'GiB':38}" + "".join(f"{moment.name:>13}" for moment in found)]
    for label, value in ROWS.items():
        lines.append(f"{label:38}" + "".join(_cell(label, moment, value(moment)) for moment in found))
    return "\n".join(lines)


def verdict(found: list[Moment]) -> str:
    """For each card whether all fit, and if not the first change that would do."""
    return "\n".join(line for card in CARDS for line in _on(card, found))


def _on(card: int, found: list[Moment]) -> list[str]:
    room = least_memory(card)
    most = max(found, key=lambda moment: moment.need.total)
    if most.need.total <= room * GIB:
        return [f"{card} GB: fits; {most.name} needs most, {most.need.total / GIB:.2f} of at least {room:.1f} GiB"]
    full = [moment for moment in found if moment.need.total > room * GIB]
    return [
        f"{card} GB: {moment.name} does not fit, {moment.need.total / GIB:.2f} of {room:.1f} GiB; "
        + _way_out(moment, room)
        for moment in full
    ]


def _way_out(moment: Moment, room: float) -> str:
    for text, params in moment.changes():
        if moment.measure(params).total <= room * GIB:
            return f"with {text} it would"
    return "no single change of docs/oom.md would do: take a smaller base_model"


def _cell(label: str, moment: Moment, size: int | None) -> str:
    if size is None:
        return f"{'-':>13}"
    unused = label.startswith("activations") and size != moment.need.kept
    text = f"({size / GIB:.2f})" if unused else f"{size / GIB:.2f} "
    return f"{text:>13}"
