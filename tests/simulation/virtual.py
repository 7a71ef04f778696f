"""An event loop whose time passes only when nobody has anything to do: hours cost milliseconds, and every run is the same.

The order of callbacks that are ready at once is shuffled by a seed, because real loops promise no order either.
"""

import asyncio
import random
from collections import deque
from collections.abc import Mapping
from typing import Any, cast


class _Selector:
    """Nothing is ever readable: instead of waiting, move the clock."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            self._loop.stop()
        elif timeout > 0:
            self._loop.virtual_time += timeout
        return []

    def close(self) -> None: ...

    def get_map(self) -> Mapping[Any, Any]:
        return {}


class VirtualLoop(asyncio.BaseEventLoop):
    """A deterministic loop in virtual time."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.virtual_time = 0.0
        self._selector = _Selector(self)
        self._rng = random.Random(seed)
        self.slow_callback_duration = 1e9

    def time(self) -> float:
        return self.virtual_time

    def _process_events(self, event_list: Any) -> None: ...

    def _write_to_self(self) -> None: ...

    def _check_closed(self) -> None:
        """Coroutines of killed instances are collected after the end."""

    def call_exception_handler(self, context: Any) -> None:
        """A killed instance has nobody to complain to; the oracle looks at what is left."""

    def forget_everything(self) -> None:
        """Drop what killed instances still have scheduled."""
        self._ready.clear()  # type: ignore[attr-defined]
        self._scheduled.clear()  # type: ignore[attr-defined]

    def _run_once(self) -> None:
        ready = cast("deque[Any]", self._ready)  # type: ignore[attr-defined]
        if len(ready) > 1:
            shuffled = list(ready)
            ready.clear()
            self._rng.shuffle(shuffled)
            ready.extend(shuffled)
        super()._run_once()  # type: ignore[misc]
