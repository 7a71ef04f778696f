"""A stand-in for Google's Terraform provider that knows its words, and nothing else.

Terraform checks a configuration against the schema that its provider sends. The real one must be downloaded and weighs a
hundred megabytes; this one sends the schema of the resources that infra/ uses, from schema.json (provider 6.50.0), and can do
nothing more: `terraform test` mocks the rest. So references, types and wrong arguments are found without a network.

Speaks version 5 of the plugin protocol (https://developer.hashicorp.com/terraform/plugin/terraform-plugin-protocol): a line on
stdout says where the gRPC server is. The messages are protobuf, written by hand, for four shapes are all there is.
schema.json holds names, types and what is required, from the manifest in cdktf-cdktf-provider-google 16.12.1 on PyPI.
"""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

SCHEMA = Path(__file__).with_name("schema.json")
NESTINGS = {"single": 1, "list": 2, "set": 3}
Answer = Callable[[bytes, Any], bytes]
_BYTES = 2
_PATIENCE = 300
_stopped = threading.Event()


def number(field: int, value: int) -> bytes:
    """A field of kind varint; nothing for 0, which is what its absence means."""
    return _varint(field << 3) + _varint(value) if value else b""


def text(field: int, value: bytes | str) -> bytes:
    """A field with a length: a string, bytes or a message."""
    data = value.encode() if isinstance(value, str) else value
    return _varint((field << 3) | _BYTES) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    rest, digits = value >> 7, value & 0x7F
    return bytes([digits | 0x80]) + _varint(rest) if rest else bytes([digits])


def attribute(name: str, kind: Any, how: str) -> bytes:
    optional = how == "optional"
    ways = (
        number(4, how == "required"),
        number(5, optional),
        number(6, how == "computed" or (optional and name in ("id", "project"))),
    )
    return text(1, name) + text(2, json.dumps(kind)) + b"".join(ways)


def nested(name: str, block: Mapping[str, Any]) -> bytes:
    limits = number(4, block["min"]) + number(5, block.get("max", 0))
    return (
        text(1, name)
        + text(2, body(block))
        + number(3, NESTINGS[block["nesting"]])
        + (limits if block["nesting"] != "single" else b"")
    )


def body(block: Mapping[str, Any]) -> bytes:
    attributes = [text(2, attribute(name, *kind)) for name, kind in sorted(block.get("attributes", {}).items())]
    return b"".join([*attributes, *(text(3, nested(name, inner)) for name, inner in sorted(block.get("blocks", {}).items()))])


def schema(block: Mapping[str, Any]) -> bytes:
    return text(2, body(block))


def schemas(known: Mapping[str, Any]) -> bytes:
    """GetProviderSchema's answer."""
    parts: list[bytes] = [text(1, schema(known["provider"]))]
    for name, block in known.items():
        if name != "provider":
            kind = 3 if name.startswith("data.") else 2
            parts.append(text(kind, text(1, name.removeprefix("data.")) + text(2, schema(block))))
    return b"".join(parts)


def _nothing(_request: bytes, _context: Any) -> bytes:
    """No complaint."""
    return b""


def _echo(request: bytes, _context: Any) -> bytes:
    """The provider's configuration, field 1 of request and answer alike."""
    return request


def _stop(_request: bytes, _context: Any) -> bytes:
    _stopped.set()
    return b""


def _methods(service: str, answers: Mapping[str, Answer]) -> Any:
    handlers: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(answer) for name, answer in answers.items()}
    return grpc.method_handlers_generic_handler(service, handlers)


def _serve(*services: Any) -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(services)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"1|5|tcp|127.0.0.1:{port}|grpc\n")
    sys.stdout.flush()
    _stopped.wait(_PATIENCE)
    server.stop(None).wait()


if __name__ == "__main__":
    answer = schemas(json.loads(SCHEMA.read_text()))
    provider: dict[str, Answer] = {
        "GetSchema": lambda _request, _context: answer,
        "PrepareProviderConfig": _echo,
        "ValidateResourceTypeConfig": _nothing,
        "ValidateDataSourceConfig": _nothing,
        "Stop": _nothing,
    }
    _serve(_methods("tfplugin5.Provider", provider), _methods("plugin.GRPCController", {"Shutdown": _stop}))
