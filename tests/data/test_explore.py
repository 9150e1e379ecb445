"""Looking at raw rows: counts that include what is broken, and samples that point where their rows point."""

import json

import pytest

from forge_core.data.explore import look, raw_inputs, verdict
from forge_core.data.images import open_image
from forge_core.data.sandbox import write_raw
from forge_core.params import ExploreParams, load
from forge_core.paths import ROOT


def explore_params(folder, **more) -> ExploreParams:
    values = load(ROOT / "params/embedded/01_explore_data.yaml").model_dump()
    where = {"raw_dir": str(folder / "raw"), "data_dir": str(folder), "stage1_subsets": ["sandbox_web"]}
    return ExploreParams(**values | where | more)


@pytest.fixture
def drawn(tmp_path):
    write_raw(tmp_path / "raw", screens=5, seed=1)
    file = tmp_path / "raw/stage1/sandbox_web.json"
    return tmp_path, file, json.loads(file.read_text())


def turns_of(row) -> int:
    return len(row["conversations"]) // 2


def test_counts_tell_what_repeats_and_what_is_broken(drawn):
    folder, file, rows = drawn
    louder = json.loads(json.dumps(rows[1]))
    for message in louder["conversations"][::2]:
        message["value"] = "<image>" + message["value"].removeprefix("<image>\n").upper() + "!"
    file.write_text(json.dumps([*rows, {"image": "x.png"}, rows[0], louder]))
    (counts,), _ = look(explore_params(folder), 1, sample=0)
    assert (counts.rows, counts.broken, counts.screenshots) == (8, 1, 5)
    assert counts.turns == sum(map(turns_of, [*rows, rows[0], louder]))
    assert counts.repeats == turns_of(rows[0])
    assert counts.near_repeats == turns_of(rows[0]) + turns_of(rows[1])


def test_samples_are_the_rows_and_their_boxes(drawn):
    folder, file, rows = drawn
    file.write_text(json.dumps([*rows, {"image": "x.png"}, rows[0] | {"image": "missing.png"}]))
    _, samples = look(explore_params(folder), 1, sample=7)
    assert [example.id for example, _ in samples] == [f"sandbox_web-{n:06d}" for n in range(5)]
    for (example, boxes), row in zip(samples, rows, strict=True):
        raw = row["conversations"]
        assert open_image(folder / example.image).size == (example.width, example.height)
        assert [turn.instruction for turn in example.turns] == [m["value"].removeprefix("<image>\n") for m in raw[::2]]
        for turn, message in zip(example.turns, raw[1::2], strict=True):
            assert turn.actions[0].partition("(")[2] == message["value"].partition("(")[2]
        assert [list(box) for box in boxes] == row["boxes"]


def test_the_same_seed_takes_the_same_sample(drawn):
    folder, *_ = drawn
    ids = [[e.id for e, _ in look(explore_params(folder, seed=seed), 1, sample=2)[1]] for seed in (1, 1, 2, 3, 4)]
    assert ids[0] == ids[1] and len(ids[0]) == 2
    assert len({tuple(found) for found in ids}) > 1


def test_the_note_of_a_download_stands_for_the_raw_data(drawn):
    folder, file, _ = drawn
    params = explore_params(folder)
    assert raw_inputs(params)[0] == file
    (file.parent / "source.json").write_text("{}")
    assert raw_inputs(params) == [
        file.parent / "source.json",
        *(folder / f"raw/stage2/sandbox_{platform}.json" for platform in ("web", "desktop", "mobile")),
    ]


def test_the_verdict_is_the_canonical_call_or_the_reason():
    assert verdict("pyautogui.scroll(page=-0.5)") == ("scroll(direction='down', amount=50)", "")
    calls, reason = verdict("pyautogui.click(x=787, y=192)")
    assert calls == "" and "x must be a finite number in [0, 1], not 787" in reason
