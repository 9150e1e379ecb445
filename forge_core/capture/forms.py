"""Fill in a form of a page step by step, a screen a step: tasks for stage 2.

Only on this machine (127.0.0.1, localhost), and sent only where the page comes from a folder that is served here.
"""

from contextlib import suppress
from random import Random
from urllib.parse import urlsplit

from forge_core.capture.elements import Reading
from forge_core.capture.store import Item, Step, Task
from forge_core.capture.tab import IDLE
from forge_core.evaluation.browser import browser_errors

LOCAL = {"127.0.0.1", "localhost", "::1"}
LONGEST = 8  # steps
TYPED = {"text", "email", "tel", "search", "password", "textarea"}
# what people type in a field whose name has the word; nobody's data
_VALUES = (
    (("mail",), ("ada@example.org", "grace@example.com", "alan@example.net")),
    (("phone", "tel", "mobile"), ("555 0100", "555 0123", "555 0188")),
    (("password", "pin"), ("sparrow-42", "Blue7lamp", "quiet.river")),
    (("zip", "post", "code"), ("10115", "4020", "94103")),
    (("city", "town"), ("Lisbon", "Graz", "Oslo")),
    (("street", "address"), ("12 Mill Lane", "Main Street 5")),
    (("company", "organi"), ("Acme", "Globex")),
    (("card",), ("0000 1111",)),
    (("search", "find"), ("shoes", "lamp", "report")),
    (("first",), ("Ada", "Grace", "Alan")),
    (("last", "surname"), ("Miller", "Garcia", "Novak")),
    (("name", "user"), ("Ada Miller", "Grace Novak", "Alan Garcia")),
    (("message", "comment", "text"), ("It works well", "Please call me")),
)


async def fill_in(page) -> None:
    """Fill in the fullest form at the top of a page of `walk`, and keep a screen of each step."""
    if urlsplit(page.site.base).hostname not in LOCAL or not page.screens or page.settings.mask:
        return
    await page.open()
    reading, _ = await page.tab.look()
    steps = await _plan(page, reading)
    for number, step in enumerate(steps):
        item = _again(step.item, reading)
        if item is None:
            page.skipped["the form changed while it was filled in"] += 1
            return
        steps[number] = step.model_copy(update={"item": item})
        await page.keep("form", f"f{number}", task=Task(steps=steps, next=number))
        if step.action == "press":
            await _send(page, steps)
            return
        await _do(page.tab, steps[number])
        reading, _ = await page.tab.look()


async def _plan(page, reading: Reading) -> list[Step]:
    """Steps for the form with the most fields, in the order in which one reads; none without a button to send it."""
    plans = [await _steps(page, fields) for fields in reading.forms.values()]
    return max((plan for plan in plans if len(plan) > 1), key=len, default=[])


async def _steps(page, fields: list[tuple[str, Item]]) -> list[Step]:
    rng = Random(f"{page.label} {page.viewport}")
    fields = sorted(fields, key=lambda field: (field[1].box[1] // 16, field[1].box[0]))
    steps, radio = [], False
    for kind, item in fields:
        if kind in TYPED:
            steps.append(Step(item=item, action="fill", text=rng.choice(_values(f"{kind} {item.name}"))))
        elif kind == "select-one" and page.size[0] >= page.size[1]:  # mobile has no function for it
            text = await page.tab.reader.main("choice", *_middle(item))
            steps += [Step(item=item, action="choose", text=text)] if text else []
        elif kind == "checkbox" or (kind == "radio" and not radio):
            radio = radio or kind == "radio"
            steps.append(Step(item=item, action="check"))
    sends = [item for kind, item in fields if kind in ("submit", "image")]
    return [*steps[: LONGEST - 1], Step(item=sends[0], action="press")] if steps and sends else []


def _values(name: str) -> tuple[str, ...]:
    return next((values for words, values in _VALUES if any(word in name.lower() for word in words)), ("hello",))


def _again(item: Item, reading: Reading) -> Item | None:
    """The item as it is on the screen now."""
    return next((each for each in reading.items if (each.role, each.name) == (item.role, item.name)), None)


def _middle(item: Item) -> tuple[float, float]:
    left, top, right, bottom = item.box
    return (left + right) / 2, (top + bottom) / 2


async def _do(tab, step: Step) -> None:
    if step.action == "choose":
        await tab.reader.main("choose", *_middle(step.item))
        return
    await tab.press(step.item)
    if step.action == "fill":
        await tab.page.keyboard.type(step.text)


async def _send(page, steps: list[Step]) -> None:
    """Press the last button; the screen after it says that the task is done. Only a folder's pages are sent."""
    if page.site.folder is None:
        return
    page.tab.guard.going = True
    with suppress(browser_errors()):  # a page may send it by a script, and stay
        async with page.tab.page.expect_navigation(timeout=1000 * IDLE):
            await page.tab.press(steps[-1].item)
    await page.tab.rest()
    page.tab.guard.going = False
    if page.site.label(page.tab.page.url) != page.label:
        await page.keep("form", "fz", task=Task(steps=steps, next=len(steps)))
