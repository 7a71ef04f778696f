"""What this process knows of one turn in one epoch, and nobody else does. It dies with the process, or with the epoch."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai.messages import ModelResponse

from spool.errors import Refused
from spool.transcript import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a tool call ended: with a result, or with what it raised on purpose."""

    result: Any = None
    error: Exception | None = None


@dataclass(slots=True, kw_only=True)
class Memory:
    """Keyed by (tag, epoch) and dropped when either changes.

    lookup: messages of this epoch may be in Slack that `ts` does not know; look before posting.
    ts: the message reserved for each part.
    messy: strays of this turn are possible.
    tainted: an ambiguous progress text may still land on the first slot, so no answer may be put there.
    responses: what the model answered, by number, while it is not committed: never bought twice.
    returns: how each tool call ended, by (number of its response, call id), while it is not committed: never run twice.
    refused: Slack will never carry this turn's answer.
    shown_at: when people last saw that something is going on, epoch seconds.
    reserving, progress: requests to Slack in flight; neither ever raises.
    """

    tag: str = ""
    epoch: int = 0
    lookup: bool = False
    ts: dict[int, str] = field(default_factory=dict[int, str])
    messy: bool = False
    tainted: bool = False
    responses: dict[int, ModelResponse] = field(default_factory=dict[int, ModelResponse])
    returns: dict[tuple[int, str], Ended] = field(default_factory=dict[tuple[int, str], Ended])
    refused: Refused | None = None
    reserving: asyncio.Task[None] | None = None
    progress: asyncio.Task[None] | None = None
    shown_at: float = 0.0

    @classmethod
    def of(cls, turn: Turn, *, lookup: bool) -> "Memory":
        return cls(tag=turn.tag, epoch=turn.epoch, lookup=lookup)

    def is_of(self, turn: Turn) -> bool:
        return (self.tag, self.epoch) == (turn.tag, turn.epoch)
