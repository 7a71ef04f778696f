"""`spool why` and `spool conversations` on both backends: what a person points at is found, what cannot be read is said."""

import asyncio
import json
import sqlite3
import time
import urllib.request
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from emulated import Place
from spool.cli import backend, main
from spool.cli.why import search
from spool.conversation import Document, Lease
from spool.envelope import ConversationKey, Envelope
from spool.local.lock import Lock
from spool.ports import Conversations, Transcripts
from spool.settings import QUEUE, STORES, TARGET, Settings
from spool.slack.permalink import permalink
from spool.task import Task
from spool.transcript import Reply, Transcript

Json = dict[str, Any]
Run = Callable[..., tuple[int, str, str]]
ROOT, TS, SLOT = "1715000000.000100", "1715000050.000200", "1715000051.000300"
KEY = ConversationKey(team="T1", channel="C1", thread_ts=ROOT)
SAID = Envelope(conversation=KEY, ts=TS, user="U1", text="my secret words", addressed="mention", event_id="Ev1")
LINK = permalink("C1", TS, site="acme.slack.com")


@dataclass(frozen=True)
class Store:
    """An empty store of one backend, as the environment names it."""

    place: Place | None
    state_dir: Path

    def run(self, write: Callable[[Transcripts, Conversations], Awaitable[object]]) -> None:
        async def go() -> None:
            settings = backend.read_settings()
            async with backend.transcripts(settings) as transcripts, backend.conversations(settings) as conversations:
                await write(transcripts, conversations)

        asyncio.run(go())

    def keep(self, *transcripts: Transcript) -> None:
        """Commit them, each over the one before it in the same thread."""

        async def write(store: Transcripts, _: Conversations) -> None:
            generations = dict[str, int]()
            for t in transcripts:
                path = ConversationKey(team=t.team, channel=t.channel, thread_ts=t.thread_ts).path
                generations[path] = await store.commit(path, t, generation=generations.get(path, 0))

        self.run(write)

    def bury(self, path: str, transcript: Transcript) -> None:
        self.run(lambda store, _: store.commit(path, transcript, generation=0))

    def tell(self, document: Document, key: ConversationKey = KEY) -> None:
        self.run(lambda _, store: store.write(key, document, token=None))

    def queue(self, task: Task, *, delay: float = 0.0) -> None:
        settings = Settings.read(google=STORES + QUEUE + TARGET)

        async def create() -> None:
            if google := settings.google:
                from spool.google.tasks import GoogleTasks  # noqa: PLC0415 - one backend at a time

                tasks = GoogleTasks(
                    project=google.project,
                    location=google.location,
                    queue=google.queue,
                    worker_url="http://127.0.0.1:9",
                    audience="a",
                    service_account="a@b.iam.gserviceaccount.com",
                    emulator=google.tasks_emulator,
                )
                await tasks.create(task, delay=delay)
                await tasks.close()
            else:
                from spool.local.tasks import LocalTasks  # noqa: PLC0415

                with closing(LocalTasks(settings.state_dir)) as tasks:
                    await tasks.create(task, delay=delay)

        asyncio.run(create())

    def overwrite(self, path: str, data: bytes) -> None:
        """Bytes that Spool did not write."""
        if self.place is None:
            with closing(sqlite3.connect(self.state_dir / "transcripts.db", isolation_level=None)) as database:
                assert database.execute("UPDATE transcripts SET data = ? WHERE path = ?", (data, path)).rowcount == 1
            return
        url = f"{self.place.emulators.storage}/upload/storage/v1/b/{self.place.bucket}/o?uploadType=media&name={path}"
        with urllib.request.urlopen(urllib.request.Request(url, data=data, method="POST"), timeout=10):  # noqa: S310 - ours
            pass


@pytest.fixture(params=["local", "google"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SPOOL_STATE_DIR", str(tmp_path / "state"))
    if request.param == "local":
        return Store(None, tmp_path / "state")
    place: Place = request.getfixturevalue("place")
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    return Store(place, tmp_path / "state")


@pytest.fixture
def served(store: Store) -> Generator[None]:
    """Somebody works there: on this machine a `spool dev`, which holds its lock and has said where it is."""
    store.state_dir.mkdir()
    (store.state_dir / "dev.json").write_text('{"console": "", "ingress": "http://127.0.0.1:1"}')
    lock = Lock(store.state_dir / "dev.lock")
    assert lock.take()
    yield
    lock.give()


@pytest.fixture
def run(store: Store, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    del store

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfdbinary.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out.decode(), err.decode()

    return run


@pytest.fixture
def why(run: Run) -> Callable[..., Json]:
    """The story of what it is asked, as JSON."""

    def ask(*arguments: str) -> Json:
        code, out, err = run("why", *arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return ask


def opened(*said: Envelope, key: ConversationKey = KEY) -> Transcript:
    return Transcript.empty(key).opened(said or [SAID], owner="w1", now=time.time())  # noqa: TID251 - the bucket's clock runs too


def answered(transcript: Transcript, *, slot: str = SLOT) -> Transcript:
    done = {"state": "done", "outcome": "answered", "reply": Reply(parts=("hi",)), "slots": (slot,), "finished_at": time.time()}  # noqa: TID251
    return transcript.with_last(replace(transcript.turns[-1], **done))


def lease(task: str = "n1") -> Lease:
    return Lease(owner="w1", task=task, retry=1)


# ---- where it is


@pytest.mark.parametrize(
    "pointed",
    [
        LINK,
        permalink("C1", TS, thread_ts=ROOT),
        f"C1:{TS}",
        f"t0:C1:{TS}",
        f"slack://channel?team=E9&id=C1&message={TS}",
        permalink("C1", SLOT),
        permalink("C1", SLOT, thread_ts=ROOT),
        str(KEY),
        KEY.path,
        f"https://app.slack.com/client/T1/C1/thread/C1-{ROOT}",
    ],
)
def test_a_message_is_found_by_every_link_that_leads_to_it(store: Store, why: Callable[..., Json], pointed: str) -> None:
    """By one that names no team, and by one of a reply that names no thread; by a link to the answer, too."""
    store.keep(opened(), answered(opened()))
    story = why(pointed)
    at_root = pointed.endswith(f"C1-{ROOT}")
    assert story["conversation"] == str(KEY)
    assert (story["message"], story["state"]) == ((f"C1:{ROOT}", "unknown") if at_root else (SAID.key, "answered"))


def test_the_right_thread_is_found_among_many(store: Store, why: Callable[..., Json], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PAGE", 3)
    others = [
        ConversationKey(team=t, channel=c, thread_ts=f"17150000{n:02}.000100")
        for t in ("T0", "T10", "T2")
        for c in ("C1", "C2")
        for n in range(2, 5)
    ]
    threads = [answered(opened(replace(SAID, conversation=k, ts=k.thread_ts), key=k), slot="1715000049.000100") for k in others]
    store.keep(*threads, answered(opened()))
    assert why(LINK)["conversation"] == str(KEY)
    assert why(permalink("C1", SLOT))["role"] == "answer"
    assert why(permalink("C2", others[4].thread_ts))["conversation"].endswith(f"C2/{others[4].thread_ts}")


def test_what_somebody_else_put_into_the_store_is_passed_over(store: Store, run: Run, why: Callable[..., Json]) -> None:
    store.keep(answered(opened()))
    for path in ("threads/notes.txt", "threads/T1/C1/17.json", "threads/T1/C1/1715000000.000200", f"threads/t1/C1/{ROOT}.json"):
        store.bury(path, opened())
    assert why(LINK)["conversation"] == str(KEY)
    assert [t["key"] for t in json.loads(run("threads", "list", "--json")[1])] == [str(KEY)]


def test_a_search_that_was_cut_says_so(store: Store, why: Callable[..., Json], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SCANNED", 2)
    keys = [replace(KEY, thread_ts=f"17150000{n:02}.000100") for n in range(4)]
    store.keep(*(answered(opened(replace(SAID, conversation=k, ts=k.thread_ts), key=k)) for k in keys))
    assert any("2 of 4 threads were read" in note for note in why(permalink("C1", "1715000049.000999"))["notes"])


def test_a_message_that_is_nowhere_is_unknown_and_no_error(run: Run, why: Callable[..., Json]) -> None:
    story = why(LINK)
    assert (story["state"], story["conversation"], story["turn"]) == ("unknown", None, None)
    code, out, _ = run("why", LINK)
    assert (code, out.splitlines()[-1].startswith("next\tUNKNOWN: It never arrived here")) == (0, True)


def test_a_message_is_found_in_the_queue_before_anything_else_knows_it(store: Store, why: Callable[..., Json]) -> None:
    store.queue(Task.of(SAID, first_seen=1.0), delay=600)
    store.queue(Task.of(replace(SAID, ts=ROOT), first_seen=1.0).baton(after="w0"), delay=900)
    story = why(LINK)
    assert (story["conversation"], story["state"]) == (str(KEY), "queued")
    assert [(t["message"], t["hop"], t["kind"]) for t in story["tasks"]] == [(SAID.key, 0, "msg"), (f"C1:{ROOT}", 1, "msg")]
    assert 500 < story["tasks"][0]["due_in"] <= 600
    assert story["event"]["user"] == "U1"


@pytest.mark.usefixtures("served")
def test_mail_in_an_inbox_is_found_by_the_link_that_names_its_thread(store: Store, why: Callable[..., Json]) -> None:
    store.tell(Document(lease=lease()).with_mail(SAID))
    store.keep(opened(replace(SAID, ts=ROOT)))
    story = why(permalink("C1", TS, thread_ts=ROOT))
    assert (story["state"], story["inbox"], story["event"]["addressed"]) == ("waiting", [SAID.key], "mention")


# ---- what is told of it


@pytest.mark.usefixtures("served")
def test_a_running_turn_is_told_with_lease_and_task(store: Store, why: Callable[..., Json]) -> None:
    store.keep(opened())
    store.tell(Document(lease=lease("4711")).with_mail(SAID))
    story = why(LINK)
    assert story["state"] == "running"
    assert (story["lease"]["owner"], story["lease"]["task"], story["lease"]["retry"]) == ("w1", "4711", 1)
    assert 0 < story["lease"]["left"] <= 60
    assert (story["turn"]["tag"], story["turn"]["state"], story["turn"]["delivered"]) == (f"t0:{SAID.key}", "open", False)


def test_commits_have_generations_and_times(store: Store, why: Callable[..., Json]) -> None:
    store.keep(opened(), answered(opened()))
    story = why(LINK)
    (live,) = [c for c in story["commits"] if c["live"]]
    assert live["generation"] > 0
    assert live["updated"] == pytest.approx(time.time(), abs=60)  # noqa: TID251 - the store's clock
    assert any("the last generation only" in n for n in story["notes"]) == (store.place is None)


def test_what_was_said_is_told_only_when_asked_for(store: Store, run: Run) -> None:
    store.keep(answered(opened()))
    store.queue(Task.of(SAID, first_seen=1.0), delay=600)
    assert "secret" not in run("why", LINK)[1] + run("why", LINK, "--json")[1]
    assert "my secret words" in run("why", LINK, "--content")[1]


def test_no_text_of_a_stranger_steers_a_terminal_as_json_either(store: Store, run: Run) -> None:
    hostile = "\x1b[2J\x9b2J\u202elive\ud83d"
    turn = answered(opened()).turns[0]
    store.keep(opened().with_last(replace(turn, messages=(replace(turn.messages[0], text=hostile),))))
    out = run("why", LINK, "--content", "--json")[1]
    assert (out.isascii(), "\x1b" in out, "live" in json.loads(out)["event"]["text"]) == (True, False, True)


def test_a_broken_transcript_and_the_record_that_stands_in_for_it(store: Store, why: Callable[..., Json]) -> None:
    store.keep(answered(opened()))
    store.overwrite(KEY.path, b'{"schema":')
    assert why(permalink("C1", TS, thread_ts=ROOT))["state"] == "unreadable"
    apology = answered(opened())
    store.bury(KEY.dead("unreadable"), apology.with_last(replace(apology.turns[0], outcome="failed", delivered=True)))
    story = why(permalink("C1", TS, thread_ts=ROOT))
    assert (story["state"], story["dead"]) == ("failed", [KEY.dead("unreadable")])
    assert story["next"].startswith("The transcript cannot be read, and is left as it is (10 bytes")


def test_a_transcript_of_a_later_version_is_waited_for(store: Store, why: Callable[..., Json]) -> None:
    store.keep(opened())
    store.overwrite(KEY.path, opened().dump().replace(b'"schema":1', b'"schema":99', 1))
    story = why(permalink("C1", TS, thread_ts=ROOT))
    assert (story["state"], "schema 99" in story["next"]) == ("too new", True)


def test_records_of_what_was_not_answered_are_named(store: Store, why: Callable[..., Json]) -> None:
    failed = answered(opened())
    failed = failed.with_last(replace(failed.turns[0], outcome="failed", delivered=True))
    store.keep(failed)
    store.bury(KEY.dead("t0"), failed)
    story = why(LINK)
    assert (story["state"], story["dead"]) == ("failed", [KEY.dead("t0")])
    assert KEY.dead("t0") in story["next"]


@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_each_call_says_how_this_checkout_declares_its_tool(store: Store, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic_ai.messages import ModelResponse, ToolCallPart  # noqa: PLC0415 - only here

    steps = (ModelResponse(parts=[ToolCallPart("anything", {}, tool_call_id="c1")]),)
    store.keep(opened().with_last(replace(opened().turns[0], steps=steps)))
    assert "anything [at_most_once, no return yet]" in run("why", LINK)[1]
    monkeypatch.setenv("SPOOL_AGENT", "nowhere:agent")
    assert "anything [no return yet]" in run("why", LINK)[1]


@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_looking_makes_no_queue_and_says_that_nobody_serves(store: Store, run: Run) -> None:
    store.keep(opened())
    assert "No `spool dev` runs on this state directory" in run("why", LINK)[1]
    assert not (store.state_dir / "queue.db").exists()


@pytest.mark.parametrize("store", ["google"], indirect=True)
def test_without_the_queues_name_everything_else_is_told(
    store: Store, why: Callable[..., Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep(answered(opened()))
    monkeypatch.delenv("SPOOL_QUEUE")
    story = why(LINK)
    assert story["state"] == "answered"
    assert any("SPOOL_LOCATION and SPOOL_QUEUE" in n for n in story["notes"])


@pytest.mark.parametrize("store", ["google"], indirect=True)
def test_what_does_not_answer_is_named_and_the_rest_is_told(
    store: Store, why: Callable[..., Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.keep(answered(opened()))
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", "127.0.0.1:9")
    monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", "127.0.0.1:9")
    story = why(LINK)
    assert story["turn"]["outcome"] == "answered"
    assert story["document"] is None
    assert any(n.startswith("Not read: the queue: ") for n in story["notes"])
    assert any(n.startswith("Not read: the conversation's document: ") for n in story["notes"])


@pytest.mark.parametrize("store", ["google"], indirect=True)
def test_a_bucket_that_is_not_there_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOL_BUCKET", "nowhere-spool")
    code, out, err = run("why", LINK)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "SPOOL_BUCKET" in err


def test_what_names_no_message_is_refused(run: Run) -> None:
    code, out, err = run("why", "https://acme.slack.com/archives/C1\x1b[2J")
    assert (code, out) == (1, "")
    assert "Copy link" in err
    assert "\x1b" not in err


# ---- a conversation's document


def test_a_conversation_shows_mapping_lease_inbox_and_answered(store: Store, run: Run) -> None:
    document = Document(lease=lease("4711"), answered=("C1:1.1", "C1:1.2"), delivered=("t3", "w0")).with_mail(SAID)
    store.tell(document)
    code, out, err = run("conversations", "show", str(KEY), "--json")
    shown: Json = json.loads(out)
    assert (code, err, shown["found"], shown["task"], shown["id"]) == (0, "", True, "4711", KEY.id)
    assert (shown["lease"]["owner"], shown["lease"]["holds"]) == ("w1", True)
    assert shown["inbox"] == [{"key": SAID.key, "user": "U1", "addressed": "mention"}]
    assert (shown["answered"], shown["delivered"]) == (["C1:1.1", "C1:1.2"], {"turn": "t3", "owner": "w0"})
    rows = dict(line.split("\t") for line in run("conversations", "show", KEY.path)[1].splitlines())
    assert rows["task"] == "4711"
    assert "runs out in " in rows["lease"]
    assert rows["answered"] == "2 messages, the last C1:1.2"


def test_a_lease_that_ran_out_says_since_when_by_the_servers_clock(store: Store, run: Run) -> None:
    store.tell(Document(lease=replace(lease(), at=1_715_000_000.0)))
    rows = dict(line.split("\t") for line in run("conversations", "show", str(KEY))[1].splitlines())
    assert "ran out " in rows["lease"]
    assert "days ago" in rows["lease"]
    assert json.loads(run("conversations", "show", str(KEY), "--json")[1])["lease"]["holds"] is False


def test_no_document_is_said_with_what_that_means(run: Run) -> None:
    code, out, _ = run("conversations", "show", str(KEY))
    assert (code, "costs time and no answer" in out) == (0, True)
    shown = json.loads(run("conversations", "show", str(KEY), "--json")[1])
    assert (shown["found"], shown["task"], shown["lease"], shown["inbox"]) == (False, None, None, [])
