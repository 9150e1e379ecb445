"""A site full of traps in real Chromium: each gives boxes that a click at them meets, or a counted rejection."""

import importlib.util
import os
import shutil
import signal
from pathlib import Path

import pytest
from trap_site import HIT, pages
from web_server import WebServer, unasked

from forge_core.capture.sites import Place
from forge_core.capture.store import read_screens, read_visits
from forge_core.capture.walk import Settings, capture, size_of
from forge_core.doctor import CHROMIUM

pytestmark = pytest.mark.slow
WINDOW = (800, 600)
SETTINGS = Settings(viewports=("800x600",), themes=("light",), delay=0, seconds=3, scrolls=2)


@pytest.fixture(scope="module", autouse=True)
def chromium():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed (extra capture)")
    if not any(map(shutil.which, CHROMIUM)):
        pytest.skip(f"no Chromium here ({', '.join(CHROMIUM)})")


@pytest.fixture(scope="module")
def other():
    with unasked() as server:
        yield server


@pytest.fixture(scope="module")
def site(other):
    server = WebServer(pages(other.url))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def captured(site, tmp_path_factory):
    """The folder, the visits by path, and the screens by (path, state)."""
    out = tmp_path_factory.mktemp("capture")
    visits = capture([Place(site.url)], out, SETTINGS)
    screens = {(screen.url.removeprefix(site.url), screen.state): screen for screen in read_screens(out)}
    return out, {visit.url.removeprefix(site.url): visit for visit in visits}, screens


@pytest.fixture(scope="module")
def hits(site, captured):
    """Of a page: what clicks into the box of each item on its first screen meet, as a browser of its own says."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, CHROMIUM)))
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=os.geteuid() != 0)
        page = browser.new_page(viewport=dict(zip(("width", "height"), WINDOW, strict=True)))

        def of(path: str) -> dict[str, set]:
            page.goto(site.url + path)
            found = {}
            for item in captured[2][path, "top"].items:
                left, top, right, bottom = item.box
                shares = ((0.5, 0.5), (0.1, 0.5), (0.9, 0.5), (0.5, 0.1), (0.5, 0.9), (0.3, 0.3), (0.7, 0.7))
                met = {page.evaluate(HIT, [left + x * (right - left), top + y * (bottom - top)]) for x, y in shares}
                found[" of ".join((item.name, *item.context))] = met
            return found

        yield of
        browser.close()


@pytest.mark.parametrize("path", ["/", "/overlay", "/sticky", "/frames", "/shadow", "/endless", "/words", "/twins"])
def test_every_point_tried_in_a_box_meets_the_element_of_that_name(hits, path):
    found = hits(path)
    assert found and {name: met for name, met in found.items() if met != {name}} == {}


def test_what_is_covered_hidden_or_clipped_is_rejected_with_its_reason(captured):
    screen = captured[2]["/overlay", "top"]
    assert [item.name for item in screen.items] == ["Free"]
    assert screen.rejected == {
        "occluded": 2, "partly occluded": 1, "not visible": 2, "disabled": 1, "off-screen": 1, "cut off": 1
    }  # fmt: skip


def test_a_sticky_header_is_on_every_screen_and_hides_nothing_that_is_a_target(captured):
    screens = [screen for (path, _), screen in captured[2].items() if path == "/sticky"]
    assert [screen.state for screen in screens] == ["top", "scrolled 1", "scrolled 2"]
    header = next(item for item in screens[1].items if item.name == "Always here")
    rows = [item for screen in screens[1:] for item in screen.items if item.name.startswith("Row")]
    assert len(rows) > 10 and all(item.box[1] >= header.box[3] for item in rows)


def test_frames_of_the_origin_are_read_and_others_are_counted(captured):
    screen = captured[2]["/frames", "top"]
    assert [item.name for item in screen.items] == ["Inside"]
    assert screen.rejected["in a frame that cannot be read"] == 1
    assert screen.rejected["off-screen"] == 1 and screen.rejected["occluded"] == 1


def test_shadow_roots_open_closed_and_slotted_are_read(captured):
    names = {item.name for item in captured[2]["/shadow", "top"].items}
    assert names == {"Open shadow", "Closed shadow", "Slotted"}


def test_an_endless_page_ends_after_the_screens_that_were_asked_for(captured):
    states = [state for path, state in captured[2] if path == "/endless"]
    assert states == ["top", "scrolled 1", "scrolled 2"]


def test_names_in_other_scripts_icons_and_labels_are_found(captured):
    items = {item.name: item for item in captured[2]["/words", "top"].items}
    assert {"Größe ändern", "保存する", "مرحبا بالعالم", "קישור", "Café 🙂 menu", "Plain span", "I agree"} <= set(items)
    assert items["search"].kind == items["Basket"].kind == "icon" and items["保存する"].kind == "text"
    assert captured[2]["/words", "top"].rejected == {"no name": 1}


def test_controls_that_the_browser_draws_are_one_target_and_crash_nothing(captured):
    assert captured[1]["/fields"].status == "ok"
    items = {item.name: item for item in captured[2]["/fields", "top"].items}
    assert set(items) == {"Before", "Day", "Hour", "Big", "Menu"}
    left, _, right, _ = items["Big"].box
    assert right - left == 120, "a label over its radio button is what people click"
    assert items["Menu"].kind == "icon" and items["Before"].kind == "text"


def test_twins_are_told_apart_by_what_they_lie_in_or_dropped(captured):
    screen = captured[2]["/twins", "top"]
    assert {(item.name, item.context) for item in screen.items} == {
        ("Edit", ("Ada",)), ("Edit", ("Bob",)), ("Only one", ()),
    }  # fmt: skip
    assert screen.rejected == {"another has the same name": 2}


def test_menus_and_dialogs_are_screens(captured):
    screens = captured[2]
    assert "Cut" in {item.name for item in screens["/openers", "menu: Tools"].items}
    assert [item.name for item in screens["/openers", "dialog: Ask"].items] == ["Yes"]


def test_nothing_is_sent_followed_or_done(site, captured):
    visit = captured[1]["/openers"]
    assert not [path for path in site.requests if path.startswith(("/deed", "/private", "/file"))]
    assert any(note.startswith("POST blocked") for note in visit.blocked)
    assert visit.skipped["link not followed: an address that may do something"] == 1
    assert visit.skipped["link not followed: robots.txt"] == 1


def test_what_moves_is_no_target_and_what_stands_still_beside_it_is(captured):
    screen = captured[2]["/moving", "top"]
    assert [item.name for item in screen.items] == ["Quiet"] and screen.rejected == {"moving": 1}


def test_a_page_that_does_not_come_has_a_status_that_says_why(captured):
    visits = captured[1]
    assert "status 404" in visits["/gone"].status and "Timeout" in visits["/slow"].status
    assert "another origin" in visits["/away"].status
    assert not any(visits[path].screens for path in ("/gone", "/slow", "/away"))


def test_texts_of_a_page_that_no_file_and_no_terminal_takes_end_nothing(captured):
    visit = captured[1]["/odd"]
    assert visit.status == "ok" and captured[2]["/odd", "top"].title.startswith("half ?")
    assert visit.blocked[0].startswith("alert dismissed: ") and visit.blocked[0].isprintable()


def test_a_popup_is_closed_and_the_page_is_kept(captured):
    assert [item.name for item in captured[2]["/popup", "top"].items] == ["Here"]
    assert "popup closed" in " ".join(captured[1]["/popup"].blocked)


def test_a_second_run_asks_only_for_what_failed_before(site, captured, capsys):
    out, visits, screens = captured
    site.requests.clear()
    again = capture([Place(site.url)], out, SETTINGS)
    assert {visit.url for visit in again} == {visit.url for visit in visits.values()}
    assert set(site.requests) == {"/robots.txt", "/gone", "/away", "/slow"}
    assert len(read_screens(out)) == len(screens)


def test_a_crash_of_chromium_loses_nothing_and_the_walk_goes_on(tmp_path):
    def killed():
        """The body of a page whose server ends the browser that asks for it."""
        for child in _descendants(os.getpid()):
            if "chrom" in Path(f"/proc/{child}/comm").read_text():
                os.kill(child, signal.SIGKILL)
        yield b""

    class Fatal(dict):
        def get(self, path, default=None):
            return (200, {}, killed()) if path == "/c" else super().get(path, default)

    body = "<!doctype html><button>{}</button><a href='/c'>crash</a><a href='/d'>go on</a>"
    server = WebServer()
    server.pages = Fatal({"/": body.format("Before"), "/d": body.format("After")})
    try:
        visits = capture([Place(server.url)], tmp_path, SETTINGS)
    finally:
        server.stop()
    status = {visit.url.removeprefix(server.url): visit.status for visit in visits}
    assert status == {"/": "ok", "/c": "Chromium crashed 2 times", "/d": "ok"}
    names = [item.name for screen in read_screens(tmp_path) for item in screen.items]
    assert "Before" in names and "After" in names
    assert [visit.status for visit in read_visits(tmp_path)].count("ok") == 2


def _descendants(process: int) -> list[int]:
    children = Path(f"/proc/{process}/task").glob("*/children")
    found = [int(child) for path in children for child in path.read_text().split()]
    return [*found, *(below for child in found for below in _descendants(child))]


@pytest.mark.parametrize("wrong", ["huge", "100x100", "9999x400", "800x", "800X600"])
def test_a_viewport_that_is_none_is_named(wrong):
    with pytest.raises(ValueError, match=wrong):
        size_of(wrong)
