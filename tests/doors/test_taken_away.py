"""Each of Google's services taken away from running functions while people speak, and given back: no message is lost or
doubled, and the log says in a sentence what is wrong.

The emulators know no permissions: that one lacks, or that something is not there, is said by a server that refuses everything.
"""

import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import grpc
import pytest
from driving import Driven, driven
from judging import come_to_rest, judge, say
from queues import EmulatedQueue
from switching import refusing_http, refusing_rpcs, switch

from emulated import Place

Service = Literal["tasks", "firestore", "storage"]
How = Literal["cut off", "denied", "missing"]

SAID: dict[Service, tuple[str, dict[How, str]]] = {
    "tasks": (
        "the queue projects/",
        {"cut off": "no clear answer", "denied": "grant roles/cloudtasks.enqueuer", "missing": "make it with infra/"},
    ),
    "firestore": (
        "the Firestore database projects/",
        {"cut off": "no clear answer", "denied": "grant roles/datastore.user", "missing": "make it with infra/"},
    ),
    "storage": (
        "the bucket spool-",
        {"cut off": "no clear answer", "denied": "grant roles/storage.objectUser", "missing": "make it with infra/"},
    ),
}
"""How the log calls each, and what it says in the same line of each trouble."""

THINK: dict[Service, str] = {"tasks": "0.5", "firestore": "1.5", "storage": "0.5"}
"""Seconds. Where its document is away, the turn at work is to end about when that is back: else its lease has to run out first,
which takes a minute."""


@contextlib.asynccontextmanager
async def instead(service: Service, how: How) -> AsyncGenerator[str]:
    """Who answers for a service that is away (host:port); empty: nobody."""
    words = "the server's own words"
    if how == "cut off":
        yield ""
    elif service == "storage":
        async with refusing_http(403 if how == "denied" else 404, words) as address:
            yield address
    else:
        code = grpc.StatusCode.PERMISSION_DENIED if how == "denied" else grpc.StatusCode.NOT_FOUND
        with refusing_rpcs(code, words) as address:
            yield address


def lines(spool: Driven) -> list[str]:
    """What both functions have written so far."""
    return (spool.folder / "log").read_text().splitlines()


def troubles(spool: Driven, *, since: int) -> list[dict[str, Any]]:
    """The warnings and errors after so many lines. Every line must be one JSON object."""
    return [line for line in map(json.loads, lines(spool)[since:]) if line["severity"] != "INFO"]


@pytest.mark.parametrize("how", ["cut off", "denied", "missing"])
@pytest.mark.parametrize("service", SAID)
async def test_what_goes_away_while_people_speak_and_comes_back_loses_no_message_and_the_log_says_why(
    place: Place, tmp_path: Path, service: Service, how: How
) -> None:
    called, said = SAID[service][0], SAID[service][1][how]
    scheme, slashes, real = getattr(place.emulators, service).rpartition("//")
    async with switch(real) as way, instead(service, how) as other:
        through = replace(place, emulators=replace(place.emulators, **{service: f"{scheme}{slashes}{way.address}"}))
        issuer = f"http://{place.emulators.tasks}"
        async with driven(tmp_path, through, THINK=THINK[service], SPOOL_OIDC_ISSUER=issuer) as spool:
            spool.queue = EmulatedQueue(place)
            root = await say(spool, "before")
            await spool.until(lambda: spool.answers(root))
            at_work = await say(spool, "at work")
            await spool.until(lambda: any("at work" in trace["text"] for trace in spool.traces()))
            since = len(lines(spool))
            way.lead(other)
            for n, thread in enumerate((None, root, at_work)):
                await say(spool, f"while it is away {n}", thread_ts=thread)
            await spool.until(
                lambda: any(called in t["message"] and said in t["message"] for t in troubles(spool, since=since))
            )
            way.lead(real)
            await come_to_rest(spool, within=90)  # what could not be handed on meanwhile waits for the queue's own backoff
            await judge(spool)
            assert not [t for t in troubles(spool, since=since) if "stack_trace" in t], "what others lack is no fault of ours"
