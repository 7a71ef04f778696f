"""A wire between a gRPC client and its server that counts what goes over it: each call opens one HTTP/2 stream."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
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
        ways = (wire.count(reader, up_writer), _pass_on(up_reader, writer))
        both = [asyncio.ensure_future(way) for way in ways]
        with contextlib.suppress(asyncio.CancelledError):  # the test is over
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for way in both:
            way.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        for end in (writer, up_writer):
            end.close()

    async with await asyncio.start_server(connect, "127.0.0.1", port) as listening:
        wire.port = listening.sockets[0].getsockname()[1]
        yield wire


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
