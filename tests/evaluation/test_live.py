"""A scripted agent on a page of our own in real Chromium: what it may do happens, and what it must not does not."""

import importlib.util
import os
import shutil
import signal
import socket
from pathlib import Path

import pytest
from drawn import check, words
from typer.testing import CliRunner
from web_server import WebServer, unasked

from forge_core.actions.types import FUNCTIONS, Action
from forge_core.actions.unified import parse
from forge_core.cli import app
from forge_core.doctor import CHROMIUM
from forge_core.evaluation.browser import Guard, PageError, origin
from forge_core.evaluation.hand import ALLOWED, refusal
from forge_core.evaluation.live import Run, Step, filmstrip, history, run_live, window

SIZE = (512, 384)
PLACES = {  # what is where on the page, px
    "button": (80, 40), "field": (240, 40), "away": (80, 120), "popup": (240, 120), "download": (400, 120),
    "alert": (80, 200), "file": (240, 200), "next": (400, 200), "redirect": (80, 280), "hang": (240, 280),
    "leave": (400, 280), "empty": (80, 360), "nothing": (480, 360), "later": (400, 40),
}  # fmt: skip


def element(name: str, tag: str = "button", **attributes: str) -> str:
    x, y = PLACES[name]
    style = f"position:absolute;left:{x - 50}px;top:{y - 15}px;width:100px;height:30px;box-sizing:border-box"
    given = " ".join(f"{key}='{value}'" for key, value in attributes.items())
    return f"<{tag} style='{style}' {given}>{'' if tag == 'input' else f'{name}</{tag}>'}"


def shop_page(other: str) -> str:
    return "<!doctype html><title>shop</title><body style='margin:0;height:2000px'>" + "".join(
        [
            element("button", onclick='document.body.style.background = "gold"; fetch("/bought")'),
            element("field", "input", onkeyup='fetch("/typed?" + this.value)'),
            element("away", "a", href=f"{other}/away"),
            element(
                "popup",
                onclick=f'const w = window.open("{other}/popup"); setInterval(() => w.closed && fetch("/closed"), 50)',
            ),
            element("download", "a", href="/download"),
            element("alert", onclick='alert("Buy now!"); fetch("/alerted")'),
            element("file", "input", type="file"),
            element("next", "a", href="/next"),
            element("redirect", "a", href="/redirect"),
            element("hang", onclick="while (true) {}"),
            element("leave", "a", href="/leave"),
            element("empty", "a", href="/empty"),
            element("later", onclick=f'setTimeout(() => location = "{other}/later", 50)'),
            f"<img src='{other}/pixel.png' width=1><iframe src='{other}/frame' width=1 height=1></iframe>",
        ]
    )


@pytest.fixture(scope="module")
def chromium():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed (extra live)")
    if not any(map(shutil.which, CHROMIUM)):
        pytest.skip(f"no Chromium here ({', '.join(CHROMIUM)})")


@pytest.fixture
def other():
    with unasked() as server:
        yield server


@pytest.fixture
def shop(other, chromium):
    headers = {"Content-Type": "application/octet-stream", "Content-Disposition": "attachment; filename=virus.bin"}
    server = WebServer(
        {
            "/": shop_page(other.url),
            "/next": "<title>next</title><h1>The next page</h1>",
            "/redirect": (302, {"Location": f"{other.url}/redirected"}, ""),
            "/leave": f"<body onload='location = `{other.url}/left`'><h1>Still here</h1>",
            "/empty": f"<script>location = '{other.url}/left'</script><h1>Never drawn</h1>",
            "/download": (200, headers, b"x" * 1000),
            "/worker": "<script>navigator.serviceWorker?.register('/worker.js')</script>",
            "/worker.js": (200, {"Content-Type": "text/javascript"}, "fetch('/worked')"),
            "/busy": "<body onload='setTimeout(() => { while (true) {} }, 1)'>",
            "/silent": None,
        }
    )
    yield server
    server.stop()


class Script:
    """A decide that gives the answers in turn and keeps what it was asked; 'click:NAME' clicks there."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = list(answers), []

    def __call__(self, image, instruction: str, past: str) -> str:
        self.asked.append((image, instruction, past))
        answer = self.answers[len(self.asked) - 1]
        return click(answer.removeprefix("click:")) if answer.startswith("click:") else answer


def click(name: str) -> str:
    x, y = PLACES[name]
    return f"click(x={x / SIZE[0]:.4f}, y={y / SIZE[1]:.4f})"


def live(shop: WebServer, *answers: str, path: str = "/", **changes) -> Run:
    options = {"steps": len(answers), "size": SIZE, **changes}
    return run_live(shop.url + path, Script(*answers), "Buy it", **options)


# ---------------------------------------------------------------- without a browser


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://Example.com/a?b#c", "http://example.com:80"),
        ("https://u:p@example.com", "https://example.com:443"),
        ("blob:http://127.0.0.1:8000/x", "http://127.0.0.1:8000"),
        ("http://[::1]:9/", "http://[::1]:9"),
        *[(url, "") for url in ("file:///etc/passwd", "data:text/html,x", "about:blank", "http://", "http://a:b/")],
        *[
            (url, "")
            for url in (
                "http://*:80/",
                "http://a;b/",
                "http://a,b/",
                "http://.com/",
                "http://é.com/",
                "javascript:x",
                "",
                "http://[::1/",
            )
        ],
    ],
)
def test_origin(url, found):
    assert origin(url) == found


def test_only_the_same_scheme_host_and_port_is_inside():
    guard = Guard("http://example.com/a")
    assert guard.inside("http://EXAMPLE.com:80/b")
    for url in ("https://example.com/", "http://example.com:81/", "http://www.example.com/", "about:blank"):
        assert not guard.inside(url)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "example.com", "chrome://crash", "data:text/html,x", "ftp://bob:" + "hunter2@a/"]
)
def test_what_is_no_page_is_refused_before_a_browser_starts(url):
    with pytest.raises(ValueError, match="expected the address of a page") as caught:
        run_live(url, Script(), "Buy it")
    assert "hunter2" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/silent", "/gone"])
def test_no_password_in_an_address_is_shown(shop, path):
    url = shop.url.replace("//", "//bob:hunter2@") + path
    with pytest.raises(PageError, match=f"{shop.url}{path}: ") as caught:
        run_live(url, Script(), "Buy it", seconds=1.0)
    assert "hunter2" not in str(caught.value)


@pytest.mark.slow
def test_what_a_model_says_reaches_the_terminal_without_control_characters(shop, capsys):
    live(shop, "final_answer(answer='\x1b[2Jdone')")
    out = capsys.readouterr().out
    assert "\\x1b[2Jdone" in out and "\x1b" not in out


EXAMPLES = [
    *("click(x=0.5, y=0.5)", "double_click(x=0.5, y=0.5)", "right_click(x=0.5, y=0.5)", "move_mouse(x=0.5, y=0.5)"),
    *("drag(from_coord=[0.1, 0.2], to_coord=[0.3, 0.4])", "scroll(direction='down', amount=50)", "type(text='a')"),
    *("press(keys=['ctrl', 'c'])", "wait(seconds=1)", "navigate_back()", "final_answer(answer='a')"),
    *("triple_click(x=0.5, y=0.5)", "middle_click(x=0.5, y=0.5)", "long_press(x=0.5, y=0.5)", "navigate_home()"),
    *("swipe(from_coord=[0.1, 0.2], to_coord=[0.3, 0.4])", "select_option(x=0.5, y=0.5, value='a')"),
    *("open_app(app_name='a')", "call_tool(tool='a', arguments='{}')"),
]


def test_the_allow_list_is_the_whole_of_what_is_let_through():
    actions = [parse(text)[0] for text in EXAMPLES]
    assert {action.name for action in actions} == set(FUNCTIONS)
    assert {action.name for action in actions if not refusal([action])} == set(ALLOWED)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("click(x=0.5, y=0.5)\nopen_app(app_name='a')", "open_app is not allowed"),
        ("click(element='Save')", "click names its target in words"),
        ("drag(from_element='a', to_element='b')", "drag names its target in words"),
        ("press(keys='hyper')", "press: no key is called 'hyper'"),
        ("press(keys='é')", "press: no key is called 'é'"),
        (f"type(text='{'a' * 1001}')", "type: 1001 characters, 1000 are the most"),
        ("\n".join(["wait()"] * 11), "11 actions in one answer, 10 are the most"),
    ],
)
def test_a_refusal_has_a_reason(text, reason):
    assert refusal(parse(text)).startswith(reason)


@pytest.mark.parametrize(
    "keys", ["enter", "Enter", "ctrl+a", ["ctrl", "shift", "Tab"], "a", "+", " ", "PageDown", "f5"]
)
def test_common_keys_are_known(keys):
    assert refusal([Action("press", {"keys": keys})]) == ""


def test_the_window_is_what_the_model_sees():
    assert window("web", 512) == (512, 384) and window("web", 4096) == (1280, 960)
    assert window("mobile", 512) == (320, 512)


def test_history_is_a_line_a_step():
    steps = [
        Step(None, "", "I see Save.\nI click Save.", parse("click(x=0.5, y=0.5)")),
        Step(None, "", None, parse("type(text='a')\npress(keys='enter')")),
    ]
    assert history([]) == ""
    assert history(steps) == "Step 1: I click Save.\nStep 2: type(text='a'); press(keys='enter')"


# ---------------------------------------------------------------- in a browser


@pytest.mark.slow
def test_the_page_is_looked_at_acted_on_and_looked_at_again(shop, other):
    script = Script(
        "click:button",
        f"<think>\nNow the field.\n</think>\n<code>\n{click('field')}\ntype(text='sofa')\n</code>",
        "final_answer(answer='bought a sofa')",
        "never asked for",
    )
    run = run_live(shop.url, script, "Buy it", steps=9, size=SIZE)
    assert run.ended == "final answer: bought a sofa" and len(run.steps) == 3
    assert "/bought" in shop.requests and "/typed?sofa" in shop.requests
    images, asked, past = zip(*script.asked, strict=True)
    assert [image.size for image in images] == [SIZE] * 3 and set(asked) == {"Buy it"}
    assert images[0].getpixel((500, 300)) == (255, 255, 255) and images[1].getpixel((500, 300)) == (255, 215, 0)
    assert past == ("", f"Step 1: {click('button')}", f"Step 1: {click('button')}\nStep 2: Now the field.")
    assert run.steps[1].thought == "Now the field." and run.last.size == SIZE


@pytest.mark.slow
def test_coordinates_are_read_as_the_adapter_writes_them(shop, other):
    x, y = (round(1000 * part / side) for part, side in zip(PLACES["button"], SIZE, strict=True))
    live(shop, f"click(x={x}, y={y})", coord_format="0-1000")
    assert "/bought" in shop.requests


@pytest.mark.slow
def test_keys_scrolling_dragging_and_going_back(shop, other):
    shop.pages["/"] = (
        "<body style='height:3000px' onscroll='fetch(`/scrolled?${scrollY}`)' onmousedown='fetch(`/down?${event.x}`)'"
        " onmouseup='fetch(`/up?${event.x}`)' onkeydown='fetch(`/key?${event.ctrlKey}${event.key}`)'"
        " ondblclick='fetch(`/double`)' oncontextmenu='fetch(`/menu`)'>"
    )
    run = live(
        shop,
        "drag(from_coord=[0.25, 0.5], to_coord=[0.75, 0.5])",
        "press(keys=['ctrl', 'b'])\ndouble_click(x=0.5, y=0.5)\nright_click(x=0.5, y=0.5)",
        "scroll(direction='down', amount=25)",
        "navigate_back()",
    )
    assert run.ended == "4 steps done"  # there is no page to go back to, and it stays
    assert {"/down?128", "/up?384", "/key?trueb", "/double", "/menu", "/scrolled?96"} <= set(shop.requests)


@pytest.mark.slow
def test_a_link_of_the_same_origin_leads_on_and_back(shop, other):
    run = live(shop, "click:next", "navigate_back()", "wait(seconds=0)")
    assert "/next" in shop.requests and run.ended == "3 steps done"
    before, next_page, again = (step.image for step in run.steps)
    assert next_page.tobytes() != before.tobytes() == again.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("away", "navigation to another origin blocked: {other}"),
        ("later", "navigation to another origin blocked: {other}"),
        ("leave", "navigation to another origin blocked: {other}"),
        ("popup", "popup closed"),
        ("download", "download refused: virus.bin"),
        ("alert", "alert dismissed: Buy now!"),
        ("file", "file chooser ignored"),
    ],
)
def test_what_a_page_must_not_do_is_refused_by_name_and_the_run_goes_on(shop, other, name, note):
    run = live(shop, f"click:{name}", "wait(seconds=0.2)")
    assert note.format(other=other.url) in [note for step in run.steps for note in step.notes]
    assert run.ended == "2 steps done" and run.last is not None
    assert {"alert": "/alerted", "popup": "/closed"}.get(name, "/") in shop.requests


@pytest.mark.slow
def test_a_page_that_leaves_before_it_is_drawn_shows_nothing_and_ends_the_run(shop, other):
    run = live(shop, "click:empty", "wait()", seconds=2.0)
    assert f"navigation to another origin blocked: {other.url}" in run.steps[0].notes
    assert run.ended == "the page does not answer within 2 s" and run.last is None


@pytest.mark.slow
def test_a_redirect_to_another_origin_ends_the_run(shop, other):
    run = live(shop, "click:redirect", "wait()")
    assert f"navigation to another origin blocked: {other.url}" in run.steps[0].notes
    assert run.ended.startswith("the page has left its origin") and len(run.steps) == 1


REQUESTS = (
    "fetch(`${other}/fetch`, {mode: `no-cors`})",
    "navigator.sendBeacon(`${other}/beacon`, `x`)",
    "new WebSocket(other.replace(`http`, `ws`) + `/socket`)",
    "new EventSource(`${other}/events`)",
    "fetch(`/redirect`, {mode: `no-cors`})",
    "document.head.append(Object.assign(document.createElement(`link`), {rel: `prefetch`, href: `${other}/ahead`}))",
    "new Worker(URL.createObjectURL(new Blob([`fetch('${other}/worker', {mode: 'no-cors'})`])))",
)


@pytest.mark.slow
def test_requests_to_another_origin_do_not_get_there(shop, other):
    shop.pages["/"] = f"<script>const other = '{other.url}'; {'; '.join(REQUESTS)}; fetch('/ran')</script>"
    run = live(shop, "wait(seconds=1)")
    assert run.ended == "1 steps done" and {"/ran", "/redirect"} <= set(shop.requests)
    assert any(note.startswith(f"request to another origin blocked: {other.url} (") for note in run.steps[0].notes)


@pytest.mark.slow
def test_no_datagram_leaves_for_another_address(shop, other):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stun:
        stun.bind(("127.0.0.1", 0))
        stun.setblocking(False)
        server = f"{{iceServers: [{{urls: 'stun:127.0.0.1:{stun.getsockname()[1]}'}}]}}"
        shop.pages["/"] = (
            f"<script>const c = new RTCPeerConnection({server}); c.createDataChannel('x');"
            "c.createOffer().then(o => c.setLocalDescription(o)).then(() => fetch('/ran'))</script>"
        )
        live(shop, "wait(seconds=1)")
        assert "/ran" in shop.requests
        with pytest.raises(BlockingIOError):
            stun.recv(100)


@pytest.mark.slow
def test_service_workers_are_blocked(shop, other):
    live(shop, "wait(seconds=0.5)", path="/worker")
    assert "/worker" in shop.requests and "/worked" not in shop.requests


@pytest.mark.slow
def test_what_is_not_allowed_ends_the_run_and_none_of_the_answer_is_done(shop, other):
    run = live(shop, f"{click('button')}\nopen_app(app_name='shell')", "wait()")
    assert run.ended == "open_app is not allowed on a live page" and len(run.steps) == 1
    assert "/bought" not in shop.requests


@pytest.mark.slow
def test_an_unreadable_answer_ends_the_run(shop, other):
    run = live(shop, "I would click on the button", "wait()")
    assert run.ended.startswith("an answer that cannot be read: ") and len(run.steps) == 1
    assert run.steps[0].raw == "I would click on the button"


@pytest.mark.slow
def test_the_same_click_twice_on_an_unchanged_page_ends_the_run(shop, other):
    assert live(shop, "wait(seconds=0)", "wait(seconds=0)", "wait(seconds=0)").ended == "3 steps done"
    run = live(shop, "click:nothing", "click:nothing", "wait()")
    assert run.ended == "the same click twice, and the page has not changed" and len(run.steps) == 2


@pytest.mark.slow
def test_the_same_click_on_a_changed_page_goes_on(shop, other):
    assert live(shop, "click:button", "click:button").ended == "2 steps done"


@pytest.mark.slow
def test_a_page_that_hangs_ends_the_run(shop, other):
    run = live(shop, "click:hang", "wait()", seconds=2.0)
    assert run.ended == "the page does not answer within 2 s" and len(run.steps) == 1


def renderers() -> list[int]:
    """Processes of ours in which Chromium draws pages."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    ours = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return [pid for pid in ours if b"--type=renderer" in (Path("/proc") / str(pid) / "cmdline").read_bytes()]


@pytest.mark.slow
def test_a_page_that_crashes_ends_the_run(shop, other):
    def decide(*_) -> str:
        for pid in renderers():
            os.kill(pid, signal.SIGKILL)
        return "click(x=0.5, y=0.5)"

    run = run_live(shop.url, decide, "Buy it", steps=2, size=SIZE, seconds=3.0)
    assert run.ended == "the page crashed" and len(run.steps) == 1 and run.last is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/silent", "Timeout 5000ms exceeded"),
        ("/no", "the server answered with status 404"),
        ("/busy", "the page does not answer within 5 s"),
        ("/redirect", "navigation to another origin blocked: "),
        ("/download", "download"),
    ],
)
def test_a_page_that_does_not_load_is_named(shop, other, path, reason):
    with pytest.raises(PageError, match=f"(?i){shop.url}{path}: .*{reason}"):
        live(shop, "wait()", path=path, seconds=5.0)


@pytest.mark.slow
def test_a_failing_decide_is_not_hidden(shop, other):
    with pytest.raises(ZeroDivisionError):
        run_live(shop.url, lambda *_: 1 / 0, "Buy it", size=SIZE)


@pytest.mark.slow
def test_the_filmstrip_says_what_was_done_and_how_it_ended(shop, other, tmp_path):
    answers = [
        "click:away",
        f"<think>\nThe button.\n</think>\n<code>\n{click('button')}\n</code>",
        "open_app(app_name='a')",
    ]
    figure = filmstrip(live(shop, *answers), "Buy it")
    check(figure, tmp_path)
    assert {"Buy it", "Step 1", "Step 2", "Step 3", "The end", "The button.", click("button")} <= words(figure)
    assert "Ended: open_app is not allowed on a live page" in words(figure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--live", "file:///etc/passwd"], "expected the address of a page"),
        (["--live", "http://127.0.0.1:9/", "--image", "a.png"], "one of them"),
        ([], "one of them"),
    ],
)
def test_the_command_refuses_what_it_cannot_open(arguments, message):
    done = CliRunner().invoke(app, ["spot", "--instruction", "Buy it", *arguments])
    assert done.exit_code == 2 and message in done.output


def test_the_command_names_a_missing_adapter_before_it_opens_the_page(chromium):
    adapter = ["--adapter", "no/such/folder"]
    done = CliRunner().invoke(app, ["spot", "--instruction", "Buy it", "--live", "http://127.0.0.1:9/", *adapter])
    assert done.exit_code == 2 and "no/such/folder has no adapter_config.json" in done.output


def test_without_chromium_the_command_says_what_to_install(chromium, monkeypatch):
    monkeypatch.setenv("PATH", "")
    done = CliRunner().invoke(app, ["spot", "--instruction", "Buy it", "--live", "http://127.0.0.1:9/"])
    assert done.exit_code == 2 and "apt-get install chromium" in done.output
