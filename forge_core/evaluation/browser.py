"""A page in headless Chromium that can reach its own origin only, and a guard that notes what it refused.

Two fences keep the origin. Chromium's own network stack sends whatever is not for the origin to a proxy that nobody
listens at: redirects, sockets and what else passes no handler too. Before that, a route handler refuses what it sees,
so that the page stays as it is and the refusal has a name.
"""

import asyncio
import importlib.util
import os
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from forge_core.doctor import CHROMIUM
from forge_core.text import printable
from forge_core.web import shown

ARGUMENTS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--webrtc-ip-handling-policy=disable_non_proxied_udp"),
    "--disable-partial-raster",  # else a pixel at a corner depends on what was drawn before
)
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"\w[\w.-]*|[0-9a-f:]+", re.ASCII)  # a name, or IPv6; no sign that means more to a proxy's list


class PageError(OSError):
    """A page that cannot be opened: which, why, and what to do."""


def origin(url: str) -> str:
    """scheme://host:port of a URL; "" where it is neither http nor https, or no URL."""
    with suppress(ValueError):
        parts = urlsplit(url.removeprefix("blob:"))
        if parts.scheme in _PORTS and _HOST.fullmatch(host := parts.hostname or ""):
            host = f"[{host}]" if ":" in host else host
            return f"{parts.scheme}://{host}:{parts.port or _PORTS[parts.scheme]}"
    return ""


def check_url(url: str) -> str:
    """The URL's origin; raises ValueError where it is not http(s)."""
    if not (found := origin(url)):
        raise ValueError(f"{shown(url):.80}: expected the address of a page, http://... or https://...")
    return found


def find_chromium() -> str:
    """The path of a Chromium; raises PageError where there is none, ImportError where playwright is not installed."""
    if importlib.util.find_spec("playwright") is None:
        raise ImportError("a page needs playwright: pip install -c constraints.txt -e '.[capture]'")
    if found := next(filter(None, map(shutil.which, CHROMIUM)), None):
        return found
    raise PageError(f"no Chromium here ({', '.join(CHROMIUM)}): apt-get install chromium")


def chromium_version() -> str:
    """What the Chromium here calls itself; raises what `find_chromium` raises."""
    done = subprocess.run([find_chromium(), "--version"], capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or "unknown"


def finished(coroutine: Coroutine):
    """What it returns, also where an event loop runs already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


class Guard:
    """Refuses what a page must not do, and keeps notes of it; `crashed` says that the page has."""

    def __init__(self, url: str) -> None:
        self.origin = check_url(url)
        self.crashed = False
        self._notes: Counter[str] = Counter()

    def inside(self, url: str) -> bool:
        """Whether the URL is of the page's origin."""
        return origin(url) == self.origin

    def note(self, text: str) -> None:
        """Remember a refusal; parts of the text may be the page's."""
        self._notes[printable(text)] += 1

    def take(self) -> list[str]:
        """The notes since the last call, each once with how often it came."""
        notes = [text if times == 1 else f"{text} ({times} times)" for text, times in self._notes.items()]
        self._notes.clear()
        return notes

    async def watch(self, page) -> None:
        """Stand by a page (playwright's) that is the only one of its context."""
        self.page = page
        await page.context.route("**/*", self._route)
        page.context.on("page", self._close)
        page.on("dialog", self._dismiss)
        page.on("download", self._download)
        page.on("filechooser", lambda _: self.note("file chooser ignored"))
        page.on("crash", lambda _: setattr(self, "crashed", True))
        page.on("requestfailed", self._failed)

    async def _route(self, route) -> None:
        request = route.request
        if self.inside(request.url):
            return await route.continue_()
        self._refused(request)
        # for any other reason than "aborted" an error page would take the page's place; a popup needs one to be seen
        return await route.abort("aborted" if self._leaving(request) else "blockedbyclient")

    def _leaving(self, request) -> bool:
        """Whether the page itself is to go somewhere, not a frame in it, nor a popup (which has no frame yet)."""
        with suppress(browser_errors()):
            return request.is_navigation_request() and request.frame == self.page.main_frame
        return False

    def _refused(self, request) -> None:
        kind = "navigation" if self._leaving(request) else "request"
        self.note(f"{kind} to another origin blocked: {origin(request.url) or request.url[:60]}")

    def _failed(self, request) -> None:
        """A redirect passes no route handler; the proxy has stopped it."""
        if request.redirected_from and not self.inside(request.url):
            self._refused(request)

    async def _close(self, popup) -> None:
        self.note("popup closed")
        with suppress(browser_errors()):
            await popup.close()

    async def _download(self, download) -> None:
        with suppress(browser_errors()):
            done = "refused" if await download.failure() else "let through"
            self.note(f"download {done}: {download.suggested_filename:.60}")

    async def _dismiss(self, dialog) -> None:
        self.note(f"{dialog.type} dismissed: {dialog.message:.60}")
        with suppress(browser_errors()):
            await dialog.dismiss()


def browser_errors() -> type[Exception]:
    """playwright's error, of which its TimeoutError is one; imported only where it is needed."""
    from playwright.async_api import Error

    return Error


@asynccontextmanager
async def opened(url: str, guard: Guard, size: tuple[int, int], seconds: float) -> AsyncIterator:
    """The page at `url` (playwright's), loaded, in a window of `size` (width, height) px.

    Raises PageError where it does not load within `seconds`, and what `find_chromium` raises.
    """
    async with launched(guard.origin) as browser:
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]}, accept_downloads=False, service_workers="block"
        )
        page = await context.new_page()
        await guard.watch(page)
        await load(page, url, guard, seconds)
        yield page


@asynccontextmanager
async def launched(inside: str) -> AsyncIterator:
    """A Chromium (playwright's) that reaches the origin `inside` only; raises what `find_chromium` raises."""
    chromium = find_chromium()
    from playwright.async_api import async_playwright

    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and never listens: what connects to this port is refused
        async with async_playwright() as playwright:
            browser = await _launch(playwright, chromium, _fence(inside, nobody.getsockname()[1]))
            try:
                yield browser
            finally:
                with suppress(browser_errors()):
                    await browser.close()


async def _launch(playwright, path: str, proxy: dict[str, str]):
    sandbox = os.geteuid() != 0  # without it playwright says --no-sandbox, which root needs
    try:
        return await playwright.chromium.launch(
            executable_path=path, args=list(ARGUMENTS), chromium_sandbox=sandbox, proxy=proxy
        )
    except browser_errors() as error:
        raise PageError(f"{path} does not start: {error.message.splitlines()[0]}") from None


def _fence(inside: str, nobody: int) -> dict[str, str]:
    """A proxy at the port `nobody` for everything but the origin `inside` and its web sockets."""
    sockets = inside.replace("http", "ws", 1)
    return {"server": f"http://127.0.0.1:{nobody}", "bypass": f"<-loopback>,{inside},{sockets}"}


async def load(page, url: str, guard: Guard, seconds: float, until: str = "domcontentloaded") -> None:
    """Go to a page and wait for its event `until`; raises PageError where it does not come, or with an error status."""
    try:
        response = await page.goto(url, timeout=1000 * seconds, wait_until=until)
    except browser_errors() as error:
        reason = "; ".join(guard.take()) or shown(error.message.splitlines()[0].removeprefix("Page.goto: "))
        raise PageError(f"{shown(url)}: {reason}") from None
    if response is not None and response.status >= 400:
        raise PageError(f"{shown(url)}: the server answered with status {response.status}")
