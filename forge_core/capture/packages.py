"""The page packages of ForgeSpot: pinned, MIT-licensed releases on npm and PyPI, whose HTML pages are served.

    folder = unpack(PACKAGES["fomantic-ui"], Path("data/forgespot/packages"))
    pages(PACKAGES["fomantic-ui"], folder)  # ['examples/attached.html', ...]

The packages come by `npm pack` and `pip download`, so the registry settings of this machine hold, and a file whose hash
is not the table's is not used. A page that needs other hosts to look right, or shows nothing to click, is not listed.
"""

import base64
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from forge_core.data import archives

SECONDS = 600  # that fetching a package may take
WEB = ("desktop", "tablet", "phone")
_MIT = "permission is hereby granted, free of charge, to any person obtaining a copy"


class PackageError(OSError):
    """A package that cannot be had or must not be used: which, why, and what to do."""


@dataclass(frozen=True)
class Package:
    """A release whose folder `root` is served. `pages` minus `without` are glob patterns below it.

    `digest` is npm's integrity, or "sha256-" and base64 for PyPI. `copies` (file, pages): a file below `root` for which
    those pages ask below their own folder. `start` is JavaScript that makes a loaded page show its content.
    """

    name: str
    registry: str  # npm | pypi
    version: str
    digest: str
    licence_file: str
    root: str
    pages: tuple[str, ...]
    viewports: tuple[str, ...]
    part: str  # train | test
    without: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    start: str = ""
    licence: str = "MIT"

    @property
    def archive(self) -> str:
        """The name of the file which the registry's own command writes."""
        return f"{self.name}-{self.version}" + (".tgz" if self.registry == "npm" else "-py3-none-any.whl")

    @property
    def command(self) -> tuple[str, ...]:
        """What fetches the archive into a folder named after it."""
        if self.registry == "npm":
            return ("npm", "pack", f"{self.name}@{self.version}", "--pack-destination")
        wheel = ("--no-deps", "--only-binary", ":all:")  # a source would be run by pip, before its hash is looked at
        return (sys.executable, "-m", "pip", "download", *wheel, f"{self.name}=={self.version}", "--dest")


# tasks of MiniWoB++ with named things to click; the others are drawing, dragging, fields without a name, or repeats
_TASKS = (
    *("book-flight-nodelay", "buy-ticket", "choose-list", "click-button-sequence", "click-checkboxes"),
    *("click-checkboxes-large", "click-checkboxes-soft", "click-collapsible-2-nodelay", "click-dialog"),
    *("click-dialog-2", "click-link", "click-menu", "click-menu-2", "click-option", "click-scroll-list"),
    *("click-tab", "click-tab-2", "click-tab-2-hard", "click-test", "click-test-2", "click-widget", "count-shape"),
    *("count-sides", "email-inbox", "form-sequence-3", "generate-number", "identify-shape", "login-user"),
    *("multi-layouts", "navigate-tree", "phone-book", "search-engine", "sign-agreement", "stock-market"),
    *("use-autocomplete-nodelay", "use-spinner"),
)
# a task is 160 px wide, waits behind a cover, and has a clock beside it
_TASK_START = """
core.EPISODE_MAX_TIME = 1e9;
core.startEpisodeReal();
for (const id of ['reward-display', 'click-canvas']) document.getElementById(id).style.display = 'none';
document.documentElement.style.zoom = innerWidth / 160;
"""
_TABLE = (
    Package(
        name="startbootstrap-sb-admin-2",
        registry="npm",
        version="4.1.4",
        digest="sha512-Zr0JNu4tRD4EJVDwVLETKWfMniFx4Dy3qAnJ96ucqUqIZ8Ns4/H5a6Y0E44/K5lxO05EBQwi24hPxaLEz+2IhA==",
        licence_file="package/LICENSE",
        root="package",
        pages=("*.html",),
        viewports=WEB,
        part="train",
    ),
    Package(
        name="admin-lte",
        registry="npm",
        version="2.4.18",
        digest="sha512-AfIdoUWdbQA0OmW7PnP8GJ3u6RMKNXefN3DRTBHCQXd7VeyJahUfZWtV62ppDxcdjpx0L08ypPV55ARmdGdOIw==",
        licence_file="package/LICENSE",
        root="package",
        pages=("index.html", "index2.html", "starter.html", "pages/*.html", "pages/*/*.html"),
        # CKEditor is not MIT; pictures and a film of other hosts; nothing to click
        without=("pages/forms/editors.html", "pages/UI/timeline.html", "pages/examples/invoice-print.html"),
        viewports=WEB,
        part="train",
    ),
    Package(
        name="gentelella",
        registry="npm",
        version="4.2.0",
        digest="sha512-etbwRsQv+fl5tAnmE+SCZGGWWU6H6EudoWFZEPDJ93jGtVlDOnUmG09XW/BY+V3K1n28jZJ3fJx4V3WH7MVzOQ==",
        licence_file="package/LICENSE.txt",
        root="package/dist",
        pages=("production/*.html",),
        without=("production/map.html",),  # its map's style and tiles lie on other hosts
        viewports=WEB,
        part="train",
    ),
    Package(
        name="fomantic-ui",
        registry="npm",
        version="2.9.4",
        digest="sha512-vuZ0LDIXqCW4yo9FQ5E8nUHxs7NdgzsvkGIKk3djDkMOcEPi3qYqhFdik410ZlUOZkej0Cp4wJ7AvbYGGSJtow==",
        licence_file="package/LICENSE.md",
        root="package",
        pages=("examples/*.html", "examples/components/*.html"),
        without=("examples/grid.html", "examples/components/table.html"),  # nothing to click
        viewports=WEB,
        part="test",
    ),
    Package(
        name="spectre.css",
        registry="npm",
        version="0.5.9",
        digest="sha512-9jUqwZmCnvflrxFGcK+ize43TvjwDjqMwZPVubEtSIHzvinH0TBUESm1LcOJx3Ur7bdPaeOHQIjOqBl1Y5kLFw==",
        licence_file="package/LICENSE",
        root="package/docs",
        pages=("*.html", "*/*.html"),
        without=("examples/starter.html", "rtl.html", "elements/media.html"),  # bare; broken; a film of another host
        viewports=WEB,
        part="test",
    ),
    Package(
        name="jquery-mobile",
        registry="npm",
        version="1.4.1",
        digest="sha512-5CIKR+jQ34GMNz8vGpiNIxQ2zfmEXpbCI0hFfyHYi/MDhdkJLpk2lFl2txjPxkAbHSvJLntNJgS//OrA1nBIkg==",
        licence_file="package/MIT-LICENSE.txt",
        root="package/dist/demos",
        pages=("index.html", "*/*.html"),
        without=(
            *("examples/*", "faq/*", "widgets/*", "intro/rwd.html"),  # of an older release: their styles are gone
            *("old-faq-pages/*", "swipe-page/[!i]*", "tabs/ajax-content.html"),  # text; photos; a fragment
            *("backbone-requirejs/*", "datepicker/*", "listview-nested-lists/*"),  # need what is not here, ...
            *("map-*/*", "popup-iframe/*", "theme-classic/*", "icons-grunticon/*"),  # ... or lies on other hosts
            "_*/*",  # parts of other pages
        ),
        copies=(("js/jquery.js", "*/*.html"),),
        viewports=("phone", "tablet"),
        part="test",
    ),
    Package(
        name="miniwob",
        registry="pypi",
        version="1.1.0",
        digest="sha256-KXAG6EIZ1WrQN+hDUn7Xc6SoJQncQ7YDHsSjrT4+Ydk=",
        licence_file="miniwob-1.1.0.dist-info/licenses/LICENSE",
        root="miniwob/html",
        pages=tuple(f"miniwob/{task}.html" for task in _TASKS),
        viewports=("phone",),
        part="test",
        start=_TASK_START,
    ),
)
PACKAGES = {package.name: package for package in _TABLE}


def unpack(package: Package, cache: Path) -> Path:
    """The folder to serve: fetched once into `cache`, hash and licence checked. Raises PackageError, ArchiveError."""
    cache.mkdir(parents=True, exist_ok=True)
    whole = archives.unpack(_fetched(package, cache), cache / f"{package.name}-{package.version}")
    licence = whole / package.licence_file
    text = " ".join(licence.read_text(encoding="utf-8", errors="replace").lower().split()) if licence.is_file() else ""
    if _MIT not in text:
        raise PackageError(f"{package.name} {package.version}: {package.licence_file} is not an MIT licence; not used")
    folder = whole / package.root
    for file, beside in package.copies:
        for page in folder.glob(beside):
            _link(folder / file, page.parent / file)
    return folder


def pages(package: Package, folder: Path) -> list[str]:
    """Paths of the package's pages below the folder that is served, sorted. Raises PackageError where there is none."""
    found = {path for pattern in package.pages for path in folder.glob(pattern)}
    found -= {path for pattern in package.without for path in folder.glob(pattern)}
    if not found:
        raise PackageError(f"{package.name} {package.version}: no page in {folder} matches {', '.join(package.pages)}")
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _fetched(package: Package, cache: Path) -> Path:
    """The package's archive in `cache`, of which the hash has been looked at."""
    archive = cache / package.archive
    if archive.exists():
        _check(package, archive)
        return archive
    with TemporaryDirectory(dir=cache) as folder:
        _fetch(package, folder)
        new = Path(folder) / package.archive
        if not new.is_file():
            found = ", ".join(path.name for path in Path(folder).iterdir()) or "nothing"
            raise PackageError(f"{package.name}: expected {new.name} from the registry, got {found}")
        _check(package, new)
        return new.replace(archive)


def _fetch(package: Package, folder: str) -> None:
    command, by_hand = package.command, f"{shlex.join(package.command)} {Path(folder).parent}"
    if not shutil.which(command[0]):
        raise PackageError(f"{package.name} needs npm, which is not here: apt-get install npm; or elsewhere: {by_hand}")
    try:
        done = subprocess.run([*command, folder], capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired:
        told = f"{package.name} {package.version}: not fetched within {SECONDS} s"
        raise PackageError(f"{told}; by hand: {by_hand}") from None
    if done.returncode:
        said = "; ".join(done.stderr.strip().splitlines()[-2:])
        raise PackageError(f"{package.name} {package.version} cannot be fetched: {said}. When online again: {by_hand}")


def _check(package: Package, archive: Path) -> None:
    algorithm = package.digest.partition("-")[0]
    with archive.open("rb") as opened:
        found = hashlib.file_digest(opened, algorithm).digest()
    told = f"{algorithm}-{base64.b64encode(found).decode()}"
    if told != package.digest:
        raise PackageError(
            f"{package.name} {package.version}: {archive} is not the release that was looked at, and is not used: "
            f"expected {package.digest}, found {told}; delete it to fetch it again"
        )


def _link(file: Path, place: Path) -> None:
    """The file at a second place, too; a hard link is there whole or not at all."""
    place.parent.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        os.link(file, place)
