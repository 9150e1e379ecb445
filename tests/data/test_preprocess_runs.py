"""A run of preprocessing as a whole: the same bytes however it is run, kills, thresholds, curation, other sources."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager

import pyarrow
import pyarrow.parquet
import pytest
from raw_rows import picture, preprocess_params, stage1, stage2, write_subset

from forge_core.actions.dialects import parse
from forge_core.actions.unified import render
from forge_core.data import engines
from forge_core.data.archives import ArchiveError
from forge_core.data.images import open_image
from forge_core.data.preprocess import preprocess
from forge_core.data.schema import read_jsonl

CODE = "pyautogui.click(x={:.4f}, y=0.5)"
CODES = ("pyautogui.click(x=0.1, y=0.2)", "pyautogui.scroll(page=-0.5)", "pyautogui.write(message='a')")


def many_rows(count=700):
    """Rows over 60 images in no order, with repeats, several turns, and something broken here and there."""
    rows = []
    for number in range(count):
        turns = [(f"Open {number % 90} {turn}", CODE.format(number % 50 / 50)) for turn in range(1 + number % 3)]
        image = f"{number * 37 % 60}.png" if number % 41 else "missing.png"
        rows.append(stage1(image, *turns) if number % 29 else {"image": image})
        if number % 31 == 0:
            rows[-1] = stage1(image, ("Prose", "I click"))
    return rows


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return write_subset(folder, 1, many_rows(), {f"{number}.png": picture() for number in range(60)})


def outputs(out, stage=1):
    return [(out / f"stage{stage}{end}").read_bytes() for end in (".jsonl", ".rejected.jsonl")]


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """The outputs of a run in one process that nothing disturbed, and its report."""
    out = tmp_path_factory.mktemp("whole")
    return out, preprocess(preprocess_params(raw, out), 1)


def relocated(data: bytes, raw, out) -> bytes:
    """The output as it reads from the folder of another run beside it."""
    return data.replace(os.path.relpath(raw, out).encode(), b"RAW")


def same(out, whole, raw) -> bool:
    pairs = zip(outputs(out), outputs(whole[0]), strict=True)
    return all(relocated(one, raw, out) == relocated(other, raw, whole[0]) for one, other in pairs)


def test_the_run_accounts_for_every_turn(whole):
    counts, rows = whole[1].subsets["sandbox_web"], many_rows()
    asked = sum(len(row["conversations"]) // 2 if "conversations" in row else 1 for row in rows)
    assert counts.rows == len(rows)
    assert counts.turns + counts.duplicates + sum(counts.rejected.values()) == asked
    assert set(counts.rejected) == {"missing image", "malformed conversation", "bad action"}
    turns = [(row.image, turn.instruction) for row in read_jsonl(whole[0] / "stage1.jsonl") for turn in row.turns]
    assert len(turns) == len(set(turns)) == counts.turns
    firsts = [int(row.id.split("-")[1]) for row in read_jsonl(whole[0] / "stage1.jsonl")]
    assert firsts == sorted(firsts)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_more_workers_give_the_same_bytes(raw, whole, tmp_path, workers):
    preprocess(preprocess_params(raw, tmp_path, workers=workers), 1)
    assert same(tmp_path, whole, raw)


# preprocesses in one process, and kills it after so many results of workers, or before so many files get their name
KILLED = """\
import json, os, signal, sys
from contextlib import contextmanager
from forge_core.data.preprocess import preprocess
from forge_core.params import PreprocessParams

def counted(count, replace=os.replace):
    def die_or_replace(*paths):
        nonlocal count
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)
    return die_or_replace

@contextmanager
def until(count):
    def each(function, tasks):
        nonlocal count
        for result in map(function, tasks):
            count -= 1
            if count < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield result
    yield each

results, files = map(int, sys.argv[2:])
os.replace = counted(files)
preprocess(PreprocessParams(**json.loads(sys.argv[1])), 1, until(results))
"""


@pytest.mark.slow
def test_killed_anywhere_the_next_run_neither_loses_nor_doubles_a_row(raw, whole, tmp_path):
    params = preprocess_params(raw, tmp_path)
    # six chunks of rows, one batch of images, three files: each line dies somewhere else, the next goes on
    for results, files in ((0, 9), (2, 9), (1, 9), (3, 9), (9, 0), (9, 1), (9, 2)):
        command = [sys.executable, "-c", KILLED, params.model_dump_json(), str(results), str(files)]
        killed = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        assert killed.returncode == -signal.SIGKILL
        assert (tmp_path / "stage1.jsonl").exists() == (files == 2)
    preprocess(params, 1)
    assert same(tmp_path, whole, raw)
    assert not list(tmp_path.glob("*.sqlite*"))


def test_a_broken_work_file_is_started_afresh(raw, whole, tmp_path):
    (tmp_path / "stage1.work.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    preprocess(preprocess_params(raw, tmp_path), 1)
    assert same(tmp_path, whole, raw)


@pytest.mark.slow
def test_a_killed_worker_is_said_and_the_next_run_goes_on(raw, whole, tmp_path):
    @contextmanager
    def deadly():
        with engines.local(2) as each:
            yield lambda function, tasks: each(os._exit, [1])

    with pytest.raises(ChildProcessError, match="one of 2 worker processes was killed; if memory is short"):
        preprocess(preprocess_params(raw, tmp_path), 1, deadly())
    preprocess(preprocess_params(raw, tmp_path), 1)
    assert same(tmp_path, whole, raw)


@pytest.mark.slow
def test_ray_gives_the_same_bytes(raw, whole, tmp_path):
    pytest.importorskip("ray", reason="extra `cluster` is not installed")
    preprocess(preprocess_params(raw, tmp_path), 1, engines.ray())
    assert same(tmp_path, whole, raw)


def test_a_stopped_run_goes_on_with_another_threshold(raw, whole, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="more than max_rejected_share 1.0%"):
        preprocess(preprocess_params(raw, tmp_path, max_rejected_share=0.01), 1)
    assert outputs(whole[0])[1] == (tmp_path / "stage1.rejected.jsonl").read_bytes()
    read = []
    monkeypatch.setattr("forge_core.data.preprocess.convert", lambda task: read.append(task))
    preprocess(preprocess_params(raw, tmp_path, max_rejected_share=0.2), 1)
    assert same(tmp_path, whole, raw) and not read


def test_the_manifest_tells_how_the_output_came_about(raw, tmp_path):
    (raw / "stage1/source.json").write_text(json.dumps({"repository": "a/b", "commit": "c" * 40, "files": {"x": 1}}))
    report = preprocess(preprocess_params(raw, tmp_path, max_turns=3), 1)
    (raw / "stage1/source.json").unlink()
    manifest = json.loads((tmp_path / "stage1.manifest.json").read_text())
    assert manifest == report.model_dump()
    assert manifest["params"]["max_turns"] == 3 and manifest["source"]["commit"] == "c" * 40
    assert manifest["examples"] == len(outputs(tmp_path)[0].splitlines())
    assert len(manifest["output_sha256"]) == 64 and manifest["versions"].keys() == {"forge", "pillow"}


def curated(tmp_path, rows, **switches):
    """(report of sandbox_web, instructions that stayed)"""
    raw = write_subset(tmp_path / "raw", 1, rows)
    report = preprocess(preprocess_params(raw, tmp_path / "out", **switches), 1).subsets["sandbox_web"]
    stayed = [turn.instruction for row in read_jsonl(tmp_path / "out/stage1.jsonl") for turn in row.turns]
    return report, stayed


BOXES = {
    "fine": [0.1, 0.1, 0.3, 0.3], "left": [-0.01, 0.1, 0.3, 0.3], "below": [0.1, 0.9, 0.3, 1.01],
    "giant": [0.0, 0.0, 1.0, 0.9], "thin": [0.1, 0.1, 0.9, 0.11], "unsaid": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("switches", "dropped", "gone"),
    [
        ({}, {}, []),
        ({"drop_off_screen": True}, {"off-screen box": 2}, ["left", "below"]),
        ({"max_target_share": 0.8}, {"giant box": 1}, ["giant"]),
        # 64 x 48 px, its longer edge resized to 512 px: a hundredth of the height is 3.84 px
        ({"min_target_px": 4}, {"tiny target": 1}, ["thin"]),
        ({"min_target_px": 3}, {}, []),
        ({"min_target_px": 3, "image_size": 256}, {"tiny target": 1}, ["thin"]),
    ],
)
def test_boxes_are_judged_where_the_rows_give_them(tmp_path, switches, dropped, gone):
    pairs = [(name, CODE.format(0.5)) for name in BOXES]
    report, stayed = curated(tmp_path, [stage1("a.png", *pairs, boxes=list(BOXES.values()))], **switches)
    assert report.dropped == dropped
    assert stayed == [name for name in BOXES if name not in gone]
    assert report.turns == len(stayed)


@pytest.mark.parametrize("boxes", [[[0, 0, 1, 1]], "box", [[0, 0, 1, 1], [0.5, 0, 0.5, 1]], [[0, 0, 1], None]])
def test_malformed_boxes_reject_the_row(tmp_path, boxes):
    row = stage1("a.png", ("One", CODE.format(0.1)), ("Two", CODE.format(0.2)), boxes=boxes)
    report, stayed = curated(tmp_path, [row])
    assert report.rejected == {"malformed boxes": 1} and stayed == []


def test_near_duplicates_differ_in_case_and_punctuation_alone(tmp_path):
    asked = ["Click on 'Save'", "click on save", "Click  on Save!", "Click on Save as", "+", "-"]
    rows = [stage1("a.png", *((text, CODE.format(0.5)) for text in asked)), stage1("b.png", (asked[1], CODES[0]))]
    report, stayed = curated(tmp_path, rows, drop_near_duplicates=True)
    assert report.dropped == {"near-duplicate": 2}
    assert stayed == ["Click on 'Save'", "Click on Save as", "+", "-", "click on save"]


def test_balance_cuts_a_kind_of_action_to_its_share(tmp_path):
    rows = [stage1("a.png", (f"{number}", CODES[min(number // 20, 2)])) for number in range(60)]
    rows = [row for number, row in enumerate(rows) if number < 44]  # 20 clicks, 20 scrolls, 4 texts
    report, stayed = curated(tmp_path, rows, max_action_share=0.4)
    assert report.functions == {"click": 8, "scroll": 8, "type": 4}
    assert report.dropped == {"balance by action": 24}
    assert curated(tmp_path / "again", rows, max_action_share=0.4) == (report, stayed)


def test_balance_cuts_a_platform_to_its_share(tmp_path):
    raw = tmp_path / "raw"
    for name, count in (("sandbox_web", 30), ("sandbox_mobile", 10)):
        write_subset(raw, 1, [stage1("a.png", (f"{number}", CODES[0])) for number in range(count)], name=name)
    names = {"stage1_subsets": ["sandbox_web", "sandbox_mobile"]}
    report = preprocess(preprocess_params(raw, tmp_path, **names, max_platform_share=0.6), 1)
    assert [counts.turns for counts in report.subsets.values()] == [15, 10]
    one = preprocess(preprocess_params(raw, tmp_path, max_platform_share=0.6), 1)
    assert one.subsets["sandbox_web"].turns == 30  # alone, it can't have less than all


def test_shares_are_those_of_aguvis(tmp_path):
    row = stage2("a.png", "Instruction: Go", "Thought: I go.", CODES[0])
    rows = [json.loads(json.dumps(row).replace("Go", f"Go {number}")) for number in range(3000)]
    images = {"amex/images/a.png": picture()}
    for name in ("amex", "coat"):
        images = {f"{name}/images/a.png": picture()}
        write_subset(tmp_path / "raw", 2, rows, images, name=name)
    shutil.move(tmp_path / "raw/stage2/amex.json", tmp_path / "raw/stage2/amex-l1.json")
    names = {"stage2_subsets": ["amex-l1", "coat"]}
    taken = preprocess(preprocess_params(tmp_path / "raw", tmp_path, **names, use_shares=True), 2).subsets
    assert taken["coat"].left_out == 0 and taken["amex-l1"].rows == 3000
    assert 0.30 < taken["amex-l1"].turns / 3000 < 0.36  # "random:33%"
    assert taken["amex-l1"].turns + taken["amex-l1"].left_out == 3000
    whole = preprocess(preprocess_params(tmp_path / "raw", tmp_path, **names), 2).subsets
    assert whole["amex-l1"].turns == 3000


def test_smolagents_parquet_gives_the_same_examples(tmp_path):
    names = {"stage1_subsets": ["guienv"], "stage2_subsets": ["coat"]}
    data = picture()
    text1 = [{"user": "Click on 'Save'", "assistant": "click(x=0.41, y=0.178)"}, {"user": "Down", "assistant":
             "scroll(direction='up', amount=10)"}]  # fmt: skip
    thought = "<think>\nI type it.\n</think>\n<code>\ntype('bread buns')\npress(keys='enter')\n</code>"
    text2 = [
        {"system": "You", "user": "Do\n\nInstruction: Buy\n\nPrevious actions:\nStep 1: Open", "assistant": thought}
    ]
    for stage, name, texts in ((1, "guienv", text1), (2, "coat", text2)):
        folder = tmp_path / f"raw/stage{stage}" / name
        folder.mkdir(parents=True)
        row = {"images": [{"bytes": data, "path": None}], "texts": texts, "source": name}
        broken = row | {"images": [{"bytes": b"no image", "path": None}]}
        for part, rows in enumerate(([row, broken], [row])):
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"train-0000{part}-of-00002.parquet")
    report = preprocess(preprocess_params(tmp_path / "raw", tmp_path / "out", **names), 1).subsets["guienv"]
    assert (report.rows, report.turns, report.rejected) == (3, 4, {"unreadable image": 2})
    first, last = read_jsonl(tmp_path / "out/stage1.jsonl")
    assert (first.id, last.id) == ("guienv-000000", "guienv-000002")
    assert [turn.actions for turn in first.turns] == [
        ["click(x=0.41, y=0.178)"],
        ["scroll(direction='down', amount=10)"],
    ]
    assert open_image(tmp_path / "out" / last.image).size == (64, 48)
    preprocess(preprocess_params(tmp_path / "raw", tmp_path / "out", **names), 2)
    (turn,) = next(read_jsonl(tmp_path / "out/stage2.jsonl")).turns
    assert (turn.instruction, turn.history, turn.thought) == ("Buy", "Step 1: Open", "I type it.")
    assert turn.actions == ["type(text='bread buns')", "press(keys='enter')"]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"images": ["a.png"]}, "unreadable image"),
        ({"images": [{"bytes": "text"}]}, "no image"),
        ({"images": [None]}, "unreadable image"),
        ({"images": 7}, "unreadable image"),
        ({"texts": ["click"]}, "malformed conversation"),
        ({"texts": [{"user": "Go", "assistant": 7}]}, "malformed conversation"),
    ],
)
def test_parquet_of_another_form_is_rejected_rows(tmp_path, broken, reason):
    folder = tmp_path / "raw/stage1/guienv"
    folder.mkdir(parents=True)
    row = {"images": [{"bytes": picture()}], "texts": [{"user": "Go", "assistant": "click(x=0.4, y=0.1)"}]} | broken
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), folder / "train-00000-of-00001.parquet")
    params = preprocess_params(tmp_path / "raw", tmp_path / "out", stage1_subsets=["guienv"])
    assert preprocess(params, 1).subsets["guienv"].rejected == {reason: 1}


def test_an_archive_without_the_folder_of_the_table_is_named(tmp_path):
    write_subset(tmp_path / "raw", 1, [], {"other/a.png": picture()}, name="guienv")
    with pytest.raises(ArchiveError, match="guienv.zip: it has no folder 'guienvs/images', but other"):
        preprocess(preprocess_params(tmp_path / "raw", tmp_path, stage1_subsets=["guienv"]), 1)


def test_a_hostile_archive_stops_the_run_by_name(tmp_path):
    write_subset(tmp_path / "raw", 1, [stage1("a.png", ("Go", CODES[0]))], {"a.png": picture(), "../evil": b"x"})
    with pytest.raises(ArchiveError, match="sandbox_web.zip: member '../evil' leads outside"):
        preprocess(preprocess_params(tmp_path / "raw", tmp_path / "out"), 1)
    assert not (tmp_path / "out/stage1.jsonl").exists()


def agentnet_rows(trajectory):
    """A trajectory in AGUVIS' stage-2 form as converters document it; no raw row of that stage is public."""
    done = []
    for step in trajectory["steps"]:
        inner = step["inner_monologue"]
        request = f"Instruction: {trajectory['user_task_description']}\n\nPrevious actions:\n" + (
            "\n".join(f"Step {number}: {text}" for number, text in enumerate(done, 1)) or "None"
        )
        done.append(inner["low_level_instruction"])
        said = f"Observation: {inner['observation']}\nThought: {inner['thought']}\nAction: {done[-1]}"
        yield stage2(step["image"], request, said, step["action"])


def test_real_agentnet_trajectories_keep_their_meaning(shared_data, tmp_path):
    files = sorted((shared_data / "agentnet").glob("*.json"))
    trajectories = [json.loads(file.read_text()) for file in files]
    rows = [row for trajectory in trajectories for row in agentnet_rows(trajectory)]
    images = {path.name: path.read_bytes() for path in (shared_data / "agentnet/images").iterdir()}
    raw = write_subset(tmp_path / "raw", 2, rows, images)
    preprocess(preprocess_params(raw, tmp_path, max_rejected_share=0.0), 2)
    steps = [(trajectory, step) for trajectory in trajectories for step in trajectory["steps"]]
    found = list(read_jsonl(tmp_path / "stage2.jsonl"))
    assert len(found) == len(steps) == 21
    for example, (trajectory, step) in zip(found, steps, strict=True):
        (turn,) = example.turns
        assert turn.instruction == trajectory["user_task_description"].strip()
        inner = step["inner_monologue"]
        for part in ("observation", "thought", "low_level_instruction"):
            assert " ".join(inner[part].split()) in " ".join(turn.thought.split())
        assert "\n".join(turn.actions) == render(parse(step["action"], "agentnet"))
        assert (example.width, example.height) == open_image(tmp_path / example.image).size
    assert Counter(len(row.turns[0].history.splitlines()) for row in found)[0] == 2


def test_all_real_stage_1_rows(shared_data, tmp_path):
    rows = json.loads((shared_data / "aguvis/stage1_real_rows.json").read_text())
    roots = {"seeclick": "seeclick/seeclick_web_imgs", "guienv": "guienvs/images", "webui350k": "webui350k/images"}
    for row, (name, root) in zip(rows, roots.items(), strict=True):
        row["image"] = row["image"].split(" ")[0]
        write_subset(tmp_path / "raw", 1, [row], {f"{root}/{row['image']}": picture()}, name=name)
    report = preprocess(preprocess_params(tmp_path / "raw", tmp_path, stage1_subsets=list(roots)), 1)
    assert [counts.turns for counts in report.subsets.values()] == [14, 1, 1]
    *_, guienv, webui = (turn for row in read_jsonl(tmp_path / "stage1.jsonl") for turn in row.turns)
    assert guienv.instruction.startswith("Click on 'Get monthly updates") and guienv.actions == [
        "click(x=0.4174, y=0.4735)"
    ]
    assert (webui.instruction, webui.actions) == ("Get forecast", ["click(x=0.5, y=0.6963)"])


def test_the_last_of_several_images_is_the_screenshot(tmp_path):
    report, _ = curated(tmp_path, [stage1("a.png", ("Go", CODES[0])) | {"image": ["b.png", "a.png"]}])
    assert report.turns == 1
    assert next(read_jsonl(tmp_path / "out/stage1.jsonl")).image.endswith("a.png")
