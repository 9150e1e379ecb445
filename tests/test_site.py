"""The course as web pages: links lead somewhere, pictures have a text, and nothing is loaded from anywhere."""

import importlib.util
import json
import os
import re
import shutil
from base64 import b64decode

import nbformat
import pytest
from bs4 import BeautifulSoup
from small_profile import ROOT
from web_server import unasked

from forge_core import paths, site
from forge_core.course import obstacle
from forge_core.doctor import CHROMIUM
from forge_core.params import MODELS
from forge_core.results import FILE

LOADS = {"src", "srcset", "data", "poster", "background", "action", "formaction"}  # besides href of other tags than a
RECORD = {"status": "ok", "params": {}, "metrics": {}, "inputs": {}, "outputs": {}, "seconds": 1.0}
RECORD |= {"environment": {"device": "cpu", "forge": "1"}}


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


PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="


def evil_html(url: str) -> str:
    """What a page must not do, in each way that there is; `url` is to be asked for nothing."""
    return f"""<meta http-equiv=refresh content="0;url={url}/meta"><base href="{url}/">
<link rel=stylesheet href="{url}/c"><script src="{url}/s"></script>
<script>document.title = 'ran'; location = '{url}/run'</script>
<style>@import "{url}/i"; body {{ background: url({url}/b) }}</style>
<p style="background: url({url}/p); color: red">Red</p>
<p style="color: red; --model: u\\72l({url}/e)">Escaped</p><p onclick=evil() onmouseover=evil()>Handlers</p>
<img src="{url}/x.png" srcset="{url}/y.png 2x" onerror="location='{url}/onerror'"><img src="data:text/html,x">
<img src="../../../secret.png" alt=secret><video src="{url}/v" poster="{url}/o" autoplay></video>
<audio src="{url}/a"></audio>
<iframe src="{url}/f"></iframe><iframe srcdoc="<script>top.location='{url}/srcdoc'</script>"></iframe>
<object data="{url}/o"></object><embed src="{url}/e"><frameset><frame src="{url}/f"></frameset>
<form action="{url}/form" id=f><input name=q autofocus onfocus="f.submit()">
<button formaction="{url}/b">Send</button></form>
<a href="javascript:location='{url}/js'">Script</a> <a href=" java&#10;script:evil()">Script</a>
<a href="&#106;avascript:evil()">Script</a> <a href="data:text/html,<script>evil()</script>">Data</a>
<a href="vbscript:evil()">Script</a> <a href="//[">None</a> <a href="https://example.org/" ping="{url}/ping">Link</a>
<svg onload="location='{url}/svg'"><script>location='{url}/svgs'</script><image href="{url}/i.svg"/>
<use href="{url}/u#a"/>
<animate attributeName=href values="javascript:evil()"/><foreignObject>
<iframe src="{url}/fo"></iframe></foreignObject>
<set attributeName=onload to="evil()"/><rect fill="url({url}/fill#a)" width=1 height=1 /></svg>
<math><mi xlink:href="javascript:evil()">x</mi><mglyph>
<style><!--</style><img title="--&gt;&lt;img src={url}/mx&gt;"></math>
<!--><img src="{url}/comment"><script>location='{url}/late'</script>-->
<noscript><p title="</noscript><img src={url}/n>"></p></noscript>
<textarea><img src="{url}/t"></textarea><template><img src="{url}/tm"></template>
<table background="{url}/table"></table>
<img src="data:image/png;base64,{PNG}" alt="A dot"><img src="data:image/svg+xml;base64,PHN2Zy8+">"""


def evil_notebook(url: str) -> nbformat.NotebookNode:
    """A notebook as a rented host may send it."""
    html, new = evil_html(url), nbformat.v4
    kinds = {"text/html": html, "image/svg+xml": f"<svg xmlns='http://www.w3.org/2000/svg'>{html}</svg>"}
    kinds |= {"application/javascript": f"location = '{url}/js'", "text/markdown": f"![x]({url}/md.png) {html}"}
    kinds |= {"text/latex": f"$</script>{html}$", "text/plain": html, "application/json": {"a": html}}
    kinds |= {"image/png": f'x" onerror="location=`{url}/png`', "application/vnd.jupyter.widget-view+json": {"a": 1}}
    outputs = [new.new_output("display_data", data={kind: data}) for kind, data in kinds.items()]
    outputs += [new.new_output("stream", text=html), new.new_output("error", ename=html, evalue=html, traceback=[html])]
    markdown = (
        f"# A lesson\n\n![inside](attachment:a.html) ![secret](../../../secret.png) [x](javascript:evil())\n\n{html}"
    )
    attached = new.new_markdown_cell(markdown, attachments={"a.html": {"text/html": PNG}})
    raw = new.new_raw_cell(html, metadata={"raw_mimetype": "text/html", "tags": ['"><script>1</script>']})
    book = new.new_notebook(cells=[attached, new.new_code_cell(html, outputs=outputs), raw])
    book.metadata = {"widgets": {"application/vnd.jupyter.widget-state+json": {"state": {"a": html}}}, "title": html}
    return book


@pytest.fixture(scope="module")
def other():
    with unasked() as server:
        yield server


@pytest.fixture(scope="module")
def pulled(other, tmp_path_factory):
    """The site of a run that came from a host that means harm; page -> soup."""
    home = tmp_path_factory.mktemp("pulled")
    (home / "README.md").write_text("# The course")
    (home / "secret.png").write_bytes(b64decode(PNG))
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A lesson")])
    for name in MODELS:
        folder = home / "runs" / "r" / name
        folder.mkdir(parents=True)
        nbformat.write(evil_notebook(other.url) if name == next(iter(MODELS)) else plain, folder / f"{name}.ipynb")
        environment = {"device": "<script>1</script>", "forge": "\x1b[2J"}
        (folder / FILE).write_text(json.dumps(RECORD | {"environment": environment}))
    report = f"<title>A report</title><body>{evil_html(other.url)}<form id=filters></form><div class=sample>kept</div>"
    (home / site.REPORT.format(run="r")).write_text(report)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(paths, "ROOT", home)
        site.build("r", home / "site")
    made = [home / "site" / "lessons" / f"{name}.html" for name in (next(iter(MODELS)), "report")]
    return {page: BeautifulSoup(page.read_text(), "html.parser") for page in made}


TAGS = {"script", "iframe", "object", "embed", "base", "link", "frame", "video", "audio", "animate", "set", "math"}
TAGS |= {"foreignobject", "textarea", "template"}


def test_what_a_host_sent_is_text_and_pictures_and_no_more(pulled):
    for page, soup in pulled.items():
        report = page.name == "report.html"
        assert [tag.name for tag in soup(TAGS)] == (["script"] if report else [])  # which is our own, see below
        assert [tag["http-equiv"] for tag in soup("meta", {"http-equiv": True})] == ["Content-Security-Policy"]
        values = [(key, value) for tag in soup(True) for key, value in tag.attrs.items()]
        assert [
            key for key, _ in values if key.startswith("on") or key in ("srcset", "ping", "action", "formaction")
        ] == []
        sources = {value for key, value in values if key in LOADS} | {image.get("href") for image in soup("image")}
        assert sources - {None} == {f"data:image/png;base64,{PNG}"}
        styles = " ".join(str(value) for key, value in values if key == "style")
        assert "url(" not in styles and "\\" not in styles and "url(" not in soup.style.get_text()
        links = [link["href"] for link in soup.main("a", href=True)] if soup.main else []
        assert all(link.startswith(("https://example.org/", "#", "0")) or link.endswith(".html") for link in links)
        assert "Handlers" in soup.get_text() and soup.find("img", alt="A dot")
    page = next(page for page in pulled if page.name == "report.html")
    assert pulled[page].script.get_text() == write_report_script() and "kept" in pulled[page].get_text()


def write_report_script() -> str:
    return (ROOT / "forge_core" / "evaluation" / "templates" / "report.js").read_text()


@pytest.mark.slow
def test_what_a_host_sent_asks_for_nothing_in_a_browser(pulled, other):
    if importlib.util.find_spec("playwright") is None or not any(map(shutil.which, CHROMIUM)):
        pytest.skip("no playwright or no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, CHROMIUM)))
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=os.geteuid() != 0)
        for file in pulled:
            page, asked = browser.new_page(), []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(file.as_uri(), wait_until="networkidle")
            assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()] == [page.url]
            assert page.title() != "ran" and len(page.frames) == 1
        browser.close()
    assert other.requests == []


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("01_explore_data.ipynb", "{", "no text that begins with a heading"),
        ("01_explore_data.ipynb", "[]", "no text that begins with a heading"),
        ("01_explore_data.ipynb", '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}', "heading"),
        (FILE, json.dumps(RECORD | {"seconds": "x"}), "seconds: "),
        (FILE, json.dumps(RECORD | {"environment": []}), "environment: "),
        (FILE, "[1]", "must be an object"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(tmp_path, monkeypatch, name, damage, reason):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    (tmp_path / "README.md").write_text("# The course")
    folder = tmp_path / "runs" / "r" / "01_explore_data"
    folder.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(), folder / "01_explore_data.ipynb")
    (folder / FILE).write_text(json.dumps(RECORD))
    (folder / name).write_text(damage)
    with pytest.raises(ValueError, match=f"01_explore_data/{name}: .*{reason}") as caught:
        site.build("r", tmp_path / "out")
    assert "\n" not in str(caught.value)


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
