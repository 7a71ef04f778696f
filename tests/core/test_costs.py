"""What a message costs: worked out from list prices and from the calls that the product makes, as README shows it.

`python tests/core/test_costs.py` prints README's table.
"""

import importlib
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRICED = "November 2026"
"""List prices in US dollars of a Tier 1 region such as europe-west1, before any free tier. https://cloud.google.com/pricing/list"""

VCPU, GIB, REQUEST = 0.000024, 0.0000025, 0.40e-6
"""Cloud Run, request-based billing: a second of one vCPU and of one GiB while a request is worked on; a request."""

IDLE_VCPU, IDLE_GIB = 0.0000025, 0.0000025
"""The same for an instance that is kept awake and rests."""

TASK = 0.40e-6
"""Cloud Tasks: a create, or a delivery."""

READ, WRITE = 0.03 / 100_000, 0.09 / 100_000
"""Firestore: a document read, or written; conflicts count as writes."""

CLASS_A, CLASS_B = 0.005 / 1000, 0.0004 / 1000
"""Cloud Storage: an object written or a list; an object read."""

STORED = 0.020
"""Cloud Storage: a GB for a month."""

LOGGED = 0.50 / 2**30
"""Cloud Logging: a byte taken in."""

SCHEDULED = 0.10
"""Cloud Scheduler: a job for a month."""

MONTH = 2_628_000
"""Seconds."""

LEAST = 0.1
"""Seconds that a request is charged at least."""

LOG_BYTES = 20_000
"""Of a message: Spool's own lines, 4 kB, and those that Cloud Run and Cloud Tasks write of each request and attempt."""

WORKER, INGRESS = (1.0, 1.0), (1.0, 0.5)
"""vCPUs and GiB of an instance."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of message. seconds: of its turn. rounds: with tools. events: how often Slack tells of it."""

    name: str
    seconds: float
    rounds: int
    events: int


KINDS = (
    Kind(name="direct message, no tools, 10 s", seconds=10, rounds=0, events=1),
    Kind(name="mention in a channel (two events of Slack), no tools, 10 s", seconds=10, rounds=0, events=2),
    Kind(name="mention, three rounds with tools, 45 s", seconds=45, rounds=3, events=2),
)


def running(size: tuple[float, float], seconds: float) -> float:
    return (size[0] * VCPU + size[1] * GIB) * max(seconds, LEAST)


def resting(size: tuple[float, float], seconds: float) -> float:
    return (size[0] * IDLE_VCPU + size[1] * IDLE_GIB) * seconds


def cost(kind: Kind) -> dict[str, float]:
    """Dollars of one message, by service.

    Each further event is a task that finds the conversation busy and leaves a baton, which finds the message answered. The turn
    has the instance for itself: up to eight at once share one.
    """
    more = kind.events - 1
    heartbeats = int(kind.seconds // 20)
    deliveries = 1 + 2 * more
    return {
        "Cloud Run": running(WORKER, kind.seconds)
        + 2 * more * running(WORKER, LEAST)
        + kind.events * running(INGRESS, LEAST)
        + (kind.events + deliveries) * REQUEST,
        "Cloud Tasks": (kind.events + more + deliveries) * TASK,  # creates, batons, deliveries
        "Firestore": (1 + 3 * more) * READ
        + (2 + heartbeats + 2 * more) * WRITE,  # the busy one appends, the holder looks again
        "Cloud Storage": CLASS_B + (2 + kind.rounds) * CLASS_A,
        "Logging": LOG_BYTES * LOGGED,
    }


def sweeping() -> float:
    """Dollars a month of the call each minute: the job, a request, one query."""
    calls = MONTH / 60
    return SCHEDULED + calls * (running(WORKER, LEAST) + REQUEST + READ)


def table() -> str:
    """README's."""
    rows = [f"| 1,000 messages, list prices of {PRICED} | Cloud Run | all else | together |", "|---|---|---|---|"]
    for kind in KINDS:
        parts = cost(kind)
        run, whole = round(1000 * parts["Cloud Run"], 2), round(1000 * sum(parts.values()), 2)
        rows.append(f"| {kind.name} | ${run:.2f} | ${whole - run:.2f} | **${whole:.2f}** |")
    rows += [
        "",
        "| a month, whatever is said | |",
        "|---|---|",
        f"| the sweeper's call each minute | ${sweeping():.2f}; within the free tier, $0 |",
        f"| one ingress kept awake (`ingress_min_instances = 1`) | ${resting(INGRESS, MONTH):.0f} |",
        f"| one worker kept awake (`worker_min_instances = 1`) | ${resting(WORKER, MONTH):.0f} |",
        f"| a GB of transcripts; what was overwritten counts for 42 days more | ${STORED:.2f} |",
    ]
    return "\n".join(rows)


def test_readme_shows_what_the_prices_and_the_calls_make() -> None:
    assert table() in (ROOT / "README.md").read_text()


def test_a_plain_answer_is_priced_by_the_calls_that_it_makes() -> None:
    """Those that tests/doors/test_turns.py counts on the real turn."""
    counted: Counter[str] = importlib.import_module("test_turns").ANSWER
    plain = cost(Kind(name="", seconds=0, rounds=0, events=1))
    assert plain["Firestore"] == counted["conversations.read"] * READ + counted["conversations.write"] * WRITE
    assert plain["Cloud Storage"] == counted["transcripts.load"] * CLASS_B + counted["transcripts.commit"] * CLASS_A
    assert plain["Cloud Tasks"] == 2 * TASK


def test_the_model_is_not_in_it() -> None:
    assert set(cost(KINDS[0])) == {"Cloud Run", "Cloud Tasks", "Firestore", "Cloud Storage", "Logging"}


def test_a_tool_round_costs_one_write_more() -> None:
    without, with_one = (cost(Kind(name="", seconds=5, rounds=n, events=1)) for n in (0, 1))
    assert sum(with_one.values()) - sum(without.values()) == pytest.approx(CLASS_A)


if __name__ == "__main__":
    sys.stdout.write(table() + "\n")
