"""What a log line carries besides its words: fields, for everybody who logs while one message is worked on.

    door      with about(conversation=…, key=…, trace=…):     every line in the block, of whatever library, has them
    turn      log.info("answered", extra={"event": "answered", "seconds": 3.2})

How a line is written is the door's choice: plain on this machine, JSON on Google Cloud (`spool.google.logs`). No field ever
holds what people, models or tools said.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

FIELDS = (
    "event",  # what happened, one word: counted by metrics and alerts
    "conversation",  # team/channel/thread_ts
    "turn",  # its tag, t7:C012AB3CD:1715000000.000100
    "key",  # the message, channel:ts
    "permalink",
    "generation",  # of the transcript, as last read or written
    "owner",  # this attempt's own name
    "task",  # the queue's name for the task
    "attempt",  # how often the queue had tried it before
    "kind",  # of the task: msg or tidy
    "hop",  # how many batons the message has been through
    "latency_ms",  # from a request's arrival to its answer
    "seconds",  # from a message's arrival at the ingress
    "rounds",  # model responses of the turn
    "messages",  # how many the turn answers
    "outcome",  # how the turn ended
    "model",
    "cost_usd",
    "tokens",
    "epoch",
    "attempts",  # take-overs since the turn's last new step
    "doubts",  # calls that may or may not have happened
    "delay",  # seconds until the successor runs
    "tool",
    "error",  # the kind of an error
    "status",  # what a request was answered with
    "count",
)
"""The fields' names; what else a record carries is not written down."""

_about: ContextVar[Mapping[str, Any]] = ContextVar("about", default={})  # noqa: B039 - a Mapping: nobody changes it


@contextmanager
def about(**fields: Any) -> Generator[None]:
    """Give these fields to every line logged in the block, and in the asyncio tasks and threads that it starts."""
    token = _about.set({**_about.get(), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def add(**fields: Any) -> None:
    """Give these fields to every line from here to the end of the block or asyncio task around."""
    _about.set({**_about.get(), **fields})


def current() -> Mapping[str, Any]:
    """The fields of a line logged here."""
    return _about.get()
