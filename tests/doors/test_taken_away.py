"""Each of Google's services taken away from running functions while people speak, and given back: no message is lost or doubled,
and the log says in a sentence what is wrong.

The emulators know no permissions: who lacks one, and what is not there, is told by a server that refuses everything.
"""

import contextlib
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from driving import Driven, driven
from judging import come_to_rest, judge, say
from switching import refusing_http, refusing_rpcs, switch

from emulated import Place

AWAY = ("cut off", "denied", "missing")


@dataclass(frozen=True, kw_only=True)
class Service:
    """variable: the setting that names its address. called: how log lines name it. mended: what they say of each trouble."""

    variable: str
    called: str
    mended: dict[str, str]


SERVICES = {
    "queue": Service(
        variable="CLOUD_TASKS_EMULATOR_HOST",
        called="the queue projects/",
        mended={"cut off": "gave no clear answer", "denied": "grant roles/cloudtasks.enqueuer", "missing": "make it with infra/"},
    ),
    "documents": Service(
        variable="FIRESTORE_EMULATOR_HOST",
        called="the database (default)",
        mended={"cut off": "gave no clear answer", "denied": "grant roles/datastore.user", "missing": "make it with infra/"},
    ),
    "bucket": Service(
        variable="STORAGE_EMULATOR_HOST",
        called="the bucket spool-",
        mended={"cut off": "gave no clear answer", "denied": "grant roles/storage.objectUser", "missing": "is not there: make it"},
    ),
}


@contextlib.asynccontextmanager
async def nobody(name: str, how: str) -> AsyncGenerator[str]:
    """Where the service seems to be while it is away; nowhere where it is cut off."""
    if how == "cut off":
        yield ""
    elif name == "bucket":
        async with refusing_http(403 if how == "denied" else 404, "the server's own words") as address:
            yield address
    else:
        code = grpc.StatusCode.PERMISSION_DENIED if how == "denied" else grpc.StatusCode.NOT_FOUND
        with refusing_rpcs(code, "the server's own words") as address:
            yield address


def trouble(spool: Driven, *, after: int) -> list[dict[str, Any]]:
    """The warnings and errors of both functions, from that line of the log on. Every line must be one JSON object."""
    told = [json.loads(line) for line in (spool.folder / "log").read_text().splitlines()[after:]]
    return [line for line in told if line["severity"] in ("WARNING", "ERROR", "CRITICAL")]


@pytest.mark.parametrize("name", SERVICES)
async def test_what_is_taken_away_while_people_speak_and_given_back_loses_no_message_and_says_why(
    place: Place, tmp_path: Path, name: str
) -> None:
    service, real = SERVICES[name], place.environment[SERVICES[name].variable]
    scheme = "http://" if real.startswith("http://") else ""
    async with switch(real.removeprefix("http://")) as way:
        there = {service.variable: scheme + way.address, "SPOOL_OIDC_ISSUER": f"http://{place.emulators.tasks}"}
        async with driven(tmp_path, place, THINK="0.5", **there) as spool:
            root = await say(spool, "before")
            await spool.until(lambda: spool.answers(root))
            for how in AWAY:
                at_work = await say(spool, f"at work, {how}")
                await spool.until(lambda text=f"at work, {how}": any(text in t["text"] for t in spool.traces()))
                heard = len((spool.folder / "log").read_text().splitlines())
                async with nobody(name, how) as elsewhere:
                    way.lead(elsewhere)
                    for thread in (None, root, at_work):
                        await say(spool, f"more, {how}", thread_ts=thread)
                    sentence = (service.called, service.mended[how])
                    await spool.until(
                        lambda heard=heard, sentence=sentence: any(
                            all(part in line["message"] for part in sentence) for line in trouble(spool, after=heard)
                        )
                    )
                    way.lead(real.removeprefix("http://"))
                await come_to_rest(spool)
                assert all("Traceback" not in str(line) for line in trouble(spool, after=heard))
            await judge(spool)
