"""A folder that stands in for the hub: a few subsets of AGUVIS and ScreenSpot-v2 under their real names.

Archives, roots and row forms are the real ones, as forge_core/data/sources.py has them; the screens are the sandbox's.
"""

import json
import zipfile
from pathlib import Path

from forge_core.data.archives import find, unpack
from forge_core.data.raw_files import write_parts, write_zip
from forge_core.data.sandbox import MARK, write_benchmark, write_raw
from forge_core.data.sources import REPOSITORIES, subsets

# what is drawn for a platform goes by the name of a real set
NAMES = {1: {"web": "seeclick", "desktop": "omniact"}, 2: {"web": "mind2web-l2", "mobile": "android_control"}}


def write_mirror(folder: Path, screens: int = 4) -> Path:
    """Write `screens` screenshots for each subset of NAMES, and one for each platform of ScreenSpot-v2."""
    drawn = folder / "drawn"
    write_raw(drawn, screens, seed=3)
    for stage, names in NAMES.items():
        target = folder / REPOSITORIES["aguvis"][stage]
        target.mkdir(parents=True)
        for platform, name in names.items():
            _rename(drawn, target, stage, platform, name)
    target = folder / "OS-Copilot" / "ScreenSpot-v2"
    write_benchmark(target, 1, seed=3)
    (target / MARK).unlink()
    with zipfile.ZipFile(target / "screenspotv2_image.zip", "w") as archive:
        for image in sorted((target / "screenspotv2_image").iterdir()):
            archive.write(image, f"screenspotv2_image/{image.name}")
            image.unlink()
    return folder


def _rename(drawn: Path, target: Path, stage: int, platform: str, name: str) -> None:
    """A subset of the sandbox as `name`: seeclick in parts, the others as a zip; the real sets have no boxes."""
    (subset,), source = subsets(stage, [name]), drawn / f"stage{stage}"
    rows = json.loads((source / f"sandbox_{platform}.json").read_text())
    (target / subset.json).write_text(json.dumps([{**row, "boxes": None} for row in rows]))
    images = unpack(find(source, f"sandbox_{platform}"), drawn / f"{stage} {platform}").glob("*.png")
    files = [(f"{subset.image_root}/{image.name}", image.read_bytes()) for image in sorted(images)]
    if name != "seeclick":
        write_zip(target, subset.archive, files)
        return
    write_parts(target, subset.archive, files)
    (part,) = target.glob("seeclick.tar.gz.part_*")
    data, size = part.read_bytes(), part.stat().st_size // 2
    part.unlink()
    for number, start in enumerate(range(0, len(data), size)):
        part.with_name(f"seeclick.tar.gz.part_{number:02d}").write_bytes(data[start : start + size])
