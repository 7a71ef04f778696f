"""A wire between a gRPC client and its server that counts what goes over it: each call opens one HTTP/2 stream."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
HEADERS, HEAD = 1, 9


@dataclass
class Wire:
    """port: where the client connects. calls: how many it has made. connections: over how many connections."""

    port: int = 0
    calls: int = 0
    connections: int = 0

    async def count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a client's frames on, and count those that begin a call (RFC 9113, section 4.1)."""
        writer.write(await reader.readexactly(PREFACE))
        streams = set[int]()
        while True:
            head = await reader.readexactly(HEAD)
            stream = int.from_bytes(head[5:9], "big")
            if head[3] == HEADERS and stream not in streams:
                streams.add(stream)
                self.calls += 1
            writer.write(head + await reader.readexactly(int.from_bytes(head[:3], "big")))
            await writer.drain()


@contextlib.asynccontextmanager
async def counted(server: str, *, port: int = 0) -> AsyncGenerator[Wire]:
    """A wire to `server`, host:port, that listens on `port` of this machine."""
    wire, (host, _, there) = Wire(), server.rpartition(":")

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire.connections += 1
        up_reader, up_writer = await asyncio.open_connection(host, int(there))
        both = [asyncio.ensure_future(way) for way in (wire.count(reader, up_writer), _pass_on(up_reader, writer))]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in both:
                way.cancel()
            await closed(writer, up_writer)
            await asyncio.gather(*both, return_exceptions=True)

    async with listening(connect, port=port) as wire.port:
        yield wire


@contextlib.asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], *, port: int = 0
) -> AsyncGenerator[int]:
    """A server on `port` of this machine; its connections end with the block, and leave nothing open."""
    serving = set[asyncio.Task[None]]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if task := asyncio.current_task():
            serving.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError, OSError):  # the block is over
                await serve(reader, writer)
        finally:
            await closed(writer)

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await begun()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()


async def begun() -> None:
    """Let the servers of connections just taken begin: one that is cancelled before would leave its connection open."""
    for _ in range(10):
        await asyncio.sleep(0)


async def closed(*writers: asyncio.StreamWriter) -> None:
    """All of them, even where whoever waits for it is cancelled."""
    for writer in writers:
        writer.close()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
