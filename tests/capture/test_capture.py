"""`forge capture` on folders and sites of our own in real Chromium, as a user runs it."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from trap_site import PERSONAL, STYLE, button
from typer.testing import CliRunner
from web_server import WebServer

from forge_core.capture.run import NothingCapturedError, run
from forge_core.capture.store import read_screens
from forge_core.capture.walk import Settings
from forge_core.cli import app
from forge_core.data.rows import read_turn, split
from forge_core.doctor import CHROMIUM

pytestmark = pytest.mark.slow
SMALL = Settings(viewports=("600x400",), delay=0)
DARK = "<style>@media (prefers-color-scheme: dark) {body {background: #222; color: #eee}}</style>"
FORM = f"""{STYLE}{DARK}<title>Form</title><form action=done.html><p><input placeholder=Name name=n>
<select aria-label=Size name=s><option value=1>Small<option value=2>Large</select></p>
<p><input type=checkbox id=c name=c><label for=c>Agree</label> <button>Send it</button></p></form>
<p id=chance></p><script>chance.textContent = Math.random() + ' ' + new Date().getFullYear()</script>"""
DONE = f"{STYLE}{DARK}<title>Done</title><h1>Thank you</h1>{button('Again')}"


@pytest.fixture(scope="module", autouse=True)
def chromium():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed (extra capture)")
    if not any(map(shutil.which, CHROMIUM)):
        pytest.skip(f"no Chromium here ({', '.join(CHROMIUM)})")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    site = tmp_path_factory.mktemp("pages") / "my app"
    site.mkdir()
    (site / "index.html").write_text(FORM)
    (site / "done.html").write_text(DONE)
    return site


@pytest.fixture(scope="module")
def captured(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("captured")
    return out, run([str(folder)], out, SMALL, licence_note="ours")


def test_a_form_of_a_folder_is_filled_in_and_sent_a_screen_a_step(captured):
    out, _ = captured
    tasks = [screen for screen in read_screens(out) if screen.task and screen.theme == "light"]
    assert [screen.task.next for screen in tasks] == [0, 1, 2, 3, 4]
    assert [step.action for step in tasks[0].task.steps] == ["fill", "choose", "check", "press"]
    assert len({screen.sha256 for screen in tasks}) == 5 and tasks[-1].title == "Done"
    rows = json.loads((out / "raw/stage2/capture_web.json").read_text())
    names = {screen.image for screen in tasks}
    actions = [read_turn(split(row)[1][0], 2)[1][0].name for row in rows if row["image"] in names]
    assert actions == ["click", "select_option", "click", "click", "final_answer"]


def test_both_themes_are_kept_where_the_page_has_both(captured):
    screens = [screen for screen in read_screens(captured[0]) if screen.state == "top"]
    assert [(Path(screen.url).name, screen.theme) for screen in screens] == [
        ("index.html", "light"), ("index.html", "dark"), ("done.html", "light"), ("done.html", "dark"),
    ]  # fmt: skip


def test_the_manifest_says_where_when_how_and_whose(captured):
    out, manifest = captured
    assert manifest == json.loads((out / "manifest.json").read_text())
    assert manifest["licence_note"] == "ours" and manifest["sites"]["my-app"]["screens"] == 14
    visit = manifest["visits"][0]
    assert visit["url"] == "my-app/index.html" and visit["viewport"] == "600x400" and visit["time"].startswith("20")
    assert "127.0.0.1" not in (out / "manifest.json").read_text()


def test_the_same_folder_gives_the_same_bytes(folder, captured, tmp_path):
    run([str(folder)], tmp_path, SMALL)
    for name in ("images", "raw", "screenspot"):
        first = {path.relative_to(captured[0]): path for path in (captured[0] / name).rglob("*") if path.is_file()}
        second = {path.relative_to(tmp_path): path for path in (tmp_path / name).rglob("*") if path.is_file()}
        assert first.keys() == second.keys() and first
        assert [name for name in first if first[name].read_bytes() != second[name].read_bytes()] == []


def test_other_settings_do_not_mix_into_a_capture(folder, captured):
    with pytest.raises(ValueError, match="captured with another mask"):
        run([str(folder)], captured[0], Settings(viewports=("600x400",), mask=("secret",)))


def test_what_is_masked_is_in_no_file_and_in_no_picture(tmp_path):
    site = tmp_path / "mail"
    site.mkdir()
    page = site / "index.html"
    page.write_text(PERSONAL)
    command = ["capture", str(site), "--viewports", "600x400", "--themes", "light", "--mask"]
    command += ["--mask-word", "Confidential", "--test-share", "0"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    for path in (tmp_path / "one").rglob("*.json*"):
        assert not [word for word in ("secret", "Confidential", "170 555") if word in path.read_text()], path
    (screen,) = read_screens(tmp_path / "one")
    assert {item.name for item in screen.items} == {"Save", "Mail", "Her page", "Profile"}
    assert screen.rejected["masked"] == 1
    page.write_text(PERSONAL.replace("secret", "hidden").replace("555", "777"))
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "two")])
    assert read_screens(tmp_path / "two")[0].sha256 == screen.sha256, "the pictures differ by what is masked"


def test_a_saved_login_opens_what_is_behind_it_and_is_written_nowhere(tmp_path):
    server = WebServer({"/": f"{STYLE}<script>document.write(document.cookie.includes('key') ? "
                             f"`{button('Inside')}` : `{button('Log in')}`)</script>"})  # fmt: skip
    state = tmp_path / "login.json"
    cookie = {"name": "key", "value": "k3y-of-mine", "domain": "127.0.0.1", "path": "/", "expires": -1}
    flags = {"httpOnly": False, "secure": False, "sameSite": "Lax"}
    state.write_text(json.dumps({"cookies": [cookie | flags], "origins": []}))
    try:
        run([server.url], tmp_path / "out", Settings(viewports=("600x400",), delay=0, storage_state=str(state)))
    finally:
        server.stop()
    assert [item.name for screen in read_screens(tmp_path / "out") for item in screen.items] == ["Inside"]
    assert not [path for path in (tmp_path / "out").rglob("*.json*") if "k3y" in path.read_text()]


def test_a_site_without_a_screen_says_why(tmp_path):
    server = WebServer({"/": (500, {}, "broken")})
    try:
        with pytest.raises(NothingCapturedError, match="status 500"):
            run([server.url], tmp_path, SMALL)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no/such/folder"], "neither a folder nor the address of a page"),
        (["ftp://example.org/"], "http://... or https://..."),
        ([".", "--viewports", "watch"], "viewport 'watch'"),
        ([".", "--themes", "sepia"], "theme 'sepia'"),
        ([".", "--storage-state", "no.json"], "no.json: no such file"),
        (["forge_core/data"], "no .html file"),
        (["http://127.0.0.1:9/"], "127.0.0.1:9/robots.txt: "),
    ],
)
def test_what_cannot_be_captured_is_one_line(arguments, message, tmp_path):
    done = CliRunner().invoke(app, ["capture", *arguments, "--out", str(tmp_path)])
    assert done.exit_code == 2 and message in done.output and len(done.output.splitlines()) == 1, done.output
