"""Captured screens as targets and elements, from screens written by hand."""

from pathlib import Path

import pytest

from forge_core.capture.store import Item, Screen, Task
from forge_core.capture.targets import elements, flow

CONTINUE = Item(role="button", name="Continue", box=(40, 30, 80, 60), kind="text")
MENU = Item(role="button", name="Menu", box=(0, 0, 20, 15), kind="icon")


def screen(page, *items, state="top", look="light", task=None, size=(400, 300)):
    told = {"viewport": f"{size[0]}x{size[1]}", "theme": look, "width": size[0], "height": size[1], "state": state}
    name = f"{page}-{look}-{state}"
    told |= {"id": name, "image": f"{name}.png", "site": "shop", "url": f"shop/{page}", "title": "", "sha256": ""}
    return Screen(**told, time="", items=list(items), rejected={}, task=task)


def test_elements_are_normalised_and_known_by_their_file():
    found = elements([screen("a.html", CONTINUE), screen("b.html", MENU)])
    assert found == {
        "a.html-light-top.png": [("Continue", (0.1, 0.1, 0.2, 0.2))],
        "b.html-light-top.png": [("Menu", (0, 0, 0.05, 0.05))],
    }


def test_a_flow_asks_the_same_on_each_page_for_the_element_that_leads_on():
    screens = [screen("a.html", MENU, CONTINUE), screen("b.html", MENU, size=(300, 400))]
    first, second = flow(Path("out"), screens, ["b.html: Menu", "a.html: Continue"], "Go on")
    assert (first.id, first.kind, first.platform) == ("b.html", "icon", "mobile")
    assert (second.id, second.instruction, second.bbox) == ("a.html", "Go on", (0.1, 0.1, 0.2, 0.2))
    assert second.image == Path("out/images/a.html-light-top.png") and (second.width, second.height) == (400, 300)


def test_a_flow_takes_the_first_look_at_the_page_itself():
    task = Task(steps=[], next=0)
    screens = [screen("a.html", MENU, state="form", task=task), screen("a.html", MENU, state="menu: Menu")]
    screens += [screen("a.html", MENU, look=look) for look in ("light", "dark")]
    assert [target.image.name for target in flow(Path(), screens, ["a.html: Menu"], "Go on")] == [
        "a.html-light-top.png"
    ]


def test_a_page_that_was_not_captured_is_left_out_and_an_unknown_element_is_named():
    assert flow(Path(), [screen("a.html", MENU)], ["z.html: Menu"], "Go on") == []
    with pytest.raises(ValueError, match="'a.html: Next': shop/a.html has no 'Next', but Menu, Continue"):
        flow(Path(), [screen("a.html", MENU, CONTINUE)], ["a.html: Next"], "Go on")
