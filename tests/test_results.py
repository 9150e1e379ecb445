"""results.json is written last, whole, and says what it was made from."""

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser

import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure

from forge_core import paths, results


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def test_finish_records_metrics_hashes_and_environment(root):
    (root / "in.txt").write_bytes(b"in")
    (root / "made").mkdir()
    (root / "made" / "a.txt").write_bytes(b"a")
    recorder = results.start("r", "02_preprocess", {"seed": 1})
    recorder.metrics["rows"] = np.int64(3)
    recorder.metrics["curve"] = np.array([1.0, 0.5])
    recorder.finish(inputs=["in.txt"], outputs=[root / "made"])

    record = results.read_results("r", "02_preprocess")
    assert record["status"] == "ok" and record["notebook"] == "02_preprocess" and record["params"] == {"seed": 1}
    assert record["metrics"] == {"rows": 3, "curve": [1.0, 0.5]}
    assert record["inputs"] == {"in.txt": hashlib.sha256(b"in").hexdigest()}
    assert record["outputs"] == {"made": results.digest("made")}
    assert record["peak_memory_gib"] > 0 and record["seconds"] >= 0
    wanted = {"forge", "python", "torch", "transformers", "peft", "bitsandbytes", "device", "git"}
    assert set(record["environment"]) == wanted and record["environment"]["torch"].startswith("2.")


def test_figures_are_saved_and_shown_with_alt_text(root):
    figure = Figure(figsize=(5, 2))
    figure.suptitle('Loss of "<stage 1>"')
    figure.subplots().set(xlabel="step", ylabel="loss\n(nats)")
    recorder = results.start("r", "01_explore_data", {})
    shown = recorder.figure(figure, "loss")
    recorder.finish()
    assert results.read_results("r", "01_explore_data")["figures"] == ["runs/r/01_explore_data/loss.png"]
    png = (root / "runs/r/01_explore_data/loss.png").read_bytes()
    assert png.startswith(b"\x89PNG") and shown.png == png
    bundle, _ = DisplayFormatter().format(shown)
    assert bundle["text/plain"] == '<Loss of "<stage 1>"; loss (nats) by step>'  # which the live log leaves out
    seen = Images()
    seen.feed(bundle["text/html"])
    assert seen.found == [("data:image/png;base64," + b64encode(png).decode(), bundle["text/plain"][1:-1], "500")]
    assert recorder.figure(figure, "loss", "It falls.").alt == "It falls."
    assert recorder.figure(Figure(), "empty").alt == "empty"


class Images(HTMLParser):
    """Source, alt text and width of the images of a page."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.found.append(tuple(dict(attrs).get(key) for key in ("src", "alt", "width")))


def test_start_removes_the_results_of_an_earlier_run(root):
    results.start("r", "01_explore_data", {}).finish()
    results.start("r", "01_explore_data", {})
    with pytest.raises(FileNotFoundError, match="run notebook 01_explore_data of run 'r' first"):
        results.read_results("r", "01_explore_data")


def test_a_missing_output_leaves_no_results(root):
    recorder = results.start("r", "01_explore_data", {})
    with pytest.raises(FileNotFoundError, match="gone.txt does not exist"):
        recorder.finish(outputs=["gone.txt"])
    assert list((root / "runs/r/01_explore_data").iterdir()) == []


def test_an_unwritable_metric_keeps_the_old_file_whole(root):
    target = root / "x.json"
    results.write_json(target, {"a": 1})
    with pytest.raises(TypeError, match="metric of type object"):
        results.write_json(target, {"a": object()})
    assert json.loads(target.read_text()) == {"a": 1}


def change_content(folder):
    (folder / "a").write_text("2")


def rename_file(folder):
    (folder / "a").rename(folder / "c")


def add_file(folder):
    (folder / "d").write_text("")


@pytest.mark.parametrize("change", [change_content, rename_file, add_file])
def test_a_folders_digest_sees_every_change(root, change):
    folder = root / "f"
    folder.mkdir()
    (folder / "a").write_text("1")
    before = results.digest(folder)
    assert results.digest("f") == before
    change(folder)
    assert results.digest(folder) != before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not JSON"),
        ("[]", "must be an object, got []"),
        ('{"status": "ok"}', "params is missing"),
        ('{"status": 1}', "status: Input should be a valid string, got 1"),
        ("\xff", "not JSON"),
    ],
)
def test_a_damaged_record_is_named(root, text, problem):
    file = root / "runs" / "r" / "01_x" / results.FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"{re.escape(str(file))}: {re.escape(problem)}"):
        results.read_results("r", "01_x")
