"""The sandbox: made-up screens written exactly as the real sets lie on the hub, so one code path reads both.

`write_raw` writes AGUVIS' form: per subset a `conversations` JSON and an image archive (zip, or `tar.gz.part_*`).
`write_benchmark` writes ScreenSpot-v2's: `screenspot_{platform}_v2.json` beside `screenspotv2_image/`, boxes px xywh.
Train and test screens never share a layout (`screens.make_screen`). The same seed gives the same bytes. Raw rows give
the box of each target (`boxes`, which the real sets lack), and one row in a hundred has a flaw of the real sets.
"""

import io
import json
from functools import lru_cache
from itertools import chain
from pathlib import Path
from random import Random

import PIL
from PIL import Image

from forge_core import __version__
from forge_core.data.raw_files import code, human, reasoning_turn, write_parts, write_zip
from forge_core.data.screens import FONT_PX, ICONS, KINDS, WORDS, Element, Screen, draw, make_screen

PLATFORMS = tuple(FONT_PX)
TURNS = 8  # at most, per stage-1 screenshot
TARGETS = 3  # per benchmark screenshot
MARK = "sandbox.json"  # written last: what was drawn
CUT = "cut_off.png"  # a screenshot of which only the first half is there
SOURCES = {"web": ("shop", "forum", "tool"), "desktop": ("windows", "macos"), "mobile": ("ios", "android")}
TYPED = ("hello", "world", "Home", "Music", "12345", "it's me", "a (b) c")
TEXT_FORMS = (
    "Click on {}",
    "Click the {} {kind}",
    "Press {}",
    "Select {}",
    "Open {}",
    "Go to {}",
    "Tap the {} {kind}",
    "{}",
)
ICON_FORMS = ("Click the {} icon", "Press the {} icon", "Tap {}")
ICON_TASKS = {
    "back": "go back", "close": "close this", "menu": "open the menu", "search": "search this page",
    "home": "go to the home page", "add": "add one item", "delete": "delete this", "edit": "edit this",
    "play": "play the video", "pause": "pause the music", "star": "add a star", "mail": "open mail",
    "lock": "lock the screen", "user": "open the user page", "download": "download this", "clock": "see the clock",
    "more": "see more", "folder": "open the folder",
}  # fmt: skip


def instruction(element: Element, rng: Random) -> str:
    """What a person might ask that this element answers."""
    if element.kind == "icon":
        return rng.choice((*ICON_FORMS, ICON_TASKS[element.label], ICON_TASKS[element.label])).format(element.label)
    return rng.choice(TEXT_FORMS).format(element.label, kind=element.kind)


def _call(name: str, element: Element) -> str:
    x, y = element.centre
    return f"pyautogui.{name}(x={round(x, 4)}, y={round(y, 4)})"


def stage1_row(screen: Screen, image: str, rng: Random) -> dict:
    """Several instruction -> action turns on one screenshot, mostly clicks."""
    conversations, boxes = [], []
    for element in rng.sample(screen.elements, min(TURNS, len(screen.elements))):
        asked, name, lot = instruction(element, rng), "click", rng.random()
        if lot < 0.06:
            name = "rightClick" if lot < 0.03 else "doubleClick"
            asked = f"{'Right' if lot < 0.03 else 'Double'}-click on {element.label}"
        conversations += [human(asked), code(_call(name, element))]
        boxes.append(_box(element))
    conversations[0]["value"] = "<image>\n" + conversations[0]["value"]
    return {"image": image, "conversations": conversations, "boxes": boxes}


def stage2_row(screen: Screen, image: str, rng: Random) -> dict:
    """One step of a task: instruction and history, then a reasoning turn, then an action turn."""
    element = rng.choice(screen.elements)
    asked, calls, boxes = instruction(element, rng), _call("click", element), [_box(element)]
    thought = f"The {element.label} {element.kind} is in the {element.region}. "
    if element.kind == "field" and rng.random() < 0.5:
        text = rng.choice(TYPED)
        asked, thought = f"Type {text} in {element.label}", thought + f"I click it and type {text}."
        calls += f"\npyautogui.write(message={text!r})"
    else:
        thought += "I click it."
    if rng.random() < 0.06:
        (asked, thought, calls), boxes = rng.choice(_screen_steps(screen.platform)), [None]
    done = [instruction(other, rng) for other in rng.sample(screen.elements, rng.choice((0, 0, 1, 2)))]
    history = "\n".join(f"Step {number}: {step}" for number, step in enumerate(done, 1)) or "None"
    conversations = reasoning_turn(asked, history, thought, calls)
    return {"image": image, "conversations": conversations, "boxes": boxes}


def flawed(rows: list[dict], count: int) -> list[dict]:
    """`count` rows as broken as some real ones: repeated, without their image, or with an answer that is no action."""
    flaws = (
        lambda row: row,
        lambda row: row | {"image": f"lost_{row['image']}"},
        lambda row: row | {"image": CUT},
        lambda row: row | {"conversations": [*row["conversations"][:-1], code("pyautogui.click(x=1.2, y=0.5)")]},
        lambda row: row | {"conversations": [*row["conversations"][:-1], code("I would click on it.")]},
    )
    return [flaws[index % len(flaws)](_one_turn(rows[index])) for index in range(count)]


def _one_turn(row: dict) -> dict:
    """The row with its first instruction only."""
    turn = row["conversations"][: 2 if len(row["boxes"]) > 1 else None]
    return row | {"conversations": turn, "boxes": row["boxes"][:1]}


def _box(element: Element) -> list[float]:
    return [round(side, 4) for side in element.bbox]


def _screen_steps(platform: str) -> tuple[tuple[str, str, str], ...]:
    """Steps that point nowhere: (instruction, thought, code)."""
    steps = (
        ("Scroll down", "I need to see more. I scroll down.", "pyautogui.scroll(page=-0.5)"),
        ("Scroll up", "I go up to see more. I scroll up.", "pyautogui.scroll(page=0.5)"),
        ("Finish the task", "The task is complete.", "terminate(status='success')"),
    )
    return (*steps, ("Go home", "I go to the home screen.", "mobile.home()")) if platform == "mobile" else steps


def write_raw(raw_dir: Path, screens: int, seed: int) -> None:
    """Write `screens` training screenshots per platform and stage under raw_dir/stage1 and raw_dir/stage2."""
    if _drawn(Path(raw_dir), screens, seed):
        return
    for stage, row_of in ((1, stage1_row), (2, stage2_row)):
        folder = Path(raw_dir) / f"stage{stage}"
        folder.mkdir(parents=True, exist_ok=True)
        for platform in PLATFORMS:
            rng, name = Random(f"{seed} {stage} {platform}"), f"sandbox_{platform}"
            rows = [
                (f"{name}_{stage}_{index:05d}.png", make_screen(rng, platform, "train")) for index in range(screens)
            ]
            images, flaws = ((image, _png(draw(screen))) for image, screen in rows), screens // 100
            cut = [_cut_off(rows[0][1])] if flaws else []
            (write_parts if platform == "mobile" else write_zip)(folder, name, chain(cut, images))
            written = [row_of(screen, image, rng) for image, screen in rows]
            (folder / f"{name}.json").write_text(json.dumps(written + flawed(written, flaws)))
            print(f"sandbox: stage {stage} {platform}: {screens} screens", flush=True)
    _mark(Path(raw_dir), screens, seed)


def write_benchmark(folder: Path, screens: int, seed: int) -> None:
    """Write `screens` held-out screenshots per platform, up to `TARGETS` targets each, in ScreenSpot-v2's layout."""
    folder = Path(folder)
    if _drawn(folder, screens, seed):
        return
    (folder / "screenspotv2_image").mkdir(parents=True, exist_ok=True)
    for platform in PLATFORMS:
        rng, rows = Random(f"{seed} test {platform}"), []
        for index in range(screens):
            screen, image = make_screen(rng, platform, "test"), f"{platform}_{index:04d}.png"
            draw(screen).save(folder / "screenspotv2_image" / image)
            source = rng.choice(SOURCES[platform])
            for element in rng.sample(screen.elements, min(TARGETS, len(screen.elements))):
                rows.append(benchmark_row(screen, element, image, source, rng))
        (folder / f"screenspot_{platform}_v2.json").write_text(json.dumps(rows, indent=1))
        print(f"sandbox: benchmark {platform}: {screens} screens, {len(rows)} targets", flush=True)
    _mark(folder, screens, seed)


def _identity(screens: int, seed: int) -> dict:
    return {"forge": __version__, "pillow": PIL.__version__, "screens": screens, "seed": seed}


def _drawn(folder: Path, screens: int, seed: int) -> bool:
    """Whether the same was drawn here before, to its end."""
    mark = folder / MARK
    if mark.is_file() and json.loads(mark.read_text()) == _identity(screens, seed):
        print(f"sandbox: {folder.name} is already drawn", flush=True)
        return True
    mark.unlink(missing_ok=True)
    return False


def _mark(folder: Path, screens: int, seed: int) -> None:
    (folder / MARK).write_text(json.dumps(_identity(screens, seed)))


@lru_cache
def _labels_by_instruction() -> dict[str, str]:
    texts = {form.format(word, kind=kind): word for word in WORDS for form in TEXT_FORMS for kind in KINDS}
    icons = {form.format(icon): icon for icon in ICONS for form in ICON_FORMS}
    return texts | icons | {task: icon for icon, task in ICON_TASKS.items()}


def asked_label(instruction: str) -> str | None:
    """The label that one of the sandbox's instructions asks for; None for a text that is not the sandbox's."""
    return _labels_by_instruction().get(instruction)


def benchmark_row(screen: Screen, element: Element, image: str, source: str, rng: Random) -> dict:
    """One ScreenSpot-v2 row; bbox is left, top, width, height in px."""
    (width, height), (left, top, right, bottom) = screen.size, element.bbox
    bbox = [round(left * width), round(top * height), round((right - left) * width), round((bottom - top) * height)]
    kind = "icon" if element.kind == "icon" else "text"
    asked = instruction(element, rng)
    return {"img_filename": image, "bbox": bbox, "instruction": asked, "data_type": kind, "data_source": source}


def _cut_off(screen: Screen) -> tuple[str, bytes]:
    whole = _png(draw(screen))
    return CUT, whole[: len(whole) // 2]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
