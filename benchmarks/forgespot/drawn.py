"""Screens drawn by Pillow in a few milliseconds: columns of text runs, buttons, fields and icons, with all they say.

They teach reading: any word in any font at any place, and no two screens alike. What pages look like is for the
rendered ones to teach. A row has the form of `render.py`'s: words as [text, top, bottom, middles of the letters (px)],
items as [role, name, left, top, right, bottom, kind] and, where it has one, its context.
"""

import json
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from benchmarks.forgespot.words import phrase, sentence

VIEWPORTS = ((1280, 800), (820, 1180), (390, 844))
SHARES = (0.55, 0.2, 0.25)
PLAIN = "LiberationSans"  # what browsers show for Arial and Helvetica: half of all columns
KINDS = ("link", "link", "button", "button", "field", "icon", "labelled")
Colour = tuple[int, int, int]


class Letters(dict):
    """A font in one size, and the width in px of each of its letters."""

    def __init__(self, path: str, size: int):
        self.font = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)

    def __missing__(self, letter: str) -> float:
        self[letter] = self.font.getlength(letter)
        return self[letter]

    def length(self, text: str) -> float:
        """Width of a text in px."""
        return sum(map(self.__getitem__, text))


letters_of = cache(Letters)


class Style(NamedTuple):
    """How a column looks."""

    letters: Letters
    size: int
    ground: Colour
    ink: Colour
    accent: Colour
    radius: int
    gap: int


@cache
def icons(folder: Path) -> list[tuple[str, str, str]]:
    """(font, letter, name) of all icons: `icons/NAME.json` in `folder` has the code points of `icons/NAME.ttf`."""
    return [
        (str(path.with_suffix(".ttf")), chr(code), name.removesuffix("-fill").replace("-", " "))
        for path in sorted(folder.glob("icons/*.json"))
        for name, code in json.loads(path.read_text()).items()
    ]


@cache
def faces(folder: Path) -> list[str]:
    """The fonts of a folder; FileNotFoundError where it has none."""
    found = sorted(map(str, folder.glob("*.[to]tf")))
    if not found:
        raise FileNotFoundError(f"{folder}: no font (*.ttf, *.otf) in it")
    return found


class Drawing:
    """One screen under way."""

    def __init__(self, rng: Random, folder: Path):
        self.rng, self.fonts = rng, faces(folder)
        self.plain = [path for path in self.fonts if PLAIN in path] or self.fonts
        self.icons = icons(folder)
        self.size = rng.choices(VIEWPORTS, SHARES)[0]
        self.dark = rng.random() < 0.35
        self.image = Image.new("RGB", self.size, self.tone())
        self.pen = ImageDraw.Draw(self.image)
        self.words, self.items = [], []

    def tone(self) -> Colour:
        """A background: near black or near white, seldom a strong colour."""
        rng = self.rng
        if rng.random() < 0.12:
            return tuple(rng.randrange(256) for _ in range(3))
        base = rng.randint(10, 50) if self.dark else rng.randint(232, 255)
        return tuple(min(255, max(0, base + rng.randint(-8, 8))) for _ in range(3))

    def style(self) -> Style:
        rng, ground = self.rng, self.tone()
        path = rng.choice(self.plain if rng.random() < 0.5 else self.fonts)
        size = rng.choice((11, 12, 12, 13, 13, 13, 14, 14, 14, 15, 16, 16, 18, 20, 24))
        light = sum(ground) > 384
        level = rng.randint(*((0, 110) if light else (150, 255)))
        ink = tuple(min(255, max(0, level + rng.randint(-15, 15))) for _ in range(3))
        accent = tuple(rng.randint(0, 170) if light else rng.randint(110, 255) for _ in range(3))
        radius, gap = rng.choice((0, 2, 4, 6, 10)), rng.choice((4, 8, 12, 20))
        return Style(letters_of(path, size), size, ground, ink, accent, radius, gap)

    def write(self, text: str, x: float, y: int, style: Style, colour: Colour) -> float:
        """One line of text with its left top corner at x, y; where it ends."""
        self.pen.text((x, y), text, colour, style.letters.font)
        bottom, at = y + round(style.size * 1.2), x
        for number, part in enumerate(text.split(" ")):
            at += style.letters[" "] if number else 0
            middles = []
            for letter in part:
                middles.append(round(at + style.letters[letter] / 2))
                at += style.letters[letter]
            if part:
                self.words.append([part, y, bottom, middles])
        return at

    def part(self, x: int, y: int, right: int, style: Style) -> int:
        """Something to act on at x, y if there is room up to `right`; where it ends, or `right` if there is none."""
        rng, high = self.rng, round(style.size * 1.25)
        kind = rng.choice(KINDS)
        name = phrase(rng, 4)
        wide = style.letters.length(name)
        pad = 0 if kind == "link" else rng.choice((5, 8, 12))
        if kind == "icon":
            return self.icon(x, y, right, style)
        if x + wide + 2 * pad > right:
            return right
        box = [x, y, round(x + wide) + 2 * pad, y + high + pad]
        if kind == "field":
            box[2] = min(right, box[2] + rng.choice((0, 40, 120)))
        if kind == "link":
            self.write(name, x, y, style, style.accent if rng.random() < 0.6 else style.ink)
            if rng.random() < 0.2:
                self.pen.line((x, y + high - 1, box[2], y + high - 1), style.accent)
        elif kind == "labelled":
            return self.labelled(name, x, y, right, style)
        else:
            filled = kind == "button" and rng.random() < 0.6
            self.pen.rounded_rectangle(
                box, style.radius, style.accent if filled else None, style.accent if kind == "button" else style.ink
            )
            dark = sum(style.accent) < 384
            colour = ((255, 255, 255) if dark else (10, 10, 10)) if filled else style.ink
            self.write(name, x + pad, y + pad // 2, style, colour)
        self.items.append([{"link": "link", "button": "button", "field": "textbox"}[kind], name, *box, "text"])
        return box[2]

    def labelled(self, name: str, x: int, y: int, right: int, style: Style) -> int:
        """A box to tick with its label to the right."""
        side = style.size
        if x + side + 6 + style.letters.length(name) > right:
            return right
        self.pen.rounded_rectangle((x, y + 2, x + side, y + 2 + side), 2, None, style.ink)
        if self.rng.random() < 0.4:
            self.pen.line((x + 3, y + side // 2 + 2, x + side // 2, y + side - 1, x + side - 3, y + 5), style.accent, 2)
        end = self.write(name, x + side + 6, y, style, style.ink)
        self.items.append([self.rng.choice(("checkbox", "radio")), name, x, y + 2, x + side + 1, y + side + 3, "text"])
        return round(end)

    def icon(self, x: int, y: int, right: int, style: Style) -> int:
        """An icon, perhaps in a frame; where it ends, as `part` says."""
        side = round(style.size * self.rng.choice((1, 1.2, 1.5)))
        if not self.icons or x + side + 8 > right:
            return right
        path, letter, name = self.rng.choice(self.icons)
        box = (x, y, x + side + 8, y + side + 8)
        if self.rng.random() < 0.3:
            self.pen.rounded_rectangle(box, style.radius, None, style.ink)
        colour = style.ink if self.rng.random() < 0.6 else style.accent
        self.pen.text((x + 4 + side / 2, y + 4 + side / 2), letter, colour, letters_of(path, side).font, anchor="mm")
        self.items.append([self.rng.choice(("button", "link")), name, *box, "icon"])
        return box[2]

    def column(self, left: int, top: int, right: int, bottom: int) -> None:
        """Rows of text or of parts from top to bottom."""
        rng, style = self.rng, self.style()
        self.pen.rectangle((left, top, right, bottom), style.ground)
        if rng.random() < 0.4:
            self.pen.rectangle((left, top, right, bottom), None, style.accent)
        dense, y = rng.random() < 0.5, top + rng.randint(2, 14)
        line = round(style.size * rng.choice((1.25, 1.4, 1.6)))
        while y + 2 * style.size < bottom:
            x = left + rng.choice((6, 10, 16))
            if dense and rng.random() < 0.75:
                text, room = sentence(rng, 40).split(" "), right - 6 - x
                while text and style.letters.length(" ".join(text)) > room:
                    del text[int(len(text) * 0.85) :]
                if text:
                    self.write(" ".join(text), x, y, style, style.ink)
                y += line
                continue
            while x < right - 6:
                x = self.part(x, y, right - 6, style) + 6 + style.gap + rng.choice((0, 0, 6, 30))
            y += line + rng.choice((6, 10, 18))

    def screen(self) -> None:
        """A bar, perhaps a sidebar, and columns."""
        rng, (width, height) = self.rng, self.size
        top = rng.choice((0, 40, 56))
        if top:
            self.column(0, 0, width, top)
        left = rng.randint(140, 260) if width > 600 and rng.random() < 0.5 else 0
        if left:
            self.column(0, top, left, height)
        y = top
        while y < height - 30:
            bottom = min(height, y + rng.choice((120, 200, 400, height)))
            count = rng.randint(1, 2 if width < 600 else 4)
            edges = [left + round((width - left) * number / count) for number in range(count + 1)]
            for start, end in zip(edges, edges[1:], strict=False):
                self.column(start, y, end, bottom)
            y = bottom


def draw(rng: Random, fonts: Path) -> tuple[Image.Image, dict]:
    """A screen and its row."""
    drawing = Drawing(rng, fonts)
    drawing.screen()
    width, height = drawing.size
    inside = [word for word in drawing.words if word[3][-1] < width and word[2] <= height]
    return drawing.image, {"source": "drawn", "width": width, "height": height, "words": inside, "items": drawing.items}
