"""The emulators: where they are looked for, how they end, and what Spool makes in them."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from pathlib import Path

import pytest
from driving import driven, is_alive
from queues import EmulatedQueue

from emulated import Place, make_place
from spool.cli import behind
from spool.cli.emulator import ALL, COMPOSE, STORAGE, Running
from spool.cli.emulators import Emulators
from spool.cli.emulators import emulators as found
from spool.errors import Ambiguous, Misconfigured
from spool.google.emulated import call_sweep, make_bucket, make_queue
from spool.settings import STORES, Settings, inherited

ROOT = Path(__file__).parents[2]
UNSET = {e.variable: "" for e in ALL}
NOWHERE = {"PATH": "/nonexistent", "HOME": "/nonexistent", "FIRESTORE_EMULATOR_JAR": "", **UNSET}
LINE = re.compile(r"export (\w+)=(\S+)")


def spool(*words: str, **environment: str) -> subprocess.Popen[str]:
    """The command line, as a process of its own."""
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "spool.cli", *words],
        env=inherited(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def until(condition: Callable[[], object], *, within: float = 20) -> None:
    end = time.monotonic() + within  # noqa: TID251 - for what other processes do
    while not condition():
        assert time.monotonic() < end  # noqa: TID251
        time.sleep(0.01)


def exported(process: subprocess.Popen[str]) -> dict[str, str]:
    """The three lines that a running `spool emulators` prints."""
    assert process.stdout
    lines = [process.stdout.readline() for _ in ALL]
    return dict(LINE.fullmatch(line.strip()).groups() for line in lines)  # type: ignore[union-attr]


def listeners(addresses: Mapping[str, str]) -> set[int]:
    """The processes that were started for these addresses."""
    ports = [address.rpartition(":")[2] for address in addresses.values()]
    pids = set[int]()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            if any(f"127.0.0.1:{p}".encode() in words or f"--port={p}".encode() in words for p in ports):
                pids.add(int(entry.name))
    return pids - {os.getpid()}


# ---- missing, or not answering


def test_each_missing_emulator_is_named_with_a_way_to_get_it() -> None:
    process = spool("emulators", **NOWHERE)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert len(err.splitlines()) == len(ALL) + 1
    for emulator, line in zip(ALL, err.splitlines(), strict=False):
        assert emulator.name in line
        assert "install" in line
        assert emulator.variable in line


def test_an_address_at_which_nobody_answers_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spool.cli.emulator._NAMED_PATIENCE", 0.1)
    named = {"FIRESTORE_EMULATOR_HOST": "127.0.0.1:1", "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}
    message = r"the Firestore emulator does not answer at 127\.0\.0\.1:1: start it there, or unset FIRESTORE_EMULATOR_HOST"
    with pytest.raises(Misconfigured, match=message), found({**NOWHERE, **named, "CLOUD_TASKS_EMULATOR_HOST": "127.0.0.1:1"}):
        pass


def test_one_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    program = tmp_path / "fake-gcs-server"
    program.write_text("#!/bin/sh\necho 'out of memory' >&2\nexit 3\n")
    program.chmod(0o700)
    running = Running.begin(STORAGE, {**inherited({}), **NOWHERE, "PATH": str(tmp_path)})
    assert running
    with pytest.raises(Misconfigured, match=r"does not answer.*its last words are: out of memory"):
        running.wait()
    running.stop()


def pytest_beside(node: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", node]
    return subprocess.run(  # noqa: S603 - our own command
        command, cwd=ROOT, env=inherited(environment), capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("required", ["", "1"])
def test_a_test_that_lacks_an_emulator_is_skipped_or_fails_where_they_are_required(required: str) -> None:
    node = f"{__file__}::test_buckets_and_queues_are_made_once"
    done = pytest_beside(node, **NOWHERE, REQUIRE_EMULATORS=required)
    assert done.returncode == (1 if required else 0), done.stdout
    assert ("1 error" if required else "1 skipped") in done.stdout
    assert "cargo install cloud-tasks-emulator" in done.stdout


# ---- found, started, ended


def test_emulators_that_the_environment_names_are_printed_and_left_alone(emulators: Emulators) -> None:
    process = spool("emulators", **NOWHERE | emulators.environment)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert dict(LINE.findall(out)) == emulators.environment


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_started_ends_with_it(emulators: Emulators, number: signal.Signals) -> None:
    del emulators  # whoever has none cannot run this
    process = spool("emulators", **UNSET)
    started = listeners(exported(process))
    assert len(started) == len(ALL)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == (-number if number == signal.SIGKILL else 0)
    until(lambda: not any(is_alive(pid) for pid in started))


DOCKER = """#!{python}
import http.server, json, os, sys
with open({calls!r}, "a") as file:
    file.write(json.dumps([sys.argv[1:], os.environ.get("PORT")]) + "\\n")
if "up" in sys.argv:
    class Ok(http.server.BaseHTTPRequestHandler):
        def do_GET(self): self.send_response(200); self.end_headers()
        def log_message(self, *_): pass
    http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ok).serve_forever()
"""


def test_docker_is_asked_for_what_the_machine_lacks_and_cleans_up(tmp_path: Path) -> None:
    calls, docker = tmp_path / "calls", tmp_path / "docker"
    docker.write_text(DOCKER.format(python=sys.executable, calls=str(calls)))
    docker.chmod(0o700)
    with found(NOWHERE | {"PATH": str(tmp_path)}) as addresses:
        ports = [address.rpartition(":")[2] for address in addresses.environment.values()]
    made = [json.loads(line) for line in calls.read_text().splitlines()]
    ups = {words[-1]: (words, port) for words, port in made if "up" in words}
    assert sorted(ups) == ["firestore", "storage", "tasks"]
    assert sorted(port for _, port in ups.values()) == sorted(ports)
    assert all(str(COMPOSE) in words for words, _ in ups.values())
    assert sum("down" in words for words, _ in made) == len(ALL)
    services = re.findall(r"^  (\w+):$", COMPOSE.read_text(), re.MULTILINE)
    assert sorted(services) == sorted(e.service for e in ALL)


# ---- what Spool makes there


def at(place: Place) -> dict[str, str]:
    """Where the queue of a place is."""
    names = {"project": place.project, "location": place.location, "queue": place.queue}
    return {**names, "emulator": place.emulators.tasks}


def test_buckets_and_queues_are_made_once(place: Place) -> None:
    make_bucket(project=place.project, bucket=place.bucket, emulator=place.emulators.storage)
    make_queue(**at(place))


def test_an_emulator_that_went_away_is_one_sentence() -> None:
    with pytest.raises(Ambiguous, match=r"the storage emulator at http://127\.0\.0\.1:1 does not do what is asked"):
        make_bucket(project="p", bucket="b", emulator="http://127.0.0.1:1")
    with pytest.raises(Ambiguous, match=r"the Cloud Tasks emulator at 127\.0\.0\.1:1 does not do what is asked"):
        make_queue(project="p", location="l", queue="q", emulator="127.0.0.1:1")


@contextlib.asynccontextmanager
async def listening() -> AsyncGenerator[tuple[str, list[bytes]]]:
    """A worker that answers every request with 500, and the heads of the requests."""
    heads = list[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 500 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


async def test_the_sweep_is_called_as_the_schedulers_account_and_not_again_when_it_fails(place: Place) -> None:
    queue = EmulatedQueue(place)
    async with listening() as (url, heads):
        await asyncio.to_thread(
            call_sweep,
            **at(place),
            worker_url=url,
            audience="spool-worker",
            service_account="scheduler@p.iam.gserviceaccount.com",
        )
        async with asyncio.timeout(10):
            while not heads or await asyncio.to_thread(queue.waiting, ""):  # noqa: ASYNC110 - another process's queue
                await asyncio.sleep(0.01)
    (head,) = heads
    assert head.startswith(b"POST /sweep ")
    assert b"authorization: bearer " in head.lower()


async def test_the_worker_takes_the_sweep_of_the_schedulers_account_alone(place: Place, tmp_path: Path) -> None:
    async with driven(tmp_path, place) as spool:
        google = Settings.read(spool.environment, google=STORES).google
        assert google
        for account in (google.scheduler_account, google.tasks_account):
            await asyncio.to_thread(
                call_sweep,
                **at(place),
                worker_url=f"http://127.0.0.1:{(spool.state_dir / 'worker-port').read_text().strip()}",
                audience=google.audience,
                service_account=account,
            )
            await spool.until(lambda: not spool.queue.waiting(""))
        await spool.until(lambda: "403" in (tmp_path / "log").read_text())
    refused = [line for line in (tmp_path / "log").read_text().splitlines() if "403: a request to /sweep" in line]
    assert len(refused) == 1, "the queue's own account"


# ---- spool dev on them


def test_spool_dev_does_not_start_on_google_itself(tmp_path: Path) -> None:
    google = {
        "SPOOL_BACKEND": "google",
        "GOOGLE_CLOUD_PROJECT": "p",
        "SPOOL_BUCKET": "b",
        "SPOOL_LOCATION": "l",
        "SPOOL_QUEUE": "q",
    }
    process = spool("dev", **google, **UNSET, SPOOL_STATE_DIR=str(tmp_path))
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err.splitlines() == [
        "spool: Google's queue cannot call a worker on this machine: use --emulators, or SPOOL_BACKEND=local"
    ]


def test_spool_dev_makes_the_bucket_and_the_queue_that_are_missing(emulators: Emulators, tmp_path: Path) -> None:
    place = make_place(emulators)
    names = {"SPOOL_BUCKET": f"{place.bucket}-2", "SPOOL_QUEUE": "another", "SPOOL_STATE_DIR": str(tmp_path)}
    process = spool("ask", "What can you do?", **place.environment | names)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "offline" in out
    listed = spool("threads", "list", "--json", **place.environment | names)
    out, err = listed.communicate(timeout=60)
    assert [thread["turns"] for thread in json.loads(out)] == [1], err
    assert not list(tmp_path.glob("transcripts*")), "nothing is kept on this machine but the workspace"


def test_a_question_reaches_a_spool_dev_that_runs_on_emulators_of_its_own(emulators: Emulators, tmp_path: Path) -> None:
    ports, unset = (
        ("--port", "0", "--console-port", "0"),
        {**dict.fromkeys(behind.DEFAULTS, ""), **UNSET},
    )
    dev = spool("dev", "--emulators", *ports, **unset | emulators.environment, SPOOL_STATE_DIR=str(tmp_path))
    try:
        until((tmp_path / "dev.json").exists, within=60)
        asked = spool("ask", "What can you do?", **UNSET, SPOOL_BACKEND="", SPOOL_STATE_DIR=str(tmp_path))
        out, err = asked.communicate(timeout=120)
        assert asked.returncode == 0, err
        assert "offline" in out
    finally:
        dev.terminate()
        out, err = dev.communicate(timeout=30)
    given = dict(LINE.findall(out))
    assert given == {"SPOOL_BACKEND": "google", **behind.DEFAULTS, **emulators.environment}
    assert dev.returncode == 0, err
