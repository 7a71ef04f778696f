from collections.abc import Iterator
from pathlib import Path

import pytest
from backends import Backend, Local


@pytest.fixture(params=["local"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """One empty store per test, on each backend."""
    made = {"local": Local}[request.param](tmp_path / "state")
    yield made
    made.close()
