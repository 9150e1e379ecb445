"""What coordinates count: fractions, thousandths, or pixels of an image whose size has to be given."""

import math
from typing import Literal, NamedTuple

from forge_core.actions.steps import is_number

FRACTION, PER_999, PER_1000 = (1.0, 1.0), (999.0, 999.0), (1000.0, 1000.0)  # (x, y) of the bottom right corner
PIXELS = "pixels of the screenshot"
RESIZED = "pixels of the image as the model saw it (see `smart_resize`)"
UNSAID = "anything: the text does not say (give (1, 1) for fractions, (1000, 1000) for thousandths)"
PLACES = ("x", "y", "from_coord", "to_coord")
CoordFormat = Literal["4-decimals", "2-decimals", "0-1000"]


class Scale(NamedTuple):
    """How a model writes places: (x, y) of the bottom right corner, the steps up to there, and how a prompt says it."""

    corner: tuple[float, float]
    steps: tuple[float, float]
    sentence: str


# What a model can be taught to write; rows on disk are always "4-decimals".
COORD_FORMATS: dict[CoordFormat, Scale] = {
    "4-decimals": Scale(FRACTION, (10_000.0, 10_000.0), "Coordinates run from 0 to 1 from the top left."),
    "2-decimals": Scale(
        FRACTION, (100.0, 100.0), "Coordinates run from 0 to 1 from the top left, with at most two decimals."
    ),
    "0-1000": Scale(PER_1000, PER_1000, "Coordinates are whole numbers from 0 to 1000 from the top left."),
}


def extent(units: tuple[float, float] | str, size: tuple[float, float] | None) -> tuple[float, float]:
    """(x, y) of the bottom right corner in a dialect's units; raises ValueError where `size` is needed."""
    if isinstance(units, tuple):
        return units
    if size is None:
        raise ValueError(f"these coordinates count {units}: give its size=(width, height)")
    width, height = size
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ValueError(f"size must be two positive numbers (width, height), not {size!r}")
    return float(width), float(height)


def to_fractions(arguments: dict, corner: tuple[float, float]) -> dict:
    """`arguments` with its places divided by `corner`; everything else, and what is not a number, is left as it is."""
    if corner == FRACTION or not any(name in arguments for name in PLACES):
        return arguments

    def place(name: str, value: object) -> object:
        try:
            if name in ("x", "y"):
                return _divided(value, corner[name == "y"])
            return [_divided(*pair) for pair in zip(value, corner, strict=True)] if name in PLACES else value
        except (TypeError, ValueError, OverflowError):
            return value  # not a number: the action space refuses it by name

    return {name: place(name, value) for name, value in arguments.items()}


def _divided(value: object, limit: float) -> float:
    if not is_number(value):  # True / 1000 would be a place
        raise TypeError
    return value / limit


def to_units(arguments: dict, corner: tuple[float, float]) -> dict:
    """The inverse of `to_fractions`, in whole units; fractions stay fractions."""
    if corner == FRACTION:
        return arguments

    def place(name: str, value: object) -> object:
        if name in ("x", "y"):
            return round(value * corner[name == "y"])
        return [round(part * limit) for part, limit in zip(value, corner, strict=True)] if name in PLACES else value

    return {name: place(name, value) for name, value in arguments.items()}


def in_format(arguments: dict, coord_format: CoordFormat) -> dict:
    """`arguments` with its places, fractions, rounded and counted as `coord_format` writes them."""
    scale = COORD_FORMATS[coord_format]
    whole = to_units(arguments, scale.steps)
    return whole if scale.corner == scale.steps else to_fractions(whole, scale.steps)


def smart_resize(
    width: int, height: int, factor: int = 28, min_pixels: int = 3136, max_pixels: int = 12_845_056
) -> tuple[int, int]:
    """(width, height) in px that a Qwen-VL processor resizes an image to: multiples of `factor`, area in bounds.

    Formula: `smart_resize` of Qwen2-VL's image processor (Qwen2.5-VL: factor 28; Qwen3-VL: 32). The bounds are
    settings of the processor that made the answers: max_pixels 12,845,056 is Qwen's own, many evaluations use
    1,003,520 or 2,116,800.
    """
    if min(width, height) <= 0 or max(width, height) / min(width, height) > 200:
        raise ValueError(f"expected a positive size with an aspect ratio of at most 200, found {width}x{height}")
    resized_w, resized_h = (max(factor, round(side / factor) * factor) for side in (width, height))
    if resized_w * resized_h > max_pixels:
        scale = math.sqrt(width * height / max_pixels)
        resized_w, resized_h = (max(factor, math.floor(side / scale / factor) * factor) for side in (width, height))
    elif resized_w * resized_h < min_pixels:
        scale = math.sqrt(min_pixels / (width * height))
        resized_w, resized_h = (math.ceil(side * scale / factor) * factor for side in (width, height))
    return resized_w, resized_h
