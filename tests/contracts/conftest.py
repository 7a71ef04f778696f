import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import Backend, Google, Local

from emulated import Place


@pytest.fixture(params=["local", "google"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """One empty store per test, on each backend."""
    made = Local(tmp_path / "state") if request.param == "local" else Google(request.getfixturevalue("place"))
    yield made
    made.close()


@pytest.fixture
def google(place: Place) -> Iterator[Google]:
    """The emulators, for what only Google's backend promises."""
    made = Google(place)
    yield made
    made.close()


@pytest.fixture
def unreachable() -> Iterator[str]:
    """An address (host:port) where nobody listens, and only a server that shares ports, as gRPC's, can begin to."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        host, port = taken.getsockname()
        yield f"{host}:{port}"
