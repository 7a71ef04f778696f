"""Events on their way to the ingress: signed, retried as Slack does (docs.slack.dev/apis/events-api), never forgotten."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp

from spool.console.faults import EVENTS, Fault, Faults
from spool.console.state import Delivery, Json, State
from spool.slack.signature import sign

log = logging.getLogger("spool.console")

RETRY_DELAYS = (0.0, 60.0, 300.0)
"""Seconds before each of Slack's three retries."""

ACK_TIMEOUT = 3.0
_NEVER_ALONE = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How events are delivered.

    ingress: the URL that gets them; while it is empty they wait.
    retry_delays, ack_timeout: seconds.
    """

    ingress: str = ""
    secret: str = ""
    retry_delays: tuple[float, ...] = RETRY_DELAYS
    ack_timeout: float = ACK_TIMEOUT


class Deliveries:
    """One asyncio task per event, from `start` to `close`; what is not acked by then goes on after the next `start`."""

    def __init__(
        self,
        state: State,
        *,
        terms: Terms,
        faults: Faults,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._state, self._faults = state, faults
        self._now, self._sleep, self._changed = now, sleep, changed
        self.terms = terms
        self._session: aiohttp.ClientSession | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._held: list[asyncio.Event] = []

    def start(self) -> None:
        """Deliver what waits, and from now on what comes."""
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self.wake()

    def wake(self) -> None:
        """Look for events that nobody is delivering yet."""
        if self._session is None or not self.terms.ingress:
            return
        for delivery in self._state.deliveries("pending"):
            if delivery.id not in self._tasks:
                self._tasks[delivery.id] = asyncio.create_task(self._deliver(delivery, self._faults.take(EVENTS)))

    async def close(self) -> None:
        session, self._session = self._session, None
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()
        if session:
            await session.close()

    async def _deliver(self, delivery: Delivery, fault: Fault | None) -> None:
        await self._hold(fault)
        due, attempts = delivery.due, delivery.attempts
        reason, outcome = delivery.reason, "pending"
        while outcome == "pending":
            await self._sleep(max(0.0, due - self._now()))
            copies = 2 if fault and fault.kind == "twice" and not attempts else 1
            answers = await asyncio.gather(*(self._post(delivery, attempts, reason) for _ in range(copies)))
            reason, final = answers[0]
            if fault and fault.kind == "lost" and not attempts:
                reason = "http_timeout"
            self._release()
            attempts += 1
            if not reason or final or attempts > len(self.terms.retry_delays):
                outcome = "lost" if reason else "acked"
                self._state.settle(delivery.id, outcome)
            else:
                due = self._now() + self.terms.retry_delays[attempts - 1]
                self._state.failed(delivery.id, reason=reason, due=due)
            self._changed()
        if outcome == "lost":
            log.warning("event %s is given up after %d attempts: %s", delivery.event_id, attempts, reason)
        del self._tasks[delivery.id]

    async def _hold(self, fault: Fault | None) -> None:
        """Keep an event back that is to come late, or after the next one."""
        if fault and fault.kind == "late":
            await self._sleep(fault.seconds)
        if fault and fault.kind == "reordered":
            next_one = asyncio.Event()
            self._held.append(next_one)
            waits = [asyncio.ensure_future(w) for w in (next_one.wait(), self._sleep(fault.seconds or _NEVER_ALONE))]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def _release(self) -> None:
        while self._held:
            self._held.pop().set()

    async def _post(self, delivery: Delivery, attempts: int, reason: str) -> tuple[str, bool]:
        """One attempt: why it failed ("": acked), and whether the ingress wants no other."""
        if self._session is None:
            return "connection_failed", False
        body = json.dumps({**delivery.event, "event_id": delivery.event_id}).encode()
        try:
            async with self._session.post(
                self.terms.ingress,
                data=body,
                headers=self._headers(body, attempts, reason),
                timeout=aiohttp.ClientTimeout(total=self.terms.ack_timeout),
                max_redirects=2,
            ) as response:
                ok = 200 <= response.status < 300  # noqa: PLR2004 - Slack: any 2xx
                return "" if ok else "http_error", not ok and response.headers.get("X-Slack-No-Retry") == "1"
        except TimeoutError:
            return "http_timeout", False
        except aiohttp.TooManyRedirects:
            return "too_many_redirects", False
        except (aiohttp.ClientError, OSError):
            return "connection_failed", False

    def _headers(self, body: bytes, attempts: int, reason: str) -> Json:
        timestamp = int(self._now())
        retry = {"X-Slack-Retry-Num": str(attempts), "X-Slack-Retry-Reason": reason} if attempts else {}
        signed = {"X-Slack-Request-Timestamp": str(timestamp), "X-Slack-Signature": sign(self.terms.secret, body, timestamp)}
        return {"Content-Type": "application/json", **signed, **retry}
