"""What stands between us and a server and does what networks and busy services do. On the wire: the client is the real one.

    HttpProxy   one HTTP/1.1 request at a time may be answered by the proxy, lost, cut, doubled, delayed or overtaken
    Line        a TCP line that carries gRPC: it may be cut as an answer comes back, or go silent

Both run in a thread with an event loop of its own, on 127.0.0.1.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
from aiohttp import web

from frames import begun

START = 10.0
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_KIND, _FLAGS, _STREAM = 3, 4, slice(5, 9)
"""Where an HTTP/2 frame has them (RFC 9113, 4.1), after three bytes of length; its payload begins at 9."""

_HEADERS, _END_STREAM = 0x1, 0x1
"""A gRPC call begins with HEADERS, and its answer ends with HEADERS that end the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one request.

    answer: the proxy says this status itself; the server never hears of the request.
    lose: the server does it, the connection dies before a byte of its answer.      cut: ... in the middle of its answer.
    hang: nothing is passed on and nothing comes back.
    twice: the server gets it twice, as from a queue that delivers at least once; the second answer is passed back.
    late: it reaches the server `seconds` later.      overtaken: ... only after the next request was answered.
    """

    kind: Literal["answer", "lose", "cut", "hang", "twice", "late", "overtaken"]
    status: int = 503
    body: str = ""
    seconds: float = 0.0
    method: str = ""


@dataclass(slots=True)
class HttpProxy:
    """Before the server at `target` (a URL).

    seen: "METHOD /path?query" of every request, as it came in. answered: how many the server has answered.
    faults: what meets the next requests, in order; one with a method waits for a request with that method.
    """

    target: str
    url: str = ""
    seen: list[str] = field(default_factory=list[str])
    answered: int = 0
    faults: list[Fault] = field(default_factory=list[Fault])
    _overtakes: list[asyncio.Event] = field(default_factory=list[asyncio.Event])

    async def answer(self, request: web.BaseRequest, session: aiohttp.ClientSession) -> web.StreamResponse:
        self.seen.append(f"{request.method} {request.raw_path}")
        body = await request.content.read()  # of any size
        fault = self._fault(request.method)
        if fault and fault.kind == "answer":
            return web.Response(status=fault.status, text=fault.body)
        if fault and fault.kind == "hang":
            await asyncio.Event().wait()
        waiting, self._overtakes = self._overtakes, []
        if fault:
            await self._hold(fault)
        if fault and fault.kind == "twice":
            await self._forward(request, body, session)
        answered = await self._forward(request, body, session)
        self.answered += 1
        for event in waiting:
            event.set()
        return await _passed_on(request, answered, fault)

    def _fault(self, method: str) -> Fault | None:
        for fault in self.faults:
            if fault.method in ("", method):
                self.faults.remove(fault)
                return fault
        return None

    async def _hold(self, fault: Fault) -> None:
        await asyncio.sleep(fault.seconds)
        if fault.kind == "overtaken":
            self._overtakes.append(overtaken := asyncio.Event())
            await overtaken.wait()

    async def _forward(self, request: web.BaseRequest, body: bytes, session: aiohttp.ClientSession) -> web.Response:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in ("content-length", "transfer-encoding")}
        url = self.target + request.raw_path
        async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
            dropped = ("content-length", "transfer-encoding", "connection")
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in dropped}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


async def _passed_on(request: web.BaseRequest, answered: web.Response, fault: Fault | None) -> web.StreamResponse:
    if fault and fault.kind == "cut":
        body: Any = answered.body
        half = web.StreamResponse(status=answered.status, headers={**answered.headers, "content-length": str(len(body))})
        await half.prepare(request)
        await half.write(body[: len(body) // 2])
    if fault and fault.kind in ("lose", "cut"):
        assert request.transport
        request.transport.abort()
    return answered


@dataclass(slots=True)
class Line:
    """To the server at `target` (host:port). A cut comes as an answer ends, so what was asked for is done.

    cuts: how many of the next requests lose their answer, and their connection with it.
    silent: connections up to this number pass nothing on any more, and stay open.
    """

    target: str
    address: str = ""
    cuts: int = 0
    silent: int = 0
    connections: int = 0

    def fall_silent(self) -> None:
        """The connections of now are dead, and nobody is told."""
        self.silent = self.connections

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number, doomed = self.connections, set[bytes]()
        host, _, port = self.target.rpartition(":")
        try:
            back, forth = await asyncio.open_connection(host, int(port))
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            return
        ways = [
            asyncio.ensure_future(self._there(number, doomed, reader, forth)),
            asyncio.ensure_future(self._back(number, doomed, back, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            return  # streams would log it as a fault of theirs
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            forth.transport.abort()
            writer.transport.abort()

    async def _there(self, number: int, doomed: set[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(_PREFACE)))
        while True:
            frame = await _frame(reader)
            if self.cuts and frame[_KIND] == _HEADERS:
                self.cuts -= 1
                doomed.add(frame[_STREAM])
            if number > self.silent:
                writer.write(frame)
                await writer.drain()

    async def _back(self, number: int, doomed: set[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            frame = await _frame(reader)
            if frame[_STREAM] in doomed and frame[_KIND] == _HEADERS and frame[_FLAGS] & _END_STREAM:
                return
            if number > self.silent:
                writer.write(frame)
                await writer.drain()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(9)
    return head + await reader.readexactly(int.from_bytes(head[:3]))


@contextmanager
def http_proxy(target: str) -> Generator[HttpProxy]:
    """Serving until the block ends."""
    proxy = HttpProxy(target)

    @asynccontextmanager
    async def serving() -> AsyncGenerator[None]:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            server = web.Server(lambda request: proxy.answer(request, session))
            runner = web.ServerRunner(server, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            proxy.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            yield
            await runner.cleanup()

    with _in_a_thread(serving):
        yield proxy


@contextmanager
def line(target: str) -> Generator[Line]:
    """Open until the block ends."""
    made = Line(target)

    @asynccontextmanager
    async def serving() -> AsyncGenerator[None]:
        server = await asyncio.start_server(made.carry, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        made.address = f"{host}:{port}"
        yield
        server.close()
        await begun()
        carrying = asyncio.all_tasks() - {asyncio.current_task()}
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        await begun()  # and the transports that were aborted are told so

    with _in_a_thread(serving):
        yield made


@contextmanager
def _in_a_thread(serving: Any) -> Generator[None]:
    started = threading.Event()
    over: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        over.append((asyncio.get_running_loop(), stop := asyncio.Event()))
        async with serving():
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert started.wait(START)
    try:
        yield
    finally:
        loop, stop = over[0]
        loop.call_soon_threadsafe(stop.set)
        thread.join()
