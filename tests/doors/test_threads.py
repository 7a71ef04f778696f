"""A tool that is a plain function runs in a thread, which nothing but the end of its process stops."""

import os
import signal
from pathlib import Path

import pytest
from driving import CHANNEL, PERSON, driven


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_tool_in_a_thread_whose_process_ends_is_not_run_twice_and_the_answer_says_it_may_have_happened(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with driven(tmp_path, room="thread_room:agent", THINK="0.7") as spool:
        ts = await spool.slack.say(CHANNEL, PERSON, f"<@{spool.slack.installation.user}> one coffee")
        await spool.until(spool.traces)
        os.kill(spool.traces()[0]["pid"], number)
        await spool.until(lambda: spool.answers(ts))
        (answer,) = spool.answers(ts)
        turn = (await spool.transcript(ts)).turns[0]
        charges = [t for t in spool.traces() if t["what"] == "charge"]
    assert len(charges) == 1
    assert "it may have happened, and it may not" in answer
    assert (turn.outcome, len(turn.unknown)) == ("answered", 1)


async def test_a_tool_in_a_thread_that_is_left_alone_says_what_it_did(tmp_path: Path) -> None:
    async with driven(tmp_path, room="thread_room:agent", THINK="0.1") as spool:
        ts = await spool.slack.say(CHANNEL, PERSON, f"<@{spool.slack.installation.user}> one coffee")
        await spool.until(lambda: spool.answers(ts))
        assert spool.answers(ts) == ["the tool says: charged"]
