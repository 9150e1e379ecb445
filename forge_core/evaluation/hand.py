"""Actions of the action space as mouse and keyboard of a page: an allow-list, and what it refuses by name."""

import asyncio

from forge_core.actions.types import Action

ALLOWED = (
    *("click", "double_click", "right_click", "move_mouse", "drag", "scroll"),
    *("type", "press", "wait", "navigate_back", "final_answer"),
)
MAX_ACTIONS = 10  # in one answer
MAX_WAIT = 3  # s; a longer wait is cut
MAX_TEXT = 1000  # characters typed at once
HALF_A_PAGE, CLICK = 50, 100  # a scroll without amount, per cent; a wheel click, px
MAX_SCROLL = 10_000  # px
_STEPS = 8  # mouse moves of a drag
# pyautogui's names, which AGUVIS has, and other common ones -> those of playwright
KEYS = {
    **{"enter": "Enter", "return": "Enter", "tab": "Tab", "space": "Space", "backspace": "Backspace"},
    **{"delete": "Delete", "del": "Delete", "esc": "Escape", "escape": "Escape", "home": "Home", "end": "End"},
    **{"pageup": "PageUp", "page_up": "PageUp", "pgup": "PageUp", "pagedown": "PageDown", "page_down": "PageDown"},
    **{"pgdn": "PageDown", "up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight"},
    **{f"arrow{way}": f"Arrow{way.title()}" for way in ("up", "down", "left", "right")},
    **{"ctrl": "Control", "control": "Control", "shift": "Shift", "alt": "Alt", "option": "Alt"},
    **{"cmd": "Meta", "command": "Meta", "win": "Meta", "super": "Meta", "meta": "Meta"},
    **{f"f{number}": f"F{number}" for number in range(1, 13)},
}
_CHARACTERS = set(map(chr, range(33, 127)))  # keys of one character


def refusal(actions: list[Action]) -> str:
    """Why an answer is not carried out, "" where all of it may be."""
    if len(actions) > MAX_ACTIONS:
        return f"{len(actions)} actions in one answer, {MAX_ACTIONS} are the most"
    return next(filter(None, map(_refusal, actions)), "")


def _refusal(action: Action) -> str:
    given = action.arguments
    if action.name not in ALLOWED:
        return f"{action.name} is not allowed on a live page"
    if ("element" in given and "x" not in given) or any(name in given for name in ("from_element", "to_element")):
        return f"{action.name} names its target in words, without a place"
    if action.name == "type" and len(given["text"]) > MAX_TEXT:
        return f"type: {len(given['text'])} characters, {MAX_TEXT} are the most"
    unknown = [key for key in _keys(given.get("keys", [])) if key not in KEYS.values() and key not in _CHARACTERS]
    return f"press: no key is called {unknown[0]!r:.40}" if unknown else ""


def _keys(keys: str | list[str]) -> list[str]:
    """The keys of a combination, as playwright calls them; 'ctrl+c' is one too."""
    names = keys if isinstance(keys, list) else [keys] if len(keys) == 1 else keys.split("+")
    names = ["space" if name == " " else name.strip() for name in names]
    return [KEYS.get(name.lower(), name) for name in names]


class Hand:
    """Mouse and keyboard of a page (playwright's) with a window of `size` px; `at` is where the mouse is, in px."""

    def __init__(self, page, size: tuple[int, int]) -> None:
        self.page, self.size = page, size
        self.at = (size[0] / 2, size[1] / 2)

    async def act(self, action: Action) -> None:
        """Carry out one action that `refusal` lets pass; `final_answer` does nothing."""
        given, mouse = action.arguments, self.page.mouse
        if "x" in given:
            self.at = self._px(given["x"], given["y"])
        match action.name:
            case "click":
                await mouse.click(*self.at)
            case "double_click":
                await mouse.dblclick(*self.at)
            case "right_click":
                await mouse.click(*self.at, button="right")
            case "move_mouse":
                await mouse.move(*self.at)
            case "drag":
                await self._drag(given)
            case "scroll":
                await mouse.move(*self.at)
                await mouse.wheel(*self._distance(given))
            case "type":
                await self.page.keyboard.type(given["text"])
            case "press":
                await self._press(_keys(given["keys"]))
            case "wait":
                await asyncio.sleep(min(given.get("seconds", 1), MAX_WAIT))
            case "navigate_back":
                await self._back()

    def _px(self, x: float, y: float) -> tuple[float, float]:
        """Fractions to px of the window; 1.0 is the last pixel."""
        width, height = self.size
        return min(x * width, width - 1), min(y * height, height - 1)

    async def _drag(self, given: dict) -> None:
        if "from_coord" in given:
            self.at = self._px(*given["from_coord"])
        await self.page.mouse.move(*self.at)
        await self.page.mouse.down()
        self.at = self._px(*given["to_coord"])
        await self.page.mouse.move(*self.at, steps=_STEPS)
        await self.page.mouse.up()

    def _distance(self, given: dict) -> tuple[float, float]:
        """(right, down) in px."""
        sideways = given["direction"] in ("left", "right")
        page = self.size[0] if sideways else self.size[1]
        unit = {"pixels": 1, "clicks": CLICK}.get(given.get("unit"), page / 100)
        far = min(given.get("amount", HALF_A_PAGE) * unit, MAX_SCROLL)
        far = -far if given["direction"] in ("left", "up") else far
        return (far, 0) if sideways else (0, far)

    async def _press(self, keys: list[str]) -> None:
        for key in keys:
            await self.page.keyboard.down(key)
        for key in reversed(keys):
            await self.page.keyboard.up(key)

    async def _back(self) -> None:
        """Within the origin: `canGoBack` counts no page of another one, nor the empty page before the first."""
        if await self.page.evaluate("navigation.canGoBack"):
            await self.page.go_back(wait_until="commit")
