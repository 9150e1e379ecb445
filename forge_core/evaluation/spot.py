"""One screenshot and one instruction: what an adapter of the course thinks, does, and where it clicks."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from PIL import Image

from forge_core.actions.calls import ActionParseError
from forge_core.actions.coordinates import CoordFormat
from forge_core.actions.prompts import Answer, read_answer
from forge_core.actions.types import Action
from forge_core.actions.unified import click_point
from forge_core.data.fetch import fetch_image
from forge_core.data.special import MARKERS, clean, special_of
from forge_core.evaluation.predict import continue_texts, encode, prompt, read_screen
from forge_core.models.load import adapter_processor, load_adapter, load_base
from forge_core.models.publish import NEW_TOKENS, checked_record
from forge_core.paths import relative, resolve
from forge_core.spot_plots import Frame, draw

DEFAULT = "checkpoints/embedded/reasoning/final"


@dataclass(frozen=True)
class Agent:
    """A model with its adapter and what it was trained with: stage, coordinates, and the processor's image size."""

    model: object
    processor: object
    stage: int
    coord_format: CoordFormat

    @property
    def edge(self) -> int:
        """The longest edge in px at which it sees a screenshot."""
        return self.processor.image_processor.size["longest_edge"]

    def answer(self, image: Image.Image, instruction: str, platform: str = "web", history: str = "") -> str:
        """What it writes, verbatim; `history` ("Step 1: ...", a line a step) is read by stage 2 only.

        Special tokens in the texts are taken out, as in training rows; raises ValueError where no instruction is left.
        """
        asked = clean(instruction, MARKERS)
        if not (asked and clean(asked, special_of(self.processor.tokenizer))):
            raise ValueError("the instruction is empty")
        text = prompt(self.processor, self.stage, platform, instruction, self.coord_format, history)
        screen = encode(self.model, read_screen(self.processor, image))
        return continue_texts(self.model, self.processor, [text], [screen], NEW_TOKENS[self.stage])[0]


class Spot(NamedTuple):
    """An answer, read: no thought and no actions where it is unreadable. `point` is the click, normalised to [0, 1]."""

    thought: str | None
    actions: list[Action]
    point: tuple[float, float] | None
    raw: str
    picture: Figure


def load_agent(adapter: str | Path = "") -> Agent:
    """The model that an adapter folder asks for by its forge.json; "" is stage 2 of `forge run embedded`.

    Raises FileNotFoundError where there is no adapter, ValueError where it is damaged, asks for more than an adapter
    may, or where its base is not the one it was trained on.
    """
    folder = resolve(adapter or DEFAULT)
    if not adapter and not folder.is_dir():
        raise FileNotFoundError(f"{relative(folder)} is not there: forge run embedded makes it, or name an --adapter")
    identity = checked_record(folder).identity
    params = identity.params
    processor = adapter_processor(folder, params.base_model, params.base_revision)
    model = load_base(params.base_model, params.base_revision, params.load_in_4bit)
    return Agent(load_adapter(model, folder).eval(), processor, identity.stage, params.coord_format)


def spot(
    image: str | Path | Image.Image, instruction: str, adapter: str | Path | Agent = "", platform: str = "web"
) -> Spot:
    """Ask an adapter (a folder, or an agent that is loaded already) about a picture: a file, an http(s) URL, an image.

    Raises what `fetch_image`, `load_agent` and `Agent.answer` raise.
    """
    picture = image if isinstance(image, Image.Image) else fetch_image(image)
    agent = adapter if isinstance(adapter, Agent) else load_agent(adapter)
    raw = agent.answer(picture, instruction, platform)
    try:
        answer, problem = read_answer(raw, agent.coord_format), ""
    except ActionParseError as error:
        answer, problem = Answer(None, []), f"unreadable answer ({error}): {raw}"
    drawn = draw(instruction, [Frame(picture, "", answer.actions, answer.thought or "", problem)])
    return Spot(answer.thought, answer.actions, click_point(answer.actions), raw, drawn)
