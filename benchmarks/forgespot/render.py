"""Screens to train on, rendered by Chromium: made-up pages, and pages of packages with their own and with other words.

    python -m benchmarks.forgespot.render SITE OUT --screens 2000 --seed 0

SITE is a folder with `fonts/` (font files; fontawesome/ and bootstrap-icons/, unpacked npm packages), `plain/` (style
sheets) and `packages/NAME/` (unpacked npm packages whose pages are taken). OUT gets `screens.jsonl` and `images/`: a
second run goes on where the first one stopped. Only loopback is reachable.
"""

import argparse
import json
import re
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread

from playwright.sync_api import Browser, Error, Page, Route, sync_playwright

from benchmarks.forgespot.pages import FAMILIES, page
from benchmarks.forgespot.words import like, phrase
from forge_core.data.images import rgb

VIEWPORTS = {"desktop": (1280, 800), "tablet": (820, 1180), "phone": (390, 844)}
SHARES = (0.55, 0.2, 0.25)
LOOPBACK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
EXTRACT = Path(__file__).with_name("extract.js").read_text()
TEXTS = """() => { const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  for (let node; (node = walker.nextNode());)
    if (/[A-Za-z]/.test(node.data) && !['SCRIPT', 'STYLE'].includes(node.parentElement.tagName)) found.push(node)
  const attributes = []
  for (const node of document.querySelectorAll('[placeholder],[aria-label],[title],input[value]'))
    for (const name of ['placeholder', 'aria-label', 'title', 'value'])
      if (node.getAttribute(name)) attributes.push([node, name])
  window.spots = [found, attributes]
  return [...found.map(node => node.data), ...attributes.map(([node, name]) => node.getAttribute(name))] }"""
REPLACE = """texts => { const [found, attributes] = window.spots
  found.forEach((node, at) => { node.data = texts[at] })
  attributes.forEach(([node, name], at) => {
    node.setAttribute(name, texts[found.length + at])
    if (name === 'value') node.value = texts[found.length + at] }) }"""
STILL = "*,*::before,*::after{animation:none!important;transition:none!important;caret-color:transparent!important}"
LETTERS = "body,body *:not(i):not([class*=icon]):not([class*=fa]):not([class*=glyph]):not([class*=ion])"


class Site(SimpleHTTPRequestHandler):
    """A package's files, and below /fonts and /plain those that all pages share."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments, shared: Path, **named):
        self.shared = shared
        super().__init__(*arguments, **named)

    def translate_path(self, path: str) -> str:
        if path.startswith(("/fonts/", "/plain/")):
            return str(self.shared / path.lstrip("/").partition("?")[0])
        return super().translate_path(path)

    def log_message(self, *_) -> None:
        pass


def serve(folder: Path, shared: Path) -> str:
    """The folder on a free port of loopback; the origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(folder), shared=shared))
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def icons(site: Path) -> list[tuple[str, str]]:
    """CSS classes and name of every icon of the two icon fonts that is not a brand's."""
    found = []
    css = (site / "fonts/fontawesome/css/fontawesome.css").read_text()
    for name in re.findall(r"^\.fa-([a-z][a-z0-9-]+)\s*\{\s*--fa:", css, re.MULTILINE):
        found.append((f"fas fa-{name}", name.replace("-", " ")))
    names = json.loads((site / "fonts/bootstrap-icons/font/bootstrap-icons.json").read_text())
    found += [(f"bi bi-{name}", re.sub(r" fill$", "", name.replace("-", " "))) for name in names]
    return found


def package_pages(site: Path) -> list[tuple[str, str]]:
    """(package, URL) of the packages' own pages, without those of the libraries that they carry."""
    skipped = re.compile(r"/(bower_components|node_modules|plugins|vendor|docs|documentation|build)/")
    found = []
    for package in sorted((site / "packages").iterdir()):
        root = package / "dist" if (package / "dist/index.html").is_file() else package
        origin = serve(root, site)
        pages = [path for path in sorted(root.rglob("*.html")) if path.stat().st_size > 1500]
        paths = [str(path.relative_to(root)) for path in pages if not skipped.search(f"/{path.relative_to(root)}")]
        found += [(package.name, f"{origin}/{path}") for path in paths]
    return found


def screens(browser: Browser, site: Path, rng: Random) -> Iterator[tuple[dict, bytes]]:
    """Endless rows with their pictures (PNG), several of each page."""
    origin, known, own = serve(site, site), icons(site), package_pages(site)
    sources = sorted({package for package, _ in own})
    while True:
        name = rng.choices(list(VIEWPORTS), SHARES)[0]
        width, height = VIEWPORTS[name]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=rng.choice(("light", "light", "dark")),
            reduced_motion="reduce",
        )
        tab = context.new_page()
        tab.set_default_timeout(15000)
        try:
            if rng.random() < 0.5:
                chosen = rng.choice(sources)
                url = rng.choice([url for package, url in own if package == chosen])
                yield from package_screens(tab, chosen, url, rng, name)
            else:
                fulfil = partial(answer, html=page(rng, known, name == "phone"))
                tab.route(f"{origin}/made.html", fulfil)
                tab.goto(f"{origin}/made.html", wait_until="load")
                tab.add_style_tag(content=STILL)
                yield from shots(tab, rng, name, "made", 2)
        except Error as error:
            print(f"left out: {str(error).splitlines()[0]}", flush=True)
        finally:
            context.close()


def answer(route: Route, html: str) -> None:
    route.fulfill(body=html, content_type="text/html")


def package_screens(tab: Page, source: str, url: str, rng: Random, name: str) -> Iterator[tuple[dict, bytes]]:
    """A package's page as it is, then with other words, letters and colours."""
    tab.goto(url, wait_until="load")
    tab.add_style_tag(content=STILL)
    tab.wait_for_timeout(300)
    if rng.random() < 0.5:
        yield from shots(tab, rng, name, source, 1)
    texts = tab.evaluate(TEXTS)
    for _ in range(4):
        other = [like(rng, text) if rng.random() < 0.9 else text for text in texts]
        other = [phrase(rng) if text.strip() and len(text) < 25 and rng.random() < 0.3 else text for text in other]
        tab.evaluate(REPLACE, other)
        tab.add_style_tag(content=dress(rng))
        yield from shots(tab, rng, name, source, 1)


def dress(rng: Random) -> str:
    """Another font, size and tint for a page."""
    family = rng.choices(list(FAMILIES), list(FAMILIES.values()))[0]
    tint = rng.choice(
        ("none", "none", f"hue-rotate({rng.randrange(360)}deg)", "invert(1)", "grayscale(1)", "contrast(.8)")
    )
    sheet = f"@import url(/fonts/fonts.css);html{{filter:{tint};background:#fff}}"
    if rng.random() < 0.7:
        sheet += f"{LETTERS}{{font-family:'{family}'!important}}"
    if rng.random() < 0.5:
        sheet += f"body{{zoom:{rng.choice((0.85, 0.92, 1.1, 1.2, 1.3))}}}"
    return sheet


def shots(tab: Page, rng: Random, viewport: str, source: str, count: int) -> Iterator[tuple[dict, bytes]]:
    """The page at `count` scroll positions."""
    for number in range(count):
        if number or rng.random() < 0.4:
            tab.evaluate("share => scrollTo(0, share * (document.body.scrollHeight - innerHeight))", rng.random())
        tab.evaluate("document.fonts.ready")
        found = tab.evaluate(EXTRACT)
        if len(found["words"]) >= 4:
            width, height = VIEWPORTS[viewport]
            yield {"source": source, "width": width, "height": height} | found, tab.screenshot()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--screens", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quality", type=int, default=40, help="of the WebP pictures")
    arguments = parser.parse_args()
    images, rows = arguments.out / "images", arguments.out / "screens.jsonl"
    images.mkdir(parents=True, exist_ok=True)
    done = len(rows.read_text().splitlines()) if rows.exists() else 0
    with sync_playwright() as playwright, rows.open("a") as file:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox", LOOPBACK])
        rng = Random(arguments.seed * 1000003 + done)
        for row, picture in screens(browser, arguments.site, rng):
            row["image"] = f"{arguments.seed}_{done:05d}.webp"
            rgb(picture, row["image"]).save(images / row["image"], quality=arguments.quality, method=3)
            file.write(json.dumps(row, separators=(",", ":")) + "\n")
            file.flush()
            done += 1
            if done >= arguments.screens:
                break
            if done % 100 == 0:
                print(f"{done}/{arguments.screens}", flush=True)


if __name__ == "__main__":
    main()
