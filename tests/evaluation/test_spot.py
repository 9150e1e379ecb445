"""`forge spot --image` with adapters trained here: it asks as notebook 05 does, and draws what was answered."""

import io
import json
import shutil
from dataclasses import replace

import pytest
from drawn import LONG, check, words
from matplotlib.lines import Line2D
from PIL import Image
from small_training import evaluate_params, train_params, write_rows
from typer.testing import CliRunner
from web_server import WebServer

from forge_core.actions.unified import parse
from forge_core.cli import app
from forge_core.data.images import open_image
from forge_core.data.schema import read_jsonl
from forge_core.data.screenspot import Target
from forge_core.evaluation.predict import prompt
from forge_core.evaluation.spot import Agent, load_agent, spot
from forge_core.evaluation.stages import evaluate
from forge_core.models.embedded import build_model, build_processor
from forge_core.params import GroundingParams, ReasoningParams
from forge_core.spot_plots import Frame, draw
from forge_core.training.stage import run_stage

SCREEN = Image.new("RGB", (512, 384), (90, 140, 190))


class Scripted(Agent):
    """Answers what it is told to."""

    def answer(self, *_) -> str:
        return self.model


def told(raw: str, coord_format="4-decimals") -> Agent:
    return Scripted(raw, None, 2, coord_format)


def run(*arguments):
    return CliRunner().invoke(app, ["spot", *map(str, arguments)])


# ---------------------------------------------------------------- what an answer becomes


def test_an_answer_is_read_and_drawn(tmp_path):
    found = spot(
        SCREEN, "Click on Save", told("<think>\nThe Save button.\n</think>\n<code>\nclick(x=0.25, y=0.5)\n</code>")
    )
    assert (found.thought, found.actions, found.point) == (
        "The Save button.",
        parse("click(x=0.25, y=0.5)"),
        (0.25, 0.5),
    )
    check(found.picture, tmp_path)
    assert {"Click on Save", "The Save button.", "click(x=0.25, y=0.5)"} <= words(found.picture)
    assert (0.25, 0.5) in [
        tuple(line.get_xydata()[0]) for line in found.picture.findobj(Line2D) if line.get_marker() == "o"
    ]


def test_coordinates_are_read_as_the_adapter_writes_them():
    assert spot(SCREEN, "Save", told("click(x=250, y=500)", "0-1000")).point == (0.25, 0.5)


def test_an_unreadable_answer_is_shown_as_it_is(tmp_path):
    found = spot(SCREEN, "Click on Save", told("Save, I think"))
    assert (found.thought, found.actions, found.point, found.raw) == (None, [], None, "Save, I think")
    check(found.picture, tmp_path)
    assert any("Save, I think" in text.replace("\n", " ") for text in words(found.picture))


@pytest.mark.parametrize("size", [(512, 384), (200, 400), (2000, 40), (30, 3000)])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_no_text_of_a_figure_hides_another(size, count, tmp_path):
    calls = parse(
        "click(x=0, y=1)\ndrag(from_coord=[0, 0], to_coord=[1, 1])\nscroll(direction='up')\ntype(text='$a_b$')"
    )
    frames = [Frame(Image.new("RGB", size), f"Step {number}", calls, LONG, LONG) for number in range(count)]
    check(draw(LONG, frames), tmp_path)


# ---------------------------------------------------------------- the prompt


@pytest.mark.parametrize("stage", [1, 2])
def test_the_prompt_is_that_of_training_with_history_for_stage_2(stage, monkeypatch):
    asked = []
    monkeypatch.setattr("forge_core.evaluation.spot.continue_texts", lambda *given: asked.extend(given[2]) or [""])
    agent = Agent(build_model(), build_processor(), stage, "0-1000")
    agent.answer(SCREEN, "Save <image>", "desktop")
    agent.answer(SCREEN, "Save", "desktop", "Step 1: I click <end_of_utterance>Open.")
    plain = prompt(agent.processor, stage, "desktop", "Save", "0-1000")
    assert asked[0] == plain
    assert asked[1] == (plain.replace("None", "Step 1: I click Open.") if stage == 2 else plain)


@pytest.mark.parametrize("instruction", ["", "  ", "<image>"])
def test_nothing_asked_is_an_error(instruction):
    with pytest.raises(ValueError, match="the instruction is empty"):
        Agent(None, None, 1, "4-decimals").answer(SCREEN, instruction)


# ---------------------------------------------------------------- a real adapter


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def adapters(data, tmp_path_factory):
    """By stage; the second writes its coordinates in thousandths, and knows its base unquantised."""
    folder, changes = tmp_path_factory.mktemp("adapters"), {"coord_format": "0-1000", "load_in_4bit": False}
    return {
        1: run_stage(train_params(data, folder / "one", GroundingParams)).adapter,
        2: run_stage(train_params(data, folder / "two", ReasoningParams, **changes)).adapter,
    }


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_it_asks_as_notebook_05_does(adapters, data, stage, tmp_path):
    row = next(read_jsonl(data / f"stage{stage}.jsonl"))
    image = open_image(data / row.image)
    image.save(tmp_path / "screen.png")
    instruction = row.turns[0].instruction
    target = Target(
        id="a", image=tmp_path / "screen.png", width=row.width, height=row.height, bbox=(0, 0, 1, 1),
        instruction=instruction, platform=row.platform, kind="text",
    )  # fmt: skip
    params = evaluate_params(tmp_path, adapters[1], adapters[2], load_in_4bit=stage == 1)
    (scored,) = evaluate(params, [target], f"stage {stage}", tmp_path)[f"stage {stage}"]
    found = spot(tmp_path / "screen.png", instruction, adapters[stage], row.platform)
    assert (found.raw, found.point) == (scored.raw, scored.point)
    assert load_agent(adapters[stage]).coord_format == ("4-decimals" if stage == 1 else "0-1000")


@pytest.mark.slow
def test_the_command_prints_and_draws(adapters, tmp_path):
    server = WebServer({"/screen.png": (200, {"Content-Type": "image/png"}, _png())})
    try:
        url, out = f"{server.url}/screen.png", tmp_path / "new" / "spot.png"
        done = run("--image", url, "--instruction", "Click on Save", "--adapter", adapters[2], "--out", out)
    finally:
        server.stop()
    assert done.exit_code == 0, done.output
    assert [line.split(":")[0] for line in done.output.splitlines()] == ["thought", "action", "picture"]
    assert Image.open(out).width > 600


def _png() -> bytes:
    buffer = io.BytesIO()
    SCREEN.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_a_base_that_has_changed_is_refused(adapters, tmp_path):
    changed = tmp_path / "final"
    shutil.copytree(adapters[1], changed)
    record = json.loads((changed / "forge.json").read_text())
    record["identity"]["base_sha256"] = "0" * 64
    (changed / "forge.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="the base embedded has changed"):
        load_agent(changed)


def test_an_agent_says_at_what_size_it_sees():
    processor = build_processor()
    processor.image_processor.size = {"longest_edge": 768}
    assert replace(told(""), processor=processor).edge == 768


# ---------------------------------------------------------------- the command's errors


@pytest.fixture
def screen(tmp_path):
    SCREEN.save(tmp_path / "screen.png")
    (tmp_path / "text.png").write_text("hello")
    return tmp_path / "screen.png"


@pytest.mark.parametrize(
    ("name", "adapter", "message"),
    [
        ("no.png", "x", "no.png: no such file"),
        ("text.png", "x", "text.png: not a picture"),
        ("screen.png", "x", "x has no adapter_config.json; an adapter folder is checkpoints/<run>/<stage>/final"),
        ("screen.png", "", "checkpoints/embedded/reasoning/final is not there: forge run embedded makes it"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(screen, name, adapter, message, tmp_path, monkeypatch):
    monkeypatch.setattr("forge_core.paths.ROOT", tmp_path)
    done = run("--image", screen.with_name(name), "--instruction", "Save", "--adapter", adapter)
    assert done.exit_code == 2 and message in done.output and len(done.output.splitlines()) == 1


def test_an_unknown_platform_is_refused(screen):
    done = run("--image", screen, "--instruction", "Save", "--platform", "watch")
    assert done.exit_code == 2 and "web, desktop or mobile" in done.output
