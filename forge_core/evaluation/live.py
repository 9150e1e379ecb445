"""A live page: look, decide, act, at most N times, within the page's origin, and only what `hand` allows.

The loop knows no model: `decide` gets the screenshot, the instruction and what was done, and writes an answer.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from matplotlib.figure import Figure
from PIL import Image

from forge_core.actions.calls import ActionParseError
from forge_core.actions.coordinates import CoordFormat
from forge_core.actions.prompts import read_answer
from forge_core.actions.types import Action
from forge_core.actions.unified import render
from forge_core.data.images import rgb
from forge_core.evaluation.browser import Guard, PageError, finished, opened
from forge_core.evaluation.hand import MAX_WAIT, Hand, refusal
from forge_core.spot_plots import Frame, draw
from forge_core.text import printable
from forge_core.web import shown

Decide = Callable[[Image.Image, str, str], str]
EDGE = 1280  # px: the longest edge of the window, where the model does not see a smaller one
HEIGHTS = {"web": 3 / 4, "desktop": 3 / 4, "mobile": 8 / 5}  # height / width of the window
SETTLE, LOADING = 0.5, 5.0  # s between an action and the next look; s at most for a page that is loading
_CLICKS = {"click", "double_click", "right_click"}


@dataclass
class Step:
    """A screenshot, the answer to it, and what was refused while it was carried out."""

    image: Image.Image
    raw: str
    thought: str | None = None
    actions: list[Action] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Run:
    """The steps, why it ended, and the page at the end (None where it could not be seen any more)."""

    steps: list[Step] = field(default_factory=list)
    ended: str = ""
    last: Image.Image | None = None


def window(platform: str, edge: int) -> tuple[int, int]:
    """(width, height) in px of a window which a model that sees `edge` px sees pixel by pixel, up to `EDGE`."""
    ratio, longest = HEIGHTS[platform], min(edge, EDGE)
    width, height = (longest, longest * ratio) if ratio < 1 else (longest / ratio, longest)
    return round(width), round(height)


def run_live(
    page_url: str,
    decide: Decide,
    instruction: str,
    steps: int = 5,
    size: tuple[int, int] = (EDGE, 960),
    coord_format: CoordFormat = "4-decimals",
    seconds: float = 20.0,
) -> Run:
    """Let `decide(image, instruction, history) -> answer` act on a page, at most `steps` times; prints each step.

    `size` is the window's (width, height) in px. `history` has a line "Step 1: ..." a step. A page that takes more
    than `seconds` to load or to take an action ends the run. Raises ValueError where the URL is not http(s), PageError
    where the page cannot be opened or seen, ImportError where playwright is not installed, and what `decide` raises.
    """
    return finished(_Loop(decide, instruction, coord_format, size, seconds).run(page_url, steps))


class _Loop:
    """The state of one run."""

    def __init__(self, decide: Decide, instruction: str, coord_format: CoordFormat, size, seconds: float) -> None:
        self.decide, self.instruction, self.coord_format = decide, instruction, coord_format
        self.size, self.seconds = size, seconds
        self.done, self.alive = Run(), True

    async def run(self, url: str, steps: int) -> Run:
        self.guard = Guard(url)
        async with opened(url, self.guard, self.size, self.seconds) as self.page:
            self.hand = Hand(self.page, self.size)
            await self._settle()
            while not self.done.ended:
                self.done.ended = await self._guarded(self._step())
                if not self.done.ended and len(self.done.steps) == steps:
                    self.done.ended = f"{steps} steps done"
            if self.alive:
                with suppress(_playwright().Error):  # it may have gone just now
                    self.done.last = await self._look()
        if not self.done.steps:
            raise PageError(f"{shown(url)}: {self.done.ended}")
        print(printable(f"ended: {self.done.ended}"), flush=True)
        return self.done

    async def _guarded(self, step) -> str:
        """Why the run ends with this step, "" where it does not."""
        try:
            ended = await step
        except (TimeoutError, _playwright().Error) as error:  # playwright's TimeoutError is an Error
            first = (getattr(error, "message", "") or "").split("\n")[0]
            self.alive = False
            slow = not first or "Timeout" in first
            ended = f"the page does not answer within {self.seconds:g} s" if slow else f"the page is gone ({first})"
        notes = self.guard.take()
        if self.done.steps:
            self.done.steps[-1].notes += notes
        if self.guard.crashed:
            ended, self.alive = "the page crashed", False
        return ended

    async def _step(self) -> str:
        image = await self._look()
        raw = await asyncio.to_thread(self.decide, image, self.instruction, history(self.done.steps))
        step = Step(image, raw)
        self.done.steps.append(step)
        try:
            answer = read_answer(raw, self.coord_format)
        except ActionParseError as error:
            return f"an answer that cannot be read: {error}"
        step.thought, step.actions = answer.thought, answer.actions
        done = "; ".join(render(step.actions).splitlines())
        print(printable(f"step {len(self.done.steps)}: {done}"), flush=True)
        if ended := refusal(step.actions) or self._repeated():
            return ended
        return await self._carry_out(step.actions)

    def _repeated(self) -> str:
        """The same click on the same picture does the same again: nothing."""
        *_, before, now = [None, *self.done.steps]
        same = before and before.actions == now.actions and before.image.tobytes() == now.image.tobytes()
        return "the same click twice, and the page has not changed" if same and _clicks(now.actions) else ""

    async def _carry_out(self, actions: list[Action]) -> str:
        for action in actions:
            if action.name == "final_answer":
                return f"final answer: {action.arguments['answer']}"
            async with asyncio.timeout(self.seconds + MAX_WAIT):
                await self.hand.act(action)
        await self._settle()
        if not self.guard.inside(self.page.url):
            return f"the page has left its origin, for {shown(self.page.url):.60}"
        return ""

    async def _settle(self) -> None:
        """Let the page draw, and load where it is loading; what never comes the next look has to do without."""
        await asyncio.sleep(SETTLE)
        with suppress(_playwright().Error):
            await self.page.wait_for_load_state("domcontentloaded", timeout=1000 * min(LOADING, self.seconds))

    async def _look(self) -> Image.Image:
        data = await self.page.screenshot(timeout=1000 * self.seconds, scale="css")
        return rgb(data, self.page.url)


def _playwright():
    from playwright import async_api

    return async_api


def _clicks(actions: list[Action]) -> bool:
    return {action.name for action in actions} <= _CLICKS


def history(steps: list[Step]) -> str:
    """'Previous actions' as stage 2 was trained: a line a step, what the thought says last, else the calls."""
    lines = []
    for number, step in enumerate(steps, start=1):
        said = (step.thought or "").strip().splitlines() or ["; ".join(render(step.actions).splitlines())]
        lines.append(f"Step {number}: {said[-1]}")
    return "\n".join(lines)


def filmstrip(run: Run, title: str) -> Figure:
    """One picture a step, with the click drawn; below it action, thought and what was refused. The end comes last."""
    frames = [
        Frame(step.image, f"Step {number}", step.actions, step.thought or step.raw, "; ".join(step.notes))
        for number, step in enumerate(run.steps, start=1)
    ]
    if run.last:
        return draw(title, [*frames, Frame(run.last, "The end", thought=f"Ended: {run.ended}")])
    return draw(f"{title} · ended: {run.ended}", frames)
