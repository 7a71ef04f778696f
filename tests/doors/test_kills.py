"""SIGKILL, for real: processes die at random moments, and every message is still answered once."""

import asyncio
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest
from driving import CHANNEL, PERSON, Driven, driven, is_alive

from emulated import Place

TURNS = {"local": 20, "google": 5}
PRECISE = {"local": 10, "google": 3}
"""How many; on the emulators each death costs the queue's backoff."""

VICTIMS = ("everything", "worker child", "worker master", "everything", "worker child")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


async def kill(spool: Driven, victim: str, running: int) -> None:
    if victim == "everything":
        await spool.kill_everything()
        await spool.start()
        return
    os.kill(running if victim == "worker child" else spool.pids("worker")[0], signal.SIGKILL)


async def is_open(spool: Driven, ts: str) -> bool:
    last = (await spool.transcript(ts)).last
    return last is not None and last.state == "open"


async def test_turns_survive_one_sigkill_each_at_a_random_moment(folder: Path, on: Place | None) -> None:
    rng, turns = random.Random(20), TURNS["google" if on else "local"]
    hit, gone = 0, list[bool]()
    async with driven(folder, on) as spool:
        for i in range(turns):
            ts = await spool.slack.say(CHANNEL, PERSON, f"<@{spool.slack.installation.user}> order {i}.")
            await spool.until(lambda i=i: [t for t in spool.traces() if f"order {i}." in t["text"]])
            running = next(t["pid"] for t in spool.traces() if f"order {i}." in t["text"])
            await asyncio.sleep(rng.random() * 0.65)  # anywhere in a turn of 0.7 s
            hit += await is_open(spool, ts)
            await kill(spool, VICTIMS[i % len(VICTIMS)], running)
            await spool.until(lambda ts=ts: len(spool.answers(ts)) == 1)
            gone.append(not is_alive(running))
        await spool.slack.settled()
        threads = {m["ts"]: str(m["text"]) for m in spool.slack.messages(CHANNEL) if m.get("user") == PERSON}
        answers = {text: spool.answers(ts) for ts, text in threads.items()}
        charges = Counter(t["text"] for t in spool.traces() if t["what"] == "charge")
    assert all(gone), "the process that ran the turn is gone"
    assert hit >= turns * 3 / 4, f"{hit} of {turns} kills hit an open turn"
    assert len(answers) == turns
    assert {len(a) for a in answers.values()} == {1}, answers
    assert not any("Sorry" in a[0] for a in answers.values()), answers
    assert set(charges.values()) == {1}, charges


async def test_messages_survive_the_death_of_everything_at_the_instant_of_their_200(folder: Path, on: Place | None) -> None:
    precise = PRECISE["google" if on else "local"]
    async with driven(folder, on, deliver=False, THINK="0.05") as spool:
        bot = spool.slack.installation.user
        threads = list[str]()
        for i in range(precise):
            text = f"<@{bot}> precise {i}."
            ts = await spool.slack.say(CHANNEL, PERSON, text)
            event = {"type": "app_mention", "user": PERSON, "text": text, "ts": ts, "channel": CHANNEL, "event_ts": ts}
            assert await spool.post_event(event, event_id=f"Ev{i}") == 200
            await spool.kill_everything()
            threads.append(ts)
            await spool.start()
        await spool.until(lambda: all(len(spool.answers(ts)) == 1 for ts in threads))
        charges = Counter(t["text"] for t in spool.traces() if t["what"] == "charge")
    assert len(charges) == precise
    assert set(charges.values()) == {1}, charges


async def test_nothing_outlives_spool_dev_when_it_is_killed_alone(folder: Path) -> None:
    async with driven(folder) as spool:
        await spool.until(lambda: len(spool.pids("worker")) == len(spool.pids("ingress")) == 2)  # a master and its child
        family = [*spool.pids("worker"), *spool.pids("ingress")]
        assert spool.process
        os.kill(spool.process.pid, signal.SIGKILL)
        await spool.until(lambda: not any(is_alive(pid) for pid in family), within=5)


async def test_a_reload_in_mid_turn_hands_the_turn_over_and_answers_it_once(folder: Path, on: Place | None) -> None:
    async with driven(folder, on, THINK="1") as spool:
        ts = await spool.slack.say(CHANNEL, PERSON, f"<@{spool.slack.installation.user}> order while reloading.")
        await spool.until(lambda: [t for t in spool.traces() if t["what"] == "thinking"])
        os.kill(spool.pids("worker")[0], signal.SIGTERM)
        await spool.until(lambda: len(spool.answers(ts)) == 1)
        last = (await spool.transcript(ts)).last
        charges = [t for t in spool.traces() if t["what"] == "charge"]
    assert last
    assert (last.outcome, last.attempts, last.unknown) == ("answered", 0, ())
    assert len({t["pid"] for t in spool.traces()}) == 2, "another process has finished it"
    assert len(charges) == 1
