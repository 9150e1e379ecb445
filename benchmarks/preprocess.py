"""Preprocessing: peak memory at 10K, 100K and 1M rows, and rows a second against smol2operator's on the same files.

    python benchmarks/preprocess.py memory
    python benchmarks/preprocess.py speed [--smol2operator CHECKOUT]

Every figure comes from a process of its own. `memory` has one instruction a row, on 2,000 small screenshots in turn.
`speed` has 1920x1080 screenshots (50 drawn, under as many names as rows) with 16 instructions each, as in AGUVIS'
seeclick, and reads them from a zip; smol2operator's `process_subset` and `row_generator` read the same files, unpacked
for it beforehand, on one core, with and without the `Dataset` that it publishes. Its uploads are left out. It needs
python-dotenv.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw

PLAIN = {
    "run": "benchmark", "seed": 0, "stage1_subsets": ["seeclick"], "stage2_subsets": ["coat"], "max_turns": 16,
    "max_rows": 0, "max_rejected_share": 0.0, "use_shares": False, "drop_near_duplicates": False,
    "drop_off_screen": False, "max_target_share": 1.0, "min_target_px": 0, "max_platform_share": 1.0,
    "max_action_share": 1.0, "usd_per_hour": 0.0, "base_model": "embedded", "base_revision": "main",
    "image_size": 1152,
}  # fmt: skip
ROOT = "seeclick/seeclick_web_imgs"
WORDS = ("Save", "Open", "Settings", "Home", "it's here", "next page", "a, b (c)", "café", "Filter", "Search")


def rows(count: int, turns: int, images: int) -> Iterator[dict]:
    """Raw stage-1 rows of `turns` instructions, one after the other on each of `images` screenshots."""
    lot = random.Random(0)
    for row in range(count):
        conversations = []
        for turn in range(turns):
            asked = f"{'<image>' * (not turn)}Click on '{lot.choice(WORDS)} {row}.{turn}'"
            code = f"pyautogui.click(x={lot.random():.4f}, y={lot.random():.4f})"
            conversations += [{"from": "human", "value": asked}]
            conversations += [{"from": "gpt", "value": code, "recipient": "os", "end_turn": True}]
        yield {"image": f"{row % images:06d}.png", "conversations": conversations}


def screenshot(size: tuple[int, int], number: int) -> bytes:
    """A PNG that looks like a page to a compressor: boxes and lines of text."""
    lot, image, data = random.Random(number), Image.new("RGB", size, "white"), BytesIO()
    draw = ImageDraw.Draw(image)
    for _ in range(size[0] * size[1] // 8000):
        x, y = lot.randrange(size[0]), lot.randrange(size[1])
        draw.rectangle((x, y, x + 90, y + 24), fill=tuple(lot.randrange(256) for _ in range(3)))
        draw.text((x + 4, y + 4), f"{lot.choice(WORDS)} {lot.random():.4f}", fill="black")
    image.save(data, "PNG")
    return data.getvalue()


def write(folder: Path, count: int, turns: int, images: int, size: tuple[int, int]) -> None:
    """The subset seeclick with made-up rows, as it lies on the hub but for its archive, which is a zip."""
    folder.mkdir(parents=True)
    with (folder / "seeclick.json").open("w") as file:
        file.write("[")
        for number, row in enumerate(rows(count, turns, images)):
            file.write((", " if number else "") + json.dumps(row))
        file.write("]")
    with zipfile.ZipFile(folder / "seeclick.zip", "w") as archive:
        drawn = [screenshot(size, number) for number in range(min(images, 50))]
        for number in range(images):
            archive.writestr(f"{ROOT}/{number:06d}.png", drawn[number % len(drawn)])


def ours(raw: Path, workers: int) -> None:
    """Run preprocessing and print seconds and peak memory in MiB, its own and its largest worker's."""
    from forge_core.data.preprocess import preprocess
    from forge_core.params import PreprocessParams

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        params = PreprocessParams(**PLAIN, raw_dir=str(raw), data_dir=out, workers=workers)
        report = preprocess(params, 1)
    seconds = time.perf_counter() - start
    own, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": seconds, "turns": report.subsets["seeclick"].turns, "own": own, "worker": worker}))


def theirs(raw: Path, checkout: str) -> None:
    """Run smol2operator's processing of the same subset and print seconds, without and with its Dataset."""
    sys.path.insert(0, checkout)
    from datasets import Dataset
    from preprocessing.aguvis_models import ProcessingConfig
    from preprocessing.aguvis_processor import DataProcessor

    config = ProcessingConfig(subset_name="seeclick", json_path="seeclick.json", images_folder=ROOT)
    processor, start = DataProcessor(), time.perf_counter()
    data, images = processor.process_subset(config, str(raw / "stage1"))
    found = list(processor.row_generator(data, images, config.json_path, False))
    generated = time.perf_counter() - start
    Dataset.from_list(found)
    whole = time.perf_counter() - start
    print(json.dumps({"seconds": generated, "whole": whole, "turns": sum(len(row["texts"]) for row in found)}))


def child(*arguments: object) -> dict:
    """What a run of this file in its own process printed last."""
    command = [sys.executable, str(Path(__file__).resolve()), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def memory() -> None:
    """Print the table of peak memory."""
    print(f"{'rows':>9} {'workers':>7} {'seconds':>8} {'rows/s':>8} {'own MiB':>8} {'worker MiB':>10}", flush=True)
    for count in (10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / "stage1", count, 1, 2000, (200, 120))
            for workers in (1, 2):
                found = child("ours", folder, workers)
                seconds, own, worker = found["seconds"], found["own"], found["worker"]
                shown = f"{worker:>10.1f}" if workers > 1 else f"{'-':>10}"
                print(
                    f"{count:>9,} {workers:>7} {seconds:>8.1f} {count / seconds:>8,.0f} {own:>8.1f} {shown}", flush=True
                )


def speed(checkout: str | None, count: int) -> None:
    """Print rows a second, ours with one and two workers, and theirs."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / "stage1"
        write(stage, count, 16, count, (1920, 1080))
        with zipfile.ZipFile(stage / "seeclick.zip") as archive:
            archive.extractall(stage / "seeclick")
            mean = sum(member.file_size for member in archive.infolist()) / count
        print(f"{count} rows of 16 turns, 1920x1080 PNG of {mean / 1024:.0f} KiB on average")
        one, two = (child("ours", folder, workers)["seconds"] for workers in (1, 2))
        print(f"ours, 1 core           {count / one:>8.1f} rows/s")
        print(f"ours, 2 cores          {count / two:>8.1f} rows/s   {one / two:.2f} times one core")
        if checkout:
            found = child("theirs", folder, checkout)
            for name, seconds in (("rows", found["seconds"]), ("with Dataset", found["whole"])):
                print(f"smol2operator, {name:<12}{count / seconds:>4.1f} rows/s   ours {seconds / one:.1f} times")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("memory", "speed", "ours", "theirs"), help="the last two: one run, for them")
    parser.add_argument("more", nargs="*")
    parser.add_argument("--smol2operator", metavar="CHECKOUT", help="a checkout of huggingface/smol2operator")
    parser.add_argument("--rows", type=int, default=2000, help="rows for speed")
    arguments = parser.parse_args()
    if arguments.what == "memory":
        memory()
    elif arguments.what == "speed":
        speed(arguments.smol2operator, arguments.rows)
    elif arguments.what == "ours":
        ours(Path(arguments.more[0]), int(arguments.more[1]))
    else:
        theirs(Path(arguments.more[0]), arguments.more[1])


if __name__ == "__main__":
    main()
