"""UI-TARS 1.0 and 1.5 (arXiv 2501.12326): 'Thought: ...', 'Action: ' and Python calls whose places are strings.

1.0 writes `click(start_box='<|box_start|>(495,30)<|box_end|>')` in thousandths of the image; 1.5 writes
`click(point='<point>200 300</point>')` in pixels of the resized image. Both forms are read in both. Several calls
follow each other on lines of their own. A scroll says no distance; a newline that ends `content` means Enter and
stays in the text.
"""

import re

from forge_core.actions.calls import ActionParseError, Call, bind, read_calls_over_lines
from forge_core.actions.steps import Reading, Step, centre, pair, split_thought

SIGN = re.compile(
    r"(?:start_box|end_box|point|start_point)\s*=\s*['\"]|^[ \t]*(?:Action:[ \t]*)?(?:left_double|right_single|hotkey"
    r"|type|wait|finished|call_user|press_home|press_back|open_app)\(",
    re.MULTILINE,
)
_HEAD = re.compile(r"^[ \t]*Action:", re.MULTILINE)
_MARKS = re.compile(r"<\|?/?[a-z_]{1,20}\|?>|[()\[\],]")
_NUMBER = re.compile(r"-?\d{1,9}(?:\.\d{1,12})?")
_POINTING = {
    "click": "click",
    "left_single": "click",
    "left_double": "double_click",
    "right_single": "right_click",
    "long_press": "long_press",
    "hover": "move_mouse",
}
_WORDS = {
    "finished": ("final_answer", "content", "answer"),
    "type": ("type", "content", "text"),
    "open_app": ("open_app", "app_name", "app_name"),
}
_PLAIN = {"press_home": "navigate_home", "press_back": "navigate_back", "wait": "wait"}
_PLACE = ("start_box", "point", "start_point")


def read(text: str) -> Reading:
    """Steps and thought of a UI-TARS answer; raises `ActionParseError`."""
    thought, start = split_thought(text, _HEAD)
    code = " " * start + text[start:]
    calls = read_calls_over_lines(code)
    return Reading([_step(call, text) for call in calls], thought)


def _step(call: Call, text: str) -> Step:
    try:
        name, arguments = _converted(call)
    except ValueError as error:
        raise ActionParseError(f"{call.name}: {error}", text, call.offset) from None
    return Step(name, arguments, call.offset)


def _converted(call: Call) -> tuple[str, dict]:
    if call.name in _POINTING:
        arguments = bind(call, _PLACE)
        return _POINTING[call.name], _place(arguments, _PLACE) if arguments else {}
    if call.name == "drag":
        arguments = bind(call, ("start_box", "end_box", "start_point", "end_point"))
        start, end = _place(arguments, ("start_box", "start_point")), _place(arguments, ("end_box", "end_point"))
        return "drag", {"from_coord": pair(list(start.values())), "to_coord": pair(list(end.values()))}
    if call.name == "scroll":
        arguments = bind(call, (*_PLACE, "direction"))
        if "direction" not in arguments:
            raise ValueError("expected a direction")
        place = _place(arguments, _PLACE) if any(name in arguments for name in _PLACE) else {}
        return "scroll", {"direction": arguments["direction"]} | place
    if call.name in ("hotkey", "press"):
        keys = str(bind(call, ("key",)).get("key", "")).split()
        return "press", {"keys": keys if call.name == "hotkey" else keys[0] if len(keys) == 1 else keys}
    if call.name in _WORDS:
        name, theirs, ours = _WORDS[call.name]
        return name, {ours: bind(call, (theirs,)).get(theirs, "")}
    if call.name in _PLAIN:
        bind(call, ())
        return _PLAIN[call.name], {}
    if call.name == "call_user":
        return "call_tool", {"tool": "call_user", "arguments": "{}"}
    raise ValueError("not an action of UI-TARS")


def _place(arguments: dict, names: tuple[str, ...]) -> dict[str, float]:
    given = [arguments[name] for name in names if name in arguments]
    if len(given) != 1:
        raise ValueError(f"expected one of {', '.join(names)}")
    if not isinstance(given[0], str):
        return centre(given[0])
    place = _MARKS.sub(" ", given[0]).split()
    if not all(map(_NUMBER.fullmatch, place)):
        raise ValueError(f"expected a place such as (495,30), found {given[0]!r:.80}")
    return centre([float(number) for number in place])


def write(reading: Reading) -> str:
    """UI-TARS 1.0: boxes in thousandths."""
    return _write(reading, "start_box", "end_box", "<|box_start|>({},{})<|box_end|>")


def write_15(reading: Reading) -> str:
    """UI-TARS 1.5: points in pixels of the resized image."""
    return _write(reading, "point", "end_point", "<point>{} {}</point>")


def _write(reading: Reading, start: str, end: str, form: str) -> str:
    calls = "\n\n".join(_line(step, start, end, form) for step in reading.steps)
    return f"Thought: {reading.thought}\nAction: {calls}" if reading.thought else f"Action: {calls}"


def _line(step: Step, start: str, end: str, form: str) -> str:
    arguments = step.arguments
    if "element" in arguments or "amount" in arguments:
        extra = "element" if "element" in arguments else "amount"
        raise ValueError(f"{step.name}: UI-TARS has no {extra}")
    for theirs, ours in _POINTING.items():
        if ours == step.name:
            return f"{theirs}({start}={form.format(arguments['x'], arguments['y'])!r})" if arguments else f"{theirs}()"
    if step.name == "drag" and {"from_coord", "to_coord"} == set(arguments):
        first = "start_point" if start == "point" else start
        return f"drag({first}={form.format(*arguments['from_coord'])!r}, {end}={form.format(*arguments['to_coord'])!r})"
    if step.name == "scroll":
        place = f"{start}={form.format(arguments['x'], arguments['y'])!r}, " if "x" in arguments else ""
        return f"scroll({place}direction={arguments['direction']!r})"
    if step.name == "press":
        keys = arguments["keys"]
        return f"press(key={keys!r})" if isinstance(keys, str) else f"hotkey(key={' '.join(keys)!r})"
    for theirs, (ours, parameter, name) in _WORDS.items():
        if ours == step.name:
            return f"{theirs}({parameter}={arguments[name]!r})"
    for theirs, ours in _PLAIN.items():
        if ours == step.name and not arguments:
            return f"{theirs}()"
    if step.name == "call_tool" and arguments == {"tool": "call_user", "arguments": "{}"}:
        return "call_user()"
    raise ValueError(f"{step.name}: UI-TARS has no word for it")
