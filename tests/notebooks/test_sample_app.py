"""The sample sign-up flow loads nothing, every way leads to a page, everything has a name, and its flaws are there."""

import pytest
import yaml
from bs4 import BeautifulSoup
from small_profile import ROOT

APP = ROOT / "notebooks" / "sample_app"
PAGES = {file.name: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for file in APP.glob("*.html")}
PARAMS = yaml.safe_load((ROOT / "params/embedded/06_your_own_app.yaml").read_text())


@pytest.fixture(params=PAGES)
def page(request):
    return PAGES[request.param]


def test_a_page_loads_its_style_and_nothing_else(page):
    assert page("script") == page("img") == page("iframe") == []
    assert [link["href"] for link in page("link")] == ["data:,", "style.css"]
    assert "url(" not in (APP / "style.css").read_text()


def test_every_way_leads_to_a_page(page):
    ways = [link["href"].partition("#") for link in page("a")]
    ways += [(form["action"], "", "") for form in page("form") if form["method"] == "get"]
    ways += [(button["formaction"], "", "") for button in page("button", formaction=True)]
    for file, _, anchor in ways:
        assert file in PAGES and (not anchor or PAGES[file].find(id=anchor)), file


def test_everything_that_acts_has_a_name(page):
    labels = {label["for"] for label in page("label", attrs={"for": True})}
    for field in page(["input", "select"]):
        assert field.get("id") in labels or field.get("aria-label") or field.find_parent("label")
    for element in page(["a", "button", "summary"]):
        assert element.get_text(strip=True) or element.get("aria-label")
    assert page.html["lang"] == "en" and page.title and page.main and page.header.nav.get("aria-label")


def test_what_is_secret_does_not_get_into_an_address(page):
    assert not [field for field in page("input", type="password") if field.get("name")]


def test_the_flow_leads_from_the_first_page_to_the_last():
    steps = [tuple(map(str.strip, step.split(":"))) for step in PARAMS["flow"]]
    at = steps[0][0]
    for name, label in steps:
        assert at == name
        on = next(each for each in PAGES[at].main(["a", "button"]) if each.get_text(strip=True) == label)
        at = on.get("href") or on.get("formaction") or on.find_parent("form")["action"]
    assert at == "done.html" and len(steps) < len(PAGES)


def test_the_flaws_that_the_lesson_tells_of_are_there():
    assert [b.get_text() for b in PAGES["address.html"].main("button", class_="primary")] == ["Confirm", "Continue"]
    assert PAGES["payment.html"].main.find("button", class_="primary").get_text() == "Apply"
    icons = PAGES["review.html"].main("a", class_="icon")
    assert len(icons) == 3 and {str(icon.svg) for icon in icons} == {str(icons[0].svg)}
    assert PAGES["review.html"].main.find("a", class_="plain").get_text() == "Privacy"
