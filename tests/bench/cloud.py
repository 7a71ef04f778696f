"""What an ack costs on Google Cloud, against the tasks emulator: `python tests/bench/cloud.py [rounds]`.

    calls   RPCs on the wire per acked message, and per retry of Slack's                          aim 1
    ack     CPU of a whole ack over loopback          to   that of an empty aio function          aim none
    start   spawn to the 200 of a signed, queued event  to  spawn to an empty function's 200      aim 2.0

Both functions run as they are deployed: from the staged folder, in a venv that holds only the ingress' requirements, compiled,
on Python 3.13. Pairs are taken in turns, as in ack.py.
"""

# ruff: noqa: T201, S603 - a script: it prints, and it starts what it measures

import asyncio
import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import ack

from spool.cli.deploy.stage import ROOT, stage
from spool.cli.emulator import TASKS, Running
from spool.google.emulated import make_queue
from spool.settings import inherited

sys.path.append(str(Path(__file__).parents[1]))

from frames import counted

PYTHON = "3.13"
PLACE = {"project": "bench", "location": "europe-west1", "queue": "spool"}
NOBODY = "http://127.0.0.1:9"
"""The worker's address: what is queued stays there."""


def venv(out: Path) -> str:
    """A venv as Google's buildpack makes it of the staged folder; its python."""
    folder = out / "venv"
    uv = inherited({}).get("UV", "uv")
    environ = inherited({"PYTHONDONTWRITEBYTECODE": "", "VIRTUAL_ENV": str(folder)})
    requirements = str(out / "ingress" / "requirements.txt")
    subprocess.run([uv, "venv", "-q", "--python", PYTHON, str(folder)], check=True, env=environ)
    subprocess.run([uv, "pip", "install", "-q", "--compile-bytecode", "-r", requirements], check=True, env=environ)
    subprocess.run([str(folder / "bin/python"), "-m", "compileall", "-q", str(out / "ingress")], check=True, env=environ)
    return str(folder / "bin/python")


@contextmanager
def tasks_emulator() -> Generator[str]:
    """Where it listens, the queue made."""
    running = Running.begin(TASKS, inherited({}))
    if running is None:
        sys.exit(f"get it first: {TASKS.get}")
    try:
        running.wait()
        make_queue(**PLACE, emulator=running.address)
        yield running.address
    finally:
        running.stop()


def environment(tasks: str) -> dict[str, str]:
    return {
        "SPOOL_BACKEND": "google",
        "GOOGLE_CLOUD_PROJECT": PLACE["project"],
        "SPOOL_LOCATION": PLACE["location"],
        "SPOOL_QUEUE": PLACE["queue"],
        "SPOOL_WORKER_URL": NOBODY,
        "CLOUD_TASKS_EMULATOR_HOST": tasks,
        "FIRESTORE_EMULATOR_HOST": "127.0.0.1:9",
        "STORAGE_EMULATOR_HOST": NOBODY,
    }


async def calls(main: Path, state: Path, python: str, tasks: str, *, acks: int = 100) -> str:
    """Ack over a wire that counts."""
    async with counted(tasks) as wire:
        with ack.serving(main, state, python=python, **environment(f"127.0.0.1:{wire.port}")) as (port, _):
            await asyncio.to_thread(ack.first_answer, port)
            connection = await asyncio.to_thread(http.client.HTTPConnection, "127.0.0.1", port)
            for _ in range(acks - 1):
                await asyncio.to_thread(ack.post, connection)
            connection.close()
        return f"calls  {wire.calls / acks:.2f} RPCs per ack over {wire.connections} connection(s), {acks} acks   aim 1"


def cpu(rounds: int, sources: tuple[Path, Path], state: Path, python: str, tasks: str, *, requests: int = 1000) -> ack.Pairs:
    """Of the server per request, over connections that are kept alive; most of it is gRPC's and protobuf's."""
    pairs = ack.Pairs("ack", float("inf"))
    more = environment(tasks)
    with (
        ack.serving(sources[0], state, python=python, **more) as ours,
        ack.serving(sources[1], state, python=python) as base,
    ):
        for port, _ in (ours, base):
            ack.first_answer(port)
        for _ in range(rounds):
            for (port, group), figures in ((ours, pairs.ours), (base, pairs.base)):
                connection, before = http.client.HTTPConnection("127.0.0.1", port), ack.cpu(group)
                for _ in range(requests):
                    ack.post(connection)
                figures.append((ack.cpu(group) - before) / requests)
                connection.close()
    return pairs


def start(rounds: int, sources: tuple[Path, Path], state: Path, python: str, tasks: str) -> ack.Pairs:
    pairs = ack.Pairs("start", 2.0)
    for _ in range(rounds):
        for source, figures in zip(sources, (pairs.ours, pairs.base), strict=True):
            began = time.perf_counter()
            with ack.serving(source, state, python=python, **environment(tasks)) as (port, _):
                ack.first_answer(port)
                figures.append(time.perf_counter() - began)
    return pairs


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory, tasks_emulator() as tasks:
        out = Path(directory)
        stage(ROOT, out)
        python, sources = venv(out), (out / "ingress" / "main.py", out / "empty.py")
        sources[1].write_text(ack.EMPTY)
        print(asyncio.run(calls(sources[0], out, python, tasks)))
        print(start(rounds, sources, out, python, tasks))
        print(cpu(max(rounds // 3, 1), sources, out, python, tasks))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
