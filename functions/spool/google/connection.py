"""A connection to one of Google's gRPC services, or to its emulator.

Made at the first use in an event loop, never earlier: functions-framework forks after the import, and neither a channel nor
its threads may cross a fork. Light: part of the ingress' cold start.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import google.auth
import grpc.aio
from google.api_core import exceptions, grpc_helpers_async
from google.auth.credentials import AnonymousCredentials, Credentials

C = TypeVar("C")
T = TypeVar("T")
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a renewed connection is a new one, not the old one found again
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),  # the default is 2 minutes, in which every call fails at once: it is back sooner
    ("grpc.keepalive_time_ms", 30_000),  # an instance that slept finds out that its connection died meanwhile
    ("grpc.keepalive_timeout_ms", 5_000),
)
_GRACE = 30.0
"""Seconds that the calls of others on a connection that was given up may still take."""


class Connection(Generic[C]):
    """The client that `make(channel, credentials)` builds over a channel to `host`, or to `emulator` (host:port)."""

    def __init__(self, host: str, *, emulator: str, make: Callable[[grpc.aio.Channel, Credentials], C]) -> None:
        self._host, self._emulator, self._make = host, emulator, make
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open: tuple[C, grpc.aio.Channel] | None = None
        self._credentials: Credentials | None = AnonymousCredentials() if emulator else None
        self._closing = set[asyncio.Task[None]]()

    async def client(self) -> C:
        """The client of this event loop. Raises `GoogleAuthError` where no credentials are found."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._open, self._closing = loop, None, set[asyncio.Task[None]]()
        if self._open is None:
            self._credentials = self._credentials or await _found()
            self._open = self._open or self._connect(self._credentials)  # somebody may have been quicker
        return self._open[0]

    async def call(self, ask: Callable[[C], Awaitable[T]], *, timeout: float) -> T:  # noqa: ASYNC109 - credentials and connection are within it
        """The answer to `ask(client)`. One that does not come in `timeout` seconds is a `TimeoutError`, and the next call has
        a new connection: gRPC itself would go on with a dead one for minutes. Raises `trouble.CALL`."""
        client: C | None = None
        try:
            async with asyncio.timeout(timeout):
                client = await self.client()
                return await ask(client)
        except (TimeoutError, exceptions.DeadlineExceeded, exceptions.ServiceUnavailable):
            if client:
                self._give_up(client)
            raise

    def _give_up(self, stale: C) -> None:
        """Unless somebody else did."""
        if self._open and self._open[0] is stale:
            closing = asyncio.ensure_future(self._open[1].close(_GRACE))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._open = None

    async def close(self) -> None:
        """Close what this event loop opened; the next use connects again."""
        if self._open and self._loop is asyncio.get_running_loop():
            await self._open[1].close()
        for closing in self._closing:
            closing.cancel()
        self._open = None

    def _connect(self, credentials: Credentials) -> tuple[C, grpc.aio.Channel]:
        if self._emulator:
            channel = grpc.aio.insecure_channel(self._emulator, options=(*_OPTIONS, ("grpc.enable_http_proxy", 0)))
        else:
            create: Any = grpc_helpers_async.create_channel  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
            channel = create(self._host, credentials=credentials, options=_OPTIONS)
        return self._make(channel, credentials), channel


async def _found() -> Credentials:
    """In a thread: this asks the disk and the metadata server."""
    default: Any = google.auth.default  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped
    return (await asyncio.to_thread(default, scopes=_SCOPES))[0]
