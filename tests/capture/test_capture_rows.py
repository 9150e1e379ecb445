"""Screens made by hand become rows and targets: what is asked is what is clicked, and pages stay on their side."""

import json
from itertools import chain
from random import Random

import pytest
from PIL import Image

from forge_core.capture import rows
from forge_core.capture.elements import clean, icon_name
from forge_core.capture.masking import covered, patterns
from forge_core.capture.store import IMAGES, Item, Screen, Step, Store, Task, read_screens
from forge_core.data import screenspot
from forge_core.data.preprocess import preprocess
from forge_core.data.rows import read_boxes, read_turn, split
from forge_core.data.schema import read_jsonl
from forge_core.params import PreprocessParams

SAVE = Item(role="button", name="Save", box=(10, 20, 110, 60), kind="text")
BELL = Item(role="button", name="bell", box=(200, 20, 240, 60), kind="icon")
EDIT = Item(role="link", name="Edit", box=(10, 100, 60, 120), kind="text", context=("Jane",))
SIZE = Item(role="combobox", name="Size", box=(10, 200, 160, 230), kind="text")
NAME = Item(role="textbox", name="Name", box=(10, 150, 160, 180), kind="text")
STEPS = (
    Step(item=NAME, action="fill", text="it's a 'test'"),
    Step(item=SIZE, action="choose", text="Small"),
    Step(item=SAVE, action="press"),
)


def screen(page: str = "a.html", size=(400, 300), items=(SAVE, BELL, EDIT, NAME), site="app", **more) -> Screen:
    name = f"{site}-{page}-{size[0]}-{more.get('task').next if more.get('task') else 'x'}"
    return Screen(
        id=name, site=site, url=f"{site}/{page}", title="", viewport="x", theme="light", width=size[0], height=size[1],
        state="top", image=f"{name}.png", sha256=name, time="2026-01-01T00:00:00+00:00", items=list(items), rejected={},
        **more,
    )  # fmt: skip


@pytest.fixture
def stored(tmp_path):
    """A capture of six pages in two shapes, and a task on a form."""
    store = Store(tmp_path)
    pages = [screen(f"{letter}.html", size) for letter in "abcdef" for size in ((400, 300), (300, 400))]
    tasks = [screen("form.html", items=(NAME, SIZE, SAVE), task=Task(steps=STEPS, next=number)) for number in range(4)]
    for each in pages + tasks:
        Image.new("RGB", (each.width, each.height), (len(each.id), 99, 7)).save(tmp_path / "picture.png")
        store.add_screen(each, (tmp_path / "picture.png").read_bytes())
    return tmp_path, read_screens(tmp_path)


def test_the_click_of_an_instruction_is_the_middle_of_the_item_that_it_names():
    row = rows.stage1_row(screen(), Random(1))
    image, exchanges = split(row)
    for exchange, box in zip(exchanges, read_boxes(row, len(exchanges)), strict=True):
        turn, (action,) = read_turn(exchange, 1)
        item = next(item for item in (SAVE, BELL, EDIT, NAME) if item.name.lower() in turn.instruction.lower())
        left, top, right, bottom = item.box
        assert (action.arguments["x"] * 400, action.arguments["y"] * 300) == pytest.approx(
            ((left + right) / 2, (top + bottom) / 2), abs=0.05
        )
        assert [side * size for side, size in zip(box, (400, 300, 400, 300), strict=True)] == pytest.approx(
            item.box, abs=0.05
        )


@pytest.mark.parametrize("item", [SAVE, BELL, EDIT, SIZE, NAME], ids=lambda item: item.name)
def test_an_item_is_asked_for_in_several_ways_each_with_its_name_and_context(item):
    said = {rows.instruction(item, Random(seed)) for seed in range(40)}
    assert len(said) >= 3
    assert all(item.name in text and all(name in text for name in item.context) for text in said)


def test_the_steps_of_a_form_carry_history_thought_and_the_right_action():
    read = []
    for number in range(4):
        (row,) = rows.stage2_rows(screen(task=Task(steps=STEPS, next=number)), Random(0))
        turn, actions = read_turn(split(row)[1][0], 2)
        read.append((turn, actions))
    assert [[action.name for action in actions] for _, actions in read] == [
        ["click", "type"], ["select_option"], ["click"], ["final_answer"],
    ]  # fmt: skip
    assert read[0][1][1].arguments["text"] == STEPS[0].text and read[1][1][0].arguments["value"] == "Small"
    assert [turn.history.count("Step ") for turn, _ in read] == [0, 1, 2, 3]
    assert all(turn.thought for turn, _ in read) and len({turn.instruction for turn, _ in read}) == 1


def test_a_page_is_on_one_side_of_the_split_with_all_its_screens(stored):
    screens = stored[1]
    train, test = rows.split(screens, 0.4, seed=3)
    assert {each.url for each in train}.isdisjoint({each.url for each in test})
    assert len(train) + len(test) == len(screens) and len({each.url for each in test}) == 3
    assert rows.split(screens, 0.4, seed=3) == (train, test)


def test_the_only_page_of_a_site_is_trained_on():
    assert rows.split([screen()], 0.9, seed=1) == ([screen()], [])


def test_a_capture_goes_through_preprocessing_and_into_screenspot_without_a_loss(stored):
    folder, screens = stored
    train, test = rows.split(screens, 0.4, seed=3)
    written = rows.write_raw(folder, train, seed=5)
    targets = rows.write_benchmark(folder, test, seed=5)
    params = PreprocessParams(
        run="x", seed=1, raw_dir=str(folder / "raw"), data_dir=str(folder / "data"), base_model="embedded",
        stage1_subsets=["capture_web", "capture_mobile"], stage2_subsets=["capture_web", "capture_mobile"],
        max_turns=8, max_rows=0, max_rejected_share=0.0, use_shares=False, drop_near_duplicates=False,
        drop_off_screen=False, max_target_share=1.0, min_target_px=0, max_platform_share=1.0, max_action_share=1.0,
        workers=1, usd_per_hour=0.0, base_revision="main", image_size=512,
    )  # fmt: skip
    for stage in (1, 2):
        preprocess(params, stage)
    turns = {
        stage: list(chain.from_iterable(row.turns for row in read_jsonl(folder / "data" / f"stage{stage}.jsonl")))
        for stage in (1, 2)
    }
    assert len(turns[1]) == 4 * sum(written[f"stage1/capture_{name}.json"] for name in rows.PLATFORMS) > 0
    assert len(turns[2]) == sum(written[f"stage2/capture_{name}.json"] for name in rows.PLATFORMS) > 0
    loaded = screenspot.load_v2(folder / "screenspot")
    assert len(loaded) == sum(targets.values()) > 0
    assert {target.platform for target in loaded} == {"web", "mobile"}
    assert {target.kind for target in loaded} == {"text", "icon"}


def test_the_same_capture_and_seed_give_the_same_bytes(stored):
    folder, screens = stored

    def written() -> dict[str, bytes]:
        rows.write_raw(folder, screens, seed=5)
        rows.write_benchmark(folder, screens, seed=5)
        found = [*folder.glob("raw/*/*"), *folder.glob("screenspot/*.json")]
        return {path.name + path.parent.name: path.read_bytes() for path in found}

    first = written()
    assert len(first) == 11 and written() == first


def test_icons_take_up_to_half_of_a_screens_targets(tmp_path):
    icons = [Item(role="button", name=f"icon {n}", box=(n, 0, n + 9, 9), kind="icon") for n in range(9)]
    texts = [Item(role="button", name=f"text {n}", box=(n, 20, n + 9, 29), kind="text") for n in range(9)]
    each = screen(items=(*icons, *texts))
    (tmp_path / IMAGES).mkdir()
    Image.new("RGB", (400, 300)).save(tmp_path / IMAGES / each.image)
    rows.write_benchmark(tmp_path, [each], seed=1, per_screen=6)
    kinds = [row["data_type"] for row in json.loads((tmp_path / "screenspot/screenspot_web_v2.json").read_text())]
    assert sorted(kinds) == ["icon"] * 3 + ["text"] * 3


def test_a_name_is_asked_for_no_more_often_than_wanted(stored):
    folder, screens = stored
    assert sum(rows.write_benchmark(folder, screens, seed=1, repeats=2).values()) == 2 * 4
    assert sum(rows.write_benchmark(folder, screens, seed=1).values()) == 12 * 4


def test_a_line_that_a_kill_cut_off_is_dropped_and_what_follows_is_read(tmp_path):
    store = Store(tmp_path)
    store.add_screen(screen("a.html"), b"")
    with (tmp_path / "screens.jsonl").open("a") as file:
        file.write('{"id": "half')
    Store(tmp_path).add_screen(screen("b.html"), b"")
    assert [each.url for each in read_screens(tmp_path)] == ["app/a.html", "app/b.html"]


def test_a_damaged_line_is_named(tmp_path):
    Store(tmp_path).add_screen(screen("a.html"), b"")
    path = tmp_path / "screens.jsonl"
    path.write_text(path.read_text().replace('"theme":"light"', '"theme":"pink"'))
    with pytest.raises(ValueError, match=r"screens\.jsonl:1: theme: .*'pink'"):
        read_screens(tmp_path)


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        ("fa fa-trash-o fa-fw", "trash"), ("fas fa-fw fa-chart-area", "chart area"), ("glyphicon glyphicon-cog", "cog"),
        ("search icon", "search"), ("large teal map marker icon", "teal map marker"), ("weui-icon-search", "search"),
        ("bi bi-bell", "bell"), ("#icon-home", "home"), ("ui-btn ui-icon-bars", "bars"),
        ("ui floating dropdown icon button", ""), ("btn btn-primary", ""), ("fa fa-2x", ""), ("icon", ""),
    ],
)  # fmt: skip
def test_the_class_names_of_icon_fonts_say_what_they_draw(classes, name):
    assert icon_name(classes) == name


def test_names_lose_what_nobody_sees_or_says():
    assert clean(" \ue001 Home\u200b \u202epage  *") == "Home page"


def test_masking_covers_personal_data_and_given_words_and_leaves_the_rest():
    rules = patterns(True, ["Jane Roe"])
    text = "Mail jane@example.org, call +49 (30) 555-123456, jane roe, card 4111 1111 1111 1111; room 12, 2026"
    hidden = covered(text, rules)
    assert not any(secret in hidden for secret in ("jane", "example", "555", "roe", "4111"))
    assert hidden.startswith("Mail ") and hidden.endswith("; room 12, 2026") and len(hidden) == len(text)
    with pytest.raises(ValueError, match="empty"):
        patterns(False, [" "])
