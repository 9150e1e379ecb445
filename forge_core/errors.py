"""Errors of commands: what their user can mend is said in one line."""

import sys
from collections.abc import Callable

import typer

from forge_core.text import printable


def say_errors(action: Callable[[], object]) -> None:
    """Run it; an error that its user can mend is printed to stderr, and the exit status is 2."""
    try:
        action()
    except (OSError, ValueError, ImportError, MemoryError) as error:
        print(printable(str(error), lines=True), file=sys.stderr)
        raise typer.Exit(2) from None
