"""Tests find each other's helpers by plain names: each folder with helpers is on the path. Emulators run once per session."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool.cli import emulators as finding
from spool.cli.emulators import Emulators
from spool.errors import Misconfigured

for folder in (".", "simulation", "doors"):
    sys.path.append(str(Path(__file__).parent / folder))

from emulated import Place, make_place  # noqa: E402 - its folder is on the path only now


@pytest.fixture(scope="session")
def _emulators_or_why() -> Iterator[Emulators | str]:
    try:
        with finding.emulators() as found:
            yield found
    except Misconfigured as e:
        yield str(e)


@pytest.fixture
def emulators(_emulators_or_why: Emulators | str) -> Emulators:
    """Where the three emulators listen. Without them the test is skipped, or fails where REQUIRE_EMULATORS=1."""
    if isinstance(_emulators_or_why, Emulators):
        return _emulators_or_why
    if os.environ.get("REQUIRE_EMULATORS") == "1":  # noqa: TID251 - a test's own switch
        pytest.fail(_emulators_or_why)
    pytest.skip(_emulators_or_why)


@pytest.fixture
def place(emulators: Emulators) -> Place:
    """An empty project in the emulators, with bucket and queue, for this test alone."""
    return make_place(emulators)


@pytest.fixture(params=["local", "google"])
def on(request: pytest.FixtureRequest) -> Place | None:
    """The backend to drive Spool on: None is the local one, else a place in the emulators."""
    return request.getfixturevalue("place") if request.param == "google" else None
