"""Every figure is drawn and saved, holds the numbers it was given, and lets no two texts overlap."""

import pytest
from drawn import LONG, check, texts, words, write_screens

from forge_core import plots
from forge_core.data.screenspot import Target
from forge_core.evaluation.score import Scored, table


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    folder = write_screens(tmp_path_factory.mktemp("screens"))
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


def test_gallery(targets, tmp_path):
    fig = plots.gallery(run(targets, "hhhmmwhhhh"), targets, "After stage 2")
    check(fig, tmp_path)
    assert "After stage 2: 7 of 10 targets hit" in words(fig)
    assert any(text.startswith("No click. www") for text in words(fig))
    assert sum(text.startswith("Hit. Pay $5") for text in [text.get_text() for text in texts(fig)]) == 3


@pytest.mark.parametrize("outcomes", ["h" * 10, "w" * 10])
def test_gallery_of_one_outcome_only(targets, tmp_path, outcomes):
    check(plots.gallery(run(targets, outcomes), targets, "Base", count=2), tmp_path)


def test_loss_curve(tmp_path):
    log = [{"step": n, "loss": 3 / n, "learning_rate": 1e-3 / n} for n in range(1, 60)]
    scored = [{"step": n, "eval_clicks": share} for n, share in ((20, 0.5), (40, 0.75), (59, 0.75))]
    fig = plots.loss_curve([*log, *scored, {"step": 59, "train_loss": 1.0}], "Stage 1")
    check(fig, tmp_path)
    assert {"best, 75.0%: the adapter", "optimizer step", "loss (nats/token)", "held-out\nclicks (%)"} <= words(fig)
    assert tuple(fig.axes[1].lines[-1].get_xydata()[0]) == (59, 0.75)  # of equals the later
    check(plots.loss_curve(log[:1], "one step"), tmp_path)
    with pytest.raises(ValueError, match="no training loss"):
        plots.loss_curve(scored, "none")


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
