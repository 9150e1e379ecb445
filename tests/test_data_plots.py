"""The figures of the data hold the numbers they were given, and let no two texts overlap."""

import pytest
from drawn import LONG, check, words, write_screens

from forge_core import data_plots
from forge_core.data.schema import Example, Turn


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_screens(tmp_path_factory.mktemp("screens"))


@pytest.fixture(scope="module")
def examples():
    turns = [Turn(instruction=LONG, actions=[f"click(x=0.{n}, y=0.5)"]) for n in range(1, 8)]
    turns.append(Turn(instruction="down", actions=["scroll(direction='down', amount=20)"]))
    web = Example(id="a", source="sandbox_web", platform="web", image="web.png", width=512, height=288, turns=turns)
    changes = {"platform": "mobile", "image": "mobile.png", "width": 200, "height": 400, "turns": turns[:2]}
    return [web, web.model_copy(update=changes), web, web]


def test_screens(examples, folder, tmp_path):
    fig = data_plots.screens(examples, folder, turns=3)
    check(fig, tmp_path)
    assert "mobile · sandbox_web" in words(fig)
    assert any(text.endswith("and 5 more") for text in words(fig))


def test_action_shares(examples, tmp_path):
    fig = data_plots.action_shares({"a long_name^2 of a subset": examples, "other": examples[1:2], "empty": []})
    check(fig, tmp_path)
    assert {"click", "scroll", "88", "12", "100", "other\nn = 2", "a long_name^2 of a subset\nn = 26"} <= words(fig)
    with pytest.raises(ValueError, match="no subset has a call"):
        data_plots.action_shares({"empty": []})


def test_shares_that_are_almost_none_or_all_say_so(examples, tmp_path):
    rare = examples[0].model_copy(update={"turns": [examples[0].turns[-1]]})
    fig = data_plots.action_shares({"clicks": [examples[1]] * 200 + [rare]})
    assert {"<1", ">99"} <= words(fig)


def test_target_heatmap(examples, tmp_path):
    fig = data_plots.target_heatmap(examples)
    check(fig, tmp_path)
    assert {"web (n = 21)", "mobile (n = 2)"} <= words(fig)


@pytest.mark.parametrize("count", [1, 400])
def test_target_sizes(tmp_path, count):
    targets = [("web", 3 + 0.5 * n, 10 + n) for n in range(count)] + [("desktop", 900, 12)]
    fig = data_plots.target_sizes(targets, patch=16)
    check(fig, tmp_path)
    assert {f"web (n = {count})", "desktop (n = 1)"} <= words(fig)
    assert any("dashed, 16 px" in text for text in words(fig))
    with pytest.raises(ValueError, match="no target box"):
        data_plots.target_sizes([], patch=16)


@pytest.mark.parametrize("values", [[1, 2, 2, 3, 9], [0.5] * 7, [float(n**2) for n in range(300)]])
def test_histogram(tmp_path, values):
    fig = data_plots.histogram(values, "Tokens per row", "tokens")
    check(fig, tmp_path)
    assert {"tokens", f"Tokens per row (n = {len(values)})"} <= words(fig)


@pytest.mark.parametrize("kinds", [1, 14])
def test_image_costs(tmp_path, kinds):
    sizes = {(100 + n, 200): 2 * (20 - n) for n in range(kinds)}
    fig = data_plots.image_costs(sizes, {size: 1000 + size[0] for size in sizes})
    check(fig, tmp_path)
    assert {"100 × 200", "n = 40 · 1,100 image tokens each"} <= words(fig)
    assert ("other (2 sizes)" in words(fig)) == (kinds == 14)
    assert ("n = 30 · 1,112 image tokens on average" in words(fig)) == (kinds == 14)  # (16 * 1112 + 14 * 1113) / 30
    with pytest.raises(ValueError, match="no screenshot"):
        data_plots.image_costs({}, {})


def test_before_after(tmp_path):
    rows = [
        {"stage": 1, "subset": "omniact", "turns": 80, "duplicates": 10, "dropped": {"near_duplicate": 6},
         "rejected": {"bad_box": 3, "no_image": 1}},
        {"stage": 2, "subset": "guide", "turns": 0, "duplicates": 0, "dropped": {}, "rejected": {"no_image": 5}},
    ]  # fmt: skip
    fig = data_plots.before_after(rows)
    check(fig, tmp_path)
    assert {"What became of the turns (n = 105)", "80 kept", "0 kept", "stage 1 omniact"} <= words(fig)
    assert {"kept", "duplicate", "dropped by the curation", "rejected"} <= words(fig)
    omniact, guide = ([bar for bar in fig.axes[0].patches if round(bar.get_y() + bar.get_height() / 2) == row]
                      for row in (0, 1))  # fmt: skip
    assert sorted(bar.get_width() for bar in omniact) == [4, 6, 10, 80]
    assert [bar.get_width() for bar in guide] == [100]
    with pytest.raises(ValueError, match="no turn"):
        data_plots.before_after([])
