"""What is decided from a transcript alone: what to do next, and which messages of ours may be deleted.

No clock, no hint, no memory: whoever reads the same transcript decides the same, and so resuming is running again.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from spool.conversation import Mark
from spool.envelope import Envelope
from spool.transcript import Transcript

Move = Literal["deliver", "resume", "run", "open", "release"]


def decide(transcript: Transcript, *, me: str, delivered: Collection[Mark | None], pending: Mapping[str, Envelope]) -> Move:
    """What to do next, from the transcript alone (protocol: drive).

    delivered: the last turns known to be delivered, by the document at admission or because I showed them.
    pending: the inbox and my own message.
    """
    last = transcript.last
    if last and last.state == "done" and not last.delivered and last.mark not in delivered:
        return "deliver"
    if last and last.state == "open":
        return "run" if last.owner == me else "resume"
    return "open" if pending.keys() - set(transcript.keys) else "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """A message of ours in Slack, as its metadata tells: which turn posted it, in which epoch, for which part."""

    ts: str
    tag: str
    epoch: int
    part: int


def is_garbage(message: Reserved, transcript: Transcript) -> bool:
    """Rule G: whether anyone who has read `transcript`, even a stale one, may delete this message of ours.

    No slot names it, and its epoch is over: older than the turn's, or the turn is done with every slot recorded.
    """
    for turn in transcript.turns:
        if turn.tag == message.tag:
            slots = (None,) if turn.slots is None else turn.slots
            settled = turn.state == "done" and None not in slots
            return message.ts not in slots and (message.epoch < turn.epoch or (message.epoch == turn.epoch and settled))
    return False
