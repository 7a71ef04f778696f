"""A gRPC server that passes every call on, counts it, and may say no itself."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

Answer = tuple[grpc.StatusCode, str]


@dataclass(slots=True)
class Rpcs:
    """Before the server at `target` (host:port).

    seen, sent: the name of every call, and its message.
    answers: the proxy's own answers to the next calls.
    after: they come only once the server has done what was asked, in place of its own.
    """

    target: str
    address: str = ""
    seen: list[str] = field(default_factory=list[str])
    sent: list[bytes] = field(default_factory=list[bytes])
    answers: list[Answer] = field(default_factory=list[Answer])
    after: bool = False

    def relay(
        self, channel: grpc.Channel, method: str, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        """Whatever the shape of the call: on the wire all calls are streams of messages."""
        self.seen.append(method.rpartition("/")[2])
        messages = list(requests)
        self.sent += messages
        mine = self.answers.pop(0) if self.answers else None
        if mine and not self.after:
            context.abort(*mine)
        open_call: Any = channel.stream_stream
        call = open_call(method)
        metadata = [(k, v) for k, v in context.invocation_metadata() if not k.startswith(("grpc-", "user-agent"))]
        try:
            responses = list(call(iter(messages), metadata=metadata))
        except grpc.RpcError as e:
            error: Any = e
            context.abort(error.code(), error.details())
        else:
            if mine:
                context.abort(*mine)
            yield from responses


@contextmanager
def rpcs(target: str, *, at: str = "127.0.0.1:0") -> Generator[Rpcs]:
    """Serving at that address until the block ends."""
    proxy = Rpcs(target)
    with grpc.insecure_channel(target, options=(("grpc.enable_http_proxy", 0),)) as channel:

        def relay(method: str) -> Any:
            def behaviour(asked: Any, context: Any) -> Iterator[bytes]:
                return proxy.relay(channel, method, asked, context)

            make: Any = grpc.stream_stream_rpc_method_handler
            return make(behaviour)

        class Everything(grpc.GenericRpcHandler):
            def service(self, handler_call_details: Any) -> Any:
                return relay(handler_call_details.method)

        server = grpc.server(ThreadPoolExecutor(8), handlers=[Everything()])
        proxy.address = f"127.0.0.1:{server.add_insecure_port(at)}"
        server.start()
        yield proxy
        server.stop(None).wait()
