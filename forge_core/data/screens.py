"""Draw made-up UI screens for the embedded profile: what is on them, where it is, and the picture.

A screen is laid out in *units*: 256 x 256 of them whatever the platform, elements on an 8-unit grid as in real design
systems. Each platform has its own pixel size, so its pictures have their own aspect ratio (web 512 x 384, desktop
512 x 448, mobile 320 x 512); the model's processor squeezes them to a square, as SmolVLM's does with real ones.
"""

import zlib
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from PIL import Image, ImageDraw, ImageFont

UNITS = 256
GRID = 8
HEIGHT = 24  # units: one height for every element
PIXELS_PER_CELL = {"web": (16, 12), "desktop": (16, 14), "mobile": (10, 16)}  # px of one 8-unit grid cell (x, y)
FONT_PX = {"web": 17, "desktop": 18, "mobile": 15}
KINDS = ("button", "link", "field", "checkbox", "tab", "menu", "icon")

WORDS = tuple(
    """Save Open Close Cancel Delete Edit Copy Paste Cut Undo Redo Print Share Send Reply Forward Search Filter Sort
    Settings Profile Account Password Email Name Phone Address City Country Language Theme Privacy Security Help About
    Contact Home News Sports Music Movies Games Books Photos Videos Files Folder Documents Downloads Uploads History
    Bookmarks Favorites Calendar Events Tasks Notes Messages Chat Calls Contacts Groups Friends Notifications Alerts
    Updates Install Remove Update Refresh Back Next Previous Finish Start Stop Pause Play Resume Record Login Logout
    Register Subscribe Continue Submit Apply Reset Clear Confirm Accept Decline Yes No Cart Checkout Payment Orders
    Shipping Returns Reviews Ratings Deals Gifts Wallet Balance Transfer Reports Charts Budget Invoices Support
    """.split()  # noqa: SIM905
)

# Glyphs in a unit square, y down: (primitive, flat coordinates).
ICONS = {
    "back": [("line", (0.9, 0.5, 0.1, 0.5)), ("line", (0.45, 0.12, 0.1, 0.5, 0.45, 0.88))],
    "close": [("line", (0.15, 0.15, 0.85, 0.85)), ("line", (0.85, 0.15, 0.15, 0.85))],
    "menu": [("line", (0.1, 0.2, 0.9, 0.2)), ("line", (0.1, 0.5, 0.9, 0.5)), ("line", (0.1, 0.8, 0.9, 0.8))],
    "search": [("ellipse", (0.1, 0.1, 0.68, 0.68)), ("line", (0.6, 0.6, 0.92, 0.92))],
    "home": [("line", (0.05, 0.5, 0.5, 0.1, 0.95, 0.5)), ("rectangle", (0.22, 0.5, 0.78, 0.92))],
    "add": [("line", (0.5, 0.1, 0.5, 0.9)), ("line", (0.1, 0.5, 0.9, 0.5))],
    "delete": [
        ("rectangle", (0.22, 0.3, 0.78, 0.95)),
        ("line", (0.08, 0.25, 0.92, 0.25)),
        ("line", (0.38, 0.08, 0.62, 0.08)),
    ],
    "edit": [("polygon", (0.72, 0.08, 0.92, 0.28, 0.3, 0.9, 0.1, 0.7)), ("line", (0.08, 0.95, 0.9, 0.95))],
    "play": [("polygon", (0.2, 0.08, 0.92, 0.5, 0.2, 0.92))],
    "pause": [("box", (0.18, 0.1, 0.4, 0.9)), ("box", (0.6, 0.1, 0.82, 0.9))],
    "star": [
        ("polygon", (0.5, 0.02, 0.63, 0.37, 1.0, 0.38, 0.7, 0.6, 0.81, 0.96,
                    0.5, 0.75, 0.19, 0.96, 0.3, 0.6, 0.0, 0.38, 0.37, 0.37)),
    ],
    "mail": [("rectangle", (0.04, 0.2, 0.96, 0.82)), ("line", (0.04, 0.2, 0.5, 0.58, 0.96, 0.2))],
    "lock": [("box", (0.15, 0.45, 0.85, 0.95)), ("ellipse", (0.28, 0.08, 0.72, 0.7))],
    "user": [("disc", (0.3, 0.05, 0.7, 0.45)), ("polygon", (0.08, 0.95, 0.2, 0.58, 0.8, 0.58, 0.92, 0.95))],
    "download": [
        ("line", (0.5, 0.05, 0.5, 0.7)),
        ("line", (0.25, 0.45, 0.5, 0.72, 0.75, 0.45)),
        ("line", (0.08, 0.93, 0.92, 0.93)),
    ],
    "clock": [("ellipse", (0.05, 0.05, 0.95, 0.95)), ("line", (0.5, 0.2, 0.5, 0.52, 0.75, 0.62))],
    "more": [
        ("disc", (0.02, 0.38, 0.26, 0.62)),
        ("disc", (0.38, 0.38, 0.62, 0.62)),
        ("disc", (0.74, 0.38, 0.98, 0.62)),
    ],
    "folder": [("polygon", (0.03, 0.2, 0.4, 0.2, 0.5, 0.33, 0.97, 0.33, 0.97, 0.88, 0.03, 0.88))],
}  # fmt: skip
ACCENTS = ((37, 99, 235), (5, 130, 90), (190, 40, 60), (124, 58, 200), (200, 85, 10), (20, 120, 150))


@dataclass(frozen=True)
class Element:
    """One thing a user can act on. `box` is (left, top, right, bottom) in units; `label` a word, or an icon's name."""

    kind: str
    label: str
    box: tuple[int, int, int, int]

    @property
    def bbox(self) -> tuple[float, float, float, float]:
        """The box normalised to [0, 1], xyxy."""
        return tuple(value / UNITS for value in self.box)

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box, normalised to [0, 1]."""
        left, top, right, bottom = self.bbox
        return (left + right) / 2, (top + bottom) / 2

    @property
    def region(self) -> str:
        """Which ninth of the screen the centre lies in, in words."""
        return region(*self.centre)


def region(x: float, y: float) -> str:
    """Which ninth of the screen a place in [0, 1) lies in, in words."""
    return f"{('upper', 'middle', 'lower')[int(y * 3)]} {('left', 'centre', 'right')[int(x * 3)]}"


@dataclass(frozen=True)
class Screen:
    """Everything that drawing needs: platform, theme, elements in reading order, and an optional dialog box (units)."""

    platform: str
    dark: bool
    accent: tuple[int, int, int]
    shade: int
    elements: tuple[Element, ...]
    dialog: tuple[int, int, int, int] | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, px."""
        return size_px(self.platform)

    @property
    def layout(self) -> str:
        """Which kinds stand where, whatever they say: the key that train and test screens never share."""
        return self.platform + repr(sorted((element.kind, element.box) for element in self.elements))


def size_px(platform: str) -> tuple[int, int]:
    """Width and height of a platform's pictures, px."""
    return tuple(UNITS // GRID * cell for cell in PIXELS_PER_CELL[platform])


def make_screen(rng: Random, platform: str, split: str) -> Screen:
    """A random screen whose layout belongs to `split` ("train" or "test": a fifth of all layouts, by their hash)."""
    while True:
        screen = _random_screen(rng, platform)
        held_out = zlib.crc32(screen.layout.encode()) % 5 == 0
        if held_out == (split == "test"):
            return screen


def _random_screen(rng: Random, platform: str) -> Screen:
    words, icons = rng.sample(WORDS, len(WORDS)), rng.sample(sorted(ICONS), len(ICONS))
    elements: list[Element] = []

    def place(kind: str, left: int, top: int, room: int) -> int:
        """Put one element with its left edge there if `room` units suffice; the units it took."""
        if kind == "icon" and not icons:
            return 0
        label = icons.pop() if kind == "icon" else words.pop()
        extra = {"checkbox": 16, "field": rng.choice((0, 16, 32, 48)), "button": rng.choice((0, 0, 16))}.get(kind, 0)
        width = HEIGHT if kind == "icon" else natural_width(label, platform) + extra
        if width > room:
            return 0
        elements.append(Element(kind, label, (left, top, left + width, top + HEIGHT)))
        return width

    def row(top: int, kinds: list[str], left: int, right: int) -> None:
        for kind in kinds:
            width = place(kind, left, top, right - left)
            left += max(width, 24) + rng.choice((8, 16, 16, 24, 32))

    bar = "icon" if platform == "mobile" else "menu" if platform == "desktop" else rng.choice(("tab", "link"))
    dialog = (32, 80, 224, 176) if rng.random() < 0.12 else None
    if platform == "mobile":
        place("icon", 8, 0, 32)
        place("icon", UNITS - 32, 0, 32)
        row(UNITS - 24, [rng.choice(("icon", "tab"))] * 4, rng.choice((8, 16)), UNITS - 8)
        first, last = 40, UNITS - 56
    else:
        place("icon", UNITS - 32 if platform == "desktop" else 8, 0, 32)
        row(24, [bar] * rng.randint(2, 5), rng.choice((8, 16, 32)), UNITS - 8)
        first, last = 64, UNITS - 32
    if dialog:
        row(dialog[3] - 32, ["button"] * 2, dialog[0] + rng.choice((8, 16, 24)), dialog[2] - 8)
        row(dialog[1] + 24, [rng.choice(("field", "checkbox", "link"))], dialog[0] + rng.choice((8, 16)), dialog[2] - 8)
    else:
        top = first + rng.choice((0, 8))
        while top <= last:
            row(top, _row_kinds(rng), rng.choice((8, 16, 24, 32, 48, 64, 96, 128)), UNITS - 8)
            top += rng.choice((32, 32, 40, 48))
    elements.sort(key=lambda element: (element.box[1], element.box[0]))
    return Screen(platform, rng.random() < 0.5, rng.choice(ACCENTS), rng.randrange(12), tuple(elements), dialog)


def _row_kinds(rng: Random) -> list[str]:
    return list(
        rng.choice(
            (
                ("button",), ("button", "button"), ("field",), ("field", "button"), ("field", "icon"),
                ("checkbox",), ("checkbox", "link"), ("link", "link", "link"), ("icon", "icon", "icon"),
                ("button", "link"), ("icon", "link"), ("icon", "button"),
            )
        )
    )  # fmt: skip


@lru_cache
def _font(platform: str) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(FONT_PX[platform])  # Aileron, which ships inside Pillow


@lru_cache(maxsize=4096)
def _text_width(text: str, platform: str) -> int:
    return round(_font(platform).getlength(text))  # px


def natural_width(label: str, platform: str) -> int:
    """Width in units of a box that holds the label with 8 units or more on each side, on the grid."""
    return -(-_text_width(label, platform) // PIXELS_PER_CELL[platform][0]) * GRID + 2 * GRID


def draw(screen: Screen) -> Image.Image:
    """The picture of a screen, RGB, `screen.size` px."""
    base = 24 + screen.shade if screen.dark else 255 - screen.shade
    surface, ink = (base + 22,) * 3 if screen.dark else (base - 22,) * 3, (235,) * 3 if screen.dark else (25,) * 3
    image = Image.new("RGB", screen.size, (base,) * 3)
    pen = ImageDraw.Draw(image)
    _draw_bars(pen, screen, surface)
    if screen.dialog:
        pen.rounded_rectangle(_px(screen.dialog, screen), 6, fill=(base,) * 3, outline=ink, width=2)
    for element in screen.elements:
        _draw_element(pen, screen, element, ink, surface)
    return image


def _px(box, screen: Screen) -> tuple[int, ...]:
    """Units -> px; right and bottom inclusive, as PIL's shapes want them."""
    cell = PIXELS_PER_CELL[screen.platform]
    left, top, right, bottom = (value * cell[axis % 2] // GRID for axis, value in enumerate(box))
    return left, top, right - 1, bottom - 1


def _draw_bars(pen: ImageDraw.ImageDraw, screen: Screen, surface) -> None:
    bars = [(0, 0, UNITS, 24), (0, UNITS - 24, UNITS, UNITS)] if screen.platform == "mobile" else [(0, 0, UNITS, 24)]
    for bar in bars:
        pen.rectangle(_px(bar, screen), fill=surface)
    if screen.platform == "web":  # an empty address bar
        pen.rounded_rectangle(_px((40, 4, UNITS - 8, 20), screen), 6, outline=(128,) * 3)


def _draw_element(pen: ImageDraw.ImageDraw, screen: Screen, element: Element, ink, surface) -> None:
    left, top, right, bottom = box = _px(element.box, screen)
    filled = screen.shade % 2 == 0
    colour = ink
    if element.kind == "icon":
        return _draw_icon(pen, ICONS[element.label], box, screen.accent if not screen.dark and filled else ink)
    if element.kind == "button":
        pen.rounded_rectangle(box, 5, fill=screen.accent if filled else None, outline=screen.accent, width=2)
        colour = (255,) * 3 if filled else ink
    elif element.kind == "field":
        pen.rectangle(box, fill=surface, outline=(128,) * 3)
    elif element.kind == "tab":
        pen.line((left, bottom - 1, right, bottom - 1), fill=screen.accent, width=3)
    elif element.kind == "checkbox":
        side, middle = 12, (top + bottom) // 2
        pen.rectangle((left + 4, middle - side // 2, left + 4 + side, middle + side // 2), outline=ink, width=2)
    elif element.kind == "link":
        colour = (120, 170, 255) if screen.dark else (20, 70, 200)
    x = _text_left(element, screen, left, right)
    middle = (top + bottom + 1) // 2
    pen.text((x, middle), element.label, fill=colour, font=_font(screen.platform), anchor="lm")
    if element.kind == "link":
        below = middle + FONT_PX[screen.platform] // 2 + 1
        pen.line((x, below, x + _text_width(element.label, screen.platform), below), fill=colour)


def _text_left(element: Element, screen: Screen, left: int, right: int) -> int:
    """Where the text starts, px: centred in its natural box, which a field or checkbox aligns left."""
    cell, width = PIXELS_PER_CELL[screen.platform][0], _text_width(element.label, screen.platform)
    natural = natural_width(element.label, screen.platform) * cell // GRID
    start = {"checkbox": left + 2 * cell, "field": left}.get(element.kind, (left + right + 1 - natural) // 2)
    return start + (natural - width) // 2


def _draw_icon(pen: ImageDraw.ImageDraw, glyph, box, colour) -> None:
    side = min(box[2] - box[0], box[3] - box[1]) * 2 // 3
    left, top = (box[0] + box[2] - side) // 2, (box[1] + box[3] - side) // 2
    for shape, flat in glyph:
        points = [(left if i % 2 == 0 else top) + round(value * side) for i, value in enumerate(flat)]
        if shape == "line":
            pen.line(points, fill=colour, width=2)
        elif shape in ("ellipse", "rectangle"):
            getattr(pen, shape)(points, outline=colour, width=2)
        elif shape == "polygon":
            pen.polygon(points, fill=colour)
        else:
            {"disc": pen.ellipse, "box": pen.rectangle}[shape](points, fill=colour)
