"""The doctor reports what is really here and never shows a secret."""

import re
import shutil

import pytest
from packaging.requirements import Requirement
from typer.testing import CliRunner

from forge_core import doctor, shared_memory
from forge_core.cli import app


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HOME", str(tmp_path))  # no netrc of the machine


def test_one_screen_every_line_with_a_state_and_exit_0(capsys):
    assert doctor.run() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    found = [line.split()[1] for line in lines if not line.startswith(" ")]
    assert found == ["python", "packages", "gpu", "vram", "bf16", "4-bit", "ram", "disk", "hub", "w&b", "chromium"]
    assert all(re.match(r"(ok|missing|note) ", line) or line.lstrip().startswith("mend: ") for line in lines)


def test_four_bit_really_quantises():
    assert doctor.four_bit().state == "ok"


def test_a_missing_package_is_named_with_exit_1(monkeypatch, capsys):
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["numpy", "surely-not-there>=1"])
    assert doctor.run() == 1
    out = capsys.readouterr().out
    assert re.search(r"missing +packages +surely-not-there", out) and "mend: make setup" in out


def test_an_old_package_is_named_with_what_is_needed():
    assert doctor._unmet(Requirement("numpy>=999"))[0].endswith("needs >=999")
    assert doctor._unmet(Requirement("numpy")) == []


def test_the_key_is_never_printed(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "secret-key-123")
    doctor.run()
    out = capsys.readouterr().out
    assert "WANDB_API_KEY is set" in out and "secret-key-123" not in out


def test_offline_is_respected():
    assert doctor.hub().detail == "not asked: HF_HUB_OFFLINE is set"


def test_an_unreachable_hub_is_a_note(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # discard port: refused
    assert doctor.hub().state == "note" and "does not answer" in doctor.hub().detail


def test_chromium_is_found_on_the_path(monkeypatch, tmp_path):
    browser = tmp_path / "chromium"
    browser.write_text("")
    browser.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.chromium() == doctor.Line("ok", "chromium", shutil.which("chromium"))


def test_a_profile_is_measured_against_the_cards(capsys):
    assert doctor.run("embedded") == 0
    out = capsys.readouterr().out
    table = out[out.index("memory of profile embedded") :]
    rows = dict(line.rsplit("  ", 5)[:1] + [line.split()[-5:]] for line in table.splitlines()[2:13])
    assert len(rows) == 11 and all(re.fullmatch(r"\(?\d+\.\d\d\)?|-", cell) for row in rows.values() for cell in row)
    assert [line.split(";")[0] for line in table.splitlines()[13:]] == [f"{card} GB: fits" for card in (16, 24, 80)]


def test_the_shared_memory_wanted_is_enough_for_every_profile():
    found = [shared_memory.needed(doctor.params_of(f"vast-{card}gb")[0]) for card in (16, 24, 80)]
    assert max(found) <= doctor.SHARED_WANTED <= 1.1 * max(found)


def test_an_unknown_profile_ends_with_status_2():
    told = CliRunner().invoke(app, ["doctor", "--profile", "vast-12gb"])
    assert told.exit_code == 2 and "no such profile; known: capture, embedded, vast-16gb" in told.stderr


def test_a_base_without_files_is_one_line():
    stages = [params.model_copy(update={"base_model": "no/such-base"}) for params in doctor.params_of("vast-16gb")]
    line = doctor.on_the_card("vast-16gb", *stages)
    assert "memory of profile vast-16gb, base no/such-base@" in line and ": not known (" in line and "\n" not in line
