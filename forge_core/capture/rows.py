"""A capture as data sets: AGUVIS' files for training, a ScreenSpot-v2 folder for the test, split by page.

    out/raw/stage1/capture_web.json + .zip    every screen with an instruction for each of its items
    out/raw/stage2/capture_web.json + .zip    steps of tasks on forms, and single steps, each with a thought
    out/screenspot/                           screens of the pages that are kept for the test

Landscape screens are "web", portrait ones "mobile". The same capture and seed give the same bytes.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

from forge_core.capture.store import IMAGES, Item, Screen, Step
from forge_core.data.raw_files import code, human, reasoning_turn, write_zip
from forge_core.data.screens import region

PLATFORMS = ("web", "mobile")
SINGLE = 12  # stage-2 rows of one click, per screen at most
TARGETS = 8  # of the test, per screen at most
NOUNS = {
    "textbox": "field", "searchbox": "field", "spinbutton": "field", "combobox": "list", "listbox": "list",
    "menuitem": "menu item", "menuitemcheckbox": "menu item", "menuitemradio": "menu item", "treeitem": "item",
    "radio": "option", "generic": "item",
}  # fmt: skip
_ANY = ("Click on {name}", "Click {name}", 'Click "{name}"', "Click the {name} {noun}", "Select {name}", "{name}")
FORMS = {
    "button": (*_ANY, "Press {name}", "Press the {name} button"),
    "link": (*_ANY, "Go to {name}", "Open {name}", "Follow the link {name}"),
    "tab": (*_ANY, "Switch to {name}", "Open the {name} tab"),
    "menuitem": (*_ANY, "Choose {name} in the menu"),
    "textbox": ("Click the {name} field", "Click into {name}", "Put the cursor in {name}", "Click on {name}"),
    "combobox": ("Open the {name} list", "Click the {name} list", "Click on {name}"),
    "checkbox": ("Tick {name}", "Click on {name}", "Toggle {name}", "Click the {name} checkbox"),
    "radio": ("Choose {name}", "Click on {name}", "Select the option {name}"),
    "icon": ("Click the {name} icon", "Press the {name} icon", "Click on {name}", "{name}"),
}
FORMS |= {"searchbox": FORMS["textbox"], "spinbutton": FORMS["textbox"], "switch": FORMS["checkbox"]}


def split(screens: Sequence[Screen], test_share: float, seed: int) -> tuple[list[Screen], list[Screen]]:
    """(train, test): the screens of `test_share` of the pages of each site, drawn by `seed`, are the test's.

    A page is on one side with all its viewports and themes; a site's only page is trained on.
    """
    sites: dict[str, list[str]] = {}
    for screen in screens:
        pages = sites.setdefault(screen.site, [])
        pages += [screen.url] if screen.url not in pages else []
    held = set()
    for site, pages in sites.items():
        shuffled = Random(f"{seed} {site}").sample(sorted(pages), len(pages))
        held |= {(site, page) for page in shuffled[: min(round(test_share * len(pages)), len(pages) - 1)]}
    test = [screen for screen in screens if (screen.site, screen.url) in held]
    return [screen for screen in screens if (screen.site, screen.url) not in held], test


def platform(screen: Screen) -> str:
    """ScreenSpot's word for a screen of its shape."""
    return "mobile" if screen.width < screen.height else "web"


def instruction(item: Item, rng: Random) -> str:
    """What a person might say who wants this item clicked."""
    forms = FORMS["icon"] if item.kind == "icon" else FORMS.get(item.role, _ANY)
    return rng.choice(forms).format(name=item.name, noun=_noun(item)) + _context(item)


def thought(item: Item, screen: Screen) -> str:
    """Where an item is, in words."""
    x, y = _centre(item, screen)
    return f"The {item.name}{_context(item)} {_noun(item)} is in the {region(x, y)}."


def stage1_row(screen: Screen, rng: Random) -> dict:
    """An instruction and a click for each item of a screen."""
    conversations, boxes = [], []
    for item in rng.sample(screen.items, len(screen.items)):
        conversations += [human(instruction(item, rng)), code(_call("click", item, screen))]
        boxes.append(_bounds(item, screen))
    conversations[0]["value"] = "<image>\n" + conversations[0]["value"]
    return {"image": screen.image, "conversations": conversations, "boxes": boxes}


def stage2_rows(screen: Screen, rng: Random) -> list[dict]:
    """The step of the screen's task; of a screen without a task, a few single clicks."""
    if screen.task:
        return [_task_row(screen)]
    chosen = rng.sample(screen.items, min(SINGLE, len(screen.items)))
    return [
        _stage2_row(
            screen, instruction(item, rng), "None", f"{thought(item, screen)} I click it.",
            _call("click", item, screen), item,
        )
        for item in chosen
    ]  # fmt: skip


def _task_row(screen: Screen) -> dict:
    steps, number = screen.task.steps, screen.task.next
    asked = f"Fill in the form: {', '.join(map(_said, steps))}"
    history = "\n".join(f"Step {index}: {_done(step)}" for index, step in enumerate(steps[:number], 1)) or "None"
    if number == len(steps):
        return _stage2_row(screen, asked, history, "The form was sent. The task is complete.", _DONE, None)
    step = steps[number]
    return _stage2_row(
        screen, asked, history, f"{thought(step.item, screen)} {_will(step)}", _act(step, screen), step.item
    )


_NOTHING = ("nothing.txt", b"no screen of this shape was captured\n")  # an archive without a file is a broken one
_DONE = "terminate(status='success')"


def _said(step: Step) -> str:
    """The part of a step in an instruction."""
    name = step.item.name
    return {
        "fill": f"type {step.text} in {name}", "choose": f"choose {step.text} in {name}", "check": f"tick {name}",
        "press": f"then press {name}",
    }[step.action]  # fmt: skip


def _done(step: Step) -> str:
    return _said(step).removeprefix("then ").capitalize()


def _will(step: Step) -> str:
    return {
        "fill": f"I click it and type {step.text}.", "choose": f"I choose {step.text}.", "check": "I tick it.",
        "press": "All is filled in. I press it.",
    }[step.action]  # fmt: skip


def _act(step: Step, screen: Screen) -> str:
    if step.action == "choose":
        x, y = _centre(step.item, screen)
        return f"browser.select_option(x={x}, y={y}, value={step.text!r})"
    click = _call("click", step.item, screen)
    return f"{click}\npyautogui.write(message={step.text!r})" if step.action == "fill" else click


def _stage2_row(screen: Screen, asked: str, history: str, thinking: str, calls: str, item: Item | None) -> dict:
    box = _bounds(item, screen) if item else None
    return {
        "image": screen.image, "conversations": reasoning_turn(asked, history, thinking, calls), "boxes": [box],
    }  # fmt: skip


def write_raw(out: Path, screens: Sequence[Screen], seed: int) -> dict[str, int]:
    """Write the training screens to out/raw as AGUVIS' sets lie on the hub; rows by file."""
    counts = {}
    for name in PLATFORMS:
        shown = [screen for screen in screens if platform(screen) == name]
        rng = Random(f"{seed} {name}")
        rows = {
            1: [stage1_row(screen, rng) for screen in shown if not screen.task],
            2: [row for screen in shown for row in stage2_rows(screen, rng)],
        }
        for stage, written in rows.items():
            folder, stem = out / "raw" / f"stage{stage}", f"capture_{name}"
            folder.mkdir(parents=True, exist_ok=True)
            images = sorted({row["image"] for row in written})
            packed = ((image, (out / IMAGES / image).read_bytes()) for image in images)
            write_zip(folder, stem, packed if images else iter([_NOTHING]))
            (folder / f"{stem}.json").write_text(json.dumps(written, ensure_ascii=False), encoding="utf-8")
            counts[f"stage{stage}/{stem}.json"] = len(written)
    return counts


def write_benchmark(
    out: Path, screens: Iterable[Screen], seed: int, per_screen: int = TARGETS, repeats: int = 0
) -> dict[str, int]:
    """Write test screens to out/screenspot in ScreenSpot-v2's layout; returns the number of targets by file.

    At most `per_screen` targets of a screen, and `repeats` of a name and kind in a site (0: any number).
    """
    folder = out / "screenspot"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "screenspotv2_image").mkdir(parents=True)
    rows: dict[str, list[dict]] = {name: [] for name in ("web", "desktop", "mobile")}
    asked: Counter[tuple[str, str, str]] = Counter()
    for screen in screens:
        if screen.task:
            continue
        rng = Random(f"{seed} {screen.id}")
        names = {item.box: (screen.site, item.name.casefold(), item.kind) for item in screen.items}
        fresh = [item for item in screen.items if not repeats or asked[names[item.box]] < repeats]
        chosen = _few(fresh, per_screen, rng)
        if not chosen:
            continue
        asked.update(names[item.box] for item in chosen)
        rows[platform(screen)] += [_target(screen, item, rng) for item in chosen]
        os.link(out / IMAGES / screen.image, folder / "screenspotv2_image" / screen.image)
    for name, written in rows.items():
        path = folder / f"screenspot_{name}_v2.json"
        path.write_text(json.dumps(written, indent=1, ensure_ascii=False), encoding="utf-8")
    return {f"screenspot_{name}_v2.json": len(written) for name, written in rows.items()}


def _few(items: Sequence[Item], count: int, rng: Random) -> list[Item]:
    """`count` items, icons first among them up to a half, as most screens have far more text."""
    icons = [item for item in items if item.kind == "icon"]
    icons = rng.sample(icons, min(len(icons), max(count // 2, count - (len(items) - len(icons)))))
    texts = [item for item in items if item.kind == "text"]
    return icons + rng.sample(texts, min(len(texts), count - len(icons)))


def _target(screen: Screen, item: Item, rng: Random) -> dict:
    left, top, right, bottom = item.box
    return {
        "img_filename": screen.image, "bbox": [left, top, right - left, bottom - top],
        "instruction": instruction(item, rng), "data_type": item.kind, "data_source": screen.site,
    }  # fmt: skip


def counts(screens: Iterable[Screen]) -> dict[str, dict[str, int]]:
    """Of each site: screens, items, text and icon items, and what was rejected for which reason."""
    told: dict[str, Counter[str]] = {}
    for screen in screens:
        count = told.setdefault(screen.site, Counter())
        count.update({"screens": 1, "items": len(screen.items)})
        count.update(item.kind for item in screen.items)
        count.update({f"rejected: {reason}": number for reason, number in screen.rejected.items()})
    return {site: dict(count) for site, count in told.items()}


def _noun(item: Item) -> str:
    return "icon" if item.kind == "icon" else NOUNS.get(item.role, item.role)


def _context(item: Item) -> str:
    return "".join(f' in "{name}"' for name in item.context)


def _centre(item: Item, screen: Screen) -> tuple[float, float]:
    """Normalised to [0, 1), four decimals."""
    left, top, right, bottom = item.box
    return round((left + right) / 2 / screen.width, 4), round((top + bottom) / 2 / screen.height, 4)


def _bounds(item: Item, screen: Screen) -> list[float]:
    left, top, right, bottom = item.box
    sides = (left / screen.width, top / screen.height, right / screen.width, bottom / screen.height)
    return [round(side, 4) for side in sides]


def _call(name: str, item: Item, screen: Screen) -> str:
    x, y = _centre(item, screen)
    return f"pyautogui.{name}(x={x}, y={y})"
