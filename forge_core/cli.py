"""The `forge` command: `forge run PROFILE` runs the course, `forge doctor` says what this machine can do."""

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def run(
    profile: Annotated[str, typer.Argument(help="a folder under params/, such as embedded or vast-24gb")],
    first: Annotated[str | None, typer.Option("--from", help="start here and run to the end, e.g. 03")] = None,
    only: Annotated[str | None, typer.Option("--only", help="run this notebook alone, e.g. 05")] = None,
) -> None:
    """Run the notebooks of PROFILE, skipping those whose inputs and params are unchanged."""
    from forge_core import course

    raise typer.Exit(course.run(profile, first, only))


@app.command()
def doctor() -> None:
    """Say in one screen what this machine can do, what is missing, and the command that mends it."""
    from forge_core import doctor as checks

    raise typer.Exit(checks.run())
