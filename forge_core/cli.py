"""The `forge` command: `run` runs the course, `vast` rents a GPU, `doctor` checks this machine; others do one job."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from forge_core.errors import say_errors
from forge_core.remote.cli import app as vast
from forge_core.text import printable

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def run(
    profile: Annotated[str, typer.Argument(help="a folder under params/, such as embedded or vast-24gb")],
    first: Annotated[str | None, typer.Option("--from", help="start here and run to the end, e.g. 03")] = None,
    only: Annotated[str | None, typer.Option("--only", help="run this notebook alone, e.g. 05")] = None,
) -> None:
    """Run the notebooks of PROFILE, skipping those whose inputs and params are unchanged."""
    from forge_core import course

    raise typer.Exit(course.run(profile, first, only))


@app.command()
def train(params: Annotated[Path, typer.Argument(help="a 03_train_grounding.yaml or 04_train_reasoning.yaml")]) -> None:
    """Train the stage that PARAMS describe, as notebooks 03 and 04 do. Run again, it goes on where it stopped."""
    from forge_core.params import TrainParams, load
    from forge_core.training.stage import run_stage

    def run_it() -> None:
        checked = load(params)
        if not isinstance(checked, TrainParams):
            raise ValueError(f"{params}: not the params of a training notebook (03 or 04)")
        print(run_stage(checked).adapter)

    say_errors(run_it)


@app.command()
def doctor(
    profile: Annotated[str | None, typer.Option(help="also say what it needs of disk and card: vast-16gb, ...")] = None,
) -> None:
    """Say in one screen what this machine can do, what is missing, and the command that mends it."""
    from forge_core import doctor as checks

    def check() -> None:
        raise typer.Exit(checks.run(profile))

    say_errors(check)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="an adapter folder: checkpoints/<run>/<stage>/final")],
    out: Annotated[Path, typer.Argument(help="the folder to write; new, or empty")],
    benchmark: Annotated[Path | None, typer.Option(help="score what was written: a ScreenSpot-v2 folder")] = None,
    limit: Annotated[int, typer.Option(min=0, help="targets scored; 0 for all")] = 0,
) -> None:
    """Merge ADAPTER into its base, unquantised, and write an ordinary model in bf16 to OUT."""
    from forge_core.models import publish

    say_errors(lambda: publish.merge(adapter, out, benchmark, limit))


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="a merged model, or an adapter folder")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the hub; made if it is not there")],
    private: Annotated[bool, typer.Option("--private/--public", help="who may see it")] = True,
    yes: Annotated[bool, typer.Option("--yes", help="send without asking")] = False,
) -> None:
    """Send FOLDER to the Hugging Face hub, after showing what goes where. The token is HF_TOKEN's or the login's."""
    from forge_core.models import publish

    def send() -> None:
        files = publish.sendable(folder)
        publish.check_target(repo)
        print(publish.plan(folder, repo, files, private), flush=True)
        if not yes:
            typer.confirm("Send it?", abort=True)
        print(publish.push(folder, repo, files, private))

    say_errors(send)


@app.command("eval")
def evaluate(
    params: Annotated[Path, typer.Argument(help="a 05_evaluate_screenspot.yaml")],
    limit: Annotated[int | None, typer.Option(min=0, help="targets scored, drawn by platform and kind")] = None,
    zoom: Annotated[bool | None, typer.Option("--zoom", help="a second look round each click, scored beside")] = None,
    votes: Annotated[int | None, typer.Option(min=2, help="answers that vote on a click, scored beside")] = None,
    benchmark_dir: Annotated[
        str | None, typer.Option(help="another benchmark, such as data/forgespot/screenspot")
    ] = None,
    baselines: Annotated[str | None, typer.Option(help="centre,random,ocr: some of them")] = None,
    run: Annotated[str | None, typer.Option(help="results go to runs/RUN, beside those of the course")] = None,
) -> None:
    """Score base, stage 1 and stage 2 as notebook 05 does, and write report.html. What was answered stands."""
    from forge_core.evaluation.run import report
    from forge_core.params import check

    named = {"limit": limit, "zoom": zoom, "votes": votes, "benchmark_dir": benchmark_dir, "run": run}
    named["baselines"] = None if baselines is None else list(_list(baselines))
    changes = {name: value for name, value in named.items() if value is not None}

    def evaluate_it() -> None:
        given = _load(params, "05_evaluate_screenspot")
        report(check("05_evaluate_screenspot", given.model_dump() | changes, str(params)))

    say_errors(evaluate_it)


@app.command()
def score(
    log: Annotated[Path, typer.Argument(help="JSON lines, a JSON list, or the file of ScreenSpot-Pro's scorer")],
    dialect: Annotated[str, typer.Option(help="of the replies; without it the log's own points are judged")] = "",
    box: Annotated[str, typer.Option(help="what bbox is: xyxy or xywh in px, or 0-1 (xyxy)")] = "xyxy",
    by: Annotated[str, typer.Option(help="fields to count by, such as platform,kind,size; all without it")] = "",
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT that the replies' coordinates count")] = "",
    max_pixels: Annotated[int, typer.Option(help="of the processor that resized the screenshots")] = 12_845_056,
    mend: Annotated[bool, typer.Option("--mend", help="also read what the published scorers refuse")] = False,
    benchmark: Annotated[Path | None, typer.Option(help="its folder, where the log lacks the sizes of images")] = None,
    layout: Annotated[str, typer.Option(help="of the benchmark, see docs/evaluation.md")] = "screenspot_v2",
) -> None:
    """Score anybody's prediction LOG, and compare with its own verdicts; the status is 1 where these differ."""
    from forge_core.data.screenspot import load
    from forge_core.evaluation import logs

    def score_it() -> None:
        sizes = logs.sizes_of(load(benchmark, layout, images=False)) if benchmark else {}
        judged = logs.score_log(log, dialect, box, _size(size or None), max_pixels, not mend, sizes)
        print(logs.report(judged, by.split(",") if by else ()))
        raise typer.Exit(1 if logs.differences(judged) else 0)

    say_errors(score_it)


@app.command()
def spot(
    instruction: Annotated[str, typer.Option(help="what to do there")],
    image: Annotated[str | None, typer.Option(help="a screenshot: a file, or an http(s) URL")] = None,
    live: Annotated[str | None, typer.Option(help="a page to act on in headless Chromium (extra `capture`)")] = None,
    adapter: Annotated[str, typer.Option(help="checkpoints/<run>/<stage>/final; without it that of embedded")] = "",
    platform: Annotated[str, typer.Option(help="web, desktop or mobile")] = "web",
    steps: Annotated[int, typer.Option(min=1, max=50, help="with --live: actions at most")] = 5,
    out: Annotated[Path | None, typer.Option(help="spot.png, or filmstrip.png with --live")] = None,
) -> None:
    """Ask an adapter where it would click on a screenshot, or let it act on a live page; writes a picture of it."""
    if (image is None) == (live is None):
        raise typer.BadParameter("give --image or --live, one of them")
    if platform not in ("web", "desktop", "mobile"):
        raise typer.BadParameter(f"--platform is web, desktop or mobile, not {platform!r}")
    if live is None:
        say_errors(lambda: _spot_image(image, instruction, adapter, platform, out or Path("spot.png")))
    else:
        say_errors(lambda: _spot_live(live, instruction, adapter, platform, steps, out or Path("filmstrip.png")))


def _spot_image(image: str, instruction: str, adapter: str, platform: str, out: Path) -> None:
    from forge_core import plots
    from forge_core.actions.unified import render
    from forge_core.data.fetch import fetch_image
    from forge_core.evaluation.spot import spot as ask

    found = ask(fetch_image(image), instruction, adapter, platform)
    print(printable(f"thought: {found.thought or 'none'}", lines=True))
    print(printable(f"action: {render(found.actions) or f'none that can be read in {found.raw!r}'}", lines=True))
    print(f"picture: {plots.save(found.picture, out)}")


def _spot_live(url: str, instruction: str, adapter: str, platform: str, steps: int, out: Path) -> None:
    from forge_core import plots
    from forge_core.evaluation.browser import check_url, find_chromium
    from forge_core.evaluation.live import filmstrip, run_live, window
    from forge_core.evaluation.spot import load_agent

    check_url(url)  # these two before the model is loaded
    find_chromium()
    agent = load_agent(adapter)

    def decide(image, asked: str, history: str) -> str:
        return agent.answer(image, asked, platform, history)

    run = run_live(url, decide, instruction, steps, window(platform, agent.edge), agent.coord_format)
    print(f"filmstrip: {plots.save(filmstrip(run, instruction), out)}")


@app.command()
def capture(
    places: Annotated[list[str], typer.Argument(help="addresses of pages, or folders of HTML files")],
    out: Annotated[Path, typer.Option(help="what is written; run again, it goes on there")] = Path("data/capture"),
    viewports: Annotated[str, typer.Option(help="desktop, tablet, phone, or WIDTHxHEIGHT")] = "desktop,tablet,phone",
    themes: Annotated[str, typer.Option(help="light, dark")] = "light,dark",
    depth: Annotated[int, typer.Option(min=0, help="links followed from the first page")] = 3,
    pages: Annotated[int, typer.Option(min=1, help="at most, of each site")] = 50,
    delay: Annotated[float, typer.Option(min=0, help="seconds between two pages of a site")] = 0.5,
    storage_state: Annotated[Path | None, typer.Option(help="a login that playwright saved")] = None,
    mask: Annotated[bool, typer.Option("--mask", help="cover e-mail addresses and long numbers")] = False,
    mask_word: Annotated[list[str] | None, typer.Option(help="cover this, too: a name, say")] = None,
    test_share: Annotated[float, typer.Option(min=0, max=0.9, help="of the pages, kept for the test")] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="of instructions and split")] = 17,
    licence_note: Annotated[str, typer.Option(help="for the manifest: who may share these pages")] = "",
) -> None:
    """Turn web pages into training rows and a test set (extra `capture`); pages are looked at, never changed."""
    from forge_core.capture import run as captures
    from forge_core.capture.masking import patterns
    from forge_core.capture.walk import Settings

    def capture_it() -> None:
        if storage_state and not storage_state.is_file():
            raise FileNotFoundError(f"{storage_state}: no such file; docs/capture.md says how playwright saves one")
        settings = Settings(
            viewports=_list(viewports), themes=_list(themes), depth=depth, pages=pages, delay=delay,
            mask=patterns(mask, mask_word or []), storage_state=str(storage_state or ""),
        )  # fmt: skip
        captures.run(places, out, settings, seed, test_share, licence_note or captures.NOTE)

    say_errors(capture_it)


def _list(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.strip() for each in text.split(",") if each.strip()))


app.add_typer(vast, name="vast")

data = typer.Typer(no_args_is_help=True, help="Get and prepare data, as notebooks 01 and 02 do.")
app.add_typer(data, name="data")


@data.command()
def download(params: Annotated[Path, typer.Argument(help="a 01_explore_data.yaml")]) -> None:
    """Get the raw data and the benchmark that PARAMS name. Run again, it goes on where it stopped."""
    from forge_core.data.download import obtain

    say_errors(lambda: obtain(_load(params, "01_explore_data")))


benchmark = typer.Typer(no_args_is_help=True, help="ForgeSpot, the benchmark of real pages (docs/forgespot.md).")
app.add_typer(benchmark, name="benchmark")


@benchmark.command()
def build(
    out: Annotated[Path, typer.Option(help="what is written; run again, it goes on there")] = Path("data/forgespot"),
) -> None:
    """Fetch the pinned page packages and capture them (extra `capture`, npm): a test set, and rows to train on."""
    from forge_core.capture import forgespot

    say_errors(lambda: forgespot.build(out))


@data.command("benchmark")
def get_benchmark(
    name: Annotated[str, typer.Argument(help="screenspot_v1, screenspot_v2 or screenspot_pro")],
    folder: Annotated[Path, typer.Argument(help="where to put it")],
    mirror: Annotated[str, typer.Option(help="a folder that stands in for the hub")] = "",
) -> None:
    """Get a ScreenSpot benchmark."""
    from forge_core.data.download import download_benchmark

    say_errors(lambda: print(download_benchmark(name, folder, mirror=mirror)))


@data.command()
def preprocess(
    params: Annotated[Path, typer.Argument(help="a 02_preprocess.yaml")],
    stage: Annotated[list[int] | None, typer.Option(help="1 or 2; both without it")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray (extra `cluster`)")] = "local",
    address: Annotated[str | None, typer.Option(help="of the Ray cluster; without it Ray is started here")] = None,
) -> None:
    """Turn the raw data that PARAMS name into clean rows. Run again, it goes on where it stopped."""
    from forge_core.data import engines
    from forge_core.data.preprocess import preprocess as run_stage

    if engine not in ("local", "ray"):
        raise typer.BadParameter(f"--engine is local or ray, not {engine!r}")

    def run_stages() -> None:
        checked = _load(params, "02_preprocess")
        for each in stage or (1, 2):
            run_stage(checked, each, engines.ray(address) if engine == "ray" else None)

    say_errors(run_stages)


def _load(path: Path, notebook: str):
    """The params of a notebook from a file of its name."""
    from forge_core.params import load

    if path.stem != notebook:
        raise ValueError(f"{path}: expected a file {notebook}.yaml")
    return load(path)


actions = typer.Typer(no_args_is_help=True, help="Read, convert and rename actions of GUI agents.")
app.add_typer(actions, name="actions")


@actions.command()
def convert(
    source: Annotated[str, typer.Option("--from", help="the dialect of the text; 'detect' to see what it may be")],
    target: Annotated[str, typer.Option("--to", help="the dialect to write")] = "unified",
    files: Annotated[list[Path] | None, typer.Argument(help="texts; a .jsonl file holds a JSON string a line")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT that the text's coordinates count")] = None,
    to_size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT that the result's coordinates count")] = None,
) -> None:
    """Convert actions between dialects: files, or standard input. What can't be converted is named and skipped."""
    from forge_core.actions import dialects

    try:
        sizes = _size(size), _size(to_size)
        texts = _texts(files)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    failed = 0
    for name, text, is_json in texts:
        try:
            text = json.loads(text) if is_json else text
            if not isinstance(text, str):
                raise ValueError(f"expected a JSON string, found {text!r:.60}")
            result = (
                " ".join(dialects.detect(text))
                if source == "detect"
                else dialects.convert(text, source, target, *sizes)
            )
        except ValueError as error:
            failed += 1
            print(f"{name}: {error}", file=sys.stderr)
        else:
            print(json.dumps(result, ensure_ascii=False) if is_json else result)
    raise typer.Exit(1 if failed else 0)


@actions.command()
def remap(
    space: Annotated[Path, typer.Argument(help="the custom space: a YAML file, see docs/actions.md")],
    source: Annotated[Path, typer.Argument(help="Example rows (.jsonl) or any text; - for standard input")],
    target: Annotated[Path | None, typer.Argument(help="where to write; standard output for text without it")] = None,
) -> None:
    """Rename and transform the calls of a whole data set, or of a text, into a custom action space."""
    from forge_core.actions import remap as custom
    from forge_core.data.schema import read_jsonl, write_jsonl

    try:
        rules = custom.read_remap(space)
        if source.suffix != ".jsonl":
            text = rules.text(sys.stdin.read() if str(source) == "-" else source.read_text(encoding="utf-8"))
            print(text, end="") if target is None else target.write_text(text, encoding="utf-8")
        elif target is None:
            raise ValueError(f"{source}: rows need a file to be written to")
        else:
            count = write_jsonl(target, custom.remap_rows(read_jsonl(source), rules))
            print(f"{target}: {count} rows")
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


def _texts(files: list[Path] | None) -> list[tuple[str, str, bool]]:
    """(name, text, whether the text is JSON) of each text to convert."""
    texts = []
    for path in files or [Path("-")]:
        if str(path) == "-":
            texts.append(("standard input", sys.stdin.read(), False))
        elif path.suffix == ".jsonl":
            lines = path.read_text(encoding="utf-8").splitlines()
            texts += [(f"{path}:{number}", line, True) for number, line in enumerate(lines, start=1)]
        else:
            texts.append((str(path), path.read_text(encoding="utf-8"), False))
    return texts


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise ValueError(f"expected a size such as 1920x1080, found {text!r}")
    return int(width), int(height)
