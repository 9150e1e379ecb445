"""Microseconds a call: this parser against smol2operator's, on the same strings, and on strings that grow.

    python benchmarks/actions.py [--smol2operator CHECKOUT]

Ours reads, checks and converts into the action space (`parse`). Theirs is `parse_function_call`
alone, then with `action_conversion` after it, which is what compares. Left out where no checkout is given.
"""

import argparse
import statistics
import sys
import timeit
from collections.abc import Callable

from forge_core.actions.dialects import parse

STRINGS = [
    ("aguvis", "pyautogui.click(x=0.6583, y=0.4782)"),
    ("aguvis", "pyautogui.moveTo(x=0.2667, y=0.2463)\npyautogui.dragTo(x=0.3875, y=0.2463)"),
    ("aguvis", "pyautogui.click(x=0.5015, y=0.2575)\npyautogui.write(message='book1')"),
    ("aguvis", "pyautogui.write(message='a longer text, with commas, that somebody types into a field of a form')"),
    ("aguvis", "pyautogui.hotkey(keys=['ctrl', 'c'])"),
    ("aguvis", "pyautogui.scroll(page=-0.1)"),
    ("aguvis", "mobile.swipe(from_coord=[0.581, 0.898], to_coord=[0.601, 0.518])"),
    ("aguvis", "mobile.terminate(status='success')"),
    ("uitars", "Thought: I open the menu.\nAction: click(start_box='<|box_start|>(495,30)<|box_end|>')"),
    ("qwen25vl", '<tool_call>\n{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": [5, 9]}}'),
    ("qwen2vl", "<|object_ref_start|>the Save button<|object_ref_end|><|box_start|>(200,10),(344,143)<|box_end|>"),
    ("osatlas", "thoughts:\nopen the menu\nactions:\nCLICK <point>[[950,87]]</point>"),
    ("guicourse", "actions:\nclick,<box> 49 292 415 328</box>\ninput, a hotel by the sea"),
    ("androidcontrol", '{"action_type": "input_text", "text": "a hotel by the sea"}'),
    ("freetext", "The coordinates for the element that opens the menu are approximately (890, 180)."),
]
SIZE = (1000, 1000)
LENGTHS = (10, 100, 1_000, 9_000)


def microseconds(function: Callable[[], object], calls: int = 500) -> float:
    """The best of five means over `calls` calls."""
    return min(timeit.repeat(function, number=calls, repeat=5)) / calls * 1e6


def theirs(checkout: str) -> tuple[Callable, Callable]:
    """smol2operator's two steps, imported from `checkout`."""
    sys.path.insert(0, checkout)
    from preprocessing.action_conversion import action_conversion
    from utils.function_parser import parse_function_call

    return parse_function_call, lambda text: action_conversion(parse_function_call(text), resolution=(1920, 1080))


def main() -> None:
    """Print both tables."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--smol2operator", metavar="CHECKOUT", help="a checkout of huggingface/smol2operator")
    checkout = arguments.parse_args().smol2operator
    others = theirs(checkout) if checkout else ()
    rows = []
    for dialect, text in STRINGS:
        readers = (
            lambda text, dialect=dialect: parse(text, dialect, SIZE),
            *(others if dialect == "aguvis" else others[:1]),
        )
        rows.append([microseconds(lambda read=read, text=text: read(text)) for read in readers])
    print("us a string: ours" + (", their parser, their parser and conversion; ratios to ours" if others else ""))
    for (dialect, text), row in zip(STRINGS, rows, strict=True):
        ratios = "".join(f"{other / row[0]:8.2f}x" for other in row[1:])
        print("".join(f"{value:9.1f}" for value in row) + ratios + f"   {dialect}: {text!r:.60}")
    if others:
        print(f"median ratio to their parser: {statistics.median(row[1] / row[0] for row in rows):.2f}x")
        print(f"to their parser and conversion, aguvis: {statistics.median(r[2] / r[0] for r in rows if r[2:]):.2f}x")
    print("us by length of the typed text: ours, and a character of it")
    for length in LENGTHS:
        text = f"pyautogui.write(message={'x ' * (length // 2)!r})"
        value = microseconds(lambda text=text: parse(text, "aguvis"), 100)
        print(f"{length:8d} characters {value:9.1f} {value / length:9.4f}")


if __name__ == "__main__":
    main()
