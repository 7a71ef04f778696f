"""`spool emulators`: the queue, the documents and the bucket of Google Cloud, emulated on this machine.

The emulators are others' work and no part of Spool: `spool.cli.emulator` knows where each is found.
"""

import contextlib
import signal
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import typer

from spool.cli.emulator import ALL, FIRESTORE, STORAGE, TASKS, Emulator, Environ, Running
from spool.errors import Misconfigured
from spool.settings import inherited


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulators:
    """Where the three listen. firestore, tasks: host:port. storage: a URL."""

    firestore: str
    storage: str
    tasks: str

    @property
    def environment(self) -> dict[str, str]:
        """What Google's clients and Spool's settings read."""
        return {FIRESTORE.variable: self.firestore, STORAGE.variable: self.storage, TASKS.variable: self.tasks}


def command() -> None:
    """Find or start the emulators of Google Cloud, and print the environment that names them."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends it as Ctrl-C does
    with contextlib.suppress(KeyboardInterrupt), _found(inherited({})) as (running, missing):
        for line in missing:
            typer.echo(line, err=True)
        if not running:
            msg = "there is nothing to run: get the emulators named above"
            raise Misconfigured(msg)
        for one in running:
            typer.echo(f"export {one.emulator.variable}={one.address}")
        if any(one.started for one in running):
            typer.echo("What was started runs until this is stopped, and keeps nothing.", err=True)
            signal.pause()


@contextlib.contextmanager
def emulators(environ: Environ | None = None) -> Generator[Emulators]:
    """All three, found or started, until the block ends. Raises `Misconfigured` with a sentence for each missing one."""
    with _found(inherited({}) if environ is None else environ) as (running, missing):
        if missing:
            raise Misconfigured(" ".join(missing))
        at = {one.emulator.variable: one.address for one in running}
        yield Emulators(firestore=at[FIRESTORE.variable], storage=at[STORAGE.variable], tasks=at[TASKS.variable])


@contextlib.contextmanager
def _found(environ: Environ) -> Generator[tuple[Sequence[Running], Sequence[str]]]:
    """Those that answer, and a sentence for each missing one. They start together: the slowest is waited for once."""
    with contextlib.ExitStack() as stack:
        running, missing = list[Running](), list[str]()
        for emulator in ALL:
            one = Running.begin(emulator, environ)
            if one is None:
                missing.append(sentence(emulator))
            else:
                stack.callback(one.stop)
                running.append(one)
        for one in running:
            one.wait()
        yield running, missing


def sentence(emulator: Emulator) -> str:
    """What to do about a missing one."""
    return (
        f"{emulator.name} is missing: {emulator.get}, or start a docker engine with its compose command, "
        f"or name a running one in {emulator.variable}."
    )
