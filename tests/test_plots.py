"""Every figure is drawn and saved, holds the numbers it was given, and lets no two texts overlap."""

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from forge_core import plots
from forge_core.data.schema import Example, Turn
from forge_core.data.screenspot import Target
from forge_core.evaluation.score import Scored, table

LONG = "Pay $5 for the button, then $7 for the field_name^2 that is shown right there in the upper part " * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screens")
    for platform, size in (("web", (512, 288)), ("mobile", (200, 400))):
        Image.new("RGB", size, (90, 140, 190)).save(folder / f"{platform}.png")
    return folder


@pytest.fixture(scope="module")
def examples():
    turns = [Turn(instruction=LONG, actions=[f"click(x=0.{n}, y=0.5)"]) for n in range(1, 8)]
    turns.append(Turn(instruction="down", actions=["scroll(direction='down', amount=20)"]))
    web = Example(id="a", source="sandbox_web", platform="web", image="web.png", width=512, height=288, turns=turns)
    changes = {"platform": "mobile", "image": "mobile.png", "width": 200, "height": 400, "turns": turns[:2]}
    return [web, web.model_copy(update=changes), web, web]


@pytest.fixture(scope="module")
def targets(folder):
    return [
        Target(
            id=str(number),
            image=folder / f"{platform}.png",
            width=size[0],
            height=size[1],
            bbox=(0.1, 0.1, 0.3, 0.2),
            instruction=LONG,
            platform=platform,
            kind="icon" if number % 3 else "text",
        )
        for number, (platform, size) in enumerate([("web", (512, 288)), ("mobile", (200, 400))] * 5)
    ]


def run(targets, outcomes):
    """Scored rows from one letter each: h = hit, m = miss, w = wrong format."""
    made = {"h": ("hit", (0.2, 0.15)), "m": ("miss", (0.0, 0.8)), "w": ("wrong_format", None)}
    rows = []
    for target, letter in zip(targets, outcomes, strict=True):
        outcome, point = made[letter]
        raw = f"<think>\n{LONG}\n</think>\n<code>\nclick(x=0.2, y=0.15)\n</code>" if letter == "h" else letter * 90
        groups = {"platform": target.platform, "kind": target.kind}
        rows.append(Scored(target_id=target.id, raw=raw, outcome=outcome, point=point, **groups))
    return rows


def texts(fig):
    """Visible texts of a figure which is laid out and drawn."""
    FigureCanvasAgg(fig).draw()
    out_of_view = set()
    for axis in (axis for axes in fig.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        out_of_view |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    found = [text for text in fig.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [text for text in found if text not in out_of_view]


def words(fig):
    return {text.get_text() for text in texts(fig)}


def check(fig, path):
    """No two texts overlap, none leaves the figure, and a PNG is written."""
    boxes = [(text.get_text(), text.get_tightbbox().padded(-1)) for text in texts(fig)]
    assert [(a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.overlaps(other)] == []
    width, height = fig.get_size_inches() * fig.dpi
    assert [text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > width or box.y1 > height] == []
    assert Image.open(plots.save(fig, path / "new" / "figure.png")).width > 300


def test_screens(examples, folder, tmp_path):
    fig = plots.screens(examples, folder, turns=3)
    check(fig, tmp_path)
    assert "mobile · sandbox_web" in words(fig)
    assert any(text.endswith("and 5 more") for text in words(fig))


def test_gallery(targets, tmp_path):
    fig = plots.gallery(run(targets, "hhhmmwhhhh"), targets, "After stage 2")
    check(fig, tmp_path)
    assert "After stage 2: 7 of 10 targets hit" in words(fig)
    assert any(text.startswith("No click. www") for text in words(fig))
    assert sum(text.startswith("Hit. Pay $5") for text in [text.get_text() for text in texts(fig)]) == 3


@pytest.mark.parametrize("outcomes", ["h" * 10, "w" * 10])
def test_gallery_of_one_outcome_only(targets, tmp_path, outcomes):
    check(plots.gallery(run(targets, outcomes), targets, "Base", count=2), tmp_path)


def test_action_mix(examples, tmp_path):
    fig = plots.action_mix({"stage 1": examples, "stage 2": examples[1:2]})
    check(fig, tmp_path)
    assert {"click", "scroll", "23 (88.5%)", "3 (11.5%)", "2 (100.0%)", "0", "stage 1 (n = 26)"} <= words(fig)


def test_target_heatmap(examples, tmp_path):
    fig = plots.target_heatmap(examples)
    check(fig, tmp_path)
    assert {"web (n = 21)", "mobile (n = 2)"} <= words(fig)


@pytest.mark.parametrize("values", [[1, 2, 2, 3, 9], [0.5] * 7, [float(n**2) for n in range(300)]])
def test_histogram(tmp_path, values):
    fig = plots.histogram(values, "Tokens per row", "tokens")
    check(fig, tmp_path)
    assert {"tokens", f"Tokens per row (n = {len(values)})"} <= words(fig)


def test_loss_curve(tmp_path):
    log = [{"step": n, "loss": 3 / n, "learning_rate": 1e-3 / n} for n in range(1, 60)]
    fig = plots.loss_curve([*log, {"step": 59, "eval_loss": 0.25}, {"step": 59, "train_loss": 1.0}], "Stage 1")
    check(fig, tmp_path)
    assert {"held out, last 0.250", "optimizer step", "loss (nats/token)"} <= words(fig)
    check(plots.loss_curve(log[:1], "one step"), tmp_path)
    with pytest.raises(ValueError, match="no training loss"):
        plots.loss_curve([{"step": 1, "eval_loss": 1.0}], "none")


def test_accuracy_bars(targets, tmp_path):
    tables = {"base": "w" * 10, "stage 1": "hhhhhhhmmm", "stage 2": "h" * 10}
    tables = {name: table(run(targets, outcomes)) for name, outcomes in tables.items()}
    fig = plots.accuracy_bars(tables)
    check(fig, tmp_path)
    assert {"all\nn = 10", "web\nn = 5", "icon\nn = 6", "70.0%", "100.0%", "stage 2"} <= words(fig)
    with pytest.raises(ValueError, match="different groups"):
        plots.accuracy_bars({**tables, "other": table(run(targets[:4], "hhhh"))})


def test_sample_flow(targets, tmp_path):
    runs = [run(targets, outcomes) for outcomes in ("hmmmmmmwww", "mhhhhhhmmw", "hhhhhhmhmm")]
    fig = plots.sample_flow(*runs)
    check(fig, tmp_path)
    expected = {"lost 1", "gained 6", "still missed 3", "kept 5", "gained 2", "still missed 2"}
    assert expected | {"base\n1 hit", "stage 2\n7 hit", "9 missed"} <= words(fig)
    with pytest.raises(ValueError, match="different targets"):
        plots.sample_flow(runs[0], runs[1], runs[2][1:])


def test_label_mask(tmp_path):
    tokens = [
        "User",
        ":",
        *["<image>"] * 64,
        " Pay",
        " $5",
        " or",
        " $6",
        "\n",
        "Assistant",
        ":",
        " click",
        "(",
        ")",
        "\n",
    ]
    fig = plots.label_mask(tokens, [-100] * (len(tokens) - 4) + [7, 7, 7, -100])
    check(fig, tmp_path)
    assert {"<image> ×64 ", " $5", " click", f"What the loss sees: 3 of {len(tokens)} tokens supervised"} <= words(fig)
    assert len(fig.axes[0].patches) == 3
    with pytest.raises(ValueError, match="1 tokens but 2 labels"):
        plots.label_mask(["a"], [1, 2])
