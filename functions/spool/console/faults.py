"""How the workspace fails on demand, as Slack does by itself."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["lost", "late", "slow", "throttled", "unavailable", "truncated", "refused", "twice", "reordered"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EVENTS = "events"
"""The `method` of faults of deliveries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to some calls of one Web API method ("*": any), or to some "events".

    kind, of a call:
        lost         it is done, and the connection closed without an answer
        truncated    it is done, and the connection closed in the middle of the answer
        late         the connection is closed without an answer, and `seconds` later it is done
        slow         it is done, and answered, after `seconds`
        throttled    it is not done: 429 with Retry-After `seconds`
        unavailable  it is not done: 503
        refused      it is not done: ok false with `error`
    kind, of an event:
        lost         it arrives, but the answer to it does not: Slack sends it again
        late         it arrives `seconds` later
        twice        it arrives twice at once
        reordered    it arrives after the next event, or after `seconds` when there is none
    nth, times: the first call that it happens to, and to how many in a row (0: to all from there on).
    """

    method: str
    kind: Kind
    nth: int = 1
    times: int = 1
    seconds: float = 0.0
    error: str = "fatal_error"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            msg = f"a fault's kind is one of {', '.join(KINDS)}, not {self.kind!r:.40}"
            raise ValueError(msg)

    def hits(self, call: int) -> bool:
        return call >= self.nth and (not self.times or call < self.nth + self.times)


class Faults:
    """The faults that are switched on, and how many calls each has seen."""

    def __init__(self) -> None:
        self._seen: list[tuple[Fault, int]] = []

    def add(self, *faults: Fault) -> None:
        self._seen += [(fault, 0) for fault in faults]

    def clear(self) -> None:
        self._seen.clear()

    def take(self, method: str) -> Fault | None:
        """What happens to this call; counts it."""
        names = (method,) if method == EVENTS else (method, "*")
        self._seen = [(fault, seen + (fault.method in names)) for fault, seen in self._seen]
        return next((fault for fault, seen in self._seen if fault.method in names and fault.hits(seen)), None)

    def on(self) -> list[Fault]:
        """Those that may still happen."""
        return [fault for fault, seen in self._seen if not fault.times or seen < fault.nth + fault.times - 1]
