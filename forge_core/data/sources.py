"""The table of data sets: the sandbox's own, and the AGUVIS subsets with their names on the hub.

`json` and `image_root` of the AGUVIS subsets are those of smol2operator's CONFIG_DICT_STAGE_1 and _2
(huggingface/smol2operator b38695c, preprocessing/aguvis_models.py). That each archive is named like its subset without
the level (`-l1`), as zip or as tar.gz in parts, is how its aguvis_processor.py looks for the unpacked images; the
published folders themselves were not listed. Platforms: its MOBILE_FILES for stage 2, the screens' origin for stage 1
(Rico is Android, OmniACT desktop).

Levels of stage 2: l1 gives the action only, l2 adds a thought, l3 an observation too.
"""

from dataclasses import dataclass

REPOSITORIES = {1: "xlangai/aguvis-stage1", 2: "xlangai/aguvis-stage2"}


@dataclass(frozen=True)
class Subset:
    """A data set: `json` has the conversations, `archive` (a stem, see `archives.find`) the images in `image_root`."""

    name: str
    stage: int
    json: str
    archive: str
    image_root: str
    platform: str

    @property
    def on_hub(self) -> bool:
        """Whether it is published; the sandbox's are drawn on the spot."""
        return not self.name.startswith("sandbox_")


def _sandbox(stage: int, platform: str) -> Subset:
    name = f"sandbox_{platform}"
    return Subset(name, stage, f"{name}.json", name, "", platform)


def _aguvis(stage: int, platform: str, name: str, image_root: str, levels: tuple[str, ...] = ("",)) -> list[Subset]:
    names = [f"{name}{level}" for level in levels]
    return [Subset(each, stage, f"{each}.json", name, image_root, platform) for each in names]


_LEVELS = ("-l1", "-l2", "-l3")
SUBSETS: tuple[Subset, ...] = (
    *(_sandbox(stage, platform) for stage in (1, 2) for platform in ("web", "desktop", "mobile")),
    *_aguvis(1, "web", "guienv", "guienvs/images"),
    *_aguvis(1, "desktop", "omniact", "omniact/images"),
    *_aguvis(1, "mobile", "ricoig16k", "ricoig16k/images"),
    *_aguvis(1, "mobile", "ricosca", "ricosca/images"),
    *_aguvis(1, "web", "seeclick", "seeclick/seeclick_web_imgs"),
    *_aguvis(1, "web", "webui350k", "webui350k/images"),
    *_aguvis(1, "mobile", "ui_refexp", "ui_refexp/images"),
    *_aguvis(1, "mobile", "widget_captioning", "widget_captioning/images"),
    *_aguvis(2, "web", "mind2web", "mind2web", _LEVELS),
    *_aguvis(2, "web", "guiact-web-single", "guiact-web-single/images"),
    *_aguvis(2, "web", "guiact-web-multi", "guiact-web-multi-v2/images", _LEVELS),
    *_aguvis(2, "web", "miniwob", "images", _LEVELS),
    *_aguvis(2, "mobile", "coat", "coat/images"),
    *_aguvis(2, "mobile", "android_control", "android_control/images"),
    *_aguvis(2, "mobile", "gui-odyssey", "gui-odyssey/images", _LEVELS),
    *_aguvis(2, "mobile", "amex", "amex/images", _LEVELS),
    *_aguvis(2, "mobile", "aitw", "aitw-v1/images", _LEVELS),
)


def subsets(stage: int, names: list[str]) -> list[Subset]:
    """The subsets of a stage by name, in the order asked; raises ValueError naming an unknown one and what there is."""
    table = {subset.name: subset for subset in SUBSETS if subset.stage == stage}
    unknown = [name for name in names if name not in table]
    if unknown or not names:
        problem = f"no subset {unknown[0]!r}" if unknown else "no subset was named"
        raise ValueError(f"stage {stage}: {problem}; there are {', '.join(table) or 'stages 1 and 2 only'}")
    return [table[name] for name in dict.fromkeys(names)]
