"""Slack's Web API on the wire: how a request's arguments are read, and how it fails where a fault is switched on."""

import json
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from spool.console.methods import perform
from spool.console.state import Json
from spool.console.workspace import Call, Workspace


class Truncated(Response):
    """An answer that breaks off in the middle."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body)[: len(self.body) // 2], "more_body": True})


async def answer(workspace: Workspace, request: Request) -> Response | None:
    """The answer to one request; None: the connection is to be closed without one."""
    method = request.url.path.removeprefix("/api/")
    arguments = await _arguments(request)
    came = {name: value for name, value in arguments.items() if name != "token"}
    client = (request.client.host, request.client.port) if request.client else ("", 0)
    workspace.calls.append(Call(method=method, arguments=came, client=client))
    fault = workspace.faults.take(method)
    match fault.kind if fault else "":
        case "throttled" if fault:
            retry = {"Retry-After": f"{fault.seconds:.0f}"}
            return JSONResponse({"ok": False, "error": "ratelimited"}, HTTPStatus.TOO_MANY_REQUESTS, headers=retry)
        case "unavailable":
            return HTMLResponse("<h1>Service Unavailable</h1>", HTTPStatus.SERVICE_UNAVAILABLE)
        case "refused" if fault:
            return JSONResponse({"ok": False, "error": fault.error})
        case "late" if fault:
            workspace.later(fault.seconds, lambda: perform(workspace, method, arguments))
            return None
        case "slow" if fault:
            await workspace.sleep(fault.seconds)
        case _:
            pass
    done = perform(workspace, method, arguments)
    if fault and fault.kind == "lost":
        return None
    return (
        Truncated(json.dumps(done), media_type="application/json")
        if fault and fault.kind == "truncated"
        else JSONResponse(done)
    )


async def _arguments(request: Request) -> Json:
    """JSON, a form, or a query: Slack takes all three; the token from the header, or beside the arguments."""
    found: Json = dict(request.query_params)
    body = await request.body()
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            arguments: Any = json.loads(body or b"{}")
        except ValueError:
            arguments = None
        found |= cast("Json", arguments) if isinstance(arguments, dict) else {"invalid_json": True}
    else:
        found |= dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return {**found, "token": token} if scheme.lower() == "bearer" and token else found
