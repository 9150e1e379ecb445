"""How sure a model is, from answers written by hand: agreement, what was clicked instead, and in which order."""

from pathlib import Path

import pytest

from forge_core.data.screenspot import Target
from forge_core.evaluation.hesitation import NOTHING, Element, ask, hesitations

SAVE, SEND, FORM = (0.1, 0.1, 0.3, 0.2), (0.4, 0.1, 0.6, 0.2), (0.0, 0.0, 0.7, 0.5)
ELEMENTS = {"a.png": [Element("Form", FORM), Element("Save", SAVE), Element("Send", SEND)]}
ON_SAVE, AT_ITS_END, ON_SEND = "click(x=0.2, y=0.15)", "click(x=0.3, y=0.2)", "click(x=0.5, y=0.15)"
ON_FORM, NOWHERE, SILENT = "click(x=0.2, y=0.4)", "click(x=0.9, y=0.9)", "I see a button."


def target(name="save", image="a.png", box=SAVE):
    given = {"width": 400, "height": 300, "platform": "web", "kind": "text", "instruction": f"Click on {name}"}
    return Target(id=name, image=Path(image), bbox=box, **given)


def one(*raws, elements=ELEMENTS):
    return hesitations([target()], {"save": raws}, elements)[0]


def test_clicks_all_over_one_element_agree():
    found = one(ON_SAVE, AT_ITS_END, ON_SAVE, ON_SAVE)
    assert (found.agreement, found.inside, found.rivals, found.state) == (1, 1, {}, "sure")


def test_clicks_on_neighbours_do_not_and_the_neighbour_is_named():
    found = one(ON_SAVE, ON_SEND, ON_SEND, ON_FORM)
    assert (found.agreement, found.inside, found.state) == (0.5, 0.25, "torn")
    assert list(found.rivals.items()) == [("Send", 2), ("Form", 1)]


def test_a_click_belongs_to_the_smallest_element_under_it():
    assert one(ON_SEND).rivals == {"Send": 1}
    assert one(ON_FORM).rivals == {"Form": 1}


def test_being_sure_of_the_wrong_element_is_a_mistake_not_a_doubt():
    assert one(*[ON_SEND] * 4, ON_SAVE).state == "mistaken"


def test_clicks_on_nothing_agree_with_nobody():
    found = one(NOWHERE, NOWHERE, NOWHERE)
    assert (found.agreement, found.rivals, found.state) == (0, {NOTHING: 3}, "torn")


def test_an_answer_without_a_click_counts_against_agreement():
    found = one(ON_SAVE, SILENT)
    assert (found.agreement, found.inside, len(found.clicks)) == (0.5, 0.5, 1)
    assert one(SILENT)[1:5] == ([], 0, 0, 0)


def test_spread_is_in_px_of_the_screenshot():
    assert one("click(x=0.1, y=0.1)", "click(x=0.3, y=0.1)").spread == pytest.approx(0.1 * 400)
    assert one("click(x=0.1, y=0.1)", "click(x=0.1, y=0.3)").spread == pytest.approx(0.1 * 300)


def test_the_target_need_not_be_among_the_elements():
    assert one(ON_SAVE, ON_SEND, elements={}).rivals == {NOTHING: 1}


def test_the_most_hesitant_comes_first_and_of_equals_the_wrong_one():
    names = {"sure": [ON_SAVE] * 4, "torn": [ON_SAVE, ON_SAVE, ON_SEND, ON_FORM], "mistaken": [ON_SEND] * 4}
    found = hesitations([target(name) for name in names], names, ELEMENTS)
    assert [each.target.id for each in found] == ["torn", "mistaken", "sure"]
    assert [each.row()["state"] for each in found] == ["torn", "mistaken", "sure"]
    assert found[0].row()["also clicked"] == "Send 1, Form 1"


def test_other_units_are_read_as_such():
    raws = {"save": ["click(x=200, y=150)", "click(x=500, y=150)"]}
    assert hesitations([target()], raws, ELEMENTS, "0-1000")[0].rivals == {"Send": 1}


def test_a_target_without_answers_is_an_error():
    with pytest.raises(ValueError, match="'save' has no answers"):
        hesitations([target()], {"save": []}, ELEMENTS)
    with pytest.raises(KeyError, match="save"):
        hesitations([target()], {}, ELEMENTS)


def test_each_target_is_asked_k_times_from_the_whole_distribution():
    def predict(asked, out_file, name, sampling):
        assert sampling == {"temperature": 0.7, "top_k": 0, "top_p": 1.0, "seed": 5}
        return {each.id: f"{each.id} {each.instruction}" for each in asked}

    answers = ask(predict, [target("a"), target("b")], 2, 5, None, "drawn")
    assert answers == {name: [f"{name}#{draw} Click on {name}" for draw in (0, 1)] for name in "ab"}
