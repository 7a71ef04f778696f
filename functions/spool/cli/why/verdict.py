"""What will happen next to a message, in one plain sentence for whoever is on call. Decided from what was read alone.

the transcript cannot be read ─► unreadable, too new
a turn has the message        ─► running, stopped, waiting    while it is open
                                 answered, failed, cancelled, undeliverable; showing, stopped, waiting until it is shown
no turn has it                ─► waiting, stopped, queued; answered, failed where only a record is left; unknown
"""

from dataclasses import replace

from spool.cli.why.found import Found, Held, held, is_delivered
from spool.conversation import HEARTBEAT_SECONDS
from spool.evidence import Queued
from spool.transcript import MAX_ATTEMPTS, Turn

SWEPT = 150.0
"""Seconds after a lease's last heartbeat within which the sweeper finds it: 60 it holds, 30 are waited, a sweep each minute."""

ENDED = ("answered", "failed", "cancelled", "undeliverable", "unknown")
"""How it stands when nothing more will happen by itself."""

MINUTES, HOURS, DAYS = 100, 6000, 200_000
"""Seconds from which on a duration is told in them."""

Verdict = tuple[str, str]


def verdict(found: Found) -> Verdict:
    """A word for how it stands, and the sentence."""
    if found.too_new:
        return "too new", f"It waits, looking again every 2 minutes, for a deployment that can read it: {found.too_new}."
    turn = found.turn
    if found.role == "conversation" and found.waiting and not (turn and turn.state == "open"):
        key = found.waiting[0]
        state, sentence = verdict(replace(found, role="message", link=replace(found.link, ts=key.partition(":")[2])))
        return state, f"{_count(len(found.waiting), 'message')} without a turn, the first {key}. {sentence}"
    if turn:
        state, sentence = _of_open(found, turn) if turn.state == "open" else _of_done(found, turn)
    else:
        state, sentence = _on_record(found) or _in_line(found) or _never_came(found)
    if found.unreadable:
        sentence = f"The transcript cannot be read, and is left as it is ({found.unreadable}). {sentence}"
        state = "unreadable" if state == "unknown" else state
    if found.serving is False and state not in ENDED:
        sentence += " No `spool dev` runs on this state directory: until one does, nothing happens."
    return state, sentence


def seconds(value: float) -> str:
    """A duration for people: 14 s, 2.5 min, 2.5 h, 4 days."""
    size = abs(value)
    if size < MINUTES:
        return f"{size:.0f} s"
    if size < HOURS:
        return f"{size / 60:.1f} min".replace(".0 ", " ")
    return f"{size / 3600:.1f} h" if size < DAYS else f"{size / 86400:.0f} days"


# ---- a turn has it


def _of_open(found: Found, turn: Turn) -> Verdict:
    lease = held(found.seen)
    if lease and lease.holds:
        who = "" if lease.owner == turn.owner else " (a new one: it takes the turn over)"
        again = f", after {turn.attempts} of at most {MAX_ATTEMPTS} take-overs without progress" if turn.attempts else ""
        return _owner_is_gone(found) or ("running", f"A worker{who} is at work on it{again}; {_heard(lease)}.")
    if lease:
        return _ran_out(found, lease)
    if waits := _next(found):
        how = "was handed over" if found.seen else f"is open{_no_document(found)}"
        return "waiting", f"Its turn {how}, and goes on where it stopped: {waits}."
    if not found.document_read:
        return "open", f"Its turn is open; whether a worker is at work on it is not known{_no_document(found)}."
    takes_it_up = "Any new message in the thread takes the turn up again"
    return "stopped", f"Nobody works on it{_no_document(found)}, and {_no_task(found)}. {takes_it_up}."


def _of_done(found: Found, turn: Turn) -> Verdict:
    if turn.outcome == "undeliverable":
        return "undeliverable", (
            "Slack refuses to show the answer: the channel is archived, the agent was removed, or its token was revoked. "
            f"The reply is kept{_at(found)}. Nobody tries again: put that right, and ask again."
        )
    if not is_delivered(found, turn):
        return _showing(found)
    if turn.outcome == "failed":
        return "failed", (
            "It ended with the apology, and nobody tries again. Why is in the log, as an ERROR of this conversation; the "
            f"turn is kept{_at(found)}. To have it tried again, ask again."
        )
    if turn.outcome == "cancelled":
        return "cancelled", f"A person stopped it.{_still_queued(found)}"
    return "answered", f"Answered, in {_count(len(turn.slots or ()), 'message')}.{_still_queued(found)}"


def _showing(found: Found) -> Verdict:
    """The reply is on record, but nothing says that Slack shows it."""
    lease = held(found.seen)
    if lease and lease.holds:
        return _owner_is_gone(found) or ("showing", f"Its reply is on record, and a worker shows it; {_heard(lease)}.")
    if lease:
        return _ran_out(found, lease, done="Its reply is on record. ")
    if waits := _next(found):
        return "waiting", f"Its reply is on record and will be shown: {waits}."
    return "answered", (
        f"Its reply is on record; whether Slack shows it is not{_no_document(found)}: look at the messages below. "
        "Any new message in the thread shows it again, the same text in the same place."
    )


# ---- no turn has it


def _on_record(found: Found) -> Verdict | None:
    """It came to its end, and only a record of that is left."""
    document, message = found.document, found.message
    if found.records:
        return "failed", f"It was given up: {found.records[0]} has its turn. To have it tried again, ask again."
    if found.transcript and message in found.transcript.archived_keys:
        return "answered", "Answered, in a turn that was archived."
    if document and message in document.answered:
        return "answered", (
            "Answered, as the conversation's document says; the transcript that held its turn was deleted or replaced since."
        )
    return None


def _in_line(found: Found) -> Verdict | None:
    """It waits for a turn."""
    lease, waits = held(found.seen), _next(found)
    if lease and lease.holds and found.in_inbox and not _owner_is_gone(found):
        and_else = f" Should that fail, {waits}." if waits else ""
        return "waiting", f"It waits in the inbox of the worker that is at work on the thread, and comes right after.{and_else}"
    if lease and not lease.holds and (found.in_inbox or waits):
        return _ran_out(found, lease)
    if waits:
        return "queued", f"It has not been begun: {waits}."
    if found.in_inbox:
        left = f"It waits in the inbox, nobody works on the thread, and {_no_task(found)}"
        return "stopped", f"{left}. Any new message in the thread takes it along."
    return None


def _never_came(found: Found) -> Verdict:
    if found.role == "conversation":
        return "unknown", _no_transcript(found)
    known = (
        f"the thread {found.key} is known, this message of it is not"
        if found.transcript or found.seen
        else f"{found.place} has no trace of it"
    )
    heard = "The log names it, see below, but no turn has it: " if found.logs else "It never arrived here: "
    queue = "" if found.tasks_whole else " It may also wait in the queue, which could not be read whole."
    queue += "" if found.document_read else " It may also wait in the inbox, which could not be read."
    dev = f" No `spool dev` runs on {found.place}: is that the right SPOOL_STATE_DIR?" if found.serving is False else ""
    return "unknown", (
        f"{heard}{known}. Either functions/policy.py does not listen to it (it names nobody, a bot wrote it, or it is a reply "
        "in a thread without the agent), or Slack did not deliver it: then see the Request URL, and the ingress' log of that "
        f"time for 401 and 503.{queue}{dev}"
    )


def _no_transcript(found: Found) -> str:
    if not found.document or not found.document.answered:
        return f"Nothing is known of this conversation in {found.place}."
    count, last = len(found.document.answered), found.document.answered[-1]
    return f"Its transcript is gone. The conversation's document knows {_count(count, 'answered message')}, the last {last}."


# ---- words


def _owner_is_gone(found: Found) -> Verdict | None:
    """A lease that still holds, though its owner is gone: the queue has begun a later attempt of the owner's task."""
    if found.serving is False:
        return "stopped", f"Its worker ended with `spool dev`.{_goes_on(found)}"
    lease = held(found.seen)
    task = next((q for q in found.tasks if lease and q.name == lease.task), None)
    if lease is None or task is None or task.attempts <= lease.retry + 1:
        return None
    return "stopped", f"Attempt {lease.retry + 1} of its worker is over.{_goes_on(found)}"


def _goes_on(found: Found) -> str:
    waits = _next(found)
    return f" The queue goes on with it: {waits}." if waits else ""


def _ran_out(found: Found, lease: Held, *, done: str = "") -> Verdict:
    since = lease.age or 0.0
    heard = f"the worker was last heard from {_ago(lease)}, and its lease ran out {seconds(lease.left)} ago"
    swept = (
        f" The sweeper finds it within {seconds(SWEPT - since)}."
        if since <= SWEPT
        else " The sweeper should have found it by now: is the worker's POST /sweep called each minute, and answered 200?"
    )
    return "stopped", f"{done}Nobody works on it: {heard}.{_goes_on(found)}{'' if found.serving is False else swept}"


def _next(found: Found) -> str:
    """When a task that carries it is tried; empty where none is known."""
    if not found.carriers:
        return ""
    first = min(found.carriers, key=lambda q: q.due)
    name = "its baton" if first.task and first.task.hop else "its task"
    return f"{name} is {_due(first, found.now)}{_tries(first)}"


def _due(queued: Queued, now: float) -> str:
    return f"due in {seconds(queued.due - now)}" if queued.due > now else f"due since {seconds(now - queued.due)}"


def _tries(queued: Queued) -> str:
    if not queued.attempts:
        return ", not tried yet"
    status = f", the last one answered {queued.previous}" if queued.previous else ""
    return f", tried {_count(queued.attempts, 'time')}{status}"


def _still_queued(found: Found) -> str:
    if not found.carriers:
        return " Nothing more happens."
    more = len(found.carriers)
    they = "is still in the queue: it finds that, and ends" if more == 1 else "are still in the queue: they find that, and end"
    return f" {_count(more, 'task')} of it {they}."


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _no_task(found: Found) -> str:
    return "no task in the queue carries it" if found.tasks_whole else "the queue could not be read whole"


def _no_document(found: Found) -> str:
    if not found.document_read:
        return " (the conversation's document could not be read: see the note)"
    return "" if found.seen else " (the conversation's document is gone, which costs time and no answer)"


def _at(found: Found) -> str:
    return f" in {', '.join(found.records)}" if found.records else " in the transcript"


def _heard(lease: Held) -> str:
    late = (lease.age or 0.0) > 2 * HEARTBEAT_SECONDS
    rule = f", though it should be every {seconds(HEARTBEAT_SECONDS)}: it may be dead" if late else ""
    return f"it was heard from {_ago(lease)}{rule}"


def _ago(lease: Held) -> str:
    return "just now" if lease.age is None else f"{seconds(lease.age)} ago"
