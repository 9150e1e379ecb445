"""The tables of data sets: the sandbox's own, the AGUVIS subsets with their names on the hub, and the benchmarks.

Where the columns of the AGUVIS subsets come from:
- `json`, `image_root`: huggingface/smol2operator b38695c, CONFIG_DICT_STAGE_1 and _2. `archive` (zip; seeclick as
  tar.gz in parts): its aguvis_processor.py, which unpacks X.zip to X/ and looks there for `image_root`.
- `share`: xlang-ai/aguvis 178c418, data/stage1.yaml and stage2.yaml, added up over their entries. They list some -l2
  sets twice and no -l3 set; `guide` is published but not in them.
- `rows`: what smol2operator's authors counted (comments of an early version of that config); None: not published.
- `platform`: MOBILE_FILES of smol2operator for stage 2, the screens' origin for stage 1 (Rico is Android, OmniACT
  desktop).

Levels of stage 2: l1 gives the action only, l2 adds a thought, l3 an observation too.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Benchmark:
    """A ScreenSpot set on the hub: its files (glob patterns), the archive stem of its images, if any, and its layout.

    `layout` is a key of `screenspot.LAYOUTS`.
    """

    repository: str
    revision: str
    files: tuple[str, ...]
    layout: str
    archive: str = ""


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

BENCHMARKS = {
    "screenspot_v1": Benchmark("rootsautomation/ScreenSpot", "main", ("data/*.parquet",), "screenspot_v1"),
    "screenspot_v2": Benchmark(
        "OS-Copilot/ScreenSpot-v2", "main", ("screenspot_*_v2.json",), "screenspot_v2", "screenspotv2_image"
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
