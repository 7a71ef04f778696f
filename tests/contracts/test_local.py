"""What only the local backend promises: several processes, forks, and trouble with the disk."""

import multiprocessing
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from backends import START, envelope
from starting import ROUNDS, start_rounds

from spool.conversation import Document, Lease
from spool.errors import Ambiguous, Misconfigured
from spool.local.address import worker_port
from spool.local.conversations import LocalConversations
from spool.local.database import Database
from spool.local.lock import Lock
from spool.local.queue import Backoff, Queue
from spool.local.tasks import LocalTasks
from spool.local.transcripts import LocalTranscripts

KEY = envelope().conversation
SCHEMA = "CREATE TABLE IF NOT EXISTS t (x)"


def test_processes_that_start_at_once_make_the_databases_together(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(4)
    processes = [spawn.Process(target=start_rounds, args=(tmp_path, together)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0, 0, 0]
    for n in range(ROUNDS):
        with closing(Queue(tmp_path / str(n))) as queue:
            assert [d.body for d in queue.claim(now=1.0, limit=9, running=())] == [b"%d" % worker_port(tmp_path / str(n))] * 4


FORK = """
import os, sys
from pathlib import Path
from spool.local.queue import Queue
queue = Queue(Path(sys.argv[1]))
queue.add(b"parent", due=1.0)
for n in range(3):
    child = os.fork()
    if not child:
        queue.add(b"child", due=2.0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    queue.add(b"parent", due=3.0)
"""


def test_a_forked_process_opens_its_own_connection_and_leaves_its_parents_alone(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORK, str(tmp_path)], check=True, timeout=30)  # noqa: S603 - our own text
    with closing(Queue(tmp_path)) as queue:
        assert [d.body for d in queue.claim(now=9.0, limit=9, running=())] == [b"parent", *[b"child"] * 3, *[b"parent"] * 3]


def test_the_ingress_loads_no_model_library_with_its_queue() -> None:
    """It must be awake within Slack's 3 seconds."""
    light = "import sys, spool.local.tasks; sys.exit(bool({'pydantic', 'aiohttp', 'spool.ports'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", light], check=True, timeout=30)  # noqa: S603 - our own text


def test_making_a_client_touches_no_file(tmp_path: Path) -> None:
    """Doors are imported before functions-framework forks."""
    for client in LocalTasks(tmp_path / "s"), LocalTranscripts(tmp_path / "s"), LocalConversations(tmp_path / "s"):
        client.close()
    assert not (tmp_path / "s").exists()


def test_a_lock_held_too_long_is_ambiguous(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.db", schema=SCHEMA, synchronous="NORMAL", timeout=0.02)
    database.execute("INSERT INTO t VALUES (1)")
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Ambiguous, match="locked"):
            database.execute("INSERT INTO t VALUES (2)")
        other.execute("ROLLBACK")
    database.execute("INSERT INTO t VALUES (3)")
    assert database.execute("SELECT x FROM t") == [(1,), (3,)]
    database.close()


def test_a_full_disk_is_ambiguous_and_nothing_is_half_written(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "x.db", schema=SCHEMA, synchronous="FULL")) as database:
        database.execute("INSERT INTO t VALUES ('small')")
        database.execute("PRAGMA max_page_count = 10")
        with pytest.raises(Ambiguous, match="full"):
            database.execute("INSERT INTO t VALUES (?)", "x" * 100_000)
        assert database.execute("SELECT x FROM t") == [("small",)]


def test_somebody_who_never_finishes_opening_is_ambiguous(tmp_path: Path) -> None:
    other = Lock(tmp_path / "x.lock")
    assert other.take()
    with pytest.raises(Ambiguous, match="opening"):
        Database(tmp_path / "x.db", schema=SCHEMA, synchronous="NORMAL", timeout=0.02).execute("SELECT 1")
    other.give()


def test_a_file_that_is_no_database_is_ambiguous_and_stays(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    with pytest.raises(Ambiguous, match="not a database"):
        Database(tmp_path / "x.db", schema=SCHEMA, synchronous="NORMAL").execute("SELECT 1")
    assert (tmp_path / "x.db").read_bytes() == b"no database" * 100


def test_a_state_directory_that_cannot_be_made_is_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Ambiguous, match="file"):
        Database(tmp_path / "file" / "x.db", schema=SCHEMA, synchronous="NORMAL").execute("SELECT 1")


def test_a_mistake_in_a_statement_is_no_trouble_of_the_disk(tmp_path: Path) -> None:
    with (
        closing(Database(tmp_path / "x.db", schema=SCHEMA, synchronous="NORMAL")) as database,
        pytest.raises(sqlite3.ProgrammingError),
    ):
        database.execute("SELECT ?", 1, 2)


async def test_a_person_sees_whose_lease_it_is(tmp_path: Path) -> None:
    with closing(LocalConversations(tmp_path, now=lambda: START)) as conversations:
        token = await conversations.write(KEY, Document(), token=None)
        await conversations.write(KEY, Document(lease=Lease(owner="me", task="t1", retry=0)), token=token)
    with closing(sqlite3.connect(tmp_path / "conversations.db")) as person:
        rows = person.execute("SELECT team, channel, thread_ts, owner, task FROM conversations").fetchall()
    assert rows == [(KEY.team, KEY.channel, KEY.thread_ts, "me", "t1")]


def test_the_workers_port_is_chosen_once(tmp_path: Path) -> None:
    port = worker_port(tmp_path / "state")
    assert 1024 <= port < 65536
    assert worker_port(tmp_path / "state") == port
    assert [p.name for p in (tmp_path / "state").iterdir()] == ["worker-port"]


def test_a_port_that_is_none_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "worker-port").write_text("http")
    with pytest.raises(Misconfigured, match="delete the file"):
        worker_port(tmp_path)


def test_the_backoff_is_cloud_tasks() -> None:
    """The example of its documentation (RetryConfig.max_doublings)."""
    documented = Backoff(minimum=10, maximum=300, doublings=3)
    assert [documented.after(n) for n in range(1, 9)] == [10, 20, 40, 80, 160, 240, 300, 300]


def test_the_backoff_here_begins_at_a_tenth_of_a_second_and_ends_at_a_minute() -> None:
    waits = [Backoff().after(n) for n in range(1, 13)]
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]
    assert Backoff().after(1_000_000) == 60.0


def test_a_claim_counts_the_attempt_before_anything_is_sent(tmp_path: Path) -> None:
    """Whoever is killed after it, the next attempt has a higher retry count."""
    with closing(Queue(tmp_path)) as queue:
        name = queue.add(b"body", due=5.0)
    with closing(Queue(tmp_path)) as queue:
        assert [(d.name, d.retry) for d in queue.claim(now=5.0, limit=1, running=())] == [(name, 0)]
    with closing(Queue(tmp_path)) as queue:
        assert [(d.name, d.retry, d.due) for d in queue.claim(now=5.0, limit=1, running=())] == [(name, 1, 5.0)]


def test_what_is_running_is_not_claimed_again(tmp_path: Path) -> None:
    with closing(Queue(tmp_path)) as queue:
        first, second = queue.add(b"1", due=1.0), queue.add(b"2", due=2.0)
        assert [d.name for d in queue.claim(now=9.0, limit=9, running={first})] == [second]
        assert queue.next_due(running={first}) == 2.0
        assert queue.next_due(running={first, second}) is None
