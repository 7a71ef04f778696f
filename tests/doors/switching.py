"""A switch between the functions and one of Google's services: it leads there, to somebody who refuses, or to nobody."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

from frames import closed, listening

_OPEN = 64
"""Connections at once that a refusing server of gRPC serves, each by a thread."""


@dataclass(slots=True, kw_only=True)
class Switch:
    """A port of this machine.

    to: where it leads (host:port); empty: whoever connects is cut off. carried: how many bytes went there.
    """

    to: str
    address: str = ""
    carried: int = 0
    _connected: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    def lead(self, to: str) -> None:
        """From now on there; what is connected is cut off, in the middle of whatever it does."""
        self.to = to
        for writer in self._connected:
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.to:
            writer.transport.abort()
            return
        host, _, port = self.to.rpartition(":")
        back, forth = await asyncio.open_connection(host, int(port))
        self._connected.add(writer)
        ways = [asyncio.ensure_future(self._there(reader, forth)), asyncio.ensure_future(_pass_on(back, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._connected.discard(writer)
            for way in ways:
                way.cancel()
            await closed(forth)
            await asyncio.gather(*ways, return_exceptions=True)

    async def _there(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            self.carried += len(data)
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def switch(to: str) -> AsyncGenerator[Switch]:
    made = Switch(to=to)
    async with listening(made.carry) as port:
        made.address = f"127.0.0.1:{port}"
        yield made


@contextlib.contextmanager
def refusing_rpcs(code: grpc.StatusCode, words: str) -> Generator[str]:
    """Where every call of gRPC is answered so (host:port)."""

    def refuse(_: Any, context: grpc.ServicerContext) -> None:
        context.abort(code, words)

    class Everything(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            del handler_call_details
            make: Any = grpc.stream_stream_rpc_method_handler
            return make(refuse)

    server = grpc.server(ThreadPoolExecutor(_OPEN), handlers=[Everything()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


@contextlib.asynccontextmanager
async def refusing_http(status: int, words: str) -> AsyncGenerator[str]:
    """Where every request of HTTP is answered so (host:port)."""
    head = f"HTTP/1.1 {status} No\r\nContent-Type: text/plain\r\nContent-Length: {len(words)}\r\nConnection: close\r\n\r\n"

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        lengths = [int(line.partition(b":")[2]) for line in asked.splitlines() if line.lower().startswith(b"content-length:")]
        await reader.readexactly(sum(lengths))
        writer.write((head + words).encode())
        await writer.drain()

    async with listening(refuse) as port:
        yield f"127.0.0.1:{port}"


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
