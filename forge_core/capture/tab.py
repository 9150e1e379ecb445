"""One page in one viewport and theme: open it, look at it, scroll it, press what opens something."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from forge_core.capture.elements import Reader, Reading
from forge_core.capture.store import Item
from forge_core.evaluation.browser import Guard, PageError, browser_errors, load
from forge_core.web import shown

OVERLAP = 0.85  # of what is seen: how far a page is scrolled for the next screen
PAUSE, LOOKS = 0.15, 8  # s between two looks at a page that is still changing; looks at most
IDLE = 3.0  # s at most that a loaded page may go on fetching
READING = ("GET", "HEAD", "OPTIONS")
_NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
_CHANCE = "let s = 17; Math.random = () => { s = (s * 16807) % 2147483647; return (s - 1) / 2147483646; };"
_STILL = """addEventListener('DOMContentLoaded', () => {
  document.head.appendChild(document.createElement('style')).textContent = `*, *::before, *::after {
    transition-duration: 0s !important; transition-delay: 0s !important; animation-duration: 0s !important;
    animation-delay: 0s !important; scroll-behavior: auto !important; caret-color: transparent !important; }`;
});"""


class Unmasked(PageError):
    """What was to be covered came back each time."""


class ReadOnly(Guard):
    """A guard that lets a page read only, and go nowhere by itself once it is loaded."""

    going = True

    async def _route(self, route) -> None:
        request = route.request
        if request.method not in READING:
            self.note(f"{request.method} blocked: {request.url[:60]}")
            return await route.abort("blockedbyclient")
        if not self.going and self._leaving(request):
            self.note(f"navigation blocked: {request.url[:60]}")
            return await route.abort("aborted")
        return await super()._route(route)


class Tab:
    """A page of a site. `mask` are regular expressions of what is covered before each picture."""

    def __init__(self, page, guard: ReadOnly, cdp, seconds: float, mask: tuple[str, ...]) -> None:
        self.page, self.guard, self.seconds, self.mask = page, guard, seconds, list(mask)
        self.reader = Reader(page, cdp)

    async def open(self, url: str, start: str = "") -> None:
        """Go to a page and wait until it is loaded and fetches no more; `start` is run in it then. Raises PageError."""
        self.guard.going = True
        await load(self.page, url, self.guard, self.seconds, "load")
        if not self.guard.inside(self.page.url):
            raise PageError(f"it leads to another origin, {shown(self.page.url):.60}")
        await self.rest()
        if start:
            await self.page.evaluate(start)
        self.guard.going = False

    async def rest(self) -> None:
        """Wait until the page is loaded and fetches no more; some never stop, so not for long."""
        await asyncio.sleep(PAUSE)  # what a click has started has begun by then
        for state in ("load", "networkidle"):
            with suppress(browser_errors()):
                await self.page.wait_for_load_state(state, timeout=1000 * IDLE)

    async def look(self) -> tuple[Reading, bytes]:
        """What can be clicked now, and the screenshot (PNG) of the same moment. Raises Unmasked."""
        picture, before = await self._picture(), None
        for _ in range(LOOKS):
            await self.reader.grasp()
            covered = await self.reader.mask(self.mask) if self.mask else 0
            before, last, picture = await self.reader.boxes(), picture, await self._picture()
            uncovered = await self.reader.mask(self.mask) if self.mask else 0
            if not covered and not uncovered and picture == last and before == await self.reader.boxes():
                break
            await asyncio.sleep(PAUSE)
        else:
            if uncovered:
                raise Unmasked("what is to be masked comes back")
        return await self.reader.read(before), picture

    async def scroll(self) -> bool:
        """Show the next part; False at the end."""
        return bool(await self.reader.main("scroll", OVERLAP))

    async def press(self, item: Item) -> None:
        """Click the middle of an item."""
        left, top, right, bottom = item.box
        await self.page.mouse.click((left + right) / 2, (top + bottom) / 2)

    async def links(self) -> list[str]:
        """Where the links of the page lead, in their order, each once."""
        return list(dict.fromkeys(await self.reader.main("links")))

    async def has_dialog(self) -> bool:
        return bool(await self.reader.main("dialog"))

    async def _picture(self) -> bytes:
        return await self.page.screenshot(timeout=1000 * self.seconds, scale="css", animations="disabled", caret="hide")


@asynccontextmanager
async def new_tab(
    browser,
    base: str,
    size: tuple[int, int],
    theme: str,
    seconds: float,
    mask: tuple[str, ...],
    login: str,
    fixed: bool,
) -> AsyncIterator[Tab]:
    """A tab of its own (cookies from the file `login`, if any); `fixed`: with the same date and chance each time."""
    context = await browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=theme,
        reduced_motion="reduce",
        has_touch=size[0] < size[1],
        storage_state=login or None,
        bypass_csp=True,
        accept_downloads=False,
        service_workers="block",
        locale="en-US",
    )
    try:
        page = await context.new_page()
        await page.add_init_script(_STILL)
        if fixed:
            await page.clock.install(time=_NOON)
            await page.add_init_script(_CHANCE)
        guard = ReadOnly(base)
        await guard.watch(page)
        cdp = await context.new_cdp_session(page)
        for domain in ("Page", "DOM", "Accessibility"):
            await cdp.send(f"{domain}.enable")
        yield Tab(page, guard, cdp, seconds, mask)
    finally:
        with suppress(browser_errors()):
            await context.close()
