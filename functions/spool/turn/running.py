"""What one process keeps: the user's agent, and the turns at work, which end with it."""

import asyncio
import logging
import signal
from collections.abc import Callable
from types import FrameType

from spool.agents import Loaded, load
from spool.errors import NotHandedOn
from spool.task import Attempt, Task
from spool.turn.take import take
from spool.turn.work import Ports

log = logging.getLogger("spool.worker")


class Agents:
    """The user's agent, by its name in the settings: loaded once; while it is broken, tried again with every message."""

    def __init__(self, name: str, *, model: str) -> None:
        self._name, self._model = name, model
        self._loaded: Loaded | None = None

    def __call__(self) -> Loaded:
        """Raises `Misconfigured`."""
        if self._loaded is None:
            self._loaded = load(self._name, model=self._model)
            if self._loaded.notice:
                log.warning("%s", self._loaded.notice)
            if self._loaded.undeclared:
                log.info("tools that run at most once, because they declare nothing: %s", ", ".join(self._loaded.undeclared))
        return self._loaded


class Turns:
    """The turns at work in this process. Told to stop, it hands them over and begins no other."""

    def __init__(self, ports: Callable[[], Ports]) -> None:
        self._ports = ports
        self._running = set[asyncio.Task[None]]()
        self._stopping = False

    async def work(self, task: Task, attempt: Attempt) -> None:
        """Until the task may be acked. Raises `NotHandedOn`."""
        if self._stopping:
            msg = "this process is ending: the queue finds the next one"
            raise NotHandedOn(msg)
        turn = asyncio.create_task(take(task, attempt, ports=self._ports()))
        self._running.add(turn)
        turn.add_done_callback(self._running.discard)
        await asyncio.wait({turn})
        turn.result()

    def stop(self) -> None:
        self._stopping = True
        for turn in self._running:
            turn.cancel()

    def hear_sigterm(self) -> None:
        """Hand over first, then let the server do what it does at SIGTERM. Called once, in the loop that the turns run in."""
        loop, before = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(self.stop)
            if callable(before):
                before(number, frame)

        signal.signal(signal.SIGTERM, stop)
