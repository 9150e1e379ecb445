"""Notebooks and solutions keep the house rules, and all run headless on a small copy of the embedded profile."""

import ast
import json
import re
import statistics
import sys

import nbformat
import pytest
import yaml
from small_profile import ROOT, forge, start

from forge_core.course import obstacle
from forge_core.params import MODELS, cell_values, load_profile
from forge_core.site import slug

LESSONS = {name: ROOT / "notebooks" / f"{name}.ipynb" for name in MODELS}
SOLUTIONS = {name: ROOT / "notebooks" / "solutions" / f"{name}.ipynb" for name in MODELS}
NOTEBOOKS = [*LESSONS.values(), *SOLUTIONS.values()]
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
STOPS = ("01 explore", "02 preprocess", "03 grounding", "04 reasoning", "05 ScreenSpot", "06 your own app")
CHECK = "# the check: leave it as it is"
EXERCISE = r"\*\*Exercise {}\*\* (★☆☆|★★☆|★★★) · \d+ min"


def of(path) -> str:
    return str(path.relative_to(ROOT).with_suffix(""))


@pytest.fixture(params=NOTEBOOKS, ids=of)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(params=MODELS)
def lesson(request):
    return request.param


@pytest.fixture
def ran(lesson):
    """A lesson that the small course runs on this machine."""
    if reason := obstacle(lesson):
        pytest.skip(reason)
    return lesson


def cells(path) -> list:
    return nbformat.read(path, as_version=4).cells


def code(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def tagged(path, tag: str) -> list[int]:
    return [place for place, cell in enumerate(cells(path)) if tag in cell.metadata.get("tags", [])]


def exercises(path) -> list[tuple[str, str, str]]:
    """Of each exercise the text above it, the answer and the check."""
    found = cells(path)
    return [(found[place - 1].source, *found[place].source.split(CHECK)) for place in tagged(path, "exercise")]


def test_schema_ids_kernel_and_tag(notebook):
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    assert notebook.metadata.kernelspec.name == "python3"
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])]
    assert tags.count("parameters") == 1 and set(tags) <= {"parameters", "exercise"}


def test_no_output_in_git(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None


def test_size_budgets(lesson):
    sources = code(nbformat.read(LESSONS[lesson], as_version=4))
    lines = [len(source.splitlines()) for source in sources]
    assert len(lines) <= 25 and sum(lines) <= 150 and max(lines) <= 40
    assert statistics.median(lines) <= 6
    assert sum(isinstance(node, ast.FunctionDef) for s in sources for node in ast.walk(ast.parse(s))) <= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=of)
def test_run_all_without_a_file_is_the_embedded_profile(path):
    namespace = {}
    exec(cells(path)[tagged(path, "parameters")[0]].source, namespace)
    assert cell_values(namespace) == yaml.safe_load((ROOT / "params" / "embedded" / f"{path.stem}.yaml").read_text())


def test_nothing_that_breaks_headless(notebook):
    for source in code(notebook):
        assert not re.search(r"^\s*[!%]|sys\.exit|\binput\(|notebook_login|os\.chdir|sys\.path", source, re.MULTILINE)


def test_the_first_cell_is_the_card(lesson):
    blocks = [block.strip().splitlines() for block in re.split(r"\n\s*\n", cells(LESSONS[lesson])[0].source)]
    (title,), (road,), (able,), bullets, files, machines, (breaks,), errors, (checkpoint,) = blocks
    number = lesson[:2]
    assert title.startswith(f"# {number} · ")
    assert road == " > ".join(f"**[{stop}]**" if stop.startswith(number) else stop for stop in STOPS)
    assert able == "**You will be able to**"
    assert len(bullets) == 3 and all(re.match("- [a-z]", bullet) for bullet in bullets)
    assert files[0] == "| reads | writes |" and len(files) == 3
    assert machines[0] == "| profile | machine | time | peak memory | cost | measured |"
    minutes = load_profile(ROOT / "params/embedded/profile.yaml").minutes[lesson]
    row = rf"\| embedded \| 2-core CPU \| {minutes} min \| ([\d.]+ GiB|not measured) \| \$0 \| \d{{4}}(-\d\d){{2}} \|"
    assert re.fullmatch(row, machines[2])
    assert set(re.findall(r"-(\d+gb)", "".join(machines[3:]))) == {"16gb", "24gb", "80gb"}
    assert breaks == "**If something breaks**"
    assert errors[0] == "| what you see | cause | fix |" and len(errors) == 5
    assert all(re.match(r"\| `.+`", error) for error in errors[2:])
    assert re.match(r"\*\*Checkpoint\.\*\* You should see .*\belse stop: ", checkpoint)


def test_two_or_three_exercises_after_the_lesson(lesson):
    path = LESSONS[lesson]
    found, places = exercises(path), tagged(path, "exercise")
    assert 2 <= len(found) <= 3
    assert "results.finish(" in "".join(cell.source for cell in cells(path)[: places[0]])
    for number, (task, answer, check) in enumerate(found, start=1):
        assert re.match(EXERCISE.format(number) + r"\n\n.", task)
        assert re.search(r"^\w+ = \.\.\.  # replace the dots", answer, re.MULTILINE)
        assert re.search(r"^assert \w+ is \.\.\. or .*", check, re.MULTILINE)
        assert re.search(r'^print\("not tried yet" if \w+ is \.\.\. else f?"Right: ', check, re.MULTILINE)


def test_solutions_answer_every_exercise_and_leave_the_check_alone(lesson):
    asked, solved = exercises(LESSONS[lesson]), exercises(SOLUTIONS[lesson])
    assert [task.splitlines()[0] for task, *_ in solved] == [task.splitlines()[0] for task, *_ in asked]
    assert [check for *_, check in solved] == [check for *_, check in asked]
    for (_, answer, _), (_, dots, _) in zip(solved, asked, strict=True):
        assert "..." not in answer and answer.strip()
        assert set(re.findall(r"^(\w+) = \.\.\.", dots, re.MULTILINE)) <= assigned(answer)


def assigned(source: str) -> set[str]:
    """Names that a piece of code gives a value."""
    return {n.id for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def prose(path) -> str:
    """Text of a page without its code."""
    if path.suffix == ".md":
        text = path.read_text()
    else:
        text = "\n\n".join(cell.source for cell in cells(path) if cell.cell_type == "markdown")
    return re.sub(r"```.*?```|`[^`\n]*`", "`code`", text, flags=re.DOTALL)


def headings(path) -> set[str]:
    return {slug(line) for line in re.findall(r"^#+ (.+)", prose(path), re.MULTILINE)}


@pytest.mark.parametrize("path", [*NOTEBOOKS, *TEXTS], ids=of)
def test_links_lead_somewhere(path):
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"https?://", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if not target.exists() or (anchor and anchor not in headings(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.slow
def test_the_course_runs_whole_and_leaves_its_results(course):
    home, done = course
    assert done.returncode == 0, done.stdout + done.stderr
    here = [name for name in MODELS if not obstacle(name)]
    records = {name: json.loads((home / "runs/embedded" / name / "results.json").read_text()) for name in here}
    assert all(record["status"] == "ok" for record in records.values())
    assert all((home / figure).stat().st_size > 5000 for record in records.values() for figure in record["figures"])
    assert records["04_train_reasoning"]["metrics"]["steps"] == 2
    scores = records["05_evaluate_screenspot"]["metrics"]["accuracy"]
    assert {row["model"] for row in scores} == {"centre", "base", "stage 1", "stage 2"}
    assert all(row["k"] == 0 for row in scores if row["model"] == "base")


def printed(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


@pytest.mark.slow
def test_untouched_exercises_say_so(course, ran):
    executed = course[0] / "runs" / "embedded" / ran / f"{ran}.ipynb"
    tried = [cells(executed)[place] for place in tagged(executed, "exercise")]
    assert tried and all(printed(cell) == "not tried yet\n" for cell in tried)


@pytest.mark.slow
def test_solutions_are_right(course, ran, tmp_path):
    out = tmp_path / "solved.ipynb"
    command = [sys.executable, "-m", "papermill", str(SOLUTIONS[ran]), str(out), "--cwd", str(course[0])]
    done = start(course[0], *command, "-f", str(course[0] / f"params/embedded/{ran}.yaml"))
    assert done.returncode == 0, done.stderr
    solved = [cells(out)[place] for place in tagged(out, "exercise")]
    assert solved and all(printed(cell).splitlines()[-1].startswith("Right: ") for cell in solved)


@pytest.mark.slow
def test_a_second_run_skips_everything(course):
    home, _ = course
    again = forge(home)
    assert again.returncode == 0 and "done: 0 run, 6 skipped" in again.stdout


@pytest.mark.slow
def test_plain_papermill_works_from_another_directory(course, tmp_path):
    home, _ = course
    command = [sys.executable, "-m", "papermill", str(LESSONS["02_preprocess"]), "out.ipynb"]
    done = start(home, *command, "-f", str(home / "params/embedded/02_preprocess.yaml"), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "up to date" in (tmp_path / "out.ipynb").read_text()
