"""The tables of data sets: the sandbox's own, the AGUVIS subsets with their names on the hub, and the benchmarks.

Where the columns of the AGUVIS subsets come from:
- `json`, `image_root`: huggingface/smol2operator b38695c, CONFIG_DICT_STAGE_1 and _2. `archive` (zip; seeclick as
  tar.gz in parts): its aguvis_processor.py, which unpacks X.zip to X/ and looks there for `image_root`.
- `share`: xlang-ai/aguvis 178c418, data/stage1.yaml and stage2.yaml, added up over their entries. They list some -l2
  sets twice and no -l3 set; `guide` is published but not in them.
- `rows`: what smol2operator's authors counted (comments of an early version of that config); None: not published.
- `platform`: MOBILE_FILES of smol2operator for stage 2, the screens' origin for stage 1 (Rico is Android, OmniACT
  desktop).

- `ARCHIVES`: what huggingface.co showed of the two repositories between December 2024 and May 2025 (pages of the file
  lists, files and commits; stage 1 at 5726b39, stage 2 piece by piece). Not measured here: the first look-up on the hub
  decides what a download really needs. `estimated` names what no page at hand showed.
- `OTHER_NAMES`: those pages, where the programs above have another name for the same file.

Levels of stage 2: l1 gives the action only, l2 adds a thought, l3 an observation too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

REPOSITORIES = {
    "aguvis": {1: "xlangai/aguvis-stage1", 2: "xlangai/aguvis-stage2"},
    "smolagents": {1: "smolagents/aguvis-stage-1", 2: "smolagents/aguvis-stage-2"},  # parquet, made by smol2operator
}


@dataclass(frozen=True)
class Subset:
    """A data set: `json` has the conversations, `archive` (a stem, see `archives.find`) the images in `image_root`.

    `share` is the part of its rows that AGUVIS trains on (above 1: more than once), `rows` how many there are.
    """

    name: str
    stage: int
    json: str
    archive: str
    image_root: str
    platform: str
    rows: int | None = None
    share: float = 1.0

    @property
    def on_hub(self) -> bool:
        """Whether it is published; the sandbox's are drawn on the spot, captures are the user's own."""
        return not self.name.startswith(("sandbox_", "capture_"))


class Archive(NamedTuple):
    """GB (1e9 bytes) of an archive, and of the largest JSON file with its rows; `tar`: a tar.gz, which is unpacked."""

    gb: float
    json_gb: float
    estimated: str = ""  # which of the two, and from what
    tar: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A ScreenSpot set on the hub: its files (glob patterns), the archive stem of its images, if any, and its layout.

    `layout` is a key of `screenspot.LAYOUTS`; `gb` is all of it, where the hub's page shows it.
    """

    repository: str
    revision: str
    files: tuple[str, ...]
    layout: str
    archive: str = ""
    gb: float | None = None


def _local(maker: str, stage: int, platform: str) -> Subset:
    name = f"{maker}_{platform}"
    return Subset(name, stage, f"{name}.json", name, "", platform)


def _one(stage: int, platform: str, name: str, image_root: str, rows: int | None, share: float = 1.0) -> Subset:
    return Subset(name, stage, f"{name}.json", name, image_root, platform, rows, share)


def _levels(platform: str, name: str, image_root: str, rows: int, l1: float, l2: float) -> list[Subset]:
    """The three levels of a stage-2 set; the rows of -l3 are published, those of -l1 and -l2 are not."""
    return [
        Subset(name + level, 2, f"{name}{level}.json", name, image_root, platform, count, share)
        for level, count, share in (("-l1", None, l1), ("-l2", None, l2), ("-l3", rows, 0.0))
    ]


SUBSETS: tuple[Subset, ...] = (
    *(_local("sandbox", stage, platform) for stage in (1, 2) for platform in ("web", "desktop", "mobile")),
    *(_local("capture", stage, platform) for stage in (1, 2) for platform in ("web", "mobile")),
    _one(1, "web", "seeclick", "seeclick/seeclick_web_imgs", 271_121),
    _one(1, "web", "guienv", "guienvs/images", 327_972),
    _one(1, "web", "webui350k", "webui350k/images", 57_389),
    _one(1, "desktop", "omniact", "omniact/images", 6_720),
    _one(1, "mobile", "widget_captioning", "widget_captioning/images", 101_426),
    _one(1, "mobile", "ricosca", "ricosca/images", 173_212),
    _one(1, "mobile", "ui_refexp", "ui_refexp/images", 15_624),
    _one(1, "mobile", "ricoig16k", "ricoig16k/images", 16_133),
    *_levels("web", "mind2web", "mind2web", 7_591, 1.0, 2.0),
    _one(2, "web", "guiact-web-single", "guiact-web-single/images", 67_396),
    *_levels("web", "guiact-web-multi", "guiact-web-multi-v2/images", 16_704, 1.0, 1.0),
    *_levels("web", "miniwob", "images", 9_826, 1.0, 1.0),
    _one(2, "web", "guide", "guide-v2/images", None, 0.0),
    _one(2, "mobile", "coat", "coat/images", 11_921),
    _one(2, "mobile", "android_control", "android_control/images", 74_714),
    *_levels("mobile", "gui-odyssey", "gui-odyssey/images", 118_282, 0.33, 0.66),
    *_levels("mobile", "amex", "amex/images", 38_469, 0.33, 0.66),
    *_levels("mobile", "aitw", "aitw-v1/images", 18_992, 1.0, 1.0),
)

ARCHIVES = {
    "seeclick": Archive(127.9, 0.7, "JSON: 271,121 rows of about 16 turns of 150 bytes", tar=True),  # 6 parts
    "guienv": Archive(5.86, 0.092),
    "webui350k": Archive(34.2, 0.12, "JSON: 57,389 rows of 2 kB"),
    "omniact": Archive(6.83, 0.003),
    "widget_captioning": Archive(1.37, 0.021),
    "ricosca": Archive(1.4, 0.038),
    "ui_refexp": Archive(0.425, 0.004),
    "ricoig16k": Archive(1.51, 0.006),
    "mind2web": Archive(1.2, 0.03, "JSON: 7,591 rows of 4 kB"),
    # Stage 2 as parquet (HuggingFaceM4/FineVision) has 178.7 GB; the archives that are shown make 158 of them
    "guiact-web-single": Archive(20.0, 0.104, "archive: what the others leave of 178.7 GB, all of stage 2 as parquet"),
    "guiact-web-multi": Archive(10.2, 0.037),
    "miniwob": Archive(1.0, 0.021, "archive: 9,826 small screens of at most 0.1 MB"),
    "guide": Archive(6.3, 0.2, "JSON: at most 50,000 rows of 4 kB"),
    "coat": Archive(0.587, 0.035),
    "android_control": Archive(35.6, 0.204),
    "gui-odyssey": Archive(84.0, 0.4, "JSON: l1 is 0.372, the others are a little longer", tar=True),  # 4 parts
    "amex": Archive(25.7, 0.106),
    "aitw": Archive(0.749, 0.053),
}

OTHER_NAMES = {  # of the table, and of the hub's pages
    "guienv.zip": "guienvs.zip",
    "omniact.json": "omniact_fix.json",
    "guiact-web-multi.zip": "guiact-web-multi-v2.zip",
}

BENCHMARKS = {
    "screenspot_v1": Benchmark("rootsautomation/ScreenSpot", "main", ("data/*.parquet",), "screenspot_v1"),
    "screenspot_v2": Benchmark(
        "OS-Copilot/ScreenSpot-v2", "main", ("screenspot_*_v2.json",), "screenspot_v2", "screenspotv2_image", 1.33
    ),
    "screenspot_pro": Benchmark(
        "likaixin/ScreenSpot-Pro",
        "210e78d3844251110bff86c95835ebd37a6930fa",
        ("annotations/*.json", "images/*/*.png"),
        "screenspot_pro",
    ),
}


def subsets(stage: int, names: list[str]) -> list[Subset]:
    """The subsets of a stage by name, in the order asked; raises ValueError naming an unknown one and what there is."""
    table = {subset.name: subset for subset in SUBSETS if subset.stage == stage}
    unknown = [name for name in names if name not in table]
    if unknown or not names:
        problem = f"no subset {unknown[0]!r}" if unknown else "no subset was named"
        raise ValueError(f"stage {stage}: {problem}; there are {', '.join(table) or 'stages 1 and 2 only'}")
    return [table[name] for name in dict.fromkeys(names)]


def on_hub(stage: int, names: list[str]) -> list[Subset]:
    """The same where all of them are published; raises ValueError for one that is not, too."""
    chosen = subsets(stage, names)
    for subset in chosen:
        if not subset.on_hub:
            maker = "drawn, source: sandbox" if subset.name.startswith("sandbox") else "captured, source: capture"
            raise ValueError(f"{subset.name} is not on the hub: it is {maker}")
    return chosen


def weights(chosen: Iterable[Subset]) -> dict[str, float]:
    """GB of each archive, once, with a JSON file for each of the subsets; nothing for what is not on the hub."""
    found: dict[str, float] = {}
    for subset in chosen:
        if subset.on_hub:
            archive = ARCHIVES[subset.archive]
            found[subset.archive] = found.get(subset.archive, archive.gb) + archive.json_gb
    return found
