"""Where pages come from: a site on the web, or a folder served on 127.0.0.1; and which of its pages may be opened."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote, unquote, urlsplit
from urllib.robotparser import RobotFileParser

from forge_core import web
from forge_core.evaluation.browser import check_url, origin
from forge_core.text import printable
from forge_core.web import AGENT

ROBOTS_SECONDS, ROBOTS_BYTES = 20, 2**19  # the rest is not read; RFC 9309, 2.5: at least 500 KiB are
LONGEST_NAME = 40  # characters of a site's name, with which names of files begin; up to 4 bytes each
MAX_WAIT = 30.0  # s: a longer crawl delay of robots.txt is cut
# addresses which do something when they are opened
_DEEDS = re.compile(
    r"(?i)(?:^|[/?&=._-])(?:log-?_?out|log-?_?off|sign-?_?out|delete|remove|destroy|unsubscribe|deactivate|cancel|reset|"
    r"revoke|purge|drop|logoff|checkout|pay)(?:$|[/?&=._-])"
)
_FILES = re.compile(
    r"(?i)\.(?:pdf|zip|gz|tgz|tar|bz2|xz|7z|rar|dmg|exe|msi|deb|apk|iso|png|jpe?g|gif|webp|svg|ico|bmp|avif|mp[34]|webm|"
    r"ogg|wav|mov|avi|css|m?js|json|xml|rss|atom|txt|csv|xlsx?|docx?|pptx?|woff2?|ttf|eot|map)$"
)


class Robots(RobotFileParser):
    """Rules of a robots.txt by RFC 9309, where the standard library's parser is older than it.

    Groups of one name are one; `*` and `$` are patterns; of the rules that match, the longest counts (2.2).
    """

    def _add_entry(self, entry) -> None:
        if "*" in entry.useragents and self.default_entry:
            self.default_entry.rulelines += entry.rulelines
        else:
            super()._add_entry(entry)

    def can_fetch(self, useragent: str, url: str) -> bool:
        """Whether the rules for a program allow an address; all of its group's rules are looked at."""
        parts = urlsplit(url)
        target = quote(unquote(parts.path + (f"?{parts.query}" if parts.query else ""))) or "/"
        groups = [entry for entry in self.entries if entry.applies_to(useragent)]
        rules = [rule for entry in groups or filter(None, [self.default_entry]) for rule in entry.rulelines]
        found = [(len(unquote(rule.path)), rule.allowance) for rule in rules if _matches(rule.path, target)]
        return max(found, default=(0, True))[1]  # of two of one length the one that allows


def _matches(rule: str, target: str) -> bool:
    """Whether a path, quoted, begins as a rule says; in time that grows with their lengths."""
    rule = quote(unquote(rule), safe="/*$")
    first, *others = rule.removesuffix("$").replace("$", "%24").split("*")
    end = len(target)
    if rule.endswith("$"):
        if not others:
            return target == first
        last = others.pop()
        if not target.endswith(last):
            return False
        end -= len(last)
    at = len(first)
    if not target.startswith(first) or at > end:
        return False
    for part in others:
        if (at := target.find(part, at, end)) < 0:
            return False
        at += len(part)
    return True


@dataclass
class Site:
    """Pages of one origin. `base` is its origin; of a folder, `folder` says which, and addresses begin with `name`."""

    name: str
    base: str
    starts: list[str]
    folder: Path | None = None
    start: str = ""
    robots: Robots = field(default_factory=Robots)

    def label(self, url: str) -> str:
        """A page's address as it is written down: a folder's port is chance, so its name stands for it."""
        if self.folder is None:
            return url
        return self.name + url.removeprefix(self.base)

    def written(self, text: str) -> str:
        """A message about a page as it is written down."""
        return text if self.folder is None else text.replace(self.base, self.name)

    def address(self, label: str) -> str:
        """The address of a page that was written down."""
        return label if self.folder is None else self.base + label.removeprefix(self.name)

    def refusal(self, url: str) -> str:
        """Why a page is not to be opened, "" where it may be."""
        if origin(url) != self.base:  # or no URL at all
            return "another origin"
        parts = urlsplit(url)
        if _DEEDS.search(f"{parts.path}?{parts.query}"):
            return "an address that may do something"
        if _FILES.search(parts.path):
            return "not a page"
        return "" if self.folder or self.robots.can_fetch(AGENT, url) else "robots.txt"

    def wait(self, delay: float) -> float:
        """Seconds between two pages."""
        return 0.0 if self.folder else min(MAX_WAIT, max(delay, self.robots.crawl_delay(AGENT) or 0))


@dataclass(frozen=True)
class Place:
    """A URL or a folder to capture; of a folder `pages` may name its pages (default: all its HTML files).

    `start` is JavaScript that makes a loaded page show what it has.
    """

    address: str
    name: str = ""  # of the site; "" is the folder's name, or the host
    pages: tuple[str, ...] = ()
    start: str = ""


@contextmanager
def opened(place: Place, names: set[str]) -> Iterator[Site]:
    """The site at a place; `names` of sites are taken, and its own is added.

    Raises ValueError where it is neither, or a folder has no page; OSError where nobody answers there.
    """
    address = place.address
    if "://" in address:
        base = check_url(address)
        parts = urlsplit(address)
        start = base + (parts.path or "/") + (f"?{parts.query}" if parts.query else "")  # without a password in it
        site = Site(_free(place.name or urlsplit(base).netloc, names), base, [start])
        site.robots = _robots(base)
        yield site
        return
    folder = Path(address).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(f"{address}: neither a folder nor the address of a page (http://... or https://...)")
    pages = place.pages or _pages(folder)
    if not pages:
        raise ValueError(f"{address}: no .html file in this folder; name the folder that a web server would serve")
    with served(folder) as base:
        yield Site(
            _free(place.name or folder.name, names),
            base,
            [f"{base}/{quote(page)}" for page in pages],
            folder,
            place.start,
        )


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The origin at which a folder is served, on 127.0.0.1 only, as long as the block runs."""
    server = _Server(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_) -> None:
        """A browser may leave before it has read all."""


class _Quiet(SimpleHTTPRequestHandler):
    """Serves files of a folder, with no line a request."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {"": "application/octet-stream"}

    def log_message(self, *_) -> None:
        pass


def _pages(folder: Path) -> list[str]:
    """A folder's HTML files, those at the top first, an index before all."""
    found = [path.relative_to(folder).as_posix() for path in folder.rglob("*.htm*") if "node_modules" not in path.parts]
    return sorted(found, key=lambda name: (name.count("/"), not name.startswith("index."), name))


def _free(name: str, taken: set[str]) -> str:
    """`name` without what a file name cannot have, and with a number where it is taken."""
    name = re.sub(r"[^\w.-]", "-", name)[:LONGEST_NAME] or "site"
    number = next(number for number in range(1, len(taken) + 2) if number == 1 or f"{name}-{number}" not in taken)
    free = name if name not in taken else f"{name}-{max(number, 2)}"
    taken.add(free)
    return free


def _robots(base: str) -> Robots:
    """What robots.txt of a site says; where it cannot be had, nothing is allowed, and a line printed says why.

    Raises web.NotReachedError where there is no site.
    """
    try:
        return _rules(f"{base}/robots.txt")
    except web.NotReachedError:
        raise
    except OSError as error:
        print(printable(f"{error}; no link is followed, only the pages that you named are opened"), flush=True)
        nothing = Robots()
        nothing.parse(["User-agent: *", "Disallow: /"])
        return nothing


def _rules(url: str) -> Robots:
    """The rules of a robots.txt by RFC 9309, 2.3.1: none where there is none.

    Raises OSError where they cannot be had: no answer, an error of the server's, a redirect to another origin (which is
    not asked, as the capture reaches its own only); and, stricter than the RFC, where the file wants a login.
    """
    answer = web.get(url, seconds=ROBOTS_SECONDS, limit=ROBOTS_BYTES, elsewhere=False)
    if answer.status in (401, 403) or answer.status >= 500:
        raise OSError(f"{url}: the server answered with status {answer.status}")
    robots = Robots()
    try:
        robots.parse(answer.body.decode("utf-8-sig", "replace").splitlines() if answer.status < 300 else [])
    except ValueError as error:  # the parser fails at some numbers and addresses
        raise OSError(f"{url}: rules that cannot be read ({error})") from None
    return robots
