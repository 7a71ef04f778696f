"""Both functions on Google's backend, under load, while the worker is killed again and again: the promise itself."""

import asyncio
import os
import random
import signal
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from driving import Driven, driven
from judging import come_to_rest, judge, say
from queues import EmulatedQueue

from emulated import Place
from spool.console.faults import Fault

THREADS, MESSAGES = 50, 200
PACE = 0.2
"""Seconds between two messages: the load lasts as long as several kills."""

PAUSE = (1.0, 4.0)
"""Seconds that a worker has between its answering again and its next death."""

PATIENCE = 150.0


async def speak(spool: Driven, rng: random.Random) -> None:
    """So many messages in so many threads, in a random order; some ask for an answer of several parts."""
    roots, firsts = list[str](), {0, *rng.sample(range(1, MESSAGES), THREADS - 1)}
    for i in range(MESSAGES):
        what = "long" if i % 10 == 0 else "order"
        root = None if i in firsts else rng.choice(roots)
        ts = await say(spool, f"{what} {i}", thread_ts=root)
        roots += [] if root else [ts]
        await asyncio.sleep(PACE)


async def keep_killing(spool: Driven, rng: random.Random, kills: list[str]) -> None:
    """SIGKILL to the worker's child and to its master in turn, a while after it is back from the one before."""
    while True:
        await spool.until(lambda: len(spool.pids("worker")) == 2)  # a master and its child
        await asyncio.to_thread(until_healthy, spool)
        await asyncio.sleep(rng.uniform(*PAUSE))
        family = spool.pids("worker")
        victim = "child" if len(kills) % 2 == 0 else "master"
        os.kill(family[-1] if victim == "child" else family[0], signal.SIGKILL)
        kills.append(victim)


def until_healthy(spool: Driven) -> None:
    port = (spool.state_dir / "worker-port").read_text().strip()
    while True:  # the test's own patience ends it
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except OSError:
            continue


async def catch_up(spool: Driven, queue: EmulatedQueue) -> None:
    """Until every message is answered. A queue that finds nobody tries less and less often: here it need not wait so long.
    (Cloud Run keeps a request until an instance is there; nobody does that here.)"""
    await spool.slack.settled(within=PATIENCE)
    async with asyncio.timeout(PATIENCE):
        while await asyncio.to_thread(queue.waiting, "msg"):
            await asyncio.to_thread(queue.hurry_again, "msg", limit=16)
            await asyncio.sleep(1)


async def test_two_hundred_messages_are_answered_once_each_while_the_worker_is_killed_every_few_seconds(
    tmp_path: Path, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, kills, clock = random.Random(4), list[str](), asyncio.get_running_loop().time
    async with driven(tmp_path, place, room="long_room:agent", THINK="0.2") as spool:
        spool.slack.faults.add(Fault(method="events", kind="twice", times=0))
        began = clock()
        killing = asyncio.create_task(keep_killing(spool, rng, kills))
        try:
            await speak(spool, rng)
        finally:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
        await catch_up(spool, EmulatedQueue(place))
        took = clock() - began
        await come_to_rest(spool)
        turns = await judge(spool)
    resumed = sum(t.epoch > 1 for t in turns)
    with capsys.disabled():
        print(f"\n{MESSAGES} messages, {len(turns)} turns, {len(kills)} kills, {resumed} turns resumed, {took:.0f} s")  # noqa: T201 - for whoever reads
    assert sum(len(t.messages) for t in turns) == MESSAGES
    assert Counter(kills)["child"] >= 3
    assert Counter(kills)["master"] >= 3
    assert resumed >= len(kills) // 2, "the kills hit turns at work"
    assert sum(len(t.slots or ()) > 1 for t in turns) >= MESSAGES // 20
