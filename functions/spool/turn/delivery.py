"""DELIVER: show a finished turn in its slots. Any worker may do it, any number of times, with one result (R3)."""

import logging
from dataclasses import replace

from spool.decision import is_garbage
from spool.errors import BadBlocks, Missing, Refused
from spool.task import TIDY_DELAY
from spool.turn.finish import bury
from spool.turn.patience import persist
from spool.turn.slots import clean, delete, find, reserve
from spool.turn.work import Work

CREATE_TRIES = 8


async def deliver(work: Work) -> None:
    """Bring the last turn one step nearer to being shown; when it is, `work.delivered` says so.

    Raises `Reenter`, `HandOver`.
    """
    turn = work.turn
    if turn.outcome == "undeliverable":
        await _sweep_up(work)
        work.delivered.add(turn.mark)
        return
    try:
        if None in (turn.slots or ()):
            await _record_slots(work)
        missing = await _fill(work)
    except Refused as e:
        await _undeliverable(work, e)
        return
    if missing is None:
        await _sweep_up(work)
        work.delivered.add(work.turn.mark)
        _tell(work)
    elif missing >= 0:
        await _reclaim(work, missing)


def _tell(work: Work) -> None:
    """The one line of a turn that went well; its time is that of the message which this attempt carries."""
    turn, seconds = work.turn, round(work.ports.clock.now() - work.task.first_seen, 3)
    used = turn.usage
    work.say(
        logging.INFO,
        f"answered after {seconds} s",
        event="answered",
        seconds=seconds,
        rounds=used.get("requests"),
        tokens=used.get("input_tokens", 0) + used.get("output_tokens", 0),
        messages=len(turn.messages),
        outcome=turn.outcome,
        epoch=turn.epoch,
        model=turn.model,
        cost_usd=turn.cost_usd,
    )


async def _record_slots(work: Work) -> None:
    """Reserve what the finish could not, and put it on record before anything is shown."""
    if not (work.turn.owner == work.me and work.memory.is_of(work.turn) and not work.memory.tainted):
        await _reclaim(work, work.turn.kept)
    turn, memory = work.turn, work.memory
    slots = turn.slots or ()
    await reserve(work, len(slots), memory=memory)
    filled = tuple(s if s is not None else memory.ts[part] for part, s in enumerate(slots))
    await work.write(replace(turn, slots=filled, messy=turn.messy or memory.messy))


async def _fill(work: Work) -> int | None:
    """Show every part, in order; the first part whose message is gone, -1 to be asked again, None when all are shown."""
    turn, chat, key = work.turn, work.ports.chat, work.task.conversation
    reply = turn.reply
    for part, (text, slot) in enumerate(zip(reply.parts if reply else (), turn.slots or (), strict=True)):
        plain = reply is not None and reply.render == "plain"
        try:
            await persist(lambda s=str(slot), t=text, p=plain: chat.fill(key, s, t, plain=p), clock=work.ports.clock)
        except Missing:
            return part
        except BadBlocks as e:
            if plain or reply is None:
                raise
            work.say(logging.WARNING, f"shown in plain text: {e}")
            await work.write(replace(turn, reply=replace(reply, render="plain")))
            return -1
    return None


async def _reclaim(work: Work, part: int) -> None:
    """Take a new epoch before anything is posted for the slots from `part` on (R4)."""
    await work.own(work.book.transcript.with_last(work.turn.reclaimed(part, by=work.me)), lookup=True)


async def _undeliverable(work: Work, error: Refused) -> None:
    """Slack will never show it: on record as such, kept aside for a person, and the thread goes on.

    The slots before the first missing one stay on record, for they may be visible; what else was posted is garbage by that.
    """
    turn = work.turn
    await work.write(replace(turn, outcome="undeliverable", slots=(turn.slots or ())[: turn.kept], messy=True))
    work.say(logging.ERROR, f"undeliverable: {error}", event="undeliverable")
    await bury(work)


async def _sweep_up(work: Work) -> None:
    """Where strays are possible: delete those in sight, and come back when no older request can land any more."""
    turn = work.turn
    if turn.epoch > 1 or turn.messy:
        await clean(work, memory=work.memory)
        tidy = work.task.tidy(turn.tag)
        await persist(lambda: work.ports.tasks.create(tidy, delay=TIDY_DELAY), clock=work.ports.clock, tries=CREATE_TRIES)


async def tidy(work: Work) -> None:
    """A tidy task: whatever of the turn is garbage by now goes."""
    await work.book.load()
    for message in await find(work, work.task.tag) or ():
        if is_garbage(message, work.book.transcript):
            await delete(work, message.ts)
