"""A reader in JupyterLab: Chromium opens the lessons, runs all cells, filters samples, and mistypes a parameter."""

import importlib.util
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from small_profile import put_into_cells

from forge_core.doctor import CHROMIUM

pytestmark = pytest.mark.slow
SECONDS = 240  # for the slowest wait: all cells of one notebook on a busy machine
SETTINGS = {  # of JupyterLab: it asks its reader nothing, and keeps all cells in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
}
READY = """name => {
    const panel = window.jupyterapp?.shell.currentWidget;
    return panel?.context?.path === name && panel.sessionContext.session?.kernel?.status === 'idle';
}"""
ENDED = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const code = panel.content.model.sharedModel.cells.filter(cell => cell.cell_type === 'code');
    const failed = code.some(cell => cell.getOutputs().some(output => output.output_type === 'error'));
    const idle = panel.sessionContext.session.kernel.status === 'idle';
    return idle && (failed || code.every(cell => cell.execution_count !== null));
}"""
PICTURES = """() => {
    const found = [...document.querySelectorAll('.jp-OutputArea-output img')];
    return found.every(image => image.complete) && found.map(image => [image.naturalWidth, image.alt]);
}"""


@pytest.fixture(scope="module")
def project(course, tmp_path_factory):
    """A copy of the finished small course whose notebooks have the small values in their own cells.

    Its answers are gone, so that notebook 05 asks the models again.
    """
    home, done = course
    assert done.returncode == 0, done.stdout + done.stderr
    copy = shutil.copytree(home, tmp_path_factory.mktemp("lab") / "project")
    shutil.rmtree(copy / "runs/embedded/05_evaluate_screenspot")
    put_into_cells(copy)
    return copy


@pytest.fixture(scope="module")
def lab(project, tmp_path_factory):
    """The address of a JupyterLab that was started as the README says, with settings of its own."""
    own = tmp_path_factory.mktemp("jupyter")
    for name, values in SETTINGS.items():
        file = own / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    folders = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    folders |= {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
    environment = os.environ | {name: str(own / folder) for name, folder in folders.items()}
    environment |= {"FORGE_HOME": str(project), "OMP_WAIT_POLICY": "passive"}
    command = [str(Path(sys.executable).parent / "jupyter"), "lab", "notebooks/", "--no-browser", "--ip=127.0.0.1"]
    command += ["--port=0", "--allow-root", "--expose-app-in-browser"]
    server = subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True)
    said = queue.Queue()
    threading.Thread(target=_pass_on, args=(server.stderr, said), daemon=True).start()
    yield _address(said)
    server.terminate()
    server.wait(60)


def _pass_on(stream, said: queue.Queue) -> None:
    """Every line as it comes, and "" at the end: a pipe that nobody reads would stop the server."""
    for line in stream:
        said.put(line)
    said.put("")


def _address(said: queue.Queue) -> tuple[str, str]:
    """Origin and token, from the lines that the server prints."""
    lines = []
    while not (found := re.search(r"(http://127\.0\.0\.1:\d+)/lab\S*\?token=(\w+)", "".join(lines))):
        lines.append(said.get(timeout=SECONDS))
        assert lines[-1], "".join(lines)
    return found.groups()


@pytest.fixture(scope="module")
def browser():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed (extra live)")
    if not (chromium := next(filter(None, map(shutil.which, CHROMIUM)), None)):
        pytest.skip(f"no Chromium here ({', '.join(CHROMIUM)})")
    from playwright.sync_api import sync_playwright

    flags = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=flags, chromium_sandbox=os.geteuid() != 0)
        yield found
        found.close()


@pytest.fixture
def page(browser, tmp_path):
    """An empty page; a picture of how it ended is left in tmp_path. It asked nobody but this machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page, asked = context.new_page(), set()
    page.set_default_timeout(1000 * SECONDS)
    page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
    yield page
    page.screenshot(path=tmp_path / "page.png")
    context.close()
    assert asked <= {"127.0.0.1", None}  # None: data: and blob:


def open_lesson(page, lab: tuple[str, str], name: str) -> None:
    """The notebook, alone in a workspace of its own, with its kernel waiting."""
    origin, token = lab
    page.goto(f"{origin}/lab/workspaces/{name}/tree/{name}.ipynb?token={token}")
    page.wait_for_function(READY, arg=f"{name}.ipynb")


def run_all(page) -> None:
    page.locator(".lm-MenuBar-item", has_text=re.compile("^Run$")).click()
    page.locator(".lm-Menu-item", has_text=re.compile("^Run All Cells")).click()
    page.wait_for_function(ENDED)
    errors = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']")
    assert errors.all_inner_texts() == []


def pictures(page) -> list[tuple[int, str]]:
    """Width in px and alt text of the pictures in outputs, all of them loaded."""
    return page.wait_for_function(PICTURES).json_value()


def test_run_all_shows_the_figures_of_the_first_lesson(page, lab, tmp_path):
    open_lesson(page, lab, "01_explore_data")
    run_all(page)
    seen = pictures(page)
    assert len(seen) >= 5 and all(width > 300 and alt for width, alt in seen)
    assert any(alt.startswith("What the screens ask for") for _, alt in seen)
    page.locator(".jp-OutputArea-output img").first.scroll_into_view_if_needed()
    page.screenshot(path=tmp_path / "figure.png")


def test_the_last_lesson_shows_progress_filters_samples_and_names_a_wrong_parameter(page, lab, tmp_path):
    open_lesson(page, lab, "05_evaluate_screenspot")
    run_all(page)
    assert len(pictures(page)) >= 5
    assert page.locator(".jp-OutputArea-output progress").count() >= 3  # base, stage 1, stage 2
    filter_samples(page)
    page.screenshot(path=tmp_path / "samples.png")
    mistype(page)
    page.get_by_text("image_size").last.scroll_into_view_if_needed()


def filter_samples(page) -> None:
    """The widget's platform filter leaves fewer samples, another one is shown, and Next shows the one after it."""
    count = page.locator(".widget-label", has_text=re.compile(r"^\d+ of \d+ samples$"))
    everything, first = int(count.inner_text().split()[2]), shown(page)
    page.locator(".widget-dropdown", has_text="platform").locator("select").select_option("mobile")
    second = shown(page, after=first)
    left = int(count.inner_text().split()[2])
    assert 1 < left < everything and "web · " in first and "mobile · " in second
    page.get_by_role("button", name="Next").click()
    assert "mobile · " in shown(page, after=second)
    assert count.inner_text() == f"2 of {left} samples"


def shown(page, after: str = "") -> str:
    """The line with platform, kind and id of the sample that follows the one whose line is `after`."""
    line = page.locator(".widget-html-content div").filter(has_text=re.compile(r"^\w+ · \w+ · .* × \d+ px"))
    if after:
        line = line.filter(has_not_text=after)
    return line.last.inner_text()


def mistype(page) -> None:
    cell = page.locator(".jp-CodeCell").first
    wrong = cell.locator(".cm-content").inner_text().replace("image_size: int = 512", 'image_size: int = "512"')
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(wrong)
    page.keyboard.press("Shift+Enter")
    page.keyboard.press("Shift+Enter")
    error = page.locator(".jp-CodeCell").nth(1).locator("[data-mime-type='application/vnd.jupyter.stderr']")
    error.wait_for()
    last = error.inner_text().strip().splitlines()[-1]
    assert last.startswith("ParamsError: 05_evaluate_screenspot: image_size: ") and "'512'" in last
