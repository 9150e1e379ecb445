"""HTML from outside (outputs of notebooks, reports) made to load nothing, run nothing and go nowhere by itself.

What is not listed here is not in it. bleach, which nbconvert needs too, does the work.
"""

import re
import secrets

from bleach.css_sanitizer import CSSSanitizer
from bleach.sanitizer import Cleaner
from bs4 import BeautifulSoup

PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=\s]+")
# their content is no text to read
_DROPPED = ("script", "style", "template", "noscript", "iframe", "object", "embed", "title", "math")
_TEXT = (
    *("a", "abbr", "article", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "del", "details"),
    *("div", "dl", "dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "i", "img"),
    *("ins", "kbd", "li", "main", "mark", "ol", "p", "pre", "s", "samp", "section", "small", "span", "strong", "sub"),
    *("summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul", "var"),
)
_DRAWN = ("svg", "g", "defs", "image", "use", "rect", "circle")  # of the report
_FILTERS = ("form", "label", "select", "option", "input", "button", "output")  # of the report; nothing can be sent
_ATTRIBUTES = {
    *("alt", "border", "class", "colspan", "disabled", "height", "hidden", "id", "name", "open", "placeholder", "role"),
    *("rowspan", "scope", "start", "style", "tabindex", "title", "type", "value", "width"),
    *("cx", "cy", "fill", "preserveAspectRatio", "r", "stroke", "stroke-width", "viewBox", "x", "y"),
}
_STYLES = ("background-color", "color", "font-style", "font-weight", "text-align", "white-space", "--model")
_LINK = re.compile(r"(?:https?:|mailto:|[#/?]|[\w.%-]+(?:[/?#]|$)).*", re.IGNORECASE | re.DOTALL)
_PLAIN_STYLE = re.compile(r"[\w\s:;#%.,-]*")  # no call such as url(), no escape


def clean(html: str) -> str:
    """The body of a page with only what is allowed; pictures are those that are inside, PNG, JPEG, GIF and WebP.

    Links lead to http(s), mailto and places of the site, if they are clicked.
    """
    soup = BeautifulSoup(html, "html.parser")
    for tag in soup(_DROPPED):
        tag.decompose()
    # pictures go round bleach, which takes its time with them and cannot tell them from other data: URLs
    mark, pictures = f"#picture-{secrets.token_hex(16)}-", []
    for tag in soup(["img", "image"]):
        key = "src" if tag.name == "img" else "href"
        if PICTURE.fullmatch(str(tag.get(key, ""))):
            pictures.append(tag[key])
            tag[key] = f"{mark}{len(pictures) - 1}"

    def allowed(tag: str, name: str, value: str) -> bool:
        if (tag, name) in (("img", "src"), ("image", "href")):
            return value.startswith(mark)
        if name == "href":
            return bool(_LINK.fullmatch(value)) if tag == "a" else tag == "use" and value.startswith("#")
        if name == "style":
            return bool(_PLAIN_STYLE.fullmatch(value))
        return name in _ATTRIBUTES or name.startswith(("data-", "aria-"))

    cleaner = Cleaner(
        tags={*_TEXT, *_DRAWN, *_FILTERS}, attributes=allowed, protocols={"http", "https", "mailto"}, strip=True,
        css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES),
    )  # fmt: skip
    return re.sub(f"{mark}([0-9]+)", lambda found: pictures[int(found[1])], cleaner.clean(str(soup)))
