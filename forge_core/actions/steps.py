"""What a dialect module reads and writes: steps, actions whose coordinates are in the dialect's units."""

import re
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One action as a dialect wrote it; `offset` is where it stands in the text (characters)."""

    name: str
    arguments: dict
    offset: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Reading:
    """The steps of a text, and the thought written before them, where there is one."""

    steps: list[Step]
    thought: str | None = None


def split_thought(text: str, label: re.Pattern) -> tuple[str | None, int]:
    """The thought that stands before the first match of `label`, without its own label, and where the actions begin."""
    found = label.search(text)
    if found is None:
        return None, 0
    thought = _THOUGHT.sub("", text[: found.start()], count=1).strip()
    return thought or None, found.end()


def split_lines(text: str, start: int, line: re.Pattern) -> list[tuple[int, str]] | None:
    """(offset, text) of each action from `start`, each up to the next match of `line`; None where prose is first."""
    starts = [match.end() for match in line.finditer(text, start)]
    if not starts or text[start : starts[0]].strip():
        return None
    return [(at, text[at:end].rstrip()) for at, end in zip(starts, [*starts[1:], len(text)], strict=True)]


_THOUGHT = re.compile(r"\A\s*(?:thoughts?|reflection|action_summary):", re.IGNORECASE)


def is_number(value: object) -> bool:
    """Whether `value` is an int or a float; a bool is not a number here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def centre(values: object) -> dict[str, float]:
    """x and y of a point [x, y] or of the centre of a box [x1, y1, x2, y2]; an inverted box has the same centre."""
    while isinstance(values, list | tuple) and len(values) == 1 and isinstance(values[0], list | tuple):
        values = values[0]
    if not isinstance(values, list | tuple) or len(values) not in (2, 4) or not all(map(is_number, values)):
        raise ValueError(f"expected [x, y] or [x1, y1, x2, y2], found {values!r:.80}")
    if len(values) == 2:
        return {"x": values[0], "y": values[1]}
    return {"x": (values[0] + values[2]) / 2, "y": (values[1] + values[3]) / 2}


def pair(values: object) -> list[float]:
    """`centre` as [x, y]."""
    return list(centre(values).values())


def scrolled(across: object, down: object, unit: str, place: dict | None = None) -> list[Step]:
    """Scroll steps of two signed distances, right and down positive, at a place; a distance of zero is no step."""
    steps = []
    for distance, positive, negative in ((down, "down", "up"), (across, "right", "left")):
        if not is_number(distance):
            raise ValueError(f"expected a number to scroll by, found {distance!r:.80}")
        if distance:
            direction = positive if distance > 0 else negative
            steps.append(
                Step("scroll", {"direction": direction, "amount": abs(distance), "unit": unit} | (place or {}))
            )
    if not steps:
        raise ValueError("expected a distance to scroll by, found 0")
    return steps


def distances(arguments: dict) -> tuple[float, float]:
    """The inverse of `scrolled`: (right, down)."""
    if "amount" not in arguments:
        raise ValueError("scroll: a distance is needed here, and there is none")
    sign = 1 if arguments["direction"] in ("down", "right") else -1
    distance = sign * arguments["amount"]
    return (distance, 0) if arguments["direction"] in ("left", "right") else (0, distance)


def only_unit(arguments: dict, unit: str | None) -> None:
    """Refuse to write a scroll that counts in another unit than `unit` (None: per cent of a page)."""
    if arguments.get("unit") != unit:
        names = [name or "per cent of a page" for name in (arguments.get("unit"), unit)]
        raise ValueError(f"scroll: {names[0]} given, {names[1]} needed; the two can't be told from each other")
