"""Look at samples one by one in a notebook: `browser(runs, targets)` filters them and steps through what is left."""

from collections.abc import Mapping, Sequence

import ipywidgets as widgets
from markupsafe import Markup

from forge_core.data.screenspot import Target
from forge_core.evaluation.samples import OUTCOMES, Sample, colour, join, marks, screenshot, templates, thought
from forge_core.evaluation.score import Scored

ANY = "any"
SCREEN = 1000  # px: longer edge of the screenshot
QUALITY = 85  # of its WebP


def browser(runs: Mapping[str, Sequence[Scored]], targets: Sequence[Target]) -> "Browser":
    """A widget over `runs` (model -> judged answers): screenshot, box, clicks, instruction, answers and thoughts.

    Raises ValueError where the models were not scored on the same known targets.
    """
    return Browser(join(runs, targets))


class Browser(widgets.VBox):
    """Filters above one sample; `shown` is what the filters leave, `place` the one that is seen, from 0.

    `model` and `outcome` go together: the samples on which that model has that outcome; with any model, those on which
    some model has it.
    """

    def __init__(self, samples: Sequence[Sample]):
        self.samples, self.shown, self.place = samples, list(samples), 0
        self.model = _choice("model", samples[0].answers)
        outcomes = [(words, outcome) for outcome, words in OUTCOMES.items()]
        self.outcome = _choice("outcome", [*outcomes, ("not hit", "not hit"), ("models differ", "differ")])
        self.platform = _choice("platform", dict.fromkeys(sample.target.platform for sample in samples))
        self.kind = _choice("kind", dict.fromkeys(sample.target.kind for sample in samples))
        self.text = widgets.Text(placeholder="text in instruction or answer", continuous_update=False)
        self.previous = widgets.Button(description="Previous", icon="arrow-left")
        self.next = widgets.Button(description="Next", icon="arrow-right")
        self.count, self.view = widgets.Label(), widgets.HTML()
        filters = (self.model, self.outcome, self.platform, self.kind, self.text)
        for field in filters:
            field.observe(lambda change: self._filter(), names="value")
        self.previous.on_click(lambda button: self._step(-1))
        self.next.on_click(lambda button: self._step(1))
        wrap = widgets.Layout(flex_flow="row wrap")
        steps = widgets.HBox([self.previous, self.next, self.count])
        super().__init__([widgets.HBox(filters, layout=wrap), steps, self.view])
        self._show()

    def _filter(self) -> None:
        self.shown, self.place = [sample for sample in self.samples if self._fits(sample)], 0
        self._show()

    def _fits(self, sample: Sample) -> bool:
        target, text = sample.target, self.text.value.strip().lower()
        answers = [answer for name, answer in sample.answers.items() if self.model.value in (ANY, name)]
        said = [target.id, target.instruction, *(answer.raw for answer in answers)]
        return (
            self.platform.value in (ANY, target.platform)
            and self.kind.value in (ANY, target.kind)
            and self._has_outcome(sample, {answer.outcome for answer in answers})
            and any(text in part.lower() for part in said)
        )

    def _has_outcome(self, sample: Sample, outcomes: set[str]) -> bool:
        wanted = self.outcome.value
        if wanted == "differ":
            return sample.differs
        return wanted == ANY or wanted in outcomes or (wanted == "not hit" and bool(outcomes - {"hit"}))

    def _step(self, by: int) -> None:
        self.place = min(max(self.place + by, 0), len(self.shown) - 1)
        self._show()

    def _show(self) -> None:
        self.previous.disabled = self.place <= 0
        self.next.disabled = self.place >= len(self.shown) - 1
        if not self.shown:
            self.count.value, self.view.value = f"none of {len(self.samples)} samples", ""
            return
        self.count.value = f"{self.place + 1} of {len(self.shown)} samples"
        self.view.value = _html(self.shown[self.place])


def _choice(name: str, options) -> widgets.Dropdown:
    layout = widgets.Layout(width="auto")
    return widgets.Dropdown(options=[(ANY, ANY), *(o if isinstance(o, tuple) else (o, o) for o in options)],
                            description=name, value=ANY, layout=layout)  # fmt: skip


def _html(sample: Sample) -> str:
    """The sample as HTML; its screenshot, read anew, is inside."""
    drawn = marks(sample)
    source = screenshot(sample.target.image, SCREEN, QUALITY)
    image = Markup('<image width="{:.0f}" height="{:.0f}" href="{}"/>').format(*drawn["size"], source)
    answers = [
        {
            "name": name,
            "colour": colour(number),
            "words": OUTCOMES[row.outcome],
            "raw": row.raw,
            "thought": thought(row),
        }
        for number, (name, row) in enumerate(sample.answers.items())
    ]
    page = templates().get_template("sample.html")
    return page.render(target=sample.target, image=image, marks=drawn, answers=answers)
