"""What can be clicked on a page as it stands: box, role and accessible name of every element that a click would reach.

Roles and names are Chromium's own (its accessibility tree); `page.js` measures boxes and tries them by
`elementFromPoint`, in the page, in frames of its origin and in shadow roots. What is no target has a reason.
"""

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from forge_core.capture.store import Item
from forge_core.evaluation.browser import PageError, browser_errors

ROLES = (
    *("button", "link", "textbox", "searchbox", "combobox", "listbox", "checkbox", "radio", "switch", "tab"),
    *("menuitem", "menuitemcheckbox", "menuitemradio", "option", "slider", "spinbutton", "treeitem"),
    *("DisclosureTriangle", "PopUpButton", "ComboBoxSelect", "ComboBoxMenuButton", "ComboBoxGrouping"),
    *("TextFieldWithComboBox", "MenuItem", "ListBoxOption", "MenuListOption", "ToggleButton", "ColorWell", "Date"),
    *("DateTime", "InputTime"),
)
CONTROLS = {"Date", "DateTime", "InputTime", "Video", "Audio", "ColorWell"}  # Chromium draws them, and parts in them
PLAIN = {"DisclosureTriangle": "button", "PopUpButton": "combobox", "ComboBoxSelect": "combobox", "Date": "textbox"}
PLAIN |= {"DateTime": "textbox", "InputTime": "textbox"}
LONGEST = 60  # characters of a name that a person would still say
MASK = "\N{FULL BLOCK}"
_UNSEEN = re.compile(r"[\ue000-\uf8ff\U000f0000-\U0010ffff\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
# icon fonts: fa-trash, glyphicon-cog, bi-x, mdi-bell, ti-search, weui-icon-info, icon-home; "search icon"
_ICON = re.compile(
    r"(?:^|[\s#/])(?:(?:fa|glyphicon|bi|mdi|ti|ion|ri|la|lni|feather|lucide|material|weui-icon|ui-icon|icons?)-)"
    r"(?!(?:fw|lg|xs|sm|stack|spin|pulse|solid|regular|brands|[0-9]+x?)\b)([a-z][a-z-]*)"
)
_NAMED_ICON = re.compile(r"^(?!ui )((?:[a-z]+ )+)icons?\b")
_SHAPES = re.compile(r"-(?:alt|o|fill|filled|outline|outlined|line|circle-o|square-o|[0-9]+)\b")
_SIZES = {"large", "big", "huge", "massive", "small", "mini", "tiny", "link", "fitted", "inverted", "circular"}


@dataclass
class Reading:
    """The targets of a screen, why others are none, and the elements that say that they open something."""

    items: list[Item] = field(default_factory=list)
    rejected: Counter[str] = field(default_factory=Counter)
    openers: list[Item] = field(default_factory=list)
    forms: dict[int, list[tuple[str, Item]]] = field(default_factory=dict)  # of a form: (input type or tag, item)


@dataclass
class _Frame:
    """A frame's script world: the helper object of page.js and the elements in question."""

    world: int
    helper: str
    elements: list[str] = field(default_factory=list)  # ids of remote objects
    told: list[tuple[str, str]] = field(default_factory=list)  # role and name of each


class Reader:
    """Reads the elements of a page (playwright's) as it is now. `grasp` finds them, `read` measures them."""

    def __init__(self, page, cdp) -> None:
        self.page, self.cdp = page, cdp
        self.frames: list[_Frame] = []
        self.lost = 0  # frames that cannot be read

    async def grasp(self) -> None:
        """Find the elements of all frames; to be called again when the page has changed."""
        self.frames = []
        tree = (await self.cdp.send("Page.getFrameTree"))["frameTree"]
        for frame_id in _frame_ids(tree):
            with suppress(browser_errors()):  # gone since
                self.frames.append(await self._frame(frame_id))
        self.lost = len(self.page.frames) - len(self.frames)  # of another process: sandboxed, or of another origin

    async def read(self, before: list[list[dict]]) -> Reading:
        """Measure what was grasped; what is not where it was `before` (see `boxes`) moves."""
        reading, told = Reading(), [told for frame in self.frames for told in frame.told]
        reading.rejected["in a frame that cannot be read"] = self.lost
        now = [measure for frame in await self.boxes() for measure in frame]
        texts = [text for frame in self.frames for text in await self._ask(frame, "describe", *frame.elements)]
        visible, described = [], {}
        for (role, name), was, measure, about in zip(told, chain(*before), now, texts, strict=True):
            name, kind = _named(name, about)
            visible += [name.casefold()] if measure["hits"] else []
            moving = "" if was == measure else "moving"
            if reason := measure.get("reason") or moving or _unfit(name):
                reading.rejected[reason] += 1
                continue
            item = Item(
                role=_role(role), name=name, box=_box(measure["box"]), kind=kind, context=tuple(about["contexts"])
            )
            reading.items.append(item)
            described[item.box] = about
        reading.items, same = _told_apart(reading.items, Counter(visible))
        for item in reading.items:
            about = described[item.box]
            if about["opens"]:
                reading.openers.append(item)
            if about["form"] >= 0:
                reading.forms.setdefault(about["form"], []).append((about["type"] or about["tag"], item))
        reading.rejected["another has the same name"] = same
        reading.rejected = +reading.rejected
        return reading

    async def boxes(self) -> list[list[dict]]:
        """The measures of each frame as they are now: equal to those of a moment ago where nothing moves."""
        return [await self._ask(frame, "measure", *frame.elements) for frame in self.frames]

    async def main(self, function: str, *given):
        """Call a function of page.js in the main frame."""
        return await self._ask(self.frames[0], function, *given, values=True)

    async def mask(self, patterns: list[str]) -> int:
        """Write blocks over what the patterns match, in every frame; how many matches there were."""
        return sum([await self._ask(frame, "mask", patterns, values=True) for frame in self.frames])

    async def _frame(self, frame_id: str) -> _Frame:
        made = await self.cdp.send(
            "Page.createIsolatedWorld", {"frameId": frame_id, "worldName": "forge", "grantUniveralAccess": True}
        )
        world = made["executionContextId"]
        helper = await self._evaluate(world, _script())
        nodes = (await self.cdp.send("Accessibility.getFullAXTree", {"frameId": frame_id}))["nodes"]
        frame = _Frame(world, helper)
        for role, name, node in _targets(nodes):
            with suppress(browser_errors()):  # a node that is gone
                resolved = {"backendNodeId": node, "executionContextId": world}
                frame.elements.append((await self.cdp.send("DOM.resolveNode", resolved))["object"]["objectId"])
                frame.told.append((role, name))
        for element in await self._list(frame, "clickable"):
            frame.elements.append(element)
            frame.told.append(("generic", ""))
        return frame

    async def _evaluate(self, world: int, script: str) -> str:
        sent = {"expression": script, "contextId": world}
        return (await self.cdp.send("Runtime.evaluate", sent))["result"]["objectId"]

    async def _call(self, frame: _Frame, function: str, arguments: list[dict], by_value: bool) -> dict:
        sent = {
            "functionDeclaration": f"function(...given) {{ return this.{function}(...given) }}",
            "objectId": frame.helper,
            "arguments": arguments,
            "returnByValue": by_value,
        }
        answer = await self.cdp.send("Runtime.callFunctionOn", sent)
        if "exceptionDetails" in answer:
            raise PageError(f"page.js, {function}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"]

    async def _ask(self, frame: _Frame, function: str, *given, values: bool = False):
        """What a function of page.js returns, given remote objects or, with `values`, JSON."""
        arguments = [{"value": each} if values else {"objectId": each} for each in given]
        return (await self._call(frame, function, arguments, True)).get("value")

    async def _list(self, frame: _Frame, function: str) -> list[str]:
        """The ids of the elements that a function of page.js returns."""
        found = await self._call(frame, function, [{"objectId": each} for each in frame.elements], False)
        listed = await self.cdp.send("Runtime.getProperties", {"objectId": found["objectId"], "ownProperties": True})
        return [each["value"]["objectId"] for each in listed["result"] if each["name"].isdigit()]


def _script() -> str:
    return (Path(__file__).parent / "page.js").read_text(encoding="utf-8")


def _frame_ids(tree: dict) -> list[str]:
    return [tree["frame"]["id"], *(each for child in tree.get("childFrames", []) for each in _frame_ids(child))]


def _targets(nodes: list[dict]) -> list[tuple[str, str, int]]:
    """(role, name, id) of the nodes of an accessibility tree that have a role to click."""
    known = {node["nodeId"]: node for node in nodes}
    return [
        (role, str(node.get("name", {}).get("value", "")), node["backendDOMNodeId"])
        for node in nodes
        if (role := _role_of(node)) in ROLES
        and not node["ignored"]
        and "backendDOMNodeId" in node
        and not _inside_a_control(node, known)
    ]


def _role_of(node: dict) -> str:
    return node.get("role", {}).get("value", "")


def _inside_a_control(node: dict, known: dict[str, dict]) -> bool:
    """Whether a node is a part that Chromium draws: a script that touches one ends the page's process."""
    while (node := known.get(node.get("parentId", ""))) is not None:
        if _role_of(node) in CONTROLS:
            return True
    return False


def _role(role: str) -> str:
    return PLAIN.get(role, role if role.islower() else "button")


def clean(name: str) -> str:
    """A name as a person says it: no icon-font or direction characters, single spaces."""
    return " ".join(_UNSEEN.sub(" ", name).split()).strip("*: ")


def _named(name: str, about: dict) -> tuple[str, str]:
    """(name, kind) of an element. An element without words in or at it is an icon; its name may be its class's."""
    shown = clean(about["text"])
    kind = "text" if re.search(rf"[\w{MASK}]", shown) else "icon"
    name = clean(name) or clean(about["name"])
    if not re.search(r"\w", name) and kind == "icon":
        name = next(filter(None, map(icon_name, about["marks"])), "")
    return name, kind


def icon_name(classes: str) -> str:
    """What an icon font draws for these class names, "" where they do not say: "fa fa-trash-o" is "trash"."""
    if found := _ICON.search(classes):
        return _SHAPES.sub("", found[1]).replace("-", " ").strip()
    found = _NAMED_ICON.match(classes)
    return " ".join(word for word in found[1].split() if word not in _SIZES) if found else ""


def _unfit(name: str) -> str:
    """Why nobody could ask for something of this name."""
    if MASK in name:
        return "masked"
    if not re.search(r"\w", name):
        return "no name"
    return "name too long" if len(name) > LONGEST else ""


def _box(box: list[float]) -> tuple[int, int, int, int]:
    """Whole px, the same pixels or fewer: a point in the box is in the element."""
    left, top, right, bottom = (round(side, 2) for side in box)
    return -int(-left // 1), -int(-top // 1), int(right // 1), int(bottom // 1)


def _told_apart(items: list[Item], visible: Counter[str]) -> tuple[list[Item], int]:
    """Items whose name, or name and context, is their own on the screen; and how many are not."""
    kept = []
    for item in items:
        twins = [other for other in items if other.name.casefold() == item.name.casefold()]
        if visible[item.name.casefold()] == 1:
            kept.append(item.model_copy(update={"context": ()}))
        elif len(twins) == visible[item.name.casefold()]:  # all of them are known, with their contexts
            elsewhere = {name for other in twins if other is not item for name in other.context}
            own = [name for name in item.context if name not in elsewhere and name != item.name and MASK not in name]
            kept += [item.model_copy(update={"context": tuple(own[:1])})] if own else []
    return kept, len(items) - len(kept)
