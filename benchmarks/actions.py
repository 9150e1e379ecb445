"""Microseconds a call: this parser against smol2operator's, on the same strings, and on strings that grow.

    python benchmarks/actions.py [--smol2operator CHECKOUT]

Ours reads, checks and converts into the action space (`parse(text, "aguvis")`). Theirs is `parse_function_call`
alone, then with `action_conversion` after it, which is what compares. Left out where no checkout is given.
"""

import argparse
import statistics
import sys
import timeit
from collections.abc import Callable

from forge_core.actions.dialects import parse

STRINGS = [
    "pyautogui.click(x=0.6583, y=0.4782)",
    "pyautogui.click(0.8102, 0.9463)",
    "pyautogui.doubleClick(x=0.6594, y=0.9167)",
    "pyautogui.moveTo(x=0.2667, y=0.2463)\npyautogui.dragTo(x=0.3875, y=0.2463)",
    "pyautogui.click(x=0.5015, y=0.2575)\npyautogui.write(message='book1')",
    "pyautogui.write(message='a longer text, with commas, that somebody types into a field of a form')",
    "pyautogui.hotkey(keys=['ctrl', 'c'])",
    "pyautogui.press(keys='enter')",
    "pyautogui.scroll(page=-0.1)",
    "mobile.swipe(from_coord=[0.581, 0.898], to_coord=[0.601, 0.518])",
    "mobile.open_app(app_name='drupe')",
    "mobile.terminate(status='success')",
]
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
    rows = [[microseconds(lambda f=f, s=s: f(s)) for f in (lambda t: parse(t, "aguvis"), *others)] for s in STRINGS]
    print("us a string: ours" + (", their parser, their parser and conversion; ratios" if others else ""))
    for string, row in zip(STRINGS, rows, strict=True):
        ratios = "".join(f"{other / row[0]:8.1f}x" for other in row[1:])
        print("".join(f"{value:9.1f}" for value in row) + ratios + f"   {string!r:.70}")
    for index in range(1, len(others) + 1):
        print(f"median ratio {index}: {statistics.median(row[index] / row[0] for row in rows):.1f}x")
    print("us by length of the typed text: ours, and a character of it")
    for length in LENGTHS:
        text = f"pyautogui.write(message={'x ' * (length // 2)!r})"
        value = microseconds(lambda text=text: parse(text, "aguvis"), 100)
        print(f"{length:8d} characters {value:9.1f} {value / length:9.4f}")


if __name__ == "__main__":
    main()
