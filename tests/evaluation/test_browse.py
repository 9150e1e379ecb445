"""The browser shows what its filters leave, one sample at a time, and never takes a text of others for markup."""

import pytest
from scored_screens import THOUGHT, answers, make_targets

from forge_core.evaluation.browse import browser


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return make_targets(tmp_path_factory.mktemp("screens"))


@pytest.fixture
def runs(targets):
    letters = {"base": "w" * 12, "stage 1": "hhmhhwhmhhhh", "stage 2": "hhmhhhhhhhhm"}
    return {name: answers(targets, outcomes, name == "stage 2") for name, outcomes in letters.items()}


@pytest.fixture
def seen(targets, runs):
    return browser(runs, targets)


def shown(seen):
    return [int(sample.target.id.split("_")[1]) for sample in seen.shown]


def test_it_begins_with_the_first_of_all(seen, targets):
    assert seen.count.value == "1 of 12 samples" and shown(seen) == list(range(12))
    html = seen.view.value
    assert "Open number 0" in html and 'href="data:image/webp;base64,' in html
    assert "click(x=0.15, y=0.15)" in html and f"<i>{THOUGHT}</i>" in html
    assert "base: no click" in html and "stage 2: hit" in html


@pytest.mark.parametrize(
    ("choice", "numbers"),
    [
        ({"platform": "mobile"}, [2, 5, 8, 11]),
        ({"platform": "mobile", "kind": "icon"}, [5, 11]),
        ({"model": "stage 1", "outcome": "miss"}, [2, 7]),
        ({"model": "stage 1", "outcome": "wrong_format"}, [5]),
        ({"model": "stage 1", "outcome": "not hit"}, [2, 5, 7]),
        ({"outcome": "hit"}, [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]),  # some model does
        ({"outcome": "differ", "platform": "mobile"}, [5, 8, 11]),
        ({"text": " NUMBER 11"}, [11]),
        ({"text": "I see a button", "model": "stage 1"}, [5]),
        ({"text": "the save button", "model": "stage 1"}, []),
    ],
)
def test_filters(seen, choice, numbers):
    for name, value in choice.items():
        getattr(seen, name).value = value
    assert shown(seen) == numbers
    if numbers:
        assert f"Open number {numbers[0]}<" in seen.view.value
    else:
        assert (seen.count.value, seen.view.value) == ("none of 12 samples", "")


def test_previous_and_next_stop_at_the_ends(seen):
    seen.kind.value = "icon"
    assert seen.previous.disabled and not seen.next.disabled
    seen.previous.click()
    assert seen.place == 0
    for _ in range(9):
        seen.next.click()
    assert seen.count.value == "6 of 6 samples" and "Open number 11<" in seen.view.value
    assert seen.next.disabled and not seen.previous.disabled
    seen.previous.click()
    assert "Open number 9<" in seen.view.value
    seen.platform.value = "desktop"  # a new choice begins anew
    assert seen.count.value == "1 of 2 samples" and "Open number 1<" in seen.view.value


def test_steps_without_samples_do_nothing_and_filters_recover(seen):
    seen.text.value = "nowhere"
    seen.next.click()
    seen.previous.click()
    assert seen.next.disabled and seen.previous.disabled and seen.view.value == ""
    seen.text.value = ""
    assert seen.count.value == "1 of 12 samples" and "Open number 0<" in seen.view.value


def test_texts_of_others_stay_texts(targets, runs):
    evil = "<img src=x onerror=alert(1)>\"'"
    targets = [target.model_copy(update={"instruction": evil}) for target in targets]
    html = browser({evil: [row.model_copy(update={"raw": evil}) for row in runs["base"]]}, targets).view.value
    assert "<img" not in html and html.count("&lt;img src=x onerror=alert(1)&gt;&#34;&#39;") == 5


def test_models_on_different_targets_are_refused(targets, runs):
    with pytest.raises(ValueError, match="stage 1: scored on other targets than base"):
        browser(runs | {"stage 1": runs["stage 1"][1:]}, targets)
