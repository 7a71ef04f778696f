"""The workspace's HTTP server: Slack's Web API for the app, and a few plain JSON routes for commands and other processes.

    POST   /api/<method>                                  Slack's Web API
    POST   /say       {channel, user, text, thread_ts?}   a person says something: {"ts": …}
    GET    /messages  ?channel=&thread_ts=                what is visible: {"messages": […]}
    GET, POST, DELETE /faults                             Fault(…) as JSON, one or a list of them

All but the first are for this machine only, and not for pages of other sites that a browser on it has open.
"""

import asyncio
import contextlib
import dataclasses
import ipaddress
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from spool.console import slack_api
from spool.console.faults import Fault
from spool.console.workspace import Workspace

App = Callable[[Scope, Receive, Send], Awaitable[object]]
Endpoint = Callable[[Request], Awaitable[Response]]
_GRACE = 1.0
"""Seconds that requests in flight may still take at the end."""

_CLOSE = "closed without an answer"
"""What an ASGI application must not return: uvicorn then closes the connection, and that is wanted."""


def app(workspace: Workspace) -> App:
    """The ASGI application."""
    plain = Starlette(routes=routes(workspace))

    async def serve_one(scope: Scope, receive: Receive, send: Send) -> object:
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            return await plain(scope, receive, send)
        answer = await slack_api.answer(workspace, Request(scope, receive))
        return await answer(scope, receive, send) if answer else _CLOSE

    return serve_one


@contextlib.asynccontextmanager
async def serve(workspace: Workspace, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[int]:
    """The workspace at work inside the running loop, with its server on the port that is yielded; closed at the end."""
    try:
        async with serving(app(workspace), host=host, port=port) as bound:
            workspace.start()
            yield bound
    finally:
        await workspace.close()


@contextlib.asynccontextmanager
async def serving(app: App, *, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[int]:
    """An ASGI application on a port of its own (0: any free one), which is yielded."""
    with _listen(host, port) as listener:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,  # a header must not make a stranger a neighbour
        )
        server = _Server(config)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.stop.set()
            await running


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket that says its protocol: asyncio sends without delay only where it reads TCP there; else each answer
    on a connection that is used again takes 40 ms more."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def routes(workspace: Workspace) -> list[Route]:
    """The plain JSON routes."""

    async def say(request: Request) -> Response:
        wanted = await request.json()
        channel, user, text = (str(wanted[name]) for name in ("channel", "user", "text"))
        return JSONResponse({"ts": await workspace.say(channel, user, text, thread_ts=wanted.get("thread_ts"))})

    async def messages(request: Request) -> Response:
        channel, thread_ts = request.query_params.get("channel", ""), request.query_params.get("thread_ts")
        return JSONResponse({"messages": workspace.messages(channel, thread_ts)})

    async def faults(request: Request) -> Response:
        if request.method == "DELETE":
            workspace.faults.clear()
        if request.method == "POST":
            wanted = await request.json()
            many = cast("list[dict[str, Any]]", wanted if isinstance(wanted, list) else [wanted])
            workspace.faults.add(*(Fault(**one) for one in many))
        return JSONResponse({"faults": [dataclasses.asdict(fault) for fault in workspace.faults.on()]})

    return [
        Route("/say", _guarded(say), methods=["POST"]),
        Route("/messages", _guarded(messages), methods=["GET"]),
        Route("/faults", _guarded(faults), methods=["GET", "POST", "DELETE"]),
    ]


def _guarded(endpoint: Endpoint) -> Endpoint:
    """Only for this machine; what cannot be used is a 400 that says why."""

    async def guarded(request: Request) -> Response:
        if not _is_local(request):
            return PlainTextResponse("only for this machine\n", status_code=403)
        try:
            return await endpoint(request)
        except (ValueError, TypeError, KeyError) as e:
            return PlainTextResponse(f"{type(e).__name__}: {e}\n", status_code=400)

    return guarded


def _is_local(request: Request) -> bool:
    """From this machine, by an address of this machine, and with a body that no page of another site can send."""
    client, host = (request.client.host if request.client else ""), request.url.hostname or ""
    json_only = request.method != "POST" or request.headers.get("content-type", "").startswith("application/json")
    return json_only and _is_loopback(client) and (host == "localhost" or _is_loopback(host))


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


class _Server(uvicorn.Server):
    """Without uvicorn's own signal handlers, for the process around it has its own; and it stops at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stop = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def main_loop(self) -> None:
        await self.stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if tasks := set(self.server_state.tasks):
            await asyncio.wait(tasks, timeout=_GRACE)
        for task in self.server_state.tasks:
            task.cancel()
