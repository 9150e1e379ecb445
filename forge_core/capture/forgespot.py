"""ForgeSpot: a benchmark of real web pages that anybody can build again, offline once the packages are there.

    forge benchmark build --out data/forgespot

Pages of pinned, MIT-licensed packages (`packages.PACKAGES`) are captured, those of the packages for training as AGUVIS
rows (out/raw), those for the test as a ScreenSpot-v2 folder (out/screenspot): no design is on both sides. How far
pictures and boxes are those of `REFERENCE` is said at the end; out/checksums.json has the sums.
"""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random

from forge_core.capture import packages, rows
from forge_core.capture.packages import PACKAGES, Package
from forge_core.capture.run import check_same, describe, screens_of, summary
from forge_core.capture.sites import Place
from forge_core.capture.store import Screen, Visit, write_manifest
from forge_core.capture.walk import Settings, capture
from forge_core.evaluation.browser import chromium_version
from forge_core.paths import resolve
from forge_core.text import printable

REFERENCE = Path(__file__).parent / "forgespot.json"
CHECKSUMS = "checksums.json"
SEED = 17
PAGES = {"train": 14, "test": 36}  # of a package at most
TARGETS = 12  # of a test screen at most
REPEATS = 12  # of a name in a package: else a menu that is on every page would be the test
FONTS = ("sans-serif", "serif", "monospace", "Arial", "Helvetica", "Roboto", "Open Sans", "Lato", "Nunito", "Segoe UI")


def settings(package: Package) -> Settings:
    """How a package is captured: each page in its viewports, one screen further down, two menus or dialogs."""
    sizes, pages = package.viewports, PAGES[package.part]
    return Settings(viewports=sizes, themes=("light",), depth=0, pages=pages, scrolls=1, openers=2, forms=False)


def build(out: str | Path) -> dict:
    """Build it in `out`, or go on there, and return the manifest.

    Raises PackageError for a package that cannot be had, and what `walk.capture` raises.
    """
    out = resolve(out)
    check_same(out, settings(next(iter(PACKAGES.values()))))
    visits: list[Visit] = []
    for package in PACKAGES.values():
        folder = packages.unpack(package, out / "packages")
        place = Place(str(folder), package.name, chosen(package, folder), package.start)
        visits += capture([place], out, settings(package))
    screens = screens_of(out, visits)
    test = [screen for screen in screens if PACKAGES[screen.site].part == "test"]
    train = [screen for screen in screens if PACKAGES[screen.site].part == "train"]
    written = rows.write_raw(out, train, SEED) | rows.write_benchmark(out, test, SEED, TARGETS, REPEATS)
    sums = checksums(out, screens)
    (out / CHECKSUMS).write_text(json.dumps(sums, indent=1) + "\n")
    manifest = describe(settings(package), visits, screens) | {"files": written, "licence_note": _licences()}
    write_manifest(out, manifest)
    verdict = compared(sums, json.loads(REFERENCE.read_text()))
    print(printable("\n".join([*summary(manifest), *_files(written), verdict]), lines=True), flush=True)
    return manifest


def chosen(package: Package, folder: Path) -> tuple[str, ...]:
    """Up to `PAGES` of a package's pages, drawn by `SEED`, in their order."""
    found = packages.pages(package, folder)
    return tuple(sorted(Random(f"{SEED} {package.name}").sample(found, min(PAGES[package.part], len(found)))))


def checksums(out: Path, screens: Sequence[Screen]) -> dict:
    """What was built, and with what: of each screen the beginnings of two sha256, of its picture and of its boxes."""
    told = {screen.id: f"{screen.sha256[:12]} {_boxes(screen)[:12]}" for screen in screens}
    return {"chromium": chromium_version(), "fonts": _fonts(), "screens": told}


def compared(sums: dict, reference: dict) -> str:
    """How far checksums are those of a reference, in one line."""
    if tools := [name for name in ("chromium", "fonts") if sums[name] != reference.get(name)]:
        return f"not compared with the reference, which has other {' and '.join(tools)}: {reference.get(tools[0])}"
    known, now = reference["screens"], sums["screens"]
    if known.keys() != now.keys():
        return f"NOT the screens of the reference: {', '.join(sorted(known.keys() ^ now.keys())[:5])}, ..."
    same = [sum(known[name].split()[part] == now[name].split()[part] for name in now) for part in (0, 1)]
    return f"as the reference: {same[0]} of {len(now)} pictures, byte for byte, and the boxes of {same[1]} screens"


def _boxes(screen: Screen) -> str:
    told = json.dumps([[item.name, item.kind, *item.box] for item in screen.items], ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()


def _fonts() -> dict[str, str]:
    """What fontconfig gives for the families that the pages name; they decide how wide words are."""
    if not shutil.which("fc-match"):
        return {}
    ask = ["fc-match", "--format", "%{family} %{fontversion}"]
    return {name: subprocess.run([*ask, name], capture_output=True, text=True).stdout for name in FONTS}


def _licences() -> str:
    used = ", ".join(f"{each.name} {each.version} ({each.licence})" for each in PACKAGES.values())
    return f"pages of {used}; keep their notices with copies of these pictures"


def _files(written: dict[str, int]) -> list[str]:
    return [
        f"{name}: {count} {'targets' if name.startswith('screenspot') else 'rows'}" for name, count in written.items()
    ]
