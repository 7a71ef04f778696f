"""What must hold of a driven Spool in the end, whatever happened to it: the promise, read off the workspace and the bucket."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from driving import CHANNEL, PERSON, Driven

from spool.slack import render
from spool.transcript import Turn


async def say(spool: Driven, text: str, *, thread_ts: str | None = None) -> str:
    """A person's message to the agent; its ts."""
    return await spool.slack.say(CHANNEL, PERSON, f"<@{spool.slack.installation.user}> {text}.", thread_ts=thread_ts)


async def come_to_rest(spool: Driven, *, within: float = 30) -> None:
    """Wait until every event is acked and every task done; those that wait for a time need not wait."""
    await spool.slack.settled(within=within)

    def at_rest(kind: str) -> Callable[[], bool]:
        def look() -> bool:
            spool.queue.hurry(kind)
            return not spool.queue.waiting(kind)

        return look

    for kind in ("msg", "tidy"):
        await spool.until(at_rest(kind), within=within)


async def judge(spool: Driven) -> list[Turn]:
    """Every message in one turn, every turn with one visible answer, part by part in its slots, in order; every charge at
    most once. All turns."""
    said, judged = spool.slack.messages(CHANNEL), list[Turn]()
    roots = [m["ts"] for m in said if m.get("thread_ts", m["ts"]) == m["ts"] and m.get("user") == PERSON]
    for root in roots:
        thread = spool.slack.messages(CHANNEL, root)
        turns = (await spool.transcript(root)).turns
        keys = [m.key for t in turns for m in t.messages]
        assert sorted(keys) == [f"{CHANNEL}:{m['ts']}" for m in thread if m.get("user") == PERSON]
        assert [t.outcome for t in turns] == ["answered"] * len(turns)
        assert recorded(turns) == [(m["ts"], *shown(m)) for m in thread if m.get("bot_id")], "its parts, and no stray"
        assert all("charged for" in t.reply.parts[0] for t in turns if t.reply), spool.answers(root)
        judged += turns
    charges = Counter(t["text"] for t in spool.traces() if t["what"] == "charge")
    assert set(charges.values()) == {1}, charges
    return judged


def recorded(turns: tuple[Turn, ...]) -> list[tuple[str | None, str, str]]:
    """Slot, text and block of each part, as the transcript says that they are shown."""
    pairs = [pair for t in turns for pair in zip(t.slots or (), t.reply.parts if t.reply else (), strict=True)]
    return [(slot, render.fallback(part), render.block(part)) for slot, part in pairs]


def shown(message: dict[str, Any]) -> tuple[str, str]:
    """Text and block of a message, as the workspace shows them."""
    return message["text"], message["blocks"][0]["text"]
