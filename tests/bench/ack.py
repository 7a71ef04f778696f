"""What an ack costs, as ratios within one run: `python tests/bench/ack.py [rounds]`.

    think   verify, classify and encode one event         to   its HMAC and JSON parse          aim 2.0
    ack     CPU of a whole ack over loopback, durable     to   that of an empty aio function    aim 1.5
    start   spawn to the 200 of a signed, queued event    to   spawn to an empty function's     aim 1.2

Medians of pairs taken in turns, so that whatever else this machine does troubles both sides alike.
"""

# ruff: noqa: T201, S603, TID251 - a script: it prints, it starts the servers that it measures, and it owns its clock

import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from spool.policy import Policy
from spool.slack import events, signature
from spool.task import Task

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TEXT = "<@U012SPOOL> how did the sign-ups develop since Monday, and which campaign brought them?"
BODY = json.dumps(
    {
        "token": "ZZZZZZWSxiZZZ2yIvs3peJ",
        "team_id": "T012AB3CD",
        "context_team_id": "T012AB3CD",
        "context_enterprise_id": None,
        "api_app_id": "A012SPOOL",
        "event": {
            "user": "U012ANNA1",
            "type": "app_mention",
            "ts": "1715000000.000200",
            "client_msg_id": "5dd7a1b2-0000-4000-8000-000000000000",
            "text": TEXT,
            "team": "T012AB3CD",
            "thread_ts": "1715000000.000100",
            "parent_user_id": "U012BOB01",
            "blocks": [
                {
                    "type": "rich_text",
                    "block_id": "k7Hf2",
                    "elements": [
                        {
                            "type": "rich_text_section",
                            "elements": [{"type": "user", "user_id": "U012SPOOL"}, {"type": "text", "text": TEXT[12:]}],
                        }
                    ],
                }
            ],
            "channel": "C012AB3CD",
            "event_ts": "1715000000.000200",
        },
        "type": "event_callback",
        "event_id": "Ev012AB3CDE",
        "event_time": 1715000000,
        "authorizations": [
            {
                "enterprise_id": None,
                "team_id": "T012AB3CD",
                "user_id": "U012SPOOL",
                "is_bot": True,
                "is_enterprise_install": False,
            }
        ],
        "is_ext_shared_channel": False,
        "event_context": "4-eyJldCI6ImFwcF9tZW50aW9uIiwidGlkIjoiVDAxMkFCM0NEIiwiYWlkIjoiQTAxMlNQT09MIiwiY2lkIjoiQzAxMkFCM0NE",
    },
    separators=(",", ":"),
).encode()
EMPTY = """
import functions_framework.aio
from starlette.responses import Response

@functions_framework.aio.http
async def ingress(request):
    await request.body()
    return Response()
"""
INGRESS = Path(__file__).parents[2] / "functions" / "ingress.py"


@dataclass
class Pairs:
    """Two figures measured in turns, and what the first costs in terms of the second."""

    name: str
    aim: float
    ours: list[float] = field(default_factory=list[float])
    base: list[float] = field(default_factory=list[float])

    def __str__(self) -> str:
        ours, base = statistics.median(self.ours), statistics.median(self.base)
        ratio = statistics.median(a / b for a, b in zip(self.ours, self.base, strict=True))
        return f"{self.name:6} {ours * 1e6:10.1f} µs to {base * 1e6:10.1f} µs   ratio {ratio:.2f}   aim {self.aim:.1f}"


def think(rounds: int) -> Pairs:
    """The ack without waiting: everything between the bytes that came in and the bytes that go into the queue."""
    stamp, policy = "1715000000", Policy()
    signed = signature.sign(SECRET, BODY, stamp)

    def ours() -> None:
        assert signature.verify((SECRET,), BODY, timestamp=stamp, signature=signed, now=1715000001.5)
        found = events.read(BODY, policy=policy)
        assert isinstance(found, events.Envelope)
        Task.of(found, first_seen=1715000001.5).encode()

    def base() -> None:
        hmac.new(SECRET.encode(), b"v0:" + stamp.encode() + b":" + BODY, hashlib.sha256).hexdigest()
        json.loads(BODY)

    pairs = Pairs("think", 2.0)
    for _ in range(100 * rounds):
        pairs.ours.append(timeit.timeit(ours, number=100) / 100)
        pairs.base.append(timeit.timeit(base, number=100) / 100)
    return pairs


@contextmanager
def serving(source: Path, state: Path, *, python: str = sys.executable, **more: str) -> Generator[tuple[int, int]]:
    """A function under the real functions-framework: its port, and the id of its process group. No process outlives this.

    python: whose functions-framework. more: of the environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(python).with_name("functions-framework")), "--target", "ingress", "--source", str(source)]
    environ = {"SLACK_SIGNING_SECRET": SECRET, "SPOOL_STATE_DIR": str(state), "XDG_RUNTIME_DIR": str(state), "PATH": os.defpath}
    command += ["--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env={**environ, **more}, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield port, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def post(connection: http.client.HTTPConnection) -> None:
    """One signed event, answered with 200."""
    stamp = int(time.time())
    headers = {"X-Slack-Request-Timestamp": str(stamp), "X-Slack-Signature": signature.sign(SECRET, BODY, stamp)}
    connection.request("POST", "/slack/events", BODY, headers | {"Content-Type": "application/json"})
    response = connection.getresponse()
    response.read()
    assert response.status == 200


def first_answer(port: int) -> None:
    """Post until somebody answers."""
    while True:
        try:
            return post(http.client.HTTPConnection("127.0.0.1", port, timeout=5))
        except ConnectionRefusedError:
            time.sleep(0.002)


def cpu(group: int) -> float:
    """Seconds of CPU that the processes of the group have used."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[2]) == group:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def ack(rounds: int, empty: Path, state: Path, *, requests: int = 2000) -> Pairs:
    """CPU of the server per request, over connections that are kept alive."""
    pairs = Pairs("ack", 1.5)
    with serving(INGRESS, state) as ours, serving(empty, state) as base:
        for port, _ in (ours, base):
            first_answer(port)
        for _ in range(rounds):
            for (port, group), figures in ((ours, pairs.ours), (base, pairs.base)):
                connection, before = http.client.HTTPConnection("127.0.0.1", port), cpu(group)
                for _ in range(requests):
                    post(connection)
                figures.append((cpu(group) - before) / requests)
                connection.close()
    return pairs


def start(rounds: int, empty: Path, state: Path) -> Pairs:
    """Seconds from spawn to the first 200, each time with an empty state directory of its own."""
    pairs = Pairs("start", 1.2)
    for n in range(rounds):
        for source, figures in ((INGRESS, pairs.ours), (empty, pairs.base)):
            own = state / f"{source.stem}{n}"
            own.mkdir()
            began = time.perf_counter()
            with serving(source, own) as (port, _):
                first_answer(port)
                figures.append(time.perf_counter() - began)
    return pairs


def main(rounds: int) -> None:
    print(think(rounds))
    with tempfile.TemporaryDirectory() as directory:
        empty = Path(directory) / "empty.py"
        empty.write_text(EMPTY)
        print(ack(rounds, empty, Path(directory)))
        print(start(rounds, empty, Path(directory)))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
