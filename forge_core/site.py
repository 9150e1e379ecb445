"""The course as web pages that need nothing else: the executed lessons of a finished run, the solutions, the docs.

    make site        # build/site/index.html, of run `embedded`; another one: make site RUN=vast-24gb

nbconvert turns notebooks and Markdown into HTML; links between them are made to fit. Pictures and styles are inside
the pages, which hold no script and load nothing from anywhere. What lies in runs/ may be from a rented host: of its
HTML only what `clean_html` allows is in the site; the report keeps its filters, by this version's script.
"""

import argparse
import posixpath
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
from bs4 import BeautifulSoup, Tag
from jinja2 import Environment, PackageLoader, Template
from markupsafe import Markup
from nbconvert import HTMLExporter
from pygments.formatters import HtmlFormatter

from forge_core import paths
from forge_core.clean_html import clean
from forge_core.evaluation.report import cleaned
from forge_core.params import MODELS, OPTIONAL
from forge_core.results import FILE, read_results
from forge_core.text import printable

NAME = "The Churninator Forge"
REPORT = "runs/{run}/05_evaluate_screenspot/report.html"
WIDGET = "application/vnd.jupyter.widget-view+json"
NO_KERNEL = "<p><i>A widget stands here while the notebook runs.</i></p>"
LIGHT, DARK = "vs", "github-dark"  # colours of code


@dataclass(frozen=True)
class Page:
    """One page: the file that it shows, where links expect that file, and its own address in the site."""

    section: str
    title: str
    file: Path
    source: str  # relative to the project
    address: str
    about: str = ""  # how the lesson was run


def build(run: str, out: Path) -> Path:
    """Write the site of a finished run into the folder `out`, replacing it; returns its first page.

    Raises:
        FileNotFoundError: a lesson of `run` has not finished; the message says which.
        ValueError: `out` holds something else than a site, or a file of the run cannot be read; the message names it.
    """
    site = pages(run)
    _clear(out)
    environment = Environment(loader=PackageLoader("forge_core"), autoescape=True)
    environment.globals |= {"name": NAME, "site": site, "code": _code_style()}
    template = environment.get_template("site.html")
    for page in site:
        target = out / page.address
        target.parent.mkdir(parents=True, exist_ok=True)
        html = _html(page, site, template)
        target.write_text(html, encoding="utf-8", errors="xmlcharrefreplace")  # a model may write half a character
    return out / "index.html"


def _html(page: Page, site: Sequence[Page], template: Template) -> str:
    try:
        if page.file.suffix == ".html":
            return cleaned(page.file.read_text(encoding="utf-8"))
        content = Markup(_content(page, site))
    except Exception as error:  # damaged notebooks and HTML fail in many ways
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{page.file}: cannot be shown ({reason:.200})") from None
    return template.render(page=page, content=content, to=_to(page), **_around(page, site))


def pages(run: str) -> list[Page]:
    """All pages in the order of the contents; an optional lesson that has not finished is left out.

    Raises FileNotFoundError where another one has not.
    """
    root = paths.ROOT
    found = [Page("Start", "The course", root / "README.md", "README.md", "index.html")]
    for name in MODELS:
        file, source = root / "runs" / run / name / f"{name}.ipynb", f"notebooks/{name}.ipynb"
        if name in OPTIONAL and not (file.parent / FILE).is_file():
            continue
        about = _about(run, name)  # first of all: it knows what to say where nothing ran
        found.append(Page("Lessons", _title(file), file, source, f"lessons/{name}.html", about))
    report = REPORT.format(run=run)
    if (root / report).is_file():
        found.append(Page("Lessons", "Report: sample by sample", root / report, report, "lessons/report.html"))
    for file in sorted((root / "notebooks" / "solutions").glob("*.ipynb")):
        source = f"notebooks/solutions/{file.name}"
        about = "Not executed here: run it after the lesson."
        found.append(Page("Solutions", _title(file), file, source, f"solutions/{file.stem}.html", about))
    for file in sorted((root / "docs").glob("*.md")):
        found.append(Page("Docs", _title(file), file, f"docs/{file.name}", f"docs/{file.stem}.html"))
    return found


def _clear(out: Path) -> None:
    """Delete an earlier site, and nothing else."""
    first = out / "index.html"
    if first.is_file() and f"{NAME}</title>" in first.read_text(encoding="utf-8"):
        shutil.rmtree(out)
    elif out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and no site of the course: choose another folder")


def slug(heading: str) -> str:
    """The anchor of a heading, as the usual hosts of Markdown make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _title(file: Path) -> str:
    """The first heading of a notebook or Markdown file. Raises ValueError where it does not begin with one."""
    try:
        return re.search(r"^# (.+)", _notebook(file).cells[0].source, re.MULTILINE).group(1)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{file}: no text that begins with a heading ({reason:.200})") from None


def _about(run: str, notebook: str) -> str:
    record = read_results(run, notebook)
    versions = record["environment"]
    return f"Run '{run}': {record['seconds']:.0f} s on {versions.get('device')}, forge {versions.get('forge')}."


def _notebook(file: Path) -> nbformat.NotebookNode:
    if file.suffix == ".md":
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(file.read_text(encoding="utf-8"))])
    return nbformat.read(file, as_version=4)


def _content(page: Page, site: Sequence[Page]) -> str:
    notebook = _notebook(page.file)
    notebook.metadata.pop("widgets", None)  # their state: no program here could read it
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if WIDGET in output.get("data", {}):
            output.data = {"text/html": NO_KERNEL}
    folder, outside = str((paths.ROOT / page.source).parent), page.section == "Lessons"
    exporter = HTMLExporter(  # a notebook from outside names no file of this machine to be embedded
        template_name="basic", embed_images=not outside, exclude_anchor_links=True,
        exclude_input_prompt=True, exclude_output_prompt=True,
    )  # fmt: skip
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"path": folder}})
    soup = BeautifulSoup(html, "html.parser")
    for heading in soup.find_all(re.compile("^h[1-6]$")):
        heading["id"] = slug(heading.get_text())
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "wide", "tabindex": "0"}))
    for link in soup.find_all("a", href=True):
        _point(link, page, site)
    return clean(str(soup)) if outside else str(soup)


def _point(link: Tag, page: Page, site: Sequence[Page]) -> None:
    """Make a link lead to the page of the file that it names; what has no page keeps its text alone."""
    try:
        parts = urlsplit(link["href"])
    except ValueError:  # http://[
        link.unwrap()
        return
    if parts.scheme or not parts.path:
        return
    named = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), unquote(parts.path)))
    found = next((other for other in site if other.source == named), None)
    if found is None:
        link.unwrap()
        return
    link["href"] = _to(page)(found) + (f"#{parts.fragment}" if parts.fragment else "")


def _to(page: Page):
    """The relative address of another page, seen from this one."""
    return lambda other: posixpath.relpath(other.address, posixpath.dirname(page.address) or ".")


def _around(page: Page, site: Sequence[Page]) -> dict[str, Page | None]:
    """The lessons before and after one."""
    lessons = [other for other in site if other.section == "Lessons" and other.about]
    if page not in lessons:
        return {"before": None, "after": None}
    place = lessons.index(page)
    return {"before": lessons[place - 1] if place else None, "after": next(iter(lessons[place + 1 :]), None)}


def _code_style() -> Markup:
    light, dark = (HtmlFormatter(style=style).get_style_defs(".highlight") for style in (LIGHT, DARK))
    return Markup(f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="embedded", help="a finished run below runs/")
    parser.add_argument("--out", type=Path, default=paths.ROOT / "build" / "site")
    arguments = parser.parse_args()
    try:
        print(build(arguments.run, arguments.out))
    except (OSError, ValueError) as error:
        sys.exit(printable(str(error)))
