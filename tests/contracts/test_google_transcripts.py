"""Cloud Storage: what a commit leaves there, what each call costs, and what trouble on the way means.

fake-gcs-server says "Not Found" of a missing object and of a missing bucket alike: only there does a first load ask twice.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from backends import PATIENCE, Google, envelope
from proxy import Fault, HttpProxy, http_proxy

from spool.errors import Ambiguous, Conflict, Throttled
from spool.google.transcripts import GoogleTranscripts
from spool.transcript import Transcript

KEY = envelope().conversation
MINE = replace(Transcript.empty(KEY), title="mine")
THEIRS = replace(Transcript.empty(KEY), title="theirs")


@pytest.fixture
def proxy(google: Google) -> Iterator[HttpProxy]:
    with http_proxy(google.place.emulators.storage) as proxy:
        yield proxy


@pytest.fixture
def transcripts(google: Google, proxy: HttpProxy) -> GoogleTranscripts:
    """A client behind the proxy, in a bucket that has theirs."""
    google.admin.put(KEY.path, THEIRS.dump())
    return google.transcripts(through=proxy.url)


async def generation(transcripts: GoogleTranscripts) -> int:
    return (await transcripts.load(KEY.path, key=KEY))[1]


# ---- what stands in the bucket, and what it costs


async def test_an_object_is_json_with_its_summary_and_writer_as_metadata(google: Google) -> None:
    opened = Transcript.empty(KEY).opened([envelope("Grüße")], owner="me", now=1.0)
    await google.transcripts().commit(KEY.path, opened, generation=0)
    assert google.admin.content_type(KEY.path) == "application/json"
    metadata = dict(google.admin.metadata(KEY.path))
    assert len(metadata.pop("writer")) == 32
    assert metadata == {"title": "Gr%C3%BC%C3%9Fe", "turns": "1", "last_ts": "1715000100.000000", "last_user": "U1"}
    assert all(value.isascii() for value in metadata.values())


async def test_a_kept_blob_has_its_type(google: Google) -> None:
    path = await google.transcripts().keep(b"png", media_type="image/png")
    assert google.admin.content_type(path) == "image/png"
    path = await google.transcripts().keep(b"odd", media_type="x\r\nevil: 1")
    assert google.admin.content_type(path) == "application/octet-stream"


async def test_what_somebody_else_put_there_is_listed_too(google: Google) -> None:
    google.admin.put("threads/T1/C1/by-hand.json", b"{}")
    google.admin.put("threads/T1/C1/odd.json", b"{}", metadata={"turns": "many", "title": "%ff%"})
    listed = await google.transcripts().list()
    assert [(path, s.title, s.turns) for path, s in listed] == [
        ("threads/T1/C1/by-hand.json", "", 0),
        ("threads/T1/C1/odd.json", "\ufffd%", 0),
    ]


async def test_every_call_is_one_request_and_nobody_asks_for_the_bucket(
    proxy: HttpProxy, transcripts: GoogleTranscripts
) -> None:
    """The library would ask for the bucket in the background, which needs a permission that the worker has not."""
    before = await generation(transcripts)
    after = await transcripts.commit(KEY.path, MINE, generation=before)
    await transcripts.read(KEY.path)
    await transcripts.keep(b"data", media_type="text/plain")
    await transcripts.list()
    with pytest.raises(Conflict):
        await transcripts.commit(KEY.path, THEIRS, generation=before)
    assert await generation(transcripts) == after
    await asyncio.sleep(0.2)  # what was not asked for comes in a thread of its own
    calls = [seen.partition("/b/")[0] for seen in proxy.seen]
    get, post, look = "GET /download/storage/v1", "POST /upload/storage/v1", "GET /storage/v1"
    assert calls == [get, post, get, post, look, post, look, get]  # a conflict looks whether it is its own
    assert not [seen for seen in proxy.seen if "/o" not in seen]


async def test_a_load_of_what_is_not_there_asks_a_second_time_only_where_the_bucket_may_be_missing(
    proxy: HttpProxy, transcripts: GoogleTranscripts
) -> None:
    """Cloud Storage itself says which of both it is."""
    proxy.faults = [Fault(kind="answer", status=404, body="No such object: b/o")]
    assert await transcripts.load("threads/x.json", key=KEY) == (Transcript.empty(KEY), 0)
    assert len(proxy.seen) == 1
    assert await transcripts.load("threads/x.json", key=KEY) == (Transcript.empty(KEY), 0)
    assert len(proxy.seen) == 3


# ---- answers that get lost


async def test_a_commit_whose_answer_is_lost_is_a_success_with_its_generation(
    proxy: HttpProxy, transcripts: GoogleTranscripts
) -> None:
    for n in range(10):
        before = await generation(transcripts)
        proxy.faults = [Fault(kind="lose" if n % 2 else "cut", method="POST")]
        after = await transcripts.commit(KEY.path, replace(MINE, title=f"{n}"), generation=before)
        assert (replace(MINE, title=f"{n}"), after) == await transcripts.load(KEY.path, key=KEY)
        assert after > before


async def test_a_commit_that_arrives_twice_is_a_success_although_the_second_is_refused(
    proxy: HttpProxy, transcripts: GoogleTranscripts
) -> None:
    """What a library's own retry makes of a lost answer: a 412 for what is ours."""
    before = await generation(transcripts)
    proxy.faults = [Fault(kind="twice", method="POST")]
    after = await transcripts.commit(KEY.path, MINE, generation=before)
    assert (MINE, after) == await transcripts.load(KEY.path, key=KEY)


async def test_a_lost_answer_of_a_refused_commit_is_no_success(
    google: Google, proxy: HttpProxy, transcripts: GoogleTranscripts
) -> None:
    proxy.faults = [Fault(kind="lose", method="POST")]
    with pytest.raises(Ambiguous):
        await transcripts.commit(KEY.path, MINE, generation=1)
    assert await google.transcripts().read(KEY.path) == THEIRS.dump()


@pytest.mark.parametrize("status", [503, 429])
async def test_a_commit_that_is_lost_and_cannot_be_looked_for_is_ambiguous(
    proxy: HttpProxy, transcripts: GoogleTranscripts, status: int
) -> None:
    before = await generation(transcripts)
    proxy.faults = [Fault(kind="lose", method="POST"), Fault(kind="answer", status=status)]
    with pytest.raises(Ambiguous) as raised:
        await transcripts.commit(KEY.path, MINE, generation=before)
    assert not isinstance(raised.value, Throttled)  # which would say that nothing was written
    with pytest.raises(Conflict):
        await transcripts.commit(KEY.path, MINE, generation=before)


async def test_whatever_an_answer_says_no_object_is_deleted(
    google: Google, proxy: HttpProxy, transcripts: GoogleTranscripts
) -> None:
    """The library deletes an object whose checksum is another than it thinks: whichever object is there by then."""
    before = await generation(transcripts)
    proxy.faults = [Fault(kind="answer", status=200, body='{"crc32c": "AAAAAA==", "md5Hash": "AAAA"}', method="PUT")]
    with pytest.raises(Ambiguous):
        await transcripts.commit(KEY.path, replace(MINE, participation={"x": "y" * 9_000_000}), generation=before)
    assert not [seen for seen in proxy.seen if seen.startswith("DELETE")]
    assert await google.transcripts().load(KEY.path, key=KEY) == (THEIRS, before)


async def test_a_commit_that_lands_late_conflicts_with_what_came_before_it(google: Google, proxy: HttpProxy) -> None:
    """Its sender gave up long ago; the object is another's by then."""
    late, quick = google.transcripts(through=proxy.url, timeout=0.2), google.transcripts()
    proxy.faults = [Fault(kind="late", seconds=0.6, method="POST")]
    with pytest.raises(Ambiguous):
        await late.commit(KEY.path, MINE, generation=0)
    kept = await quick.commit(KEY.path, THEIRS, generation=0)
    async with asyncio.timeout(PATIENCE):
        while not proxy.answered:  # noqa: ASYNC110 - it is counted in another thread
            await asyncio.sleep(0.02)
    assert await quick.load(KEY.path, key=KEY) == (THEIRS, kept)


async def test_a_lost_answer_of_keeping_is_repeated_without_harm(proxy: HttpProxy, transcripts: GoogleTranscripts) -> None:
    proxy.faults = [Fault(kind="lose", method="POST")]
    with pytest.raises(Ambiguous):
        await transcripts.keep(b"data", media_type="text/plain")
    assert await transcripts.read(await transcripts.keep(b"data", media_type="text/plain")) == b"data"


# ---- trouble


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
async def test_trouble_of_the_bucket_is_ambiguous_and_not_retried(
    google: Google, proxy: HttpProxy, transcripts: GoogleTranscripts, status: int
) -> None:
    before = await generation(transcripts)
    for ask in (
        lambda: transcripts.load(KEY.path, key=KEY),
        transcripts.list,
        lambda: transcripts.keep(b"x", media_type="text/plain"),
    ):
        proxy.faults, proxy.seen[:] = [Fault(kind="answer", status=status)], []
        with pytest.raises(Ambiguous, match=f"the bucket {google.place.bucket} gave no clear answer") as raised:
            await ask()
        assert not isinstance(raised.value, Throttled)
        assert len(proxy.seen) == 1
    proxy.faults = [Fault(kind="answer", status=status)]
    with pytest.raises(Ambiguous, match="gave no clear answer"):
        await transcripts.commit(KEY.path, MINE, generation=before)
    assert await generation(transcripts) == before


async def test_too_many_writes_are_throttled_for_a_second_and_nothing_was_written(
    proxy: HttpProxy, transcripts: GoogleTranscripts
) -> None:
    before = await generation(transcripts)
    proxy.faults, proxy.seen[:] = [Fault(kind="answer", status=429)], []
    with pytest.raises(Throttled) as raised:
        await transcripts.commit(KEY.path, MINE, generation=before)
    assert raised.value.after == 1.0
    assert len(proxy.seen) == 1
    assert await transcripts.commit(KEY.path, MINE, generation=before) > before


@pytest.mark.parametrize(("status", "mend"), [(401, "needs credentials"), (403, r"grant roles/storage\.objectUser")])
async def test_a_denied_bucket_says_what_to_do(
    proxy: HttpProxy, transcripts: GoogleTranscripts, status: int, mend: str
) -> None:
    proxy.faults = [Fault(kind="answer", status=status, body="x@y does not have storage.objects.get access")] * 4
    for ask in (
        lambda: transcripts.load(KEY.path, key=KEY),
        lambda: transcripts.commit(KEY.path, MINE, generation=0),
        transcripts.list,
        lambda: transcripts.keep(b"x", media_type="text/plain"),
    ):
        with pytest.raises(Ambiguous, match=mend):
            await ask()


async def test_a_missing_bucket_is_no_empty_bucket(google: Google) -> None:
    transcripts = google.transcripts()
    google.admin.remove_bucket()
    for ask in (
        lambda: transcripts.load(KEY.path, key=KEY),
        lambda: transcripts.read(KEY.path),
        lambda: transcripts.commit(KEY.path, MINE, generation=0),
        lambda: transcripts.commit(KEY.path, MINE, generation=5),
        transcripts.list,
        lambda: transcripts.keep(b"x", media_type="text/plain"),
    ):
        with pytest.raises(Ambiguous, match=f"the bucket {google.place.bucket} is not there: make it"):
            await ask()
    google.admin.make_bucket()
    assert await transcripts.load(KEY.path, key=KEY) == (Transcript.empty(KEY), 0)


async def test_a_bucket_that_does_not_answer_is_given_up_in_time(google: Google, proxy: HttpProxy) -> None:
    transcripts = google.transcripts(through=proxy.url, timeout=0.2)
    began = time.monotonic()  # noqa: TID251 - how long it takes is the subject
    for ask in (lambda: transcripts.load(KEY.path, key=KEY), lambda: transcripts.commit(KEY.path, MINE, generation=0)):
        proxy.faults = [Fault(kind="hang"), Fault(kind="hang")]
        with pytest.raises(Ambiguous):
            await ask()
    assert time.monotonic() - began < 5.0  # noqa: TID251
    proxy.faults = []
    assert await transcripts.load(KEY.path, key=KEY) == (Transcript.empty(KEY), 0)


async def test_an_address_where_nobody_listens_is_ambiguous(google: Google, unreachable: str) -> None:
    transcripts = google.transcripts(through=f"http://{unreachable}")
    for ask in (lambda: transcripts.load(KEY.path, key=KEY), lambda: transcripts.commit(KEY.path, MINE, generation=0)):
        with pytest.raises(Ambiguous, match=f"the bucket {google.place.bucket} gave no clear answer: ConnectionError"):
            await ask()


async def test_a_body_cut_in_the_middle_is_no_transcript(proxy: HttpProxy, transcripts: GoogleTranscripts) -> None:
    proxy.faults = [Fault(kind="cut")]
    with pytest.raises(Ambiguous):
        await transcripts.load(KEY.path, key=KEY)
    assert (await transcripts.load(KEY.path, key=KEY))[0] == THEIRS


async def test_many_at_once_need_no_more_connections_than_threads(
    proxy: HttpProxy, transcripts: GoogleTranscripts, caplog: pytest.LogCaptureFixture
) -> None:
    """urllib3 warns when it throws connections away."""
    loads = await asyncio.gather(*[transcripts.load(KEY.path, key=KEY) for _ in range(100)])
    assert [t for t, _ in loads] == [THEIRS] * 100
    assert not [r for r in caplog.records if r.name.startswith("urllib3")]
    assert len(proxy.seen) == 100


async def test_a_client_that_was_closed_opens_again(google: Google) -> None:
    transcripts = google.transcripts()
    await transcripts.commit(KEY.path, MINE, generation=0)
    transcripts.close()
    transcripts.close()
    assert (await transcripts.load(KEY.path, key=KEY))[0] == MINE
