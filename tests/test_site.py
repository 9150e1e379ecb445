"""The course as web pages: links lead somewhere, pictures have a text, and nothing is loaded from anywhere."""

import re
import shutil

import pytest
from bs4 import BeautifulSoup
from small_profile import ROOT

from forge_core import paths, site
from forge_core.course import obstacle
from forge_core.params import MODELS

LOADS = {"src", "srcset", "data", "poster", "background", "action", "formaction"}  # besides href of other tags than a


def test_a_run_that_has_not_finished_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    shutil.copyfile(ROOT / "README.md", tmp_path / "README.md")
    with pytest.raises(FileNotFoundError, match="run notebook 01_explore_data of run 'r' first"):
        site.build("r", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_a_site_of_the_course_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "pages", lambda run: [])
    (tmp_path / "index.html").write_text("<title>My page</title>")
    with pytest.raises(ValueError, match="is not empty and no site of the course: choose another folder"):
        site.build("r", tmp_path)
    assert (tmp_path / "index.html").read_text() == "<title>My page</title>"


def test_anchors_are_those_of_the_hosts():
    assert site.slug("What `forge vast` costs, and why") == "what-forge-vast-costs-and-why"


@pytest.fixture(scope="module")
def built(course, tmp_path_factory):
    """The site of the small course, with the project's own texts: page -> soup."""
    home, out = course[0], tmp_path_factory.mktemp("site")
    shutil.copyfile(ROOT / "README.md", home / "README.md")
    shutil.copytree(ROOT / "docs", home / "docs", dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(paths, "ROOT", home)
        assert site.build("embedded", out) == site.build("embedded", out) == out / "index.html"
    return {page: BeautifulSoup(page.read_text(), "html.parser") for page in out.rglob("*.html")}


def own(built) -> dict:
    """Without the report, which has tests of its own."""
    return {page: soup for page, soup in built.items() if page.name != "report.html"}


@pytest.mark.slow
def test_lessons_solutions_and_docs_have_pages_and_each_page_lists_all(built):
    root = next(page for page in built if page.name == "index.html").parent
    found = {page.relative_to(root).as_posix() for page in built}
    lessons = {f"lessons/{name}.html" for name in MODELS if not obstacle(name)}
    lessons |= {f"solutions/{name}.html" for name in MODELS}
    docs = {f"docs/{file.stem}.html" for file in (ROOT / "docs").glob("*.md")}
    assert found == {"index.html", "lessons/report.html"} | lessons | docs
    for page, soup in own(built).items():
        listed = [(page.parent / link["href"]).resolve() for link in soup.nav("a")]
        assert sorted(listed) == sorted(built) and len(soup.nav("a", {"aria-current": "page"})) == 1
    first = own(built)[root / "lessons" / "01_explore_data.html"]
    assert first.find("a", rel="next")["href"] == "02_preprocess.html" and not first.find("a", rel="prev")
    assert "You will be able to" in first.get_text() and "from forge_core.results import start" in first.get_text()


@pytest.mark.slow
def test_links_lead_to_pages_and_anchors_that_exist(built):
    for page, soup in own(built).items():
        for href in [link["href"] for link in soup("a", href=True) if not link["href"].startswith("http")]:
            file, _, anchor = href.partition("#")
            target = built[(page.parent / file).resolve() if file else page]
            assert not anchor or target.find(id=anchor), f"{page.name}: {href}"


@pytest.mark.slow
def test_nothing_is_loaded_and_nothing_runs(built):
    for soup in own(built).values():
        assert soup("script") == soup("iframe") == soup("link") == []
        sources = [value for tag in soup(True) for key, value in tag.attrs.items() if key in LOADS]
        sources += re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", "".join(style.get_text() for style in soup("style")))
        assert all(isinstance(source, str) and source.startswith("data:image/") for source in sources)
        assert not [tag for tag in soup(True) if any(key.startswith("on") for key in tag.attrs)]
        policy = soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
        assert policy.startswith("default-src 'none'; img-src data:;")


@pytest.mark.slow
def test_every_picture_has_a_text(built):
    pictures = {page.name: [image.get("alt") for image in soup("img")] for page, soup in own(built).items()}
    assert all(len(pictures[f"{name}.html"]) > 0 for name in ("index", "spot"))
    lessons = [soup("img") for page, soup in own(built).items() if page.parent.name == "lessons"]
    assert len(lessons) >= 5 and all(lessons)  # the sixth runs where there is a Chromium
    assert [alt for texts in pictures.values() for alt in texts if not alt or alt.startswith("No description")] == []
