"""`spool.ports.Transcripts`, sentence by sentence, on every backend."""

import asyncio
import hashlib
import json
import threading
from dataclasses import replace

import pytest
from backends import Backend, envelope, in_threads

from spool.envelope import ConversationKey
from spool.errors import Conflict, TooNew, Unreadable
from spool.ports import Transcripts
from spool.transcript import Summary, Transcript

KEY = envelope().conversation


def transcript(title: str = "", *, key: ConversationKey = KEY) -> Transcript:
    return replace(Transcript.empty(key), title=title)


async def title(transcripts: Transcripts) -> str:
    return (await transcripts.load(KEY.path, key=KEY))[0].title


async def test_where_there_is_no_object_the_transcript_is_empty_and_its_generation_0(backend: Backend) -> None:
    assert await backend.transcripts().load(KEY.path, key=KEY) == (Transcript.empty(KEY), 0)


async def test_what_was_committed_is_loaded_by_every_client_at_the_generation_returned(backend: Backend) -> None:
    full = Transcript.empty(KEY).opened([envelope("Grüße 👋 \u2028", n=1)], owner="me", now=1.5)
    generation = await backend.transcripts().commit(KEY.path, full, generation=0)
    assert generation > 0
    assert await backend.transcripts().load(KEY.path, key=KEY) == (full, generation)


async def test_an_object_that_exists_never_has_generation_0(backend: Backend) -> None:
    transcripts = backend.transcripts()
    await transcripts.commit(KEY.path, transcript("first"), generation=0)
    with pytest.raises(Conflict):
        await transcripts.commit(KEY.path, transcript("second"), generation=0)
    assert await title(transcripts) == "first"


async def test_a_stale_commit_conflicts_and_writes_nothing(backend: Backend) -> None:
    transcripts = backend.transcripts()
    old = await transcripts.commit(KEY.path, transcript("first"), generation=0)
    new = await transcripts.commit(KEY.path, transcript("second"), generation=old)
    with pytest.raises(Conflict):
        await transcripts.commit(KEY.path, transcript("third"), generation=old)
    assert await transcripts.load(KEY.path, key=KEY) == (transcript("second"), new)
    assert [s.title for _, s in await transcripts.list()] == ["second"]


async def test_a_commit_at_a_generation_that_never_was_conflicts_even_where_there_is_nothing(backend: Backend) -> None:
    transcripts = backend.transcripts()
    with pytest.raises(Conflict):
        await transcripts.commit(KEY.path, transcript(), generation=12345)
    assert await transcripts.load(KEY.path, key=KEY) == (Transcript.empty(KEY), 0)


async def test_a_generation_is_never_given_again_even_after_a_delete(backend: Backend) -> None:
    """Else a worker that slept through the delete would overwrite what came after it."""
    transcripts = backend.transcripts()
    before = await transcripts.commit(KEY.path, transcript("before"), generation=0)
    await backend.remove(KEY.path)
    after = await transcripts.commit(KEY.path, transcript("after"), generation=0)
    assert after > before
    with pytest.raises(Conflict):
        await transcripts.commit(KEY.path, transcript("late"), generation=before)
    assert await title(transcripts) == "after"


async def test_a_commit_touches_no_other_object(backend: Backend) -> None:
    transcripts = backend.transcripts()
    other = envelope(thread=1).conversation
    generation = await transcripts.commit(other.path, transcript("other", key=other), generation=0)
    await transcripts.commit(KEY.path, transcript("mine"), generation=0)
    assert await transcripts.load(other.path, key=other) == (transcript("other", key=other), generation)


async def test_corrupt_bytes_are_unreadable_and_stay(backend: Backend) -> None:
    transcripts = backend.transcripts()
    generation = await transcripts.commit(KEY.path, transcript(), generation=0)
    await backend.overwrite(KEY.path, b'{"schema":1, "tur')
    for _ in range(2):
        with pytest.raises(Unreadable):
            await transcripts.load(KEY.path, key=KEY)
    with pytest.raises(Conflict):
        await transcripts.commit(KEY.path, transcript(), generation=0)
    assert generation > 0


async def test_an_empty_object_is_unreadable_and_not_absent(backend: Backend) -> None:
    transcripts = backend.transcripts()
    await transcripts.commit(KEY.path, transcript(), generation=0)
    await backend.overwrite(KEY.path, b"")
    with pytest.raises(Unreadable):
        await transcripts.load(KEY.path, key=KEY)


async def test_a_later_schema_is_too_new(backend: Backend) -> None:
    transcripts = backend.transcripts()
    await transcripts.commit(KEY.path, transcript(), generation=0)
    await backend.overwrite(KEY.path, json.dumps({**json.loads(transcript().dump()), "schema": 2}).encode())
    with pytest.raises(TooNew):
        await transcripts.load(KEY.path, key=KEY)


def test_of_two_writers_at_one_generation_exactly_one_wins_200_times(backend: Backend) -> None:
    together = threading.Barrier(2, timeout=20)

    async def writer(name: str) -> list[tuple[bool, str]]:
        transcripts = backend.transcripts()
        rounds: list[tuple[bool, str]] = []
        for _ in range(200):
            generation = (await transcripts.load(KEY.path, key=KEY))[1]
            together.wait()
            won = await attempt(transcripts, name, generation)
            together.wait()
            rounds.append((won, await title(transcripts)))
            together.wait()
        return rounds

    for (ours, seen), (theirs, seen_there) in zip(*in_threads(lambda: writer("a"), lambda: writer("b")), strict=True):
        assert ours != theirs
        assert seen == seen_there == ("a" if ours else "b")


async def attempt(transcripts: Transcripts, name: str, generation: int) -> bool:
    try:
        await transcripts.commit(KEY.path, transcript(name), generation=generation)
    except Conflict:
        return False
    return True


def test_a_counter_that_eight_writers_increment_loses_nothing(backend: Backend) -> None:
    async def increment(times: int) -> None:
        transcripts = backend.transcripts()
        while times:
            now, generation = await transcripts.load(KEY.path, key=KEY)
            times -= await attempt(transcripts, str(int(now.title or 0) + 1), generation)

    in_threads(*[lambda: increment(10)] * 8)
    assert asyncio.run(title(backend.transcripts())) == "80"


async def listed(backend: Backend) -> list[str]:
    """Transcripts of three threads and one dead turn, committed out of order; the paths of the threads."""
    transcripts = backend.transcripts()
    for thread in (2, 0, 1):
        opened = Transcript.empty(envelope(thread=thread).conversation).opened(
            [envelope(f"thread {thread}", thread=thread)], owner="me", now=1.0
        )
        await transcripts.commit(envelope(thread=thread).conversation.path, opened, generation=0)
    await transcripts.commit(KEY.dead("t0"), transcript(), generation=0)
    return [envelope(thread=thread).conversation.path for thread in range(3)]


async def test_a_list_has_paths_and_summaries_ordered_by_path(backend: Backend) -> None:
    paths = await listed(backend)
    summaries = [Summary(title=f"thread {n}", turns=1, last_ts="1715000100.000000", last_user="U1") for n in range(3)]
    assert await backend.transcripts().list() == list(zip(paths, summaries, strict=True))


async def test_a_list_goes_on_after_a_path_and_ends_at_its_limit(backend: Backend) -> None:
    paths = await listed(backend)
    transcripts = backend.transcripts()
    assert [p for p, _ in await transcripts.list(limit=2)] == paths[:2]
    assert [p for p, _ in await transcripts.list(after=paths[0])] == paths[1:]
    assert [p for p, _ in await transcripts.list(after=paths[0], limit=1)] == paths[1:2]
    assert await transcripts.list(after=paths[2]) == []


async def test_a_list_has_only_what_begins_with_its_prefix(backend: Backend) -> None:
    paths = await listed(backend)
    transcripts = backend.transcripts()
    assert [p for p, _ in await transcripts.list(prefix=paths[1])] == paths[1:2]
    assert [p for p, _ in await transcripts.list(prefix="dead/")] == [KEY.dead("t0")]
    assert await transcripts.list(prefix="threads/T1/C%/") == []


async def test_a_list_reads_no_transcript(backend: Backend) -> None:
    paths = await listed(backend)
    await backend.overwrite(paths[1], b"no transcript at all")
    assert [(p, s.title) for p, s in await backend.transcripts().list()][1] == (paths[1], "thread 1")


ODD = ("Grüße 👋", "100% %41 %zz", "\x00\n\t\x7f \u2028", "'quoted' \"too\" \\", " spaces around ", "x" * 80)


@pytest.mark.parametrize("odd", ODD)
async def test_a_list_shows_whatever_people_write(backend: Backend, odd: str) -> None:
    transcripts = backend.transcripts()
    await transcripts.commit(KEY.path, transcript(odd), generation=0)
    assert [s.title for _, s in await transcripts.list()] == [odd]


async def test_half_a_surrogate_pair_in_a_title_is_no_trouble(backend: Backend) -> None:
    transcripts = backend.transcripts()
    await transcripts.commit(KEY.path, transcript("a\ud800b"), generation=0)
    assert [s.title for _, s in await transcripts.list()] in (["a\ud800b"], ["a?b"])
    assert (await transcripts.load(KEY.path, key=KEY))[0].title == "a?b"


async def test_a_long_list_has_no_gap_where_the_store_ends_a_page(backend: Backend) -> None:
    """Cloud Storage sends a thousand names at a time."""
    transcripts = backend.transcripts()
    paths = [f"threads/T1/C1/{n:05}.json" for n in range(1003)]
    for start in range(0, 1003, 59):
        await asyncio.gather(*[transcripts.commit(p, transcript(), generation=0) for p in paths[start : start + 59]])
    assert [p for p, _ in await transcripts.list(limit=2000)] == paths
    assert [p for p, _ in await transcripts.list(limit=1001, after=paths[0])] == paths[1:1002]


async def test_a_transcript_of_many_megabytes_is_committed_by_one_writer_only(backend: Backend) -> None:
    """Cloud Storage takes more than 8 MiB in several requests; the last one decides."""
    transcripts = backend.transcripts()
    large = replace(transcript("large"), participation={"x": "y" * 9_000_000})
    first = await transcripts.commit(KEY.path, large, generation=0)
    second = await transcripts.commit(KEY.path, large, generation=first)
    with pytest.raises(Conflict):
        await transcripts.commit(KEY.path, large, generation=first)
    assert await transcripts.load(KEY.path, key=KEY) == (large, second)


async def test_bytes_are_read_exactly_as_stored(backend: Backend) -> None:
    transcripts = backend.transcripts()
    assert await transcripts.read(KEY.path) is None
    await transcripts.commit(KEY.path, transcript("mine"), generation=0)
    assert await transcripts.read(KEY.path) == transcript("mine").dump()
    await backend.overwrite(KEY.path, b"broken \xff")
    assert await transcripts.read(KEY.path) == b"broken \xff"


@pytest.mark.parametrize("media_type", ["image/png", "text/plain; charset=utf-8", "", "nonsense\r\nX-Evil: 1", "ü" * 300])
async def test_what_is_kept_is_read_under_its_hash_whatever_it_says_it_is(backend: Backend, media_type: str) -> None:
    path = await backend.transcripts().keep(b"\x00\xff" * 99, media_type=media_type)
    assert path == "blobs/" + hashlib.sha256(b"\x00\xff" * 99).hexdigest()
    assert await backend.transcripts().read(path) == b"\x00\xff" * 99


async def test_keeping_again_changes_nothing_also_by_many_at_once(backend: Backend) -> None:
    transcripts = backend.transcripts()
    paths = await asyncio.gather(*[transcripts.keep(b"same", media_type="text/plain") for _ in range(20)])
    assert len(set(paths)) == 1
    await backend.overwrite(paths[0], b"other")
    assert await transcripts.keep(b"same", media_type="text/plain") == paths[0]
    assert await transcripts.read(paths[0]) == b"other"


async def test_what_is_kept_is_no_thread(backend: Backend) -> None:
    transcripts = backend.transcripts()
    path = await transcripts.keep(b"data", media_type="text/plain")
    assert await transcripts.list() == []
    assert [p for p, _ in await transcripts.list(prefix="blobs/")] == [path]
