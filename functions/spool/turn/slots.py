"""The messages that carry a turn's answer: reserved before it is known, never adopted from an older epoch (R3, R4)."""

import logging

from spool.decision import Reserved, is_garbage
from spool.errors import Ambiguous, Missing, Refused, Throttled
from spool.transcript import Turn
from spool.turn.memory import Memory
from spool.turn.patience import pause, persist
from spool.turn.signals import HandOver
from spool.turn.work import Work

RESERVE_TRIES = 6


async def reserve(work: Work, upto: int, *, memory: Memory) -> None:
    """Have a message of this epoch for each of the parts before `upto` that the transcript names no slot for, in order.

    A post without a clear answer is never repeated blindly: the next round looks what is there first.
    Raises `HandOver` when patience ends, `Refused` when Slack refuses for good.
    """
    turn, chat, key = work.turn, work.ports.chat, work.task.conversation
    for n in range(RESERVE_TRIES + upto):
        if memory.lookup and memory is work.memory:
            await clean(work, memory=memory)
        if memory is not work.memory:
            return  # the turn, or its epoch, is another's by now, or this attempt is over
        missing = [part for part in range(turn.kept, upto) if part not in memory.ts]
        if not missing:
            return
        try:
            memory.ts[missing[0]] = await chat.reserve(key, tag=turn.tag, epoch=turn.epoch, part=missing[0])
        except Throttled as e:  # not executed
            await work.ports.clock.sleep(pause(e, n))
        except Ambiguous:
            memory.messy = memory.lookup = True
            await work.ports.clock.sleep(1)
    msg = "no message could be reserved for the answer"
    raise HandOver(msg)


async def clean(work: Work, *, memory: Memory) -> None:
    """Look at what the turn has posted: garbage goes; of this epoch one message per part stays, in Slack's order, no gap."""
    turn, transcript = work.turn, work.book.transcript
    found = await find(work, turn.tag)
    if found is None:
        memory.messy, memory.lookup = True, False
        return
    current = [r for r in found if r.epoch == turn.epoch and not is_garbage(r, transcript) and r.ts not in (turn.slots or ())]
    mine = _in_order(current, turn)
    for r in found:
        if is_garbage(r, transcript) or (turn.owner == work.me and r in current and r.ts not in mine.values()):
            await delete(work, r.ts)
    if turn.owner == work.me:
        memory.ts, memory.lookup = mine, False


def _in_order(reserved: list[Reserved], turn: Turn) -> dict[int, str]:
    """One message per part, from the first part without a slot on; a late part that stands before its predecessor is none."""
    part, mine = turn.kept, dict[int, str]()
    last = (turn.slots or ())[part - 1] if part else ""
    while fitting := [r.ts for r in reserved if r.part == part and r.ts > (last or "")]:
        last = mine[part] = fitting[0]
        part += 1
    return mine


async def find(work: Work, tag: str) -> list[Reserved] | None:
    """What turn `tag` has posted, by ts; None where Slack refuses to tell: an answer is not given up for want of a look."""
    chat, key = work.ports.chat, work.task.conversation
    try:
        return sorted(await persist(lambda: chat.find(key, tag=tag), clock=work.ports.clock), key=lambda r: r.ts)
    except Refused as e:
        work.say(logging.WARNING, f"the thread cannot be read, strays may stay: {e}")
        return None


async def delete(work: Work, ts: str) -> None:
    """Delete a stray. Where Slack refuses it stays: no answer waits for that."""
    try:
        await persist(lambda: work.ports.chat.delete(work.task.conversation, ts), clock=work.ports.clock)
    except Refused as e:
        work.say(logging.WARNING, f"a stray message stays: {e}")


async def drop_strays(work: Work) -> None:
    """Delete what I reserved and the transcript in hand calls garbage."""
    memory = work.memory
    for part, ts in list(memory.ts.items()):
        if is_garbage(Reserved(ts=ts, tag=memory.tag, epoch=memory.epoch, part=part), work.book.transcript):
            await delete(work, ts)
            del memory.ts[part]


async def show_progress(work: Work, text: str, *, memory: Memory) -> None:
    """Tell the people what is going on, in the first slot. Never answer text; an ambiguous one spoils the message as a slot."""
    try:
        await work.ports.chat.fill(work.task.conversation, memory.ts[0], text)
    except (Missing, Refused, Throttled):
        pass  # gone: delivery reserves anew; refused, or not executed: it was only progress
    except Ambiguous:
        memory.tainted = memory.messy = True
