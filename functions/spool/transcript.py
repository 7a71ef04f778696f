"""The transcript: all turns of a conversation, and the only truth about them.

One line of JSON per conversation, replaced as a whole and only if nobody else replaced it first. Everything here is a
value: a change is a new transcript. What to do next is decided from it in `spool.decision`; what the model reads of it is
`spool.history`.

    Transcript ─┬─ Turn t0   messages ─► steps (pydantic-ai messages) ─► reply ─► slots (Slack ts)
                ├─ Turn t1   done
                └─ Turn t2   open: owner, epoch, the journal so far
"""

import functools
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import pydantic
import pydantic_ai
import pydantic_core
from pydantic_ai.messages import ModelMessage, ModelResponse, ToolCallPart
from pydantic_core import PydanticSerializationError

from spool.conversation import Mark
from spool.envelope import ConversationKey, Envelope, File, new_files
from spool.errors import TooNew, Unreadable

SCHEMA = 1
WRITER = "spool 0.1.0"
TITLE_LENGTH = 80
NESTING = 20
"""Levels of JSON around a tool's return in a transcript."""

RESEMBLANCE = 20_000
_MENTION = re.compile(r"<@[^<>]*>")
MAX_ATTEMPTS = 5
"""Take-overs without a new step after which a turn ends with the apology."""

Outcome = Literal["answered", "failed", "cancelled", "undeliverable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one person said."""

    key: str
    ts: str
    user: str
    text: str
    files: tuple[File, ...] = ()

    @classmethod
    def of(cls, envelope: Envelope) -> "Message":
        return cls(key=envelope.key, ts=envelope.ts, user=envelope.user, text=envelope.text, files=envelope.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a turn shows: one Slack message per part, in order."""

    parts: tuple[str, ...]
    render: Literal["blocks", "plain"] = "blocks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run of the agent that answers one or more messages. The fields are described in README, "The transcript"."""

    id: str
    messages: tuple[Message, ...]
    state: Literal["open", "done"] = "open"
    outcome: Outcome | None = None
    owner: str
    epoch: int = 1
    attempts: int = 0
    messy: bool = False
    steps: tuple[ModelMessage, ...] = ()
    unknown: tuple[str, ...] = ()
    reply: Reply | None = None
    slots: tuple[str | None, ...] | None = None
    delivered: bool = False
    model: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict[str, int])
    cost_usd: float | None = None
    revision: str | None = None
    instructions: str | None = None
    started_at: float = 0.0
    finished_at: float | None = None

    @property
    def tag(self) -> str:
        """The turn's name outside the transcript: ids start anew when a transcript was deleted, message keys do not."""
        return f"{self.id}:{self.messages[0].key}"

    @property
    def mark(self) -> Mark:
        return (self.id, self.owner)

    @property
    def only_bots(self) -> bool:
        """No person asked for this turn."""
        return all(m.user.startswith("B") for m in self.messages)

    @property
    def kept(self) -> int:
        """How many of the first parts have their slot recorded."""
        slots = self.slots or (None,)
        return slots.index(None) if None in slots else len(slots)

    @property
    def unanswered(self) -> tuple[ToolCallPart, ...]:
        """The calls of the last response, while their returns are not journalled."""
        last = self.steps[-1] if self.steps else None
        return tuple(last.tool_calls) if isinstance(last, ModelResponse) else ()

    @property
    def in_doubt(self) -> tuple[ToolCallPart, ...]:
        """The calls that nobody knows to have happened or not."""
        responses = (s for s in self.steps if isinstance(s, ModelResponse))
        return tuple(c for r in responses for c in r.tool_calls if c.tool_call_id in self.unknown)

    def with_files(self, mail: Mapping[str, Envelope]) -> "Turn":
        """The turn with the files that a second event of one of its messages brought."""
        messages = tuple(
            replace(m, files=m.files + new_files(m.files, mail[m.key].files)) if m.key in mail else m for m in self.messages
        )
        return self if messages == self.messages else replace(self, messages=messages)

    def taken_over(self, *, by: str, died: bool, once: Callable[[str], bool]) -> "Turn":
        """The open turn under a new owner (protocol: RESUME).

        died: its owner died or hangs, which counts as an attempt; an orderly hand-over does not.
        once: tells of a tool's name whether it runs at most once; its unanswered calls become unknown.

        The second death in a row of a turn with several messages keeps only the first of them: if one is poison, the others
        must not share its fate. They come back by their own tasks.
        """
        turn = self
        if died and turn.attempts >= 1 and len(turn.messages) > 1:
            turn = replace(turn, messages=turn.messages[:1], attempts=0)
        elif died:
            turn = replace(turn, attempts=turn.attempts + 1)
        lost = [c.tool_call_id for c in self.unanswered if once(c.tool_name) and c.tool_call_id not in self.unknown]
        return replace(turn, owner=by, epoch=self.epoch + 1, slots=None, messy=True, unknown=(*self.unknown, *lost))

    def reclaimed(self, part: int, *, by: str) -> "Turn":
        """The finished turn whose slot `part` is gone: a new epoch; the slots before it may be visible and are kept."""
        slots = self.slots or ()
        return replace(self, owner=by, epoch=self.epoch + 1, messy=True, slots=slots[:part] + (None,) * (len(slots) - part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a list of transcripts shows without reading them; kept as the object's metadata."""

    title: str
    turns: int
    last_ts: str
    last_user: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """All turns of one conversation. `archive`, `archived_keys` and `participation` are carried along unread."""

    schema: int = SCHEMA
    writer: str = WRITER
    pydantic_ai: str = pydantic_ai.__version__
    team: str
    channel: str
    thread_ts: str
    title: str = ""
    turns: tuple[Turn, ...] = ()
    archive: Mapping[str, Any] = field(default_factory=dict[str, Any])
    archived_keys: tuple[str, ...] = ()
    participation: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def empty(cls, key: ConversationKey) -> "Transcript":
        """The transcript of a conversation that has none yet."""
        return cls(team=key.team, channel=key.channel, thread_ts=key.thread_ts)

    @property
    def last(self) -> Turn | None:
        return self.turns[-1] if self.turns else None

    @property
    def keys(self) -> list[str]:
        """The keys of all messages that belong to a turn: the dedup set, for as long as the transcript lives."""
        return [*self.archived_keys, *(m.key for t in self.turns for m in t.messages)]

    def with_last(self, turn: Turn) -> "Transcript":
        return replace(self, turns=(*self.turns[:-1], turn))

    def opened(self, envelopes: Collection[Envelope], *, owner: str, now: float) -> "Transcript":
        """A new turn for these messages, oldest first; the turn before it is on record as delivered (protocol: OPEN)."""
        messages = tuple(Message.of(e) for e in sorted(envelopes, key=lambda e: e.ts))
        turn = Turn(id=f"t{len(self.turns)}", messages=messages, owner=owner, started_at=now)
        before = (*self.turns[:-1], replace(self.turns[-1], delivered=True)) if self.turns else ()
        return replace(
            self,
            turns=(*before, turn),
            title=self.title or _title(messages[0].text),
            writer=WRITER,
            pydantic_ai=pydantic_ai.__version__,
        )

    @property
    def summary(self) -> Summary:
        last = self.turns[-1].messages[-1] if self.turns else None
        return Summary(
            title=self.title, turns=len(self.turns), last_ts=last.ts if last else "", last_user=last.user if last else ""
        )

    def dump(self) -> bytes:
        """One line of compact JSON. Whatever a tool returned: what JSON cannot carry is written as text that resembles it."""
        stored = _stored().model_construct(root=self)
        try:
            return stored.model_dump_json(fallback=repr).encode() + b"\n"
        except PydanticSerializationError:  # half a surrogate pair, such as os.listdir makes of a name that is no UTF-8
            value = stored.model_dump(mode="json", fallback=repr)
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace") + b"\n"

    @classmethod
    def load(cls, data: bytes) -> "Transcript":
        """The inverse of `dump`; reads every schema up to `SCHEMA`. Raises `TooNew`, `Unreadable`."""
        try:
            transcript = _stored().model_validate_json(data).root
        except pydantic.ValidationError as e:
            raise _unreadable(data, e) from None  # its text would quote what people said
        if transcript.schema > SCHEMA:
            raise _too_new(transcript.schema)
        return transcript


def storable(value: Any) -> Any:
    """The value itself where a transcript can hold it and be read again; else text that resembles it.

    Tools and models are strangers: a value may refuse to be written, or be nested or be a number such as no reader takes.
    """
    try:
        text = pydantic_core.to_json(value, fallback=repr, bytes_mode="base64")
        pydantic_core.from_json(b"[" * NESTING + text + b"]" * NESTING)
    except Exception:  # noqa: BLE001 - whatever a stranger's value does when it is looked at
        return _resembling(value)
    return value


def _resembling(value: Any) -> str:
    try:
        return repr(value)[:RESEMBLANCE]
    except Exception:  # noqa: BLE001 - the same
        return f"<{type(value).__name__}>"


def _title(text: str) -> str:
    line = " ".join(_MENTION.sub(" ", text).split())
    return line if len(line) <= TITLE_LENGTH else line[: TITLE_LENGTH - 1] + "…"


def _unreadable(data: bytes, error: pydantic.ValidationError) -> TooNew | Unreadable:
    """A file of a later schema, or with parts that only a later pydantic-ai knows, is too new; all else is no transcript."""
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        fields = cast("dict[str, Any]", found)
        schema = fields.get("schema")
        if isinstance(schema, int) and schema > SCHEMA:
            return _too_new(schema)
        written_by, mine = _version(fields.get("pydantic_ai")), _version(pydantic_ai.__version__)
        if schema == SCHEMA and written_by > mine:
            return TooNew(
                f"the transcript was written with pydantic-ai {fields['pydantic_ai']}, this is {pydantic_ai.__version__}"
            )
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, first["loc"])) or "the whole"
    return Unreadable(f"{len(data)} bytes that are no transcript of schema {SCHEMA}: {where}: {first['type']}")


def _too_new(schema: int) -> TooNew:
    return TooNew(f"the transcript has schema {schema}, this deployment reads up to {SCHEMA}: deploy the version that wrote it")


def _version(text: object) -> tuple[int, ...]:
    return tuple(int(p) for p in text.split(".") if p.isdigit()) if isinstance(text, str) else ()


@functools.cache
def _stored() -> type[pydantic.RootModel[Transcript]]:
    """Built at the first use, not at import. Bytes are base64, as in pydantic-ai's own adapter: as a model around the dataclass
    that holds for the untyped content of tool returns too."""

    class Stored(pydantic.RootModel[Transcript]):
        model_config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    return Stored
