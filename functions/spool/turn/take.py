"""One attempt at one task, from the queue's call to the 200 that lets it go (R1).

take ─► answer ─┬─ answered, not for us ─► 200                      hand over:
                ├─ busy ─► baton, 200                               successor first,
                └─ mine ─► loop: deliver, resume, run, open, release  then the lease,
                           Reenter ─► admission again               then 200
"""

import asyncio
import logging

from spool.decision import decide
from spool.envelope import Envelope
from spool.errors import Missing, NotHandedOn, Refused, SpoolError
from spool.task import Attempt, Task
from spool.turn.admission import Admission
from spool.turn.book import Book
from spool.turn.delivery import CREATE_TRIES, deliver, tidy
from spool.turn.patience import persist
from spool.turn.run import load_agent, run
from spool.turn.signals import HandOver, Reenter
from spool.turn.slots import drop_strays
from spool.turn.work import GIVE_UP, Ports, Work

log = logging.getLogger(__name__)
REENTRIES = 8


async def take(task: Task, attempt: Attempt, *, ports: Ports) -> None:
    """Work on `task` until it may be acked. Raises `NotHandedOn` when only the queue's retry keeps it alive.

    Cancelling it (SIGTERM) hands over at the next await.
    """
    book = Book(ports.transcripts, key=task.conversation, clock=ports.clock)
    work = Work(ports=ports, task=task, attempt=attempt, me=ports.ids(), begun=ports.clock.now(), book=book)
    try:
        await _to_the_end(work)
    finally:
        await work.rest()


async def _to_the_end(work: Work) -> None:
    try:
        await (tidy(work) if work.task.kind == "tidy" else answer(work))
    except HandOver as e:
        work.say(logging.WARNING, f"handed over: {e}", event="handed_over", delay=e.delay)
        await _hand_over(work, e.delay)
    except asyncio.CancelledError:
        if current := asyncio.current_task():
            current.uncancel()
        work.say(logging.INFO, "handed over: told to stop", event="handed_over", delay=0)
        await _hand_over(work, 0)
    except Exception:  # an error of ours: the message must not pay for it
        log.exception("%s: an unexpected error", work.task.conversation, extra={"event": "bug"})
        await _after_a_bug(work)


async def _after_a_bug(work: Work) -> None:
    """Another attempt later may know better. A message that has waited too long for that gets the apology, by the same way."""
    if work.task.kind == "msg" and work.ports.clock.now() - work.task.first_seen > GIVE_UP:
        work.gives_up = True
        try:
            await answer(work)
        except Exception:  # not even the apology
            log.exception("%s: the apology failed as well", work.task.conversation)
        else:
            return
    await _hand_over(work, None)


async def answer(work: Work) -> None:
    """Admission, then the loop; admission again as often as ownership comes into doubt."""
    envelope = work.task.envelope
    if envelope is None:
        msg = "a message task carries an envelope"
        raise SpoolError(msg)
    admission = work.admission = _admission(work, envelope)
    for _ in range(REENTRIES):
        verdict = await admission.enter(work.book)
        if admission.without_lease:
            how = "on without a lease" if verdict == "mine" else verdict
            work.say(logging.WARNING, f"{how}, for the document does not answer: {admission.trouble}", event="without_lease")
        if verdict != "mine":
            await _leave(work, busy=verdict == "busy")
            return
        work.delivered.add(admission.document.delivered)
        heartbeat = asyncio.create_task(admission.heartbeat())
        try:
            await _loop(work, admission)
        except Reenter:
            continue
        else:
            return
        finally:
            heartbeat.cancel()
    msg = "ownership stayed in doubt"
    raise HandOver(msg)


def _admission(work: Work, envelope: Envelope) -> Admission:
    return Admission(
        work.ports.conversations,
        me=work.me,
        task=work.task,
        envelope=envelope,
        attempt=work.attempt,
        bot_turns=work.ports.policy.bot_turns,
        clock=work.ports.clock,
    )


async def _leave(work: Work, *, busy: bool) -> None:
    """Somebody else answers, or has answered: take my own strays along, and leave a baton where the answer is still to come."""
    if work.memory.ts:
        await work.book.load()
        await drop_strays(work)
    if busy:
        await _baton(work, None)


async def _loop(work: Work, admission: Admission) -> None:
    """Ask the transcript what to do next, until everything is delivered and the lease is given back."""
    while True:
        await drop_strays(work)
        transcript = work.book.transcript
        match decide(transcript, me=work.me, delivered=work.delivered, pending=admission.mail):
            case "deliver":
                await deliver(work)
            case "resume":
                await _resume(work, admission)
                await run(work)
            case "run":
                await run(work)
            case "open":
                await _open(work, admission)
            case "release" if (turn := work.turn.with_files(admission.mail)) is not work.turn:
                await work.write(turn)  # too late for the answer, in time for the history
            case "release":
                if await admission.release(transcript):
                    return


async def _open(work: Work, admission: Admission) -> None:
    """One turn for all messages that wait, sorted by ts. Where the agent's module is broken, they go on waiting."""
    if not work.gives_up:
        load_agent(work)
    known = set(work.book.transcript.keys)
    waiting = [await _whole(work, e) for key, e in admission.mail.items() if key not in known]
    opened = work.book.transcript.opened(waiting, owner=work.me, now=work.ports.clock.now())
    await work.own(opened, lookup=False)
    work.say(logging.DEBUG, f"opened for {len(waiting)} message(s)", event="opened", messages=len(waiting))


async def _resume(work: Work, admission: Admission) -> None:
    """Go on with another's open turn: a new epoch first, its calls in doubt on record (R4, R5)."""
    loaded = None if work.gives_up else load_agent(work)
    turn = work.turn.taken_over(
        by=work.me,
        died=admission.took and work.turn.tag not in work.owned,
        once=lambda name: loaded is None or loaded.semantics(name) == "at_most_once",
    )
    await work.own(work.book.transcript.with_last(turn), lookup=True)
    text = f"taken over: epoch {turn.epoch}, attempt {turn.attempts}, {len(turn.unknown)} call(s) in doubt"
    fields = {"epoch": turn.epoch, "attempts": turn.attempts, "doubts": len(turn.unknown)}
    work.say(logging.INFO, text, event="taken_over", **fields)


async def _whole(work: Work, envelope: Envelope) -> Envelope:
    """The message with the text that the envelope had to cut; as it came, where Slack does not give more."""
    if not envelope.cut:
        return envelope
    try:
        return await persist(lambda: work.ports.chat.whole(envelope), clock=work.ports.clock)
    except (Missing, Refused, HandOver) as e:
        work.say(logging.WARNING, f"read no more than the first part of {envelope.key}: {e}")
        return envelope


async def _baton(work: Work, delay: float | None) -> None:
    """A task that carries the message on. `delay` None: as long as a busy conversation, or trouble, is given."""
    successor = work.task.baton(after=work.me)
    seconds = successor.busy_delay if delay is None else delay
    await persist(lambda: work.ports.tasks.create(successor, delay=seconds), clock=work.ports.clock, tries=CREATE_TRIES)


async def _hand_over(work: Work, delay: float | None) -> None:
    """The successor first, then the lease, then the ack. Raises `NotHandedOn`; the lease is given back all the same."""
    failed: HandOver | None = None
    try:
        await _baton(work, delay)
    except HandOver as e:
        failed = e
    if work.admission:
        await work.admission.give_up()
    if failed:
        msg = f"{work.task.conversation}: no successor could be created: {failed}"
        raise NotHandedOn(msg)
