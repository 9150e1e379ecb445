"""Answers without a model, so that a number means something, and what others published.

Each baseline maps targets to raw answers (target id -> "click(x=0.5, y=0.5)", places normalised to [0, 1]) which go
through `evaluation.score` like any model's. `ocr` needs the extra `baselines` (rapidocr, onnxruntime, rapidfuzz); its
recogniser (PP-OCRv6 small) ships inside rapidocr and is opened by its path, so that nothing is ever downloaded.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from forge_core.actions.steps import Step
from forge_core.actions.unified import render
from forge_core.data.images import open_image
from forge_core.data.screenspot import Target

Box = tuple[float, float, float, float]  # left, top, right, bottom, normalised to [0, 1]
LONG_SIDE = 2560  # px: larger screenshots are reduced to it before they are read, smaller ones are not enlarged
THRESHOLD = 75.0  # similarity of 0 to 100 below which the text asked for is not on the screen

_VERBS = re.compile(
    r"\A\s*(?:please\s+)?(?:(?:left|right|double)[- ]?)?"
    r"(?:click|tap|press|select|choose|open|go|navigate|switch|enter|hit|push|view|show|check|input|find)\b"
    r"(?:\s+(?:on|to|in|into|at)\b)?\s*",
    re.IGNORECASE,
)
_IDLE = set("a an the of to in on at for with this that my me and from by into".split())  # noqa: SIM905
_KINDS = set(
    "button link icon tab menu field checkbox box option item page section bar text label element".split()  # noqa: SIM905
)


class Word(NamedTuple):
    """A word that was read, and where."""

    text: str
    box: Box


Line = Sequence[Word]


class Published(NamedTuple):
    """A number from elsewhere: accuracy `value` in [0, 1] that `source` gives for model `name` on `benchmark`."""

    benchmark: str
    name: str
    value: float
    source: str


_SMOL = "huggingface/smol2operator, README"
_GUI_ACTOR = "microsoft/GUI-Actor, README at d98d1bb"
_ZONUI = "Han1018/ZonUI-3B, README"
_PAPER_FERRET = "arXiv 2509.26539"
PUBLISHED = (
    Published("ScreenSpot-v2", "SmolVLM2-2.2B", 0.0047, _SMOL),
    Published("ScreenSpot-v2", "smol2operator phase 1 (SmolVLM2-2.2B)", 0.4127, _SMOL),
    Published("ScreenSpot-v2", "smol2operator phase 2 (SmolVLM2-2.2B)", 0.6171, _SMOL),
    Published("ScreenSpot-v2", "ShowUI-2B", 0.773, _ZONUI),
    Published("ScreenSpot-v2", "Qwen2.5-VL-3B", 0.809, _GUI_ACTOR),
    Published("ScreenSpot-v2", "UI-TARS-2B", 0.847, _GUI_ACTOR),
    Published("ScreenSpot-v2", "ZonUI-3B", 0.864, _ZONUI),
    Published("ScreenSpot-v2", "GUI-Actor-2B", 0.886, _GUI_ACTOR),
    Published("ScreenSpot-v2", "Jedi-3B", 0.886, _GUI_ACTOR),
    Published("ScreenSpot-v2", "GUI-Actor-3B", 0.910, _GUI_ACTOR),
    Published("ScreenSpot-v2", "Ferret-UI Lite 3B", 0.916, _PAPER_FERRET),
    Published("ScreenSpot-Pro", "Qwen2.5-VL-3B", 0.259, _GUI_ACTOR),
    Published("ScreenSpot-Pro", "UGround-V1-2B", 0.266, _GUI_ACTOR),
    Published("ScreenSpot-Pro", "UI-TARS-2B", 0.277, _GUI_ACTOR),
    Published("ScreenSpot-Pro", "Jedi-3B", 0.361, _GUI_ACTOR),
    Published("ScreenSpot-Pro", "GUI-Actor-2B", 0.367, _GUI_ACTOR),
    Published("ScreenSpot-Pro", "GUI-Actor-3B", 0.422, _GUI_ACTOR),
    Published("ScreenSpot-Pro", "Ferret-UI Lite 3B", 0.533, _PAPER_FERRET),
)


def published(benchmark: str) -> list[Published]:
    """What others reached on the very same benchmark ("ScreenSpot-v2"), weakest first; nothing for any other name."""
    return sorted((row for row in PUBLISHED if row.benchmark == benchmark), key=lambda row: row.value)


def centre(targets: Sequence[Target]) -> dict[str, str]:
    """The middle of the screen, whatever is asked."""
    return {target.id: _click(0.5, 0.5) for target in targets}


def random_accuracy(targets: Sequence[Target]) -> float:
    """What uniform clicks hit in expectation: the mean area of the boxes. ValueError without targets."""
    if not targets:
        raise ValueError("no targets, hence no accuracy")
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in (target.bbox for target in targets)]
    return sum(areas) / len(areas)


def ocr(
    targets: Sequence[Target],
    threshold: float = THRESHOLD,
    read: Callable[[Path], Sequence[Line]] | None = None,
    log_every: int = 50,
) -> dict[str, str]:
    """Click the text on the screen that is most like the one asked for; an empty answer where none is like it.

    `read` gives the lines of a screenshot (default: `read_lines`) and is asked once per screenshot; a progress line is
    printed every `log_every` of them.
    """
    by_image: dict[Path, list[Target]] = {}
    for target in targets:
        by_image.setdefault(target.image, []).append(target)
    answers = {}
    for number, (image, asked) in enumerate(by_image.items(), start=1):
        lines = (read or read_lines)(image)
        answers |= {target.id: _answer(target.instruction, lines, threshold) for target in asked}
        if number % log_every == 0 or number == len(by_image):
            print(f"ocr {number}/{len(by_image)} screenshots", flush=True)
    return {target.id: answers[target.id] for target in targets}


def _answer(instruction: str, lines: Sequence[Line], threshold: float) -> str:
    similarity, box = best_match(asked_text(instruction), lines)
    if box is None or similarity < threshold:
        return ""
    left, top, right, bottom = box
    return _click((left + right) / 2, (top + bottom) / 2)


def asked_text(instruction: str) -> str:
    """The words of an instruction that may stand on the screen: 'Click the Save button' -> 'save'.

    A leading verb, then idle words and names of element kinds are dropped, each step only where something remains.
    """
    bare = re.sub(r"[^\w\s'&@+/-]|(?<!\w)'|'(?!\w)", " ", instruction.lower())  # quotes go, the one in "it's" stays
    words = _VERBS.sub("", bare, count=1).split() or bare.split()
    for dropped in (_IDLE, _KINDS):
        words = [word for word in words if word not in dropped] or words
    return " ".join(words)


def best_match(wanted: str, lines: Sequence[Line]) -> tuple[float, Box | None]:
    """(similarity of 0 to 100, box) of the run of words in one line that is most like `wanted`; (0, None) without text.

    Similarity is rapidfuzz's `fuzz.ratio`, case aside. Of equals the run that fills its line wins (a button's label
    before a word in a paragraph), then the first.
    """
    from rapidfuzz import fuzz

    def rank(run: tuple[Line, float]) -> tuple[float, float]:
        words, share = run
        return fuzz.ratio(wanted, " ".join(word.text for word in words).lower()), share

    runs = list(_runs(lines, longest=len(wanted.split()) + 1))
    if not runs:
        return 0.0, None
    best = max(runs, key=rank)
    return rank(best)[0], _around([word.box for word in best[0]])


def _runs(lines: Sequence[Line], longest: int) -> Iterator[tuple[Line, float]]:
    """Every run of up to `longest` words of a line, with the share of the line's words that it takes."""
    for line in lines:
        for start in range(len(line)):
            for end in range(start + 1, min(start + longest, len(line)) + 1):
                yield line[start:end], (end - start) / len(line)


def _around(boxes: Sequence[Box]) -> Box:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def read_lines(path: Path) -> list[list[Word]]:
    """What stands on a screenshot, line by line. ModuleNotFoundError says which extra to install."""
    import numpy as np

    image = open_image(path)
    scale = read_scale(*image.size)
    size = (round(image.width * scale), round(image.height * scale))  # px
    pixels = np.asarray(image.resize(size, Image.Resampling.BICUBIC) if scale != 1 else image)  # (height, width, RGB)
    found = _recogniser()(pixels[:, :, ::-1])
    return [[_word(text, corners, size) for text, _, corners in line] for line in found.word_results] if found else []


def read_scale(width: int, height: int) -> float:
    """What a screenshot of this size (px) is multiplied with before it is read.

    Nothing is enlarged: the detector enlarges by itself, up to 736 px of the shorter side, and on the sandbox's screens
    (15 to 18 px of font) twice or three times the size reads no word more, for 1.4 and 1.9 times the time.
    """
    return min(1.0, LONG_SIDE / max(width, height))


def _word(text: str, corners: Sequence[Sequence[float]], size: tuple[int, int]) -> Word:
    xs, ys = zip(*corners, strict=True)  # px of the picture that was read
    width, height = size
    return Word(text, (min(xs) / width, min(ys) / height, max(xs) / width, max(ys) / height))


@cache
def _recogniser():
    try:
        import rapidocr
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; the OCR baseline needs the extra: pip install -e '.[baselines]'") from None
    models = Path(rapidocr.__file__).parent / "models"
    settings = {
        "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),  # given a path, rapidocr downloads nothing
        "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
        "Global.use_cls": False,  # screens stand upright
        "Global.max_side_len": LONG_SIDE,
        "Global.return_word_box": True,
        "Global.log_level": "error",
    }
    return rapidocr.RapidOCR(params=settings)


def _click(x: float, y: float) -> str:
    return render([Step("click", {"x": min(max(x, 0.0), 1.0), "y": min(max(y, 0.0), 1.0)})])
