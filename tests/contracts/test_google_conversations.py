"""Firestore: what a document looks like there, what each call costs, and what trouble on the way means.

The emulator answers a stale update time with FAILED_PRECONDITION and knows no permissions or missing databases: those are said
by a server before it. It never deletes by TTL.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from backends import PATIENCE, Google, envelope
from google.cloud.firestore_v1.types import CommitRequest
from proxy import Line, line
from rpcs import Rpcs, rpcs

from spool.conversation import Document, Lease
from spool.errors import Ambiguous, Conflict, Throttled
from spool.google.conversations import GoogleConversations

KEY = envelope().conversation
BUSY = Document(lease=Lease(owner="me", task="task-1", retry=2)).with_mail(envelope("secret words"))
IDLE = Document(answered=("C1:1.2",), delivered=("t0", "me"))
READ, WRITE, QUERY = "BatchGetDocuments", "Commit", "RunQuery"


@pytest.fixture
def proxy(google: Google) -> Iterator[Rpcs]:
    with rpcs(google.place.emulators.firestore) as proxy:
        yield proxy


@pytest.fixture
def wire(google: Google) -> Iterator[Line]:
    with line(google.place.emulators.firestore) as made:
        yield made


async def token(conversations: GoogleConversations) -> str:
    seen = await conversations.read(KEY)
    assert seen
    return seen.token


# ---- what stands in the document


async def test_a_person_finds_the_thread_its_task_and_its_mail(google: Google) -> None:
    """The mapping of thread_ts to task."""
    conversations = google.conversations()
    was = await conversations.write(KEY, BUSY, token=None)
    fields = google.admin.document(KEY)["fields"]
    assert [fields[name]["stringValue"] for name in ("team", "channel", "thread_ts")] == [KEY.team, KEY.channel, KEY.thread_ts]
    lease = fields["lease"]["mapValue"]["fields"]
    assert lease["task"]["stringValue"] == "task-1"
    assert datetime.fromisoformat(lease["at"]["timestampValue"]).timestamp() == pytest.approx(google.now(), abs=5.0)
    assert list(fields["inbox"]["mapValue"]["fields"]) == [envelope().key]
    await conversations.write(KEY, IDLE, token=was)
    fields = google.admin.document(KEY)["fields"]
    assert "nullValue" in fields["lease"]
    assert fields["inbox"]["mapValue"] == {}


async def test_only_an_idle_document_may_expire_and_not_before_every_task_is_gone(google: Google) -> None:
    """Cloud Tasks keeps a task for 31 days, and a duplicate of it is to be known."""
    conversations = google.conversations()
    was = await conversations.write(KEY, IDLE, token=None)
    when = google.admin.document(KEY)["fields"]["expire_at"]["timestampValue"]
    assert datetime.fromisoformat(when) - datetime.now(UTC) > timedelta(days=35)
    was = await conversations.write(KEY, BUSY, token=was)
    assert "expire_at" not in google.admin.document(KEY)["fields"]
    was = await conversations.write(KEY, Document().with_mail(envelope()), token=was)
    assert "expire_at" not in google.admin.document(KEY)["fields"]
    await conversations.write(KEY, IDLE, token=was)
    assert "expire_at" in google.admin.document(KEY)["fields"]


async def test_what_a_later_version_wrote_beside_it_stays(google: Google) -> None:
    conversations = google.conversations()
    await conversations.write(KEY, BUSY, token=None)
    google.admin.spoil(KEY, {"remote": {"stringValue": "later"}}, only="remote")
    await conversations.write(KEY, IDLE, token=await token(conversations))
    assert google.admin.document(KEY)["fields"]["remote"] == {"stringValue": "later"}


async def test_a_document_that_names_no_conversation_is_passed_over(google: Google) -> None:
    conversations = google.conversations()
    await conversations.write(KEY, Document(lease=Lease(owner="me", task="t", retry=0, at=1.0)), token=None)
    google.admin.spoil(KEY, {"team": {"stringValue": "../.."}}, only="team")
    assert await conversations.expired(seconds=1.0, limit=5) == []


async def test_a_token_goes_back_with_every_nanosecond_that_it_came_with(google: Google, proxy: Rpcs) -> None:
    """A rounded one would never fit. The emulator has microseconds and refuses more."""
    conversations = google.conversations(through=proxy.address)
    await conversations.write(KEY, IDLE, token=None)
    with pytest.raises(Ambiguous, match="microseconds precision"):
        await conversations.write(KEY, BUSY, token="2026-11-21T16:19:52.137547789Z")
    parse: Any = CommitRequest.deserialize
    (write,) = parse(proxy.sent[-2]).writes
    assert write.current_document.update_time.nanosecond == 137_547_789
    await conversations.close()


# ---- what it costs


async def test_every_call_is_one_rpc(google: Google, proxy: Rpcs) -> None:
    conversations = google.conversations(through=proxy.address)
    await conversations.read(KEY)
    first = await conversations.write(KEY, BUSY, token=None)
    second = await conversations.write(KEY, IDLE, token=first)
    await conversations.read(KEY)
    await conversations.expired(seconds=1.0, limit=10)
    assert proxy.seen == [READ, WRITE, WRITE, READ, QUERY]
    with pytest.raises(Conflict):
        await conversations.write(KEY, BUSY, token=first)
    assert proxy.seen[5:] == [WRITE, READ]  # a conflict looks whether it is its own
    await conversations.write(KEY, BUSY, token=second)
    await conversations.close()


async def test_the_sweep_of_many_conversations_at_work_costs_few_rpcs(google: Google, proxy: Rpcs) -> None:
    conversations = google.conversations(through=proxy.address)
    keys = [envelope(thread=n).conversation for n in range(30)]
    await asyncio.gather(*[conversations.write(key, BUSY, token=None) for key in keys])
    proxy.seen.clear()
    assert await conversations.expired(seconds=30.0, limit=20) == []
    assert proxy.seen == [QUERY]
    await conversations.close()


# ---- answers that get lost


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL])
async def test_a_write_whose_answer_is_lost_is_a_success_with_its_token(
    google: Google, proxy: Rpcs, code: grpc.StatusCode
) -> None:
    conversations = google.conversations(through=proxy.address)
    proxy.after, proxy.answers = True, [(code, "lost")]
    first = await conversations.write(KEY, BUSY, token=None)
    assert first == await token(conversations)
    proxy.answers = [(code, "lost")]
    second = await conversations.write(KEY, IDLE, token=first)
    assert second == await token(conversations) != first
    await conversations.close()


@pytest.mark.parametrize("code", [grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.ABORTED])
async def test_a_refusal_of_what_is_there_is_a_success(google: Google, proxy: Rpcs, code: grpc.StatusCode) -> None:
    """What somebody's retry on the way makes of a lost answer."""
    conversations = google.conversations(through=proxy.address)
    proxy.after, proxy.answers = True, [(code, "it is there already")]
    assert await conversations.write(KEY, BUSY, token=None) == await token(conversations)
    await conversations.close()


async def test_a_connection_that_dies_as_the_answer_comes_costs_nothing(google: Google, wire: Line) -> None:
    conversations = google.conversations(through=wire.address)
    was = None
    for n in range(10):
        wire.cuts = 1
        was = await conversations.write(KEY, Document(lease=Lease(owner=f"{n}", task="t", retry=0, at=1.0)), token=was)
        assert wire.cuts == 0
        seen = await google.conversations().read(KEY)
        assert seen
        assert seen.token == was
        assert seen.document.lease == Lease(owner=f"{n}", task="t", retry=0, at=1.0)
    await conversations.close()


async def test_a_write_that_is_lost_and_cannot_be_looked_for_is_ambiguous(google: Google, proxy: Rpcs) -> None:
    conversations = google.conversations(through=proxy.address)
    for trouble in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED):
        proxy.answers = [(grpc.StatusCode.UNAVAILABLE, "lost"), (trouble, "not now")]
        with pytest.raises(Ambiguous) as raised:
            await conversations.write(KEY, BUSY, token=None)
        assert not isinstance(raised.value, Throttled)  # which would say that nothing was written
    await conversations.close()


async def test_a_lost_write_over_anothers_is_not_mine(google: Google, proxy: Rpcs) -> None:
    conversations, other = google.conversations(through=proxy.address), google.conversations()
    stale = await other.write(KEY, IDLE, token=None)
    theirs = await other.write(KEY, BUSY, token=stale)
    proxy.answers = [(grpc.StatusCode.UNAVAILABLE, "lost before it was done")]
    with pytest.raises(Ambiguous):
        await conversations.write(KEY, IDLE, token=stale)
    with pytest.raises(Conflict):
        await conversations.write(KEY, IDLE, token=stale)
    assert await token(other) == theirs
    await conversations.close()


# ---- trouble


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, r"grant roles/datastore\.user"),
        (grpc.StatusCode.UNAUTHENTICATED, r"grant roles/datastore\.user"),
        (grpc.StatusCode.NOT_FOUND, "make it with infra/, or mend GOOGLE_CLOUD_PROJECT or SPOOL_DATABASE"),
        (grpc.StatusCode.UNAVAILABLE, "gave no clear answer"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "gave no clear answer"),
        (grpc.StatusCode.INTERNAL, "gave no clear answer"),
        (grpc.StatusCode.UNKNOWN, "gave no clear answer"),
        (grpc.StatusCode.CANCELLED, "gave no clear answer"),
        (grpc.StatusCode.INVALID_ARGUMENT, "gave no clear answer"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down"),
    ],
)
async def test_trouble_is_ambiguous_says_what_to_do_and_changes_nothing(
    google: Google, proxy: Rpcs, code: grpc.StatusCode, mend: str
) -> None:
    conversations, other = google.conversations(through=proxy.address), google.conversations()
    was = await other.write(KEY, IDLE, token=None)
    for ask in (
        lambda: conversations.read(KEY),
        lambda: conversations.write(KEY, BUSY, token=was),
        lambda: conversations.expired(seconds=1.0, limit=1),
    ):
        proxy.answers = [(code, "the server's own words")] * 2  # the second for the look that follows a failed write
        with pytest.raises(Ambiguous, match=mend) as raised:
            await ask()
        assert f"projects/{google.place.project}/databases/(default)" in str(raised.value)
        assert "the server's own words" in str(raised.value)
        assert "secret words" not in str(raised.value)
        assert isinstance(raised.value, Throttled) == (code == grpc.StatusCode.RESOURCE_EXHAUSTED)
    proxy.answers = []
    assert await token(conversations) == was
    await conversations.close()


async def test_a_silent_line_is_given_up_in_time_and_the_next_call_has_a_new_one(google: Google, wire: Line) -> None:
    """gRPC itself would go on with it for minutes."""
    conversations = google.conversations(through=wire.address, timeout=0.5)
    while not await answers(conversations):
        """A cold emulator takes its time."""
    wire.silent = 1_000_000
    began = time.monotonic()  # noqa: TID251 - how long it takes is the subject
    with pytest.raises(Ambiguous, match="gave no clear answer"):
        await conversations.read(KEY)
    with pytest.raises(Ambiguous, match="gave no clear answer"):
        await conversations.write(KEY, BUSY, token=None)
    assert time.monotonic() - began < 5.0  # noqa: TID251
    wire.fall_silent()
    assert await answers(conversations)
    await conversations.close()


async def answers(conversations: GoogleConversations) -> bool:
    try:
        await conversations.read(KEY)
    except Ambiguous:
        return False
    return True


async def test_an_address_where_nobody_listens_is_ambiguous_until_somebody_does(google: Google, unreachable: str) -> None:
    conversations = google.conversations(through=unreachable)
    with pytest.raises(Ambiguous, match="gave no clear answer"):
        await conversations.read(KEY)
    with pytest.raises(Ambiguous, match="gave no clear answer"):
        await conversations.expired(seconds=1.0, limit=1)
    with rpcs(google.place.emulators.firestore, at=unreachable):
        async with asyncio.timeout(PATIENCE):
            while not await answers(conversations):
                """gRPC asks again within a second, not within its two minutes."""
    await conversations.close()


async def test_each_event_loop_has_a_connection_of_its_own(google: Google) -> None:
    conversations = google.conversations()
    was = await conversations.write(KEY, BUSY, token=None)
    assert await asyncio.to_thread(asyncio.run, token(conversations)) == was
    assert await token(conversations) == was
    await conversations.close()
    await conversations.close()
    assert await token(conversations) == was
