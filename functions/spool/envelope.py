"""One message to the agent: verified, in our words, small enough for a queue.

An envelope is made by the ingress (`spool.slack.events`) and is all that the rest of Spool ever knows of a Slack event.
Light on purpose: the ingress imports it within its cold start.
"""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from json.encoder import encode_basestring_ascii as quote
from typing import Any, Literal, cast

from spool.errors import BadInput

Addressed = Literal["mention", "dm", "thread", "channel"]
"""Why the agent may answer: it was named; it was written to directly; it may take part in this thread (only the worker
knows); the channel's policy says so."""

ADDRESSED: tuple[Addressed, ...] = ("mention", "dm", "thread", "channel")
TEXT_LIMIT = 40_000
"""Characters of gathered text that an envelope carries; what is longer is cut, marked, and read again by the worker."""

_FORMS = {
    "team": re.compile(r"[TE][A-Z0-9]{1,30}"),
    "channel": re.compile(r"[CDG][A-Z0-9]{1,30}"),
    "thread_ts": re.compile(r"[0-9]{10}\.[0-9]{6}"),
}
_WHOLE = re.compile("/".join(form.pattern for form in _FORMS.values()))
"""All three at once: every message in makes a key, and only one that is wrong needs to be told which part is."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ConversationKey:
    """Names a conversation: the key of its transcript and of its lease.

    `thread_ts` is unique per channel only, so team and channel belong to it. Each part has Slack's own form, checked
    here: it becomes part of a path. Raises `BadInput`.
    """

    team: str
    channel: str
    thread_ts: str

    def __post_init__(self) -> None:
        if isinstance(self.thread_ts, str) and _WHOLE.fullmatch(f"{self.team}/{self.channel}/{self.thread_ts}"):  # pyright: ignore[reportUnnecessaryIsInstance] - JSON
            return
        for name, form in _FORMS.items():
            value = getattr(self, name)
            if not isinstance(value, str) or not form.fullmatch(value):
                msg = f"{name} must look like {form.pattern}, but is {value!r:.80}"
                raise BadInput(msg)

    def __str__(self) -> str:
        return f"{self.team}/{self.channel}/{self.thread_ts}"

    @classmethod
    def parse(cls, text: str) -> "ConversationKey":
        """`team/channel/thread_ts`, as commands and logs write it."""
        parts = text.split("/")
        if len(parts) != len(_FORMS):
            msg = f"a conversation is named like T012AB3CD/C012AB3CD/1715000000.000100, not {text!r:.80}"
            raise BadInput(msg)
        return cls(team=parts[0], channel=parts[1], thread_ts=parts[2])

    @property
    def id(self) -> str:
        """The conversation's document: a hash, so that no range of them is hot."""
        return hashlib.sha256(f"{self.team}|{self.channel}|{self.thread_ts}".encode()).hexdigest()[:32]

    @property
    def path(self) -> str:
        """The transcript's object."""
        return f"threads/{self}.json"

    def dead(self, name: str) -> str:
        """An object that keeps what could not be answered: turn `name` of this conversation."""
        return f"dead/{self}/{name}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that came with a message; `url` is Slack's private download address, never followed without the bot's token."""

    id: str
    name: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One message; `key` is `channel:ts`, the same for every event that carries it, and the word for "answered already"."""

    conversation: ConversationKey
    ts: str
    user: str
    text: str
    files: tuple[File, ...] = ()
    addressed: Addressed
    event_id: str = ""
    cut: bool = False

    @property
    def key(self) -> str:
        return f"{self.conversation.channel}:{self.ts}"

    @property
    def from_bot(self) -> bool:
        """Bots, workflows and webhooks speak under their bot id (B…), people under their user id (U… or W…)."""
        return self.user.startswith("B")

    def with_files_of(self, other: "Envelope") -> "Envelope":
        """The same message, with the files that only its other event brought."""
        new = new_files(self.files, other.files)
        return replace(self, files=self.files + new) if new else self

    def to_json(self) -> dict[str, Any]:
        """Everything but the conversation, whose parts stand beside it."""
        return {
            "key": self.key,
            "ts": self.ts,
            "user": self.user,
            "text": self.text,
            "files": [{"id": f.id, "name": f.name, "url": f.url} for f in self.files],
            "addressed": self.addressed,
            "event_id": self.event_id,
            "cut": self.cut,
        }

    def encode(self) -> str:
        """`to_json` as text, written by hand for the ack; strings from outside are quoted, the others have a form."""
        files = json.dumps(self.to_json()["files"], separators=(",", ":")) if self.files else "[]"
        return (
            f'{{"key":{quote(self.key)},"ts":{quote(self.ts)},"user":{quote(self.user)},"text":{quote(self.text)},"files":{files},'
            f'"addressed":"{self.addressed}","event_id":{quote(self.event_id)},"cut":{"true" if self.cut else "false"}}}'
        )

    @classmethod
    def from_json(cls, value: Any, *, conversation: ConversationKey) -> "Envelope":
        """The inverse of `to_json`; unknown fields are a later version's and are passed over. Raises `BadInput`."""
        if not isinstance(value, dict):
            msg = f"an envelope is a JSON object, not {type(value).__name__}"
            raise BadInput(msg)
        fields = cast("dict[str, Any]", value)
        try:
            files = tuple(File(**{k: v for k, v in f.items() if k in ("id", "name", "url")}) for f in fields.get("files", ()))
            envelope = cls(
                conversation=conversation,
                ts=fields["ts"],
                user=fields["user"],
                text=fields["text"],
                files=files,
                addressed=fields["addressed"],
                event_id=fields.get("event_id", ""),
                cut=bool(fields.get("cut", False)),
            )
        except (KeyError, TypeError, AttributeError) as e:
            msg = f"an envelope needs ts, user, text and addressed: {e!r}"
            raise BadInput(msg) from e
        words = (
            envelope.ts,
            envelope.user,
            envelope.text,
            envelope.event_id,
            *(w for f in files for w in (f.id, f.name, f.url)),
        )
        if not all(isinstance(w, str) for w in words):  # pyright: ignore[reportUnnecessaryIsInstance] - JSON
            msg = "ts, user, text, event_id and what names a file are strings in an envelope"
            raise BadInput(msg)
        if envelope.addressed not in ADDRESSED or not _FORMS["thread_ts"].fullmatch(envelope.ts):
            msg = f"addressed is one of {ADDRESSED} and ts a Slack ts, not {envelope.addressed!r:.40} and {envelope.ts!r:.40}"
            raise BadInput(msg)
        return envelope


def new_files(have: tuple[File, ...], offered: tuple[File, ...]) -> tuple[File, ...]:
    """Those of `offered` whose id is not among `have`."""
    ids = {f.id for f in have}
    return tuple(f for f in offered if f.id not in ids)
