"""Made-up web pages: the parts that real ones have, in a style drawn anew for each page, with words drawn anew.

`page` returns a whole HTML document. Its fonts are at `/fonts/` of its own origin, style sheets that need no classes at
`/plain/`.
"""

from collections.abc import Callable
from pathlib import Path
from random import Random
from string import Template

from benchmarks.forgespot.words import number, phrase, sentence

FAMILIES = {  # CSS family: how often
    "Arial": 40, "Lato": 7, "Open Sans": 7, "Roboto": 9, "Inter": 8, "Cantarell": 2, "Quicksand": 2,
    "Roboto Condensed": 2, "DejaVu Sans": 8, "Verdana": 3, "Georgia": 3, "Liberation Serif": 3,
    "Liberation Mono": 2, "Liberation Sans Narrow": 2,
}  # fmt: skip
PLAIN = ("water.css", "picocss", "mvp.css", "simpledotcss", "sakura.css")  # style sheets that need no classes
CSS = Template(Path(__file__).with_name("page.css").read_text())


class Page:
    """One page under way: its random choices, its icons, and how its parts look."""

    def __init__(self, rng: Random, icons: list[tuple[str, str]]):
        self.rng, self.icons = rng, icons

    def icon(self) -> tuple[str, str]:
        """An icon as HTML, and what it is called."""
        css, name = self.rng.choice(self.icons)
        return f'<i class="{css}"></i>', name

    def maybe_icon(self, share: float = 0.3) -> str:
        return self.icon()[0] + " " if self.rng.random() < share else ""

    def icon_button(self) -> str:
        html, name = self.icon()
        said = name.capitalize() if self.rng.random() < 0.6 else name
        tag = self.rng.choice((f'<button class="ib" aria-label="{said}">', f'<a class="ib" href="#" title="{said}">'))
        badge = f'<b class="badge">{self.rng.randint(1, 9)}</b>' if self.rng.random() < 0.15 else ""
        return f"{tag}{html}{badge}</{tag[1]}{'utton' if tag[1] == 'b' else ''}>"

    def link(self) -> str:
        return f'<a href="#">{self.maybe_icon(0.15)}{phrase(self.rng)}</a>'

    def button(self) -> str:
        kind = self.rng.choice(("p", "p", "s", "o", "d"))
        return f'<button class="btn {kind}">{self.maybe_icon(0.25)}{phrase(self.rng, 3)}</button>'

    def several(self, part: Callable[[], str], least: int, most: int) -> str:
        return " ".join(part() for _ in range(self.rng.randint(least, most)))

    def nav(self) -> str:
        search = f'<input placeholder="{phrase(self.rng, 3)}">' if self.rng.random() < 0.4 else ""
        return (
            f'<nav class="bar"><strong>{self.maybe_icon()}{phrase(self.rng, 2)}</strong>{self.several(self.link, 1, 6)}'
            f'<span class="grow"></span>{search}{self.several(self.icon_button, 1, 4)}</nav>'
        )

    def side(self) -> str:
        rows = "".join(
            f'<a href="#">{self.maybe_icon(0.7)}{phrase(self.rng, 3)}</a>' for _ in range(self.rng.randint(5, 14))
        )
        return f"<aside><h4>{phrase(self.rng, 2)}</h4>{rows}</aside>"

    def tabs(self) -> str:
        rows = [
            f'<a role="tab" href="#" class="{"on" if n == 0 else ""}">{phrase(self.rng, 2)}</a>'
            for n in range(self.rng.randint(2, 6))
        ]
        return f'<div class="tabs">{"".join(rows)}</div>'

    def field(self) -> str:
        rng, label = self.rng, phrase(self.rng, 3)
        lot = rng.random()
        if lot < 0.2:
            kind = rng.choice(("checkbox", "radio"))
            on = "checked" if rng.random() < 0.4 else ""
            return f'<label class="tick"><input type="{kind}" {on}> {label}</label>'
        if lot < 0.35:
            options = "".join(f"<option>{phrase(rng, 2)}</option>" for _ in range(3))
            return f'<label class="f"><span>{label}</span><select>{options}</select></label>'
        if lot < 0.42:
            return f'<label class="f"><span>{label}</span><textarea rows="2"></textarea></label>'
        if lot < 0.6:
            return f'<div class="f"><input placeholder="{label}"></div>'
        hint = f'placeholder="{phrase(rng, 3)}"' if rng.random() < 0.4 else ""
        value = f'value="{phrase(rng, 2)}"' if rng.random() < 0.2 else ""
        return f'<label class="f"><span>{label}</span><input {hint} {value}></label>'

    def form(self) -> str:
        fields, buttons = self.several(self.field, 2, 7), self.several(self.button, 1, 3)
        return f'<form class="card">{self.title()}{fields}<p>{buttons}</p></form>'

    def title(self) -> str:
        level = self.rng.choice((2, 3, 3, 4, 5))
        return f"<h{level}>{self.maybe_icon(0.15)}{phrase(self.rng)}</h{level}>"

    def card(self) -> str:
        body = f"<p>{sentence(self.rng, self.rng.randint(4, 24))}</p>"
        tail = self.rng.choice(("", self.button(), self.link(), self.several(self.icon_button, 1, 4)))
        return f'<div class="card">{self.title()}{body}{tail}</div>'

    def stat(self) -> str:
        said, count = phrase(self.rng, 3), number(self.rng)
        return f'<div class="card"><small>{said}</small><h3>{count}</h3>{self.maybe_icon()}{self.link()}</div>'

    def grid(self) -> str:
        part = self.rng.choice((self.card, self.stat, self.card))
        return f'<div class="grid">{self.several(part, 2, 6)}</div>'

    def table(self) -> str:
        rng, wide = self.rng, self.rng.randint(2, 6)
        cells = [lambda: phrase(rng, 2), lambda: number(rng), self.link, self.button, self.icon_button]
        kinds = [rng.choice(cells[:3]) for _ in range(wide)] + [rng.choice(cells)]
        head = "".join(f"<th>{phrase(rng, 2)}</th>" for _ in kinds)
        rows = "".join(f"<tr>{''.join(f'<td>{kind()}</td>' for kind in kinds)}</tr>" for _ in range(rng.randint(2, 9)))
        return f'<div class="card">{self.title()}<table><tr>{head}</tr>{rows}</table>{self.pages()}</div>'

    def pages(self) -> str:
        first = self.rng.randint(1, 40)
        rows = "".join(f'<a href="#">{n}</a>' for n in ("Previous", *range(first, first + 4), "Next"))
        return f'<div class="pages">{rows}</div>'

    def listing(self) -> str:
        tail = self.rng.choice((lambda: "", self.icon_button, self.link, lambda: f"<small>{number(self.rng)}</small>"))
        rows = "".join(
            f'<div class="row">{self.maybe_icon(0.4)}<a href="#">{phrase(self.rng)}</a>'
            f'<span class="grow"></span>{tail()}</div>'
            for _ in range(self.rng.randint(3, 10))
        )
        return f'<div class="card">{rows}</div>'

    def prose(self) -> str:
        first, rest = sentence(self.rng, self.rng.randint(10, 50)), sentence(self.rng, 12)
        return f"<div>{self.title()}<p>{first} {self.link()} {rest}</p></div>"

    def buttons(self) -> str:
        return f"<p>{self.several(self.button, 2, 7)} {self.several(self.icon_button, 0, 5)}</p>"

    def links(self) -> str:
        return f'<p class="links">{self.several(self.link, 3, 12)}</p>'

    def alert(self) -> str:
        close = '<button class="ib" aria-label="Close">&times;</button>'
        return f'<div class="card alert">{sentence(self.rng, 8)}<span class="grow"></span>{close}</div>'

    def dialog(self) -> str:
        inside = f"{self.title()}<p>{sentence(self.rng, 12)}</p>{self.several(self.field, 0, 3)}"
        return f'<div class="veil"><div class="card box">{inside}<p>{self.several(self.button, 1, 3)}</p></div></div>'

    def foot(self) -> str:
        rows = "".join(
            f'<a href="#" class="foot">{self.icon()[0]}<span>{phrase(self.rng, 1)}</span></a>'
            for _ in range(self.rng.randint(3, 5))
        )
        return f'<nav class="bottom">{rows}</nav>'

    def document(self, narrow: bool) -> str:
        rng = self.rng
        parts = (
            self.form,
            self.grid,
            self.table,
            self.listing,
            self.prose,
            self.buttons,
            self.links,
            self.tabs,
            self.alert,
            self.card,
        )
        body = "".join(rng.choice(parts)() for _ in range(rng.randint(4, 9)))
        side = self.side() if not narrow and rng.random() < 0.5 else ""
        over = self.dialog() if rng.random() < 0.07 else ""
        foot = self.foot() if narrow and rng.random() < 0.5 else ""
        top = self.nav() if rng.random() < 0.85 else ""
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>-</title>{style(rng, narrow)}</head>'
            f'<body>{top}<div class="shell">{side}<main>{body}</main></div>{foot}{over}</body></html>'
        )


def style(rng: Random, narrow: bool) -> str:
    """Icon fonts and a style sheet whose every measure and colour is drawn."""
    head = '<link rel="stylesheet" href="/fonts/fonts.css">'
    if rng.random() < 0.3:
        head += f'<link rel="stylesheet" href="/plain/{rng.choice(PLAIN)}.css">'
    return f"{head}<style>{CSS.substitute(measures(rng, narrow) | colours(rng))}</style>"


def measures(rng: Random, narrow: bool) -> dict[str, object]:
    """Sizes in px or em, fonts, and how parts are laid out."""
    pad = rng.choice((4, 6, 8, 8, 12))
    return {
        "family": rng.choices(list(FAMILIES), list(FAMILIES.values()))[0],
        "size": rng.choice((12, 13, 13, 14, 14, 14, 15, 16, 16, 17, 18)),
        "weight": rng.choice((400, 400, 400, 300, 500)),
        "height": rng.choice((1.2, 1.4, 1.5, 1.6)),
        "pad": pad,
        "wide": 2 * pad,
        "gap": rng.choice((4, 8, 12, 16, 24)),
        "radius": rng.choice((0, 2, 4, 4, 6, 8, 16)),
        "columns": 1 if narrow else rng.choice((2, 3, 3, 4)),
        "side_width": rng.randint(150, 260),
        "search": rng.randint(90, 220),
        "label": rng.choice((0, 120)),
        "icon": rng.choice((1, 1.1, 1.3)),
        "field_width": rng.choice(("100%", "60%", "240px")),
        "stacked": rng.choice(("block", "block", "flex")),
        "overflow": rng.choice(("flex-wrap: wrap", "overflow: hidden")),
        "case": rng.choice(("none", "none", "none", "uppercase")),
        "underline": rng.choice(("none", "none", "underline")),
    }


def colours(rng: Random) -> dict[str, object]:
    """A light or a dark scheme, lines and shadows."""
    dark, hue = rng.random() < 0.35, rng.randrange(360)
    ground = f"hsl({hue}, {rng.randrange(40)}%, {rng.randint(8, 22) if dark else rng.randint(92, 100)}%)"
    panel = f"hsl({hue}, {rng.randrange(30)}%, {rng.randint(12, 28) if dark else rng.randint(95, 100)}%)"
    ink = f"hsl({hue}, {rng.randrange(25)}%, {rng.randint(78, 98) if dark else rng.randint(5, 38)}%)"
    accent = f"hsl({rng.randrange(360)}, {rng.randint(40, 95)}%, {rng.randint(32, 52)}%)"
    line = f"{rng.choice((0, 1, 1, 2))}px solid hsla({hue}, 20%, 50%, {rng.choice((0.2, 0.4, 0.7))})"
    plain, strong = f"background: {panel}; color: {ink}", f"background: {accent}; color: #fff"
    return {
        "hue": hue,
        "ground": ground, "panel": panel, "ink": ink, "accent": accent, "line": line,
        "bar": rng.choice((strong, plain, "background: #23272f; color: #eee")),
        "side": rng.choice((plain, "background: #2a3f54; color: #e7e7e7", strong)),
        "shadow": rng.choice(("none", "0 1px 3px rgba(0, 0, 0, .3)", "0 4px 14px rgba(0, 0, 0, .2)")),
        "field": rng.choice(
            (f"border: {line}", f"border: 0; border-bottom: 1px solid {ink}", f"border: 1px solid {ink}")
        ),
        "field_ground": rng.choice((panel, ground)),
        "frame": rng.choice(("0", line)),
        "link": rng.choice((accent, "#8ab4f8" if dark else "#1a73e8", ink)),
        "faint": rng.choice((0.5, 0.6, 0.75)),
    }  # fmt: skip


def page(rng: Random, icons: list[tuple[str, str]], narrow: bool) -> str:
    """A whole HTML document; `icons` are (CSS classes, name) of an icon font, `narrow` is for phones."""
    return Page(rng, icons).document(narrow)
