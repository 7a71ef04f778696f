"""`spool.ports.Conversations`, sentence by sentence, on every backend."""

import asyncio
import threading

import pytest
from backends import Backend, envelope, in_threads

from spool.conversation import Document, Lease
from spool.envelope import ConversationKey
from spool.errors import Conflict
from spool.ports import Conversations

KEY = envelope().conversation


def document(owner: str = "me", *, at: float | None = None) -> Document:
    lease = Lease(owner=owner, task="task", retry=2, at=at)
    return Document(lease=lease, answered=("C1:1.2", "C1:1.3"), delivered=("t0", owner)).with_mail(envelope("Grüße 👋"))


async def owner(conversations: Conversations) -> str:
    seen = await conversations.read(KEY)
    assert seen
    assert seen.document.lease
    return seen.document.lease.owner


async def attempt(conversations: Conversations, name: str, token: str | None) -> bool:
    try:
        await conversations.write(KEY, document(name), token=token)
    except Conflict:
        return False
    return True


async def test_where_there_is_no_document_none_is_read(backend: Backend) -> None:
    assert await backend.conversations().read(KEY) is None


async def test_what_was_written_is_read_by_every_client_with_the_token_returned(backend: Backend) -> None:
    token = await backend.conversations().write(KEY, document(at=12.5), token=None)
    seen = await backend.conversations().read(KEY)
    assert seen
    assert (seen.document, seen.token) == (document(at=12.5), token)


async def test_an_empty_document_is_a_document(backend: Backend) -> None:
    await backend.conversations().write(KEY, Document(), token=None)
    seen = await backend.conversations().read(KEY)
    assert seen
    assert seen.document == Document()


async def test_a_write_without_a_token_needs_that_there_is_none(backend: Backend) -> None:
    conversations = backend.conversations()
    await conversations.write(KEY, document("first"), token=None)
    with pytest.raises(Conflict):
        await conversations.write(KEY, document("second"), token=None)
    assert await owner(conversations) == "first"


async def test_a_stale_token_conflicts_and_writes_nothing(backend: Backend) -> None:
    conversations = backend.conversations()
    old = await conversations.write(KEY, document("first", at=1.0), token=None)
    new = await conversations.write(KEY, document("second", at=2.0), token=old)
    with pytest.raises(Conflict):
        await conversations.write(KEY, document("third"), token=old)
    seen = await conversations.read(KEY)
    assert seen
    assert (seen.document, seen.token) == (document("second", at=2.0), new)


async def test_the_token_of_a_lost_document_fits_neither_nothing_nor_its_successor(backend: Backend) -> None:
    conversations = backend.conversations()
    token = await conversations.write(KEY, document("before"), token=None)
    await backend.forget(KEY)
    assert await conversations.read(KEY) is None
    with pytest.raises(Conflict):
        await conversations.write(KEY, document("late"), token=token)
    await conversations.write(KEY, document("after"), token=None)
    with pytest.raises(Conflict):
        await conversations.write(KEY, document("late"), token=token)
    assert await owner(conversations) == "after"


async def test_the_same_document_written_again_has_a_new_token(backend: Backend) -> None:
    """A heartbeat that changes nothing visible still turns stale writers away."""
    conversations = backend.conversations()
    first = await conversations.write(KEY, document(at=1.0), token=None)
    assert await conversations.write(KEY, document(at=1.0), token=first) != first


async def test_a_lease_without_a_time_gets_the_servers(backend: Backend) -> None:
    conversations = backend.conversations()
    token = await conversations.write(KEY, document(), token=None)
    first = await conversations.read(KEY)
    await backend.pass_time(backend.moment)
    await conversations.write(KEY, document(), token=token)
    second = await conversations.read(KEY)
    assert first
    assert first.document.lease
    assert first.document.lease.at == pytest.approx(backend.now() - backend.moment, abs=1.0)
    assert second
    assert second.document.lease
    assert second.document.lease.at == pytest.approx(backend.now(), abs=1.0)


async def test_a_lease_with_a_time_keeps_it(backend: Backend) -> None:
    """Mail for a busy conversation is no heartbeat of its holder."""
    conversations = backend.conversations()
    token = await conversations.write(KEY, document(at=100.0), token=None)
    await conversations.write(KEY, document(at=100.0).with_mail(envelope(n=1)), token=token)
    seen = await conversations.read(KEY)
    assert seen
    assert seen.document.lease
    assert seen.document.lease.at == 100.0


async def test_a_read_tells_the_servers_time(backend: Backend) -> None:
    conversations = backend.conversations()
    await conversations.write(KEY, document(), token=None)
    await backend.pass_time(backend.moment)
    seen = await conversations.read(KEY)
    assert seen
    assert seen.document.lease
    assert seen.document.lease.at
    assert seen.read_at - seen.document.lease.at == pytest.approx(backend.moment, abs=1.0)


async def test_a_write_touches_no_other_conversation(backend: Backend) -> None:
    conversations = backend.conversations()
    other = envelope(thread=1).conversation
    await conversations.write(KEY, document(), token=None)
    assert await conversations.read(other) is None


async def test_what_left_a_document_is_gone(backend: Backend) -> None:
    """Answered mail must not come back, nor a lease that was given up."""
    conversations = backend.conversations()
    token = await conversations.write(KEY, document().with_mail(envelope(n=1)), token=None)
    idle = Document(answered=("C1:1.2",), delivered=("t0", "me"))
    token = await conversations.write(KEY, idle, token=token)
    seen = await conversations.read(KEY)
    assert seen
    assert (seen.document, seen.token) == (idle, token)
    await conversations.write(KEY, Document().with_mail(envelope(n=2)), token=token)
    seen = await conversations.read(KEY)
    assert seen
    assert seen.document == Document().with_mail(envelope(n=2))


@pytest.mark.parametrize("text", ["", "\x00\u2028\U0010ffff", "__name__", "`a.b*/[]`", "x" * 40_000])
async def test_whatever_people_write_is_read_again(backend: Backend, text: str) -> None:
    conversations = backend.conversations()
    mail = Document().with_mail(envelope(text))
    await conversations.write(KEY, mail, token=None)
    seen = await conversations.read(KEY)
    assert seen
    assert seen.document == mail


async def test_half_a_surrogate_pair_loses_no_mail(backend: Backend) -> None:
    """JSON carries it, other encodings cannot."""
    conversations = backend.conversations()
    await conversations.write(KEY, Document().with_mail(envelope("a\ud800b", n=7)), token=None)
    seen = await conversations.read(KEY)
    assert seen
    assert seen.document.inbox[envelope(n=7).key].text in ("a\ud800b", "a?b")


async def test_a_document_that_cannot_be_read_tells_nothing_and_is_written_anew(backend: Backend) -> None:
    conversations = backend.conversations()
    await conversations.write(KEY, document(), token=None)
    await backend.spoil(KEY)
    seen = await conversations.read(KEY)
    assert seen
    assert seen.document == Document()
    await conversations.write(KEY, document("new"), token=seen.token)
    assert await owner(conversations) == "new"


async def leased(backend: Backend, thread: int, *, age: float, ttl_s: float = 60.0) -> tuple[ConversationKey, Document]:
    """A thread whose holder was last heard of `age` seconds ago."""
    mail = envelope(thread=thread)
    lease = Lease(owner="me", task=f"task {thread}", retry=0, at=float(int(backend.now() - age)), ttl_s=ttl_s)
    made = Document(lease=lease).with_mail(mail)
    await backend.conversations().write(mail.conversation, made, token=None)
    return mail.conversation, made


async def test_the_expired_are_those_whose_lease_ran_out_long_enough_ago_the_oldest_first(backend: Backend) -> None:
    newer, oldest = await leased(backend, 1, age=200.0), await leased(backend, 2, age=300.0)
    just_ran_out = await leased(backend, 3, age=75.0)
    await leased(backend, 4, age=0.0)
    await leased(backend, 5, age=400.0, ttl_s=1000.0)
    conversations = backend.conversations()
    await conversations.write(envelope(thread=6).conversation, Document(answered=("C1:1.2",)), token=None)
    assert await conversations.expired(seconds=30.0, limit=9) == [oldest, newer]
    assert await conversations.expired(seconds=0.0, limit=9) == [oldest, newer, just_ran_out]
    assert await conversations.expired(seconds=1000.0, limit=9) == []


async def test_the_expired_are_at_most_as_many_as_asked_for_and_nothing_hides_them(backend: Backend) -> None:
    """Neither a longer lease nor a document that cannot be read."""
    await leased(backend, 1, age=900.0, ttl_s=5000.0)
    spoilt, _ = await leased(backend, 2, age=800.0)
    await backend.spoil(spoilt)
    second, first = await leased(backend, 3, age=200.0), await leased(backend, 4, age=300.0)
    conversations = backend.conversations()
    assert await conversations.expired(seconds=30.0, limit=1) == [first]
    assert await conversations.expired(seconds=30.0, limit=2) == [first, second]
    assert await conversations.expired(seconds=30.0, limit=3) == [first, second]


async def test_where_nothing_is_leased_nothing_expired(backend: Backend) -> None:
    conversations = backend.conversations()
    assert await conversations.expired(seconds=0.0, limit=5) == []
    await conversations.write(KEY, document(at=1.0), token=None)
    assert await conversations.expired(seconds=0.0, limit=0) == []


def test_of_two_writers_with_one_token_exactly_one_wins_200_times(backend: Backend) -> None:
    together = threading.Barrier(2, timeout=20)

    async def writer(name: str) -> list[tuple[bool, str]]:
        conversations = backend.conversations()
        rounds: list[tuple[bool, str]] = []
        for _ in range(200):
            seen = await conversations.read(KEY)
            together.wait()
            won = await attempt(conversations, name, seen and seen.token)
            together.wait()
            rounds.append((won, await owner(conversations)))
            together.wait()
        return rounds

    for (ours, seen), (theirs, seen_there) in zip(*in_threads(lambda: writer("a"), lambda: writer("b")), strict=True):
        assert ours != theirs
        assert seen == seen_there == ("a" if ours else "b")


def test_a_counter_that_eight_writers_increment_loses_nothing(backend: Backend) -> None:
    asyncio.run(backend.conversations().write(KEY, document("0"), token=None))

    async def increment(times: int) -> None:
        conversations = backend.conversations()
        while times:
            seen = await conversations.read(KEY)
            assert seen
            assert seen.document.lease
            times -= await attempt(conversations, str(int(seen.document.lease.owner) + 1), seen.token)

    in_threads(*[lambda: increment(10)] * 8)
    assert asyncio.run(owner(backend.conversations())) == "80"
