"""From pages to data sets in one call: capture, split by page, write; behind `forge capture` and notebook 06."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from forge_core import __version__
from forge_core.capture import rows
from forge_core.capture.sites import Place
from forge_core.capture.store import Screen, Visit, read_screens, write_manifest
from forge_core.capture.walk import Settings, capture
from forge_core.evaluation.browser import chromium_version
from forge_core.paths import resolve
from forge_core.text import printable

SETTINGS = "settings.json"
NOTE = "not stated: ask the owner of the pages before you share pictures of them"
# what screens depend on; more pages, viewports or themes only add to a capture
_SAME = ("mask", "scrolls", "openers", "forms", "logged_in")


class NothingCapturedError(OSError):
    """No page gave a screen."""


def run(
    places: Sequence[str],
    out: str | Path,
    settings: Settings | None = None,
    seed: int = 17,
    test_share: float = 0.2,
    licence_note: str = NOTE,
) -> dict:
    """Capture URLs and folders to `out`, write AGUVIS rows and a ScreenSpot set, and return the manifest.

    Raises ValueError where `out` holds a capture with other settings, NothingCapturedError, and what `capture` raises.
    """
    settings, out = settings or Settings(), resolve(out)
    check_same(out, settings)
    visits = capture([Place(place) for place in places], out, settings)
    screens = screens_of(out, visits)
    train, test = rows.split(screens, test_share, seed)
    written = rows.write_raw(out, train, seed) | rows.write_benchmark(out, test, seed)
    manifest = describe(settings, visits, screens) | {
        "seed": seed, "test_share": test_share, "test_pages": sorted({screen.url for screen in test}),
        "files": written, "licence_note": licence_note,
    }  # fmt: skip
    write_manifest(out, manifest)
    print(printable("\n".join(summary(manifest)), lines=True), flush=True)
    return manifest


def check_same(out: Path, settings: Settings) -> None:
    """Note the settings in `out`; ValueError where it was captured with others that its screens depend on."""
    now, file = _identity(settings), out / SETTINGS
    if file.is_file():
        before = json.loads(file.read_text())
        if changed := [name for name in _SAME if before.get(name) != now[name]]:
            raise ValueError(f"{out} was captured with another {', '.join(changed)}; take another folder, or delete it")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(now, indent=2) + "\n")


def _identity(settings: Settings) -> dict:
    """The settings without what they are to keep secret."""
    known = asdict(settings) | {"logged_in": bool(settings.storage_state)}
    known["mask"] = hashlib.sha256("\n".join(settings.mask).encode()).hexdigest() if settings.mask else ""
    del known["storage_state"]
    return json.loads(json.dumps(known))


def screens_of(out: Path, visits: Sequence[Visit]) -> list[Screen]:
    """The screens of these visits, in their order. Raises NothingCapturedError where there are none."""
    kept = {screen.id: screen for screen in read_screens(out)}
    screens = [kept[name] for visit in visits for name in visit.screens if name in kept]
    if not screens:
        problems = sorted({f"{visit.url}: {visit.status}" for visit in visits if visit.status != "ok"})
        raise NothingCapturedError("no page gave a screen; " + ("; ".join(problems[:5]) or "nothing to click on any"))
    return screens


def describe(settings: Settings, visits: Sequence[Visit], screens: Sequence[Screen]) -> dict:
    """What a manifest says of a capture: with what, from where, when, how it went."""
    return {
        "forge": __version__, "chromium": chromium_version(), "settings": _identity(settings),
        "sites": rows.counts(screens),
        "seconds_per_page": round(sum(visit.seconds for visit in visits) / len(visits), 2),
        "visits": [visit.model_dump(exclude={"links"}) for visit in visits],
    }  # fmt: skip


def summary(manifest: dict) -> list[str]:
    """A manifest in a few lines."""
    lines = []
    for site, count in manifest["sites"].items():
        kinds = f"{count.get('text', 0)} text, {count.get('icon', 0)} icon"
        rejected = [f"{n} {name[10:]}" for name, n in count.items() if name.startswith("rejected: ")]
        lines.append(f"{site}: {count['screens']} screens, {count['items']} targets ({kinds})")
        lines.append(f"  no targets: {', '.join(rejected) or 'none'}")
    failed = [f"{visit['url']}: {visit['status']}" for visit in manifest["visits"] if visit["status"] != "ok"]
    lines += [f"not captured: {problem}" for problem in dict.fromkeys(failed)]
    lines.append(f"{len(manifest['visits'])} visits, {manifest['seconds_per_page']:.1f} s each")
    return lines
