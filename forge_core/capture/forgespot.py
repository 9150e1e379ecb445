"""ForgeSpot: a benchmark of real web pages that anybody can build again, offline once the packages are there.

    forge benchmark build --out data/forgespot

Pages of pinned, MIT-licensed packages (`packages.PACKAGES`) are captured, those of the packages for training as AGUVIS
rows (out/raw), those for the test as a ScreenSpot-v2 folder (out/screenspot): no design is on both sides. The same
Chromium with the same fonts gives the same bytes; out/checksums.json says whether they are those of `REFERENCE`.
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
    print("\n".join([*summary(manifest), *_files(written), compared(sums)]), flush=True)
    return manifest


def chosen(package: Package, folder: Path) -> tuple[str, ...]:
    """Up to `PAGES` of a package's pages, drawn by `SEED`, in their order."""
    found = packages.pages(package, folder)
    return tuple(sorted(Random(f"{SEED} {package.name}").sample(found, min(PAGES[package.part], len(found)))))


def checksums(out: Path, screens: Sequence[Screen]) -> dict:
    """What was built, and with what: sha256 of each package's pictures and boxes, and of the test set."""
    parts = {}
    for name in PACKAGES:
        told = [f"{screen.image} {screen.sha256} {_boxes(screen)}" for screen in screens if screen.site == name]
        parts[name] = {"screens": len(told), "sha256": hashlib.sha256("\n".join(told).encode()).hexdigest()}
    return {
        "chromium": chromium_version(), "fonts": _fonts(), "packages": parts,
        "screenspot": _digest((out / "screenspot").glob("*.json")),
    }  # fmt: skip


def compared(sums: dict) -> str:
    """Whether checksums are those of the project, and if not, what is different."""
    reference = json.loads(REFERENCE.read_text()) if REFERENCE.is_file() else {}
    if sums == reference:
        return "the same bytes as the reference"
    if tools := [name for name in ("chromium", "fonts") if sums[name] != reference.get(name)]:
        return f"not compared with the reference, which has other {' and '.join(tools)}: {reference.get(tools[0])}"
    known = reference["packages"]
    other = [name for name, part in sums["packages"].items() if part != known.get(name)]
    return f"NOT the bytes of the reference, with the same Chromium and fonts: {', '.join(other) or 'the test set'}"


def _boxes(screen: Screen) -> str:
    return json.dumps([[item.name, *item.box] for item in screen.items], ensure_ascii=False)


def _digest(paths) -> str:
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


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
