"""The command line: one module or folder for each command. A door: it reads the environment and answers errors.

What a command needs beyond its own options is imported when it runs: help must not wait for the model library.
"""

import sys
from collections.abc import Sequence

import typer

from spool.cli import ask, conversations, dev, doctor, emulators, threads, why
from spool.cli.deploy import manifest, setup, smoke, stage
from spool.errors import SpoolError

app = typer.Typer(
    name="spool",
    help="A Slack agent on serverless functions that answers every acked message exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("dev")(dev.command)
app.command("ask")(ask.command)
app.command("emulators")(emulators.command)
app.command("why")(why.command)
app.command("stage")(stage.command)
app.command("manifest")(manifest.command)
app.command("doctor")(doctor.command)
app.command("setup")(setup.command)
app.add_typer(smoke.app, name="smoke")
app.add_typer(threads.app, name="threads")
app.add_typer(conversations.app, name="conversations")


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Exit code 1 and one sentence for what went wrong, 2 for a wrong use."""
    try:
        app(args=arguments, prog_name="spool")
    except SpoolError as e:
        typer.echo(f"spool: {sentence(e)}", err=True)
        sys.exit(1)


def sentence(error: SpoolError) -> str:
    """What went wrong, in one line that steers no terminal; it may quote input from outside."""
    line = " ".join(str(error).split()) or type(error).__name__
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
