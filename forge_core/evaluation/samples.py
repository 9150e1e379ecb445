"""One target with every model's answer to it: what the report and the browser show, and how they draw it."""

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jinja2
from PIL import Image

from forge_core.actions.calls import ActionParseError
from forge_core.actions.prompts import read_answer
from forge_core.data.images import open_image
from forge_core.data.screenspot import Target
from forge_core.evaluation.score import Scored
from forge_core.evaluation_plots import LINES

OUTCOMES = {"hit": "hit", "miss": "miss", "wrong_format": "no click"}  # in words
LONG_EDGE = 1000  # of a drawn screenshot in the units of its SVG


class Sample(NamedTuple):
    """A target and the judged answers to it, model -> answer, in the order of the models."""

    target: Target
    answers: dict[str, Scored]

    @property
    def differs(self) -> bool:
        """Whether some model hits it and another does not."""
        return len({answer.outcome == "hit" for answer in self.answers.values()}) == 2


def join(runs: Mapping[str, Sequence[Scored]], targets: Sequence[Target]) -> list[Sample]:
    """The targets that the models were scored on, in the order of `targets`.

    Raises ValueError where there is no answer, one is twice or not in all of `runs`, or its target is unknown.
    """
    answers = {name: {row.target_id: row for row in rows} for name, rows in runs.items()}
    asked = next(iter(answers.values()), {})
    if not asked:
        raise ValueError("no scored answer to show")
    known = {target.id for target in targets}
    for name, rows in answers.items():
        if len(rows) != len(runs[name]):
            raise ValueError(
                f"{name}: target {Counter(r.target_id for r in runs[name]).most_common(1)[0][0]!r} is twice"
            )
        if odd := sorted(rows.keys() ^ asked.keys()):
            raise ValueError(f"{name}: scored on other targets than {next(iter(runs))}, first {odd[0]!r}")
        if unknown := sorted(rows.keys() - known):
            raise ValueError(f"{name}: target {unknown[0]!r} is not in the benchmark")
    return [Sample(t, {name: rows[t.id] for name, rows in answers.items()}) for t in targets if t.id in asked]


def thought(answer: Scored) -> str | None:
    """What the model thought before it acted; None where it gave no thought, or no answer in a valid form."""
    try:
        return read_answer(answer.raw, answer.coord_format).thought
    except ActionParseError:
        return None


def webp(image: Image.Image, quality: int) -> str:
    """The image as a data: URI."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def screenshot(path: Path, longest: int, quality: int) -> str:
    """A screenshot of at most `longest` px as a data: URI. Raises OSError where it is missing or broken."""
    image = open_image(path)
    image.thumbnail((longest, longest))
    return webp(image, quality)


def marks(sample: Sample) -> dict:
    """What is drawn over the screenshot, in units of which its longer edge has `LONG_EDGE`.

    The size, the target's box (x, y, width, height), a ring for each click, wider from model to model, and the words
    that stand for the picture where it cannot be seen.
    """
    target = sample.target
    scale = LONG_EDGE / max(target.width, target.height)
    width, height = target.width * scale, target.height * scale
    left, top, right, bottom = target.bbox  # normalised
    clicks = [
        {"x": answer.point[0] * width, "y": answer.point[1] * height, "r": 14 + 9 * number, "number": number + 1}
        | {"model": name, "colour": colour(number)}
        for number, (name, answer) in enumerate(sample.answers.items())
        if answer.point
    ]
    said = ", ".join(f"{name}: {OUTCOMES[answer.outcome]}" for name, answer in sample.answers.items())
    return {
        "size": (width, height),
        "box": (left * width, top * height, (right - left) * width, (bottom - top) * height),
        "clicks": clicks,
        "words": f"{target.platform} screenshot with the target of '{target.instruction}' in a box; {said}",
    }


def colour(number: int) -> str:
    """The colour of the model that is `number` in order, from 0: the one it has in the figures."""
    return LINES[number % len(LINES)]


@lru_cache
def templates() -> jinja2.Environment:
    """The package's HTML templates; every value is escaped."""
    loader = jinja2.PackageLoader("forge_core.evaluation")
    options = {"trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    return jinja2.Environment(loader=loader, autoescape=True, **options)
