"""FINISH: one commit that holds the reply and the slots that will carry it."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.usage import RunUsage

from spool.agents import Loaded
from spool.errors import Refused
from spool.transcript import Outcome, Reply
from spool.turn.memory import Memory
from spool.turn.signals import HandOver
from spool.turn.slots import reserve
from spool.turn.work import Work


async def apologise(work: Work, sentence: str, *, steps: list[ModelMessage] | None = None) -> None:
    """End the turn without an answer, visibly; what may have happened meanwhile is named, and a record is kept aside."""
    turn = work.turn if steps is None else replace(work.turn, steps=tuple(steps))
    doubts = [f"\n\nThis may or may not have happened: {_quoted(c.tool_name, c.args_as_json_str())}" for c in turn.in_doubt]
    await finish(work, work.ports.chat.parts(sentence + "".join(doubts)), outcome="failed", steps=list(turn.steps))
    work.say(logging.ERROR, f"given up: {sentence}", event="apology")
    await bury(work)


async def bury(work: Work) -> None:
    """Keep the turn under dead/, where whoever is on call finds what was not answered."""
    await work.book.bury(work.turn.id, replace(work.book.transcript, turns=(work.turn,)))


async def finish(
    work: Work, parts: tuple[str, ...], *, outcome: Outcome, steps: list[ModelMessage], loaded: Loaded | None = None
) -> None:
    """One commit that holds the reply and the slots that will carry it: from here on any worker shows the same.

    Raises `Reenter`.
    """
    await _requests_in_flight(work.memory)
    slots = await _slots(work, len(parts)) if outcome != "undeliverable" else ()
    if work.memory.refused:
        outcome, slots = "undeliverable", ()
    turn = replace(
        work.turn.with_files(work.mail),
        state="done",
        outcome=outcome,
        steps=tuple(steps),
        reply=Reply(parts=parts) if parts else None,
        slots=slots,
        messy=work.turn.messy or work.memory.messy or (outcome == "undeliverable" and bool(work.memory.ts)),
        finished_at=work.ports.clock.now(),
        revision=work.ports.revision or None,
        model=loaded.model_name if loaded else None,
        instructions=loaded.instructions if loaded else None,
        **_cost(steps),
    )
    await work.write(turn)
    if outcome == "undeliverable":
        work.say(logging.ERROR, f"undeliverable: {work.memory.refused}", event="undeliverable")
        await bury(work)


async def _requests_in_flight(memory: Memory) -> None:
    """Await them: a reservation is never cancelled, a progress text must not land on an answer."""
    in_flight = {t for t in (memory.reserving, memory.progress) if t}
    if in_flight:
        await asyncio.wait(in_flight)


async def _slots(work: Work, parts: int) -> tuple[str | None, ...]:
    """The reserved message of every part; None where there is none yet, or none that may be used: delivery reserves it."""
    memory = work.memory
    if not memory.tainted and not memory.refused:
        try:
            await reserve(work, parts, memory=memory)
        except Refused as e:
            memory.refused = e
        except HandOver as e:
            work.say(logging.WARNING, f"finished without every slot: {e}")
    return tuple(None if memory.tainted else memory.ts.get(part) for part in range(parts))


def usage(steps: tuple[ModelMessage, ...]) -> RunUsage:
    """What the turn has used so far, whoever ran it."""
    used = RunUsage()
    for step in steps:
        if isinstance(step, ModelResponse):
            used.requests += 1
            used.incr(step.usage)
    return used


def _cost(steps: list[ModelMessage]) -> dict[str, Any]:
    """The turn's `usage` and `cost_usd`; no cost where the model's price is unknown."""
    used = usage(tuple(steps))
    counts = {"requests": used.requests, "input_tokens": used.input_tokens, "output_tokens": used.output_tokens}
    return {"usage": counts, "cost_usd": None if used.cost is None else float(used.cost)}


def _quoted(name: str, args: str) -> str:
    """A call as inline code that its arguments cannot break out of."""
    text = f"{name}({args[:300]})".replace("`", "'").replace("\n", " ")
    return f"`{text}`"
