import typer
from spool.cli.dev import command
app=typer.Typer()
app.command("dev")(command)
app.command("x")(lambda: None)
def main(): app()
