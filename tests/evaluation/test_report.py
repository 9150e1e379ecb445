"""report.html holds what it was given, needs nothing from elsewhere, and lets no text of others become markup."""

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from PIL import Image
from scored_screens import answers, make_targets

from forge_core import plots
from forge_core.evaluation.report import cleaned, write_report
from forge_core.evaluation.score import table

EVIL = (
    """</pre></script><script>document.title = "no"</script><img src=x onerror="document.title='no'">"'`{{ 7 * 7 }}"""
)
CHROMIUM = shutil.which("chromium")


class Page(HTMLParser):
    """Tags with their attributes, and the text inside `tag` elements."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.open, self.texts = [], [], {}
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        while tag in self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def all(self, tag, **wanted):
        return [a for name, a in self.tags if name == tag and all(a.get(k) == v for k, v in wanted.items())]


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return make_targets(tmp_path_factory.mktemp("screens"))


@pytest.fixture
def runs(targets):
    letters = {"base": "w" * 12, "stage 1": "hhmhhwhmhhhh", "stage 2": "hhmhhhhhhhhm"}
    return {name: answers(targets, outcomes, name == "stage 2") for name, outcomes in letters.items()}


def report(path, runs, targets, **changed):
    given = {"figures": {}, "prompts": {}, **changed}
    tables = {name: table(rows) for name, rows in runs.items()}
    return write_report(path / "report.html", "An evaluation", tables, runs, targets, **given).read_text("utf-8")


def cards(page):
    return page.all("article", **{"class": "sample"})


def test_every_sample_is_there_and_every_screenshot_once(targets, runs, tmp_path):
    page = Page(report(tmp_path, runs, targets))
    assert len(cards(page)) == 12
    stored = {a["id"]: a["href"] for a in page.all("image")}
    assert len(stored) == len(set(stored.values())) == 6  # two targets on each
    used = [a["href"].removeprefix("#") for a in page.all("use")]
    assert len(used) == 12 and set(used) == set(stored)
    for source in stored.values():
        kind, data = source.split(";base64,")
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        assert (kind, image.format) == ("data:image/webp", "WEBP") and max(image.size) <= 640


def test_what_tells_the_last_two_models_apart_comes_first(targets, runs, tmp_path):
    found = [card["data-outcomes"].split() for card in cards(Page(report(tmp_path, runs, targets)))]
    apart = [(one == "hit") != (two == "hit") for _, one, two in found]
    assert apart == sorted(apart, reverse=True) and sum(apart) == 3
    assert found[3] == ["wrong_format", "miss", "miss"]  # then a miss of the last
    assert [card["data-differs"] for card in cards(Page(report(tmp_path, runs, targets)))].count("no") == 1


def test_box_and_clicks_lie_where_they_belong(targets, runs, tmp_path):
    page = Page(report(tmp_path, {"stage 1": runs["stage 1"]}, targets))
    words = [a["aria-label"] for a in page.all("svg", role="img")]
    place = next(n for n, label in enumerate(words) if "'Open number 2'" in label)
    assert words[place] == "mobile screenshot with the target of 'Open number 2' in a box; stage 1: miss"
    assert page.all("svg", role="img")[place]["viewbox"] == "0 0 500 1000"  # 200 x 400 px
    box = page.all("rect")[2 * place]
    assert [float(box[side]) for side in ("x", "y", "width", "height")] == [50, 100, 70, 140]
    clicks = {(float(a["cx"]), float(a["cy"])) for a in page.all("circle")}
    assert (450, 800) in clicks and (75, 150) in clicks
    assert len(page.all("circle")) == 2 * 11  # a white and a coloured ring; one answer has no click


def test_tables_pairs_prompts_figures_and_notes_are_shown(targets, runs, tmp_path):
    figures = {"What each stage changed": plots.sample_flow(*runs.values())}
    plots.save(plots.figure(2, 1, "a file"), tmp_path / "a.png")
    figures["A figure from a file"] = tmp_path / "a.png"
    html = report(tmp_path, runs, targets, figures=figures, prompts={"stage 1": "Answer with click."}, notes=["by me"])
    page = Page(html)
    assert [a["alt"] for a in page.all("img")] == list(figures)
    assert (
        "Answer with click." in page.texts["pre"] and "by me" in page.texts["p"] and "stage 1" in page.texts["summary"]
    )
    text = re.sub(r"<[^>]+>|\s|&nbsp;", "", html)
    assert "75.0%[46.8,91.1],1noclick" in text and "0.0%[0.0,24.2],12noclick" in text
    assert page.texts["button"][:6] == ["9", "0", "10", "0", "2", "1"]  # gained, lost of the three pairs
    assert "1.000" in page.texts["td"] and "0.004" in page.texts["td"]  # 2 and 1; 9 and 0: 2 / 2 ** 9


def test_nothing_comes_from_elsewhere(targets, runs, tmp_path):
    html = report(tmp_path, runs, targets, figures={"flow": plots.sample_flow(*runs.values())})
    page = Page(html)
    links = [a[key] for _, a in page.tags for key in ("src", "href", "xlink:href", "srcset", "action") if key in a]
    assert links and [link[:30] for link in links if not link.startswith(("data:image/webp;base64,", "#"))] == []
    assert not page.all("link") and not page.all("iframe") and "@import" not in html and "url(" not in html
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert "default-src 'none'" in policy["content"]
    assert "prefers-color-scheme: dark" in html


def evil(targets, runs):
    """The same targets and answers with markup in every text of others."""
    targets = [target.model_copy(update={"instruction": EVIL}) for target in targets]
    return targets, {EVIL: [row.model_copy(update={"raw": EVIL}) for row in runs["stage 1"]], **runs}


def test_texts_of_others_stay_texts(targets, runs, tmp_path):
    targets, runs = evil(targets, runs)
    page = Page(report(tmp_path, runs, targets, prompts={EVIL: EVIL}, notes=[EVIL]))
    assert len(page.all("script")) == 1 and page.all("img") == []
    assert not [a for _, a in page.tags if any(key.startswith("on") for key in a)]
    assert page.texts["h3"] == [EVIL] * 12
    assert page.texts["pre"].count(EVIL) == 12 + 1
    assert all(EVIL in a["aria-label"] for a in page.all("svg", role="img"))


def test_half_a_surrogate_pair_is_written(targets, runs, tmp_path):
    rows = [row.model_copy(update={"raw": "\ud83d"}) for row in runs["base"]]
    assert "&#55357;" in report(tmp_path, {"base": rows}, targets)


def test_room_for_screenshots_is_limited(targets, runs, tmp_path):
    one = len(Page(report(tmp_path, runs, targets)).all("image")[0]["href"]) / 1e6
    page = Page(report(tmp_path, runs, targets, megabytes=1.5 * one))
    assert len(page.all("image")) == 2
    assert {a["href"].removeprefix("#") for a in page.all("use")} == {a["id"] for a in page.all("image")}
    assert f"{len(cards(page))} of 12 targets, which keeps this file small." in " ".join(page.texts["p"])


def test_what_does_not_fit_together_is_named(targets, runs, tmp_path):
    with pytest.raises(ValueError, match="stage 1: scored on other targets than base, first 'web_0'"):
        report(tmp_path, runs | {"stage 1": runs["stage 1"][1:]}, targets)
    with pytest.raises(ValueError, match="base: target 'web_0' is twice"):
        report(tmp_path, {"base": runs["base"] + runs["base"][:1]}, targets)
    with pytest.raises(ValueError, match="base: target 'web_0' is not in the benchmark"):
        report(tmp_path, runs, targets[1:])
    lost = [target.model_copy(update={"image": tmp_path / "gone.png"}) for target in targets]
    with pytest.raises(OSError, match="gone.png"):
        report(tmp_path, runs, lost)
    with pytest.raises(ValueError, match="no scored answer"):
        write_report(tmp_path / "report.html", "x", {}, {}, targets, {}, {})
    assert not (tmp_path / "report.html").exists()


def in_browser(path, tmp_path) -> str:
    """The page's HTML after its scripts ran."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    flags += [
        "--disable-background-networking",
        "--disable-component-update",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command = [CHROMIUM, *flags, "--virtual-time-budget=3000", "--dump-dom", path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_cleaning_leaves_a_report_of_our_own_as_it_is(targets, runs, tmp_path):
    targets, runs = evil(targets, runs)
    figures = {"A figure": plots.plt.figure()}
    before = Page(html := report(tmp_path, runs, targets, figures=figures, prompts={"p": EVIL}))
    after = Page(cleaned(html))
    kept = [(tag, attributes) for tag, attributes in before.tags if tag != "title"]  # in pictures: what shows on a ring
    assert [(tag, set(given)) for tag, given in kept] == [(t, set(g)) for t, g in after.tags if t != "title"]
    assert [text.strip() for text in before.texts["pre"]] == [text.strip() for text in after.texts["pre"]]
    assert [given.get("href") for given in before.all("image")] == [given.get("href") for given in after.all("image")]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium here")
@pytest.mark.parametrize("copied", [lambda html: html, cleaned])
def test_a_browser_runs_the_filters_and_nothing_else(targets, runs, tmp_path, copied):
    targets, runs = evil(targets, runs)
    (tmp_path / "report.html").write_text(copied(report(tmp_path, runs, targets)), "utf-8")
    page = Page(in_browser(tmp_path / "report.html", tmp_path))
    assert "12 of 12 shown" in page.texts["output"] and page.texts["title"][0] == "An evaluation"
    assert "hidden" not in page.all("form")[0]


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no chromium here")
@pytest.mark.parametrize(
    ("steps", "shown"),
    [
        ("form.elements.platform.value = 'mobile'; filter();", 4),
        ("models[2].value = 'not_hit'; filter();", 2),
        ("models[1].value = 'wrong_format'; filter();", 1),
        ("models[2].value = 'hit'; form.elements.kind.value = 'icon'; filter();", 5),
        ("form.elements.differs.value = 'no'; filter();", 1),
        ("form.elements.text.value = ' OPEN number 11'; filter();", 1),
        ("form.elements.text.value = 'nowhere'; document.querySelectorAll('button[data-hit]')[4].click();", 2),
    ],
)
def test_filters_leave_what_they_say(targets, runs, tmp_path, steps, shown):
    html = re.sub(r"<meta http-equiv=[^>]*>", "", report(tmp_path, runs, targets))
    (tmp_path / "driven.html").write_text(html.replace("</body>", f"<script>{steps}</script></body>"), "utf-8")
    page = Page(in_browser(tmp_path / "driven.html", tmp_path))
    assert f"{shown} of 12 shown" in page.texts["output"]
    assert len([card for card in cards(page) if "hidden" not in card]) == shown
