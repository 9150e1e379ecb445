"""`forge vast`: a rented GPU from a laptop, and back."""

from typing import Annotated

import typer

from forge_core.errors import say_errors

app = typer.Typer(
    no_args_is_help=True, help="Rent a GPU on Vast.ai, run the course there, fetch what it made, give it back."
)
Number = Annotated[int | None, typer.Option("--instance", help="which, where several are rented")]


@app.command()
def up(
    profile: Annotated[str, typer.Option(help="a folder under params/; its 'rent:' says what to look for")],
    bid: Annotated[float | None, typer.Option(min=0.001, help="interruptible, at this price in $/h")] = None,
    offer: Annotated[int | None, typer.Option(help="this one of the offers; the cheapest without it")] = None,
    max_hours: Annotated[float, typer.Option(min=0.1, help="the host stops itself then")] = 24.0,
    max_dollars: Annotated[float | None, typer.Option(min=0.01, help="the same, in money, without traffic")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="rent without asking")] = False,
) -> None:
    """Show offers and their prices, rent one after a yes, and wait until it answers."""
    from forge_core.remote import rent

    def confirm(text: str) -> bool:
        try:
            return yes or typer.confirm(text)
        except typer.Abort:  # Ctrl-C, or nobody there to answer
            return False

    say_errors(lambda: rent.up(profile, confirm, bid, offer, max_hours, max_dollars))
    print("next: forge vast run")


@app.command()
def run(instance: Number = None) -> None:
    """Send the project, set the host up, start the course under tmux. Run again, it continues."""
    from forge_core.remote import job
    from forge_core.remote.rental import choose

    say_errors(lambda: job.run(choose(instance)))
    print("next: forge vast watch (the course needs no connection)")


@app.command()
def watch(instance: Number = None) -> None:
    """Follow log, GPU, step and money; each checkpoint is fetched as it is saved. Ctrl-C ends the watching alone."""
    from forge_core.remote import job
    from forge_core.remote.rental import choose

    def follow() -> None:
        status = job.watch(choose(instance), lambda line: print(line, flush=True))
        print(f"the course ended with status {status}; still billed: forge vast down fetches all and ends it")
        raise typer.Exit(1 if status else 0)

    say_errors(follow)


@app.command()
def tunnel(instance: Number = None, port: Annotated[int, typer.Option(help="on this machine")] = 8888) -> None:
    """Open the host's JupyterLab here, through ssh."""
    from forge_core.remote import job
    from forge_core.remote.rental import choose

    say_errors(lambda: job.tunnel(choose(instance), port))


@app.command()
def pull(instance: Number = None) -> None:
    """Fetch runs and checkpoints: staged, verified by sha256, scanned for secrets, then moved in place."""
    from forge_core.remote import release
    from forge_core.remote.rental import choose

    say_errors(lambda: release.pull(choose(instance)))


@app.command()
def down(
    instance: Number = None,
    force: Annotated[bool, typer.Option("--force", help="without fetching: what is there is lost")] = False,
) -> None:
    """Fetch all, destroy the instance, see it gone, say what it cost and what is billed on."""
    from forge_core.remote import release

    def end() -> None:
        print(release.down(release.chosen(instance), force), flush=True)
        print("\n".join(release.status()))

    say_errors(end)


@app.command()
def status() -> None:
    """All that the account is billed for now."""
    from forge_core.remote import release

    say_errors(lambda: print("\n".join(release.status())))
