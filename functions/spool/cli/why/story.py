"""The story of one message, as values: what was read of it goes in, what whoever is on call needs to know comes out.

Found ──► story ──► Story ──► printing (for people), asdict (--json)
            └─► verdict: how it stands, and what will happen next
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic_ai.messages import ModelRequest, ModelResponse, ToolCallPart, ToolReturnPart

from spool.cli.why.found import Found, Held, Role, held, is_delivered
from spool.cli.why.verdict import verdict
from spool.envelope import Envelope
from spool.evidence import Line, Queued, Version
from spool.slack.permalink import permalink
from spool.transcript import Message, Turn

CLOCKS = 5.0
"""Seconds by which a worker's clock and the bucket's may differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The message itself. text: only where content was asked for."""

    key: str
    ts: str
    user: str
    addressed: str | None
    files: int
    event_id: str | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A task that is in the queue. at_work: the lease names it, and no later attempt of it has begun."""

    name: str
    kind: str
    message: str
    hop: int
    due: float
    due_in: float
    attempts: int
    previous_status: int | None
    first_seen: float | None
    at_work: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call. ended: success, failed or denied, as its return says; "unknown": it may have happened; None: none yet."""

    tool: str
    id: str
    semantics: str | None
    ended: str | None
    arguments: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One model response and its calls."""

    model: str | None
    input_tokens: int
    output_tokens: int
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of the reply, and where it stands."""

    characters: int
    slot: str | None
    permalink: str | None
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnStory:
    """The turn that answers."""

    id: str
    tag: str
    state: str
    outcome: str | None
    messages: tuple[str, ...]
    owner: str
    epoch: int
    attempts: int
    messy: bool
    delivered: bool
    model: str | None
    revision: str | None
    started_at: float
    finished_at: float | None
    rounds: tuple[Round, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What `spool why` tells; `--json` prints it as it is. Times are epoch seconds, durations seconds.

    document: whether the conversation has one; None: it could not be read.
    """

    asked: str
    role: Role
    message: str
    permalink: str | None
    conversation: str | None
    state: str
    next: str
    event: Event | None
    tasks: tuple[Carried, ...]
    document: bool | None
    lease: Held | None
    inbox: tuple[str, ...]
    answered: bool
    turn: TurnStory | None
    commits: tuple[Version, ...]
    dead: tuple[str, ...]
    logs: tuple[Line, ...]
    notes: tuple[str, ...]


def story(found: Found, *, content: bool = False) -> Story:
    """All that is known of the message, and what will happen next. content: what people and models said as well."""
    document, key = found.document, found.key
    state, sentence = verdict(found)
    return Story(
        asked=found.asked,
        role=found.role,
        message=found.message,
        permalink=_address(found),
        conversation=str(key) if key else None,
        state=state,
        next=sentence,
        event=_event(found, content=content),
        tasks=tuple(_carried(q, found) for q in found.tasks),
        document=document is not None if found.document_read else None,
        lease=held(found.seen),
        inbox=tuple(document.inbox) if document else (),
        answered=bool(document and found.message in document.answered),
        turn=_turn(found, content=content),
        commits=tuple(_commits(found)),
        dead=tuple(found.dead),
        logs=tuple(found.logs),
        notes=tuple(found.notes),
    )


def _address(found: Found) -> str | None:
    channel, _, ts = found.message.partition(":")
    return permalink(channel, ts, thread_ts=found.key.thread_ts, site=found.link.site) if ts and found.key else None


def _event(found: Found, *, content: bool) -> Event | None:
    said: Message | Envelope | None = found.envelope
    if turn := found.turn:
        said = next((m for m in turn.messages if m.key == found.message), said)
    if said is None:
        return None
    came = found.envelope or (said if isinstance(said, Envelope) else None)
    return Event(
        key=said.key,
        ts=said.ts,
        user=said.user,
        addressed=came.addressed if came else None,
        files=len(said.files),
        event_id=came.event_id or None if came else None,
        text=said.text if content else None,
    )


def _carried(queued: Queued, found: Found) -> Carried:
    task, lease = queued.task, held(found.seen)
    return Carried(
        name=queued.name,
        kind=task.kind if task else "unknown",
        message=task.envelope.key if task and task.envelope else "",
        hop=task.hop if task else 0,
        due=queued.due,
        due_in=queued.due - found.now,
        attempts=queued.attempts,
        previous_status=queued.previous,
        first_seen=task.first_seen if task else None,
        at_work=bool(lease and lease.holds and lease.task == queued.name and queued.attempts <= lease.retry + 1),
    )


def _commits(found: Found) -> Iterator[Version]:
    """Those made while the turn was open, as far as they are kept, and the one that counts now."""
    turn = found.turn
    for version in found.versions:
        ended = turn.finished_at if turn and turn.finished_at else found.now
        during = turn is None or turn.started_at - CLOCKS <= version.updated <= ended + CLOCKS
        if version.live or during:
            yield version


def _turn(found: Found, *, content: bool) -> TurnStory | None:
    turn = found.turn
    if turn is None:
        return None
    return TurnStory(
        id=turn.id,
        tag=turn.tag,
        state=turn.state,
        outcome=turn.outcome,
        messages=tuple(m.key for m in turn.messages),
        owner=turn.owner,
        epoch=turn.epoch,
        attempts=turn.attempts,
        messy=turn.messy,
        delivered=is_delivered(found, turn) and turn.outcome != "undeliverable",
        model=turn.model,
        revision=turn.revision,
        started_at=turn.started_at,
        finished_at=turn.finished_at,
        rounds=tuple(_rounds(turn, found, content=content)),
        parts=tuple(_parts(turn, found, content=content)),
    )


def _rounds(turn: Turn, found: Found, *, content: bool) -> Iterator[Round]:
    requests = (s for s in turn.steps if isinstance(s, ModelRequest))
    returns = {p.tool_call_id: p.outcome for r in requests for p in r.parts if isinstance(p, ToolReturnPart)}
    for step in turn.steps:
        if isinstance(step, ModelResponse):
            calls = tuple(_call(c, turn, found, returns, content=content) for c in step.tool_calls)
            used = step.usage
            yield Round(model=step.model_name, input_tokens=used.input_tokens, output_tokens=used.output_tokens, calls=calls)


def _call(call: ToolCallPart, turn: Turn, found: Found, returns: Mapping[str, str], *, content: bool) -> Call:
    ended = "unknown" if call.tool_call_id in turn.unknown else returns.get(call.tool_call_id)
    semantics = found.semantics(call.tool_name) if found.semantics else None
    arguments = call.args_as_json_str() if content else None
    return Call(tool=call.tool_name, id=call.tool_call_id, semantics=semantics, ended=ended, arguments=arguments)


def _parts(turn: Turn, found: Found, *, content: bool) -> Iterator[Part]:
    texts = turn.reply.parts if turn.reply else ()
    slots = turn.slots or ()
    for n in range(max(len(texts), len(slots))):
        text, slot = texts[n] if n < len(texts) else "", slots[n] if n < len(slots) else None
        where = (
            permalink(found.link.channel, slot, thread_ts=found.key.thread_ts, site=found.link.site)
            if slot and found.key
            else None
        )
        yield Part(characters=len(text), slot=slot, permalink=where, text=text if content else None)
