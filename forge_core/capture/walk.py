"""Walk through a site and keep its screens: each page in each viewport and theme, scrolled, with menus and dialogs.

    capture([Place("http://localhost:3000"), Place("site/")], Path("data/capture"), Settings())

Pages are only looked at: nothing is sent (requests other than GET are blocked, forms are not submitted), only what says
of itself that it opens something is clicked, and the browser reaches the site's own origin only. What was captured
is kept at once; run again, it goes on after the last visit. A folder's pages see a fixed date and fixed chance.
"""

import asyncio
import hashlib
import re
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from forge_core.capture import forms, sites
from forge_core.capture.elements import Reading
from forge_core.capture.masking import covered
from forge_core.capture.sites import Place, Site
from forge_core.capture.store import Screen, Store, Task, Visit
from forge_core.capture.tab import new_tab
from forge_core.evaluation.browser import PageError, browser_errors, find_chromium, finished, launched
from forge_core.progress import Progress
from forge_core.text import printable

VIEWPORTS = {"desktop": (1280, 800), "tablet": (820, 1180), "phone": (390, 844)}  # CSS px
THEMES = ("light", "dark")
CRASHES = 2  # of Chromium at one page before it is given up
PATIENCE = 6  # times `seconds`: what a visit with all its screens may take
_DEEDS = re.compile(r"(?i)\b(?:log ?out|sign ?out|delete|remove|reset|cancel|pay|buy|order|send|submit|confirm)\b")


@dataclass(frozen=True)
class Settings:
    """How to walk. `mask` are regular expressions, `storage_state` the file of a login that playwright saved."""

    viewports: tuple[str, ...] = tuple(VIEWPORTS)  # names, or "WIDTHxHEIGHT" in px
    themes: tuple[str, ...] = THEMES
    depth: int = 3  # links from the first page
    pages: int = 50  # of a site
    delay: float = 0.5  # s between two pages of a site on the web
    seconds: float = 20.0  # that a page may take to load
    scrolls: int = 3  # screens below the first
    openers: int = 3  # menus and dialogs of a page
    forms: bool = True  # filled in step by step, on this machine only
    mask: tuple[str, ...] = ()
    storage_state: str = ""


def size_of(viewport: str) -> tuple[int, int]:
    """(width, height) in px of a viewport's name, or of "WIDTHxHEIGHT"; raises ValueError."""
    if viewport in VIEWPORTS:
        return VIEWPORTS[viewport]
    found = re.fullmatch(r"(\d{3,4})x(\d{3,4})", viewport)
    size = tuple(map(int, found.groups())) if found else (0, 0)
    if not all(200 <= side <= 4096 for side in size):
        raise ValueError(f"viewport {viewport!r}: {', '.join(VIEWPORTS)}, or WIDTHxHEIGHT of 200 to 4096 px each")
    return size


def capture(places: Sequence[Place], out: Path, settings: Settings) -> list[Visit]:
    """Capture places into `out`, and return all their visits, those of an earlier run too; prints a line each.

    Raises ValueError for a place or setting that is wrong, OSError for a site that does not answer, ImportError without
    playwright, PageError without Chromium. What goes wrong with one page is its visit's `status`.
    """
    for viewport in settings.viewports:
        size_of(viewport)
    for theme in settings.themes:
        if theme not in THEMES:
            raise ValueError(f"theme {theme!r}: expected {' or '.join(THEMES)}")
    if not places:
        raise ValueError("nothing to capture: name a URL or a folder")
    find_chromium()
    return finished(_capture(places, Store(out), settings))


async def _capture(places: Sequence[Place], store: Store, settings: Settings) -> list[Visit]:
    names: set[str] = set()
    done = []
    for place in places:
        with sites.opened(place, names) as site:
            done += await _Walk(site, store, settings).run()
    return done


class _Crashed(Exception):
    """Chromium is gone, or the page's process is."""


class _Walk:
    """The walk through one site."""

    def __init__(self, site: Site, store: Store, settings: Settings) -> None:
        self.site, self.store, self.settings = site, store, settings
        self.looks = [(viewport, theme) for viewport in settings.viewports for theme in settings.themes]
        self.crashes: Counter[tuple] = Counter()
        self.done: list[Visit] = []
        self.progress = Progress()

    async def run(self) -> list[Visit]:
        """All visits of the site, those of an earlier run too; after a crash in a new Chromium."""
        starts = list(dict.fromkeys(self.site.label(url) for url in self.site.starts))
        self.todo, self.known = deque((label, 0) for label in starts[: self.settings.pages]), set(starts)
        self.pages = 0
        while self.todo:
            async with launched(self.site.base) as self.browser:
                try:
                    await self._pages()
                except _Crashed:
                    print(f"{self.site.name}: Chromium crashed; a new one goes on, nothing is lost", flush=True)
        return self.done

    async def _pages(self) -> None:
        while self.todo:
            label, depth = self.todo[0]
            visits = [await self._visit(label, depth, *self.looks[0])]
            if visits[0].status == "ok":
                visits += [await self._visit(label, depth, *look) for look in self.looks[1:]]
            self.done += visits
            self.todo.popleft()
            self.pages += 1
            if depth < self.settings.depth:
                new = [link for link in visits[0].links if link not in self.known]
                room = self.settings.pages - self.pages - len(self.todo)
                self.todo += [(link, depth + 1) for link in new[: max(0, room)]]
                self.known |= set(new)

    async def _visit(self, label: str, depth: int, viewport: str, theme: str) -> Visit:
        key = (self.site.name, label, viewport, theme)
        if key in self.store.visits and self.store.visits[key].status == "ok":
            return self.store.visits[key]
        page = _Page(self, label, viewport, theme)
        started, status = time.monotonic(), "ok"
        try:
            if self.crashes[key] >= CRASHES:
                raise PageError(f"Chromium crashed {CRASHES} times")
            async with asyncio.timeout(PATIENCE * self.settings.seconds):
                await page.see()
        except (PageError, TimeoutError, browser_errors()) as error:
            if page.crashed or not self.browser.is_connected():
                self.crashes[key] += 1
                raise _Crashed from error
            status = self.site.written(_first_line(error)) or "it took too long"
        seconds = time.monotonic() - started
        visit = page.visit(depth, status, seconds)
        self.store.add_visit(visit)
        self._tell(visit)
        return visit

    def _tell(self, visit: Visit) -> None:
        known = self.pages + len(self.todo)
        what = f"{len(visit.screens)} screens" if visit.status == "ok" else visit.status
        text = f"{visit.url} {visit.viewport} {visit.theme}: {what}, {visit.seconds:.1f} s"
        self.progress.show(self.pages + 1, known, printable(f"[{self.pages + 1}/{known}] {text}"))


def _first_line(error: Exception) -> str:
    return (getattr(error, "message", "") or str(error)).split("\n")[0]


class _Page:
    """One visit while it lasts."""

    def __init__(self, walk: _Walk, label: str, viewport: str, theme: str) -> None:
        self.walk, self.label, self.viewport, self.theme = walk, label, viewport, theme
        self.site, self.store, self.settings = walk.site, walk.store, walk.settings
        self.size = size_of(viewport)
        self.screens: list[str] = []
        self.links: list[str] = []
        self.skipped: Counter[str] = Counter()
        self.blocked: list[str] = []
        self.crashed = False

    async def see(self) -> None:
        """All screens of the page. Raises PageError where it does not open."""
        given = (self.settings.seconds, self.settings.mask, self.settings.storage_state, self.site.folder is not None)
        async with new_tab(self.walk.browser, self.site.base, self.size, self.theme, *given) as self.tab:
            try:
                openers = await self._scrolled()
                for number, opener in enumerate(openers[: self.settings.openers], start=1):
                    await self._opened(opener, number)
                if self.settings.forms:
                    await forms.fill_in(self)
            finally:
                self.blocked = self.tab.guard.take()
                self.crashed = self.tab.guard.crashed

    async def open(self) -> None:
        """Open the page anew, no sooner than the site wants."""
        await asyncio.sleep(self.site.wait(self.settings.delay))
        await self.tab.open(self.site.address(self.label), self.site.start)

    async def _scrolled(self) -> list:
        """The page from its top to its end; returns what opens something at its top."""
        await self.open()
        label = self.site.label(self.tab.page.url.split("#")[0])
        if label != self.label and label in self.walk.known:
            raise PageError(f"it leads to a page of the list, {label}")
        reading = await self.keep("top", "0")
        self.links = [self.site.label(link.split("#")[0]) for link in await self.tab.links() if self._wanted(link)]
        self.links = list(dict.fromkeys(self.links))
        for number in range(1, self.settings.scrolls + 1):
            if not await self.tab.scroll():
                break
            await self.keep(f"scrolled {number}", f"s{number}")
        return [item for item in reading.openers if not _DEEDS.search(item.name)]

    def _wanted(self, link: str) -> bool:
        refusal = self.site.refusal(link.split("#")[0])
        if not refusal and covered(link, self.settings.mask) != link:
            refusal = "an address with something to mask"
        if refusal and refusal != "not a page":
            self.skipped[f"link not followed: {refusal}"] += 1
        return not refusal

    async def _opened(self, opener, number: int) -> None:
        await self.open()
        await self.tab.press(opener)
        await self.keep("", f"m{number}", opener.name)

    async def keep(self, state: str, mark: str, opener: str = "", task: Task | None = None) -> Reading:
        """Keep what is on the screen now, unless it was seen before; returns the reading."""
        reading, png = await self.tab.look()
        state = state or f"{'dialog' if await self.tab.has_dialog() else 'menu'}: {opener}"
        sha256 = hashlib.sha256(png).hexdigest()
        identity = self._identity(mark)
        if task is None and self.store.pictures.get(sha256, identity) != identity:
            self.skipped["a picture that was seen before"] += 1
        elif not reading.items:
            self.skipped["nothing to click"] += 1
        else:
            title = covered(await self.tab.page.title(), self.settings.mask)
            self.screens.append(identity)
            screen = Screen(
                id=identity, site=self.site.name, url=covered(self.label, self.settings.mask), title=title,
                viewport=self.viewport, theme=self.theme, width=self.size[0], height=self.size[1], state=state,
                image=f"{identity}.png", sha256=sha256, time=_now(), items=reading.items,
                rejected=dict(reading.rejected), task=task,
            )  # fmt: skip
            self.store.add_screen(screen, png)
        return reading

    def _identity(self, mark: str) -> str:
        """A name for files: site, page, viewport, theme, and which screen of the visit."""
        path = re.sub(r"[^A-Za-z0-9]+", "-", self.label.removeprefix(self.site.name).removeprefix(self.site.base))
        short = hashlib.sha256(self.label.encode()).hexdigest()[:6]
        return "-".join([self.site.name, path.strip("-")[-40:] or "page", short, self.viewport, self.theme, mark])

    def visit(self, depth: int, status: str, seconds: float) -> Visit:
        """The record of it."""
        return Visit(
            site=self.site.name, url=self.label, viewport=self.viewport, theme=self.theme, depth=depth, status=status,
            screens=self.screens, links=self.links, skipped=dict(self.skipped), blocked=self.blocked, time=_now(),
            seconds=round(seconds, 2),
        )  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
