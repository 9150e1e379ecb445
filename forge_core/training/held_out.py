"""Clicks on screenshots that training never sees, scored while it runs: the number that says which checkpoint is best.

Rows give a point and no box, so a click counts when it lies within `NEAR` of that point in x and in y. That is neither
ScreenSpot's rule nor its data: choosing a checkpoint by the benchmark would make its score worthless.
"""

from collections.abc import Sequence
from pathlib import Path

from transformers import ProcessorMixin

from forge_core.actions.coordinates import CoordFormat
from forge_core.actions.prompts import answer_text
from forge_core.actions.unified import click_point, parse
from forge_core.data.images import mark, open_image
from forge_core.data.schema import Example
from forge_core.evaluation.predict import continue_texts, encode, prompt, read_screen
from forge_core.evaluation.score import judge

NEAR = 0.05  # of width and height
SHOWN = 8  # answers in the table for W&B
SLACK = 8  # tokens that an answer may take beyond the longest labelled one


class HeldOut:
    """The first turn of each row, where it clicks; `images` is the folder that the rows' paths start from."""

    def __init__(
        self, rows: Sequence[Example], processor: ProcessorMixin, stage: int, images: Path, coord_format: CoordFormat
    ) -> None:
        found = ((row, click_point(parse("\n".join(row.turns[0].actions)))) for row in rows)
        self.asked = [(row, point) for row, point in found if point]
        self.processor, self.stage, self.images, self.coord_format = processor, stage, images, coord_format
        answers = [answer_text(row.turns[0], stage, coord_format) for row, _ in self.asked]
        self.new_tokens = SLACK + max((len(processor.tokenizer(answer).input_ids) for answer in answers), default=0)

    def score(self, model, batch_size: int) -> tuple[float, list[dict]]:
        """(share of hits, the first `SHOWN` answers with their pictures) of the model as it is now."""
        model.eval()
        hits, shown = 0, []
        for start in range(0, len(self.asked), batch_size):
            batch = self.asked[start : start + batch_size]
            images = [open_image(self.images / row.image) for row, _ in batch]
            texts = [self._prompt(row) for row, _ in batch]
            screens = [encode(model, read_screen(self.processor, image)) for image in images]
            answers = continue_texts(model, self.processor, texts, screens, self.new_tokens)
            for (row, (x, y)), image, raw in zip(batch, images, answers, strict=True):
                box = (x - NEAR, y - NEAR, x + NEAR, y + NEAR)
                outcome, clicked = judge(raw, box, self.coord_format)
                hits += outcome == "hit"
                if len(shown) < SHOWN:
                    picture = mark(image, box, clicked)
                    asked = row.turns[0].instruction
                    shown.append({"instruction": asked, "answer": raw, "outcome": outcome, "screenshot": picture})
        return hits / len(self.asked), shown

    def _prompt(self, row: Example) -> str:
        turn = row.turns[0]
        return prompt(self.processor, self.stage, row.platform, turn.instruction, self.coord_format, turn.history)
