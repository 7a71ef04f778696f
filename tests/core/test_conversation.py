"""A conversation's document: a hint, but one that says only what is true."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_envelope import KEY, envelopes, timestamps

from spool.conversation import ANSWERED_LIMIT, INBOX_BYTES, LEASE_SECONDS, Document, Lease, Seen
from spool.envelope import Envelope, File
from spool.errors import BadInput
from spool.task import Attempt, Task

ENVELOPE = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="hi", addressed="mention")
TASK = Task.of(ENVELOPE, first_seen=0.0)
LEASE = Lease(owner="other", task="task-1", retry=2, at=1000.0)
leases = st.builds(
    Lease,
    owner=st.text(),
    task=st.text(),
    retry=st.integers(min_value=0),
    at=st.none() | st.floats(min_value=0, max_value=4e9),
    ttl_s=st.floats(min_value=0, max_value=1e4),
)
documents = st.builds(
    Document,
    lease=st.none() | leases,
    inbox=st.lists(envelopes.map(lambda e: replace(e, conversation=KEY)), max_size=3).map(lambda es: {e.key: e for e in es}),
    answered=st.lists(timestamps, max_size=3).map(tuple),
    delivered=st.none() | st.tuples(st.text(), st.text()),
)


@given(documents)
def test_a_document_comes_back_as_it_was(document: Document) -> None:
    assert Document.from_json(json.loads(json.dumps(document.to_json())), conversation=KEY) == document


def test_fields_of_a_later_version_are_passed_over() -> None:
    document = Document(lease=LEASE)
    fields = document.to_json() | {"cancel": {"by": "U1"}}
    fields["lease"] |= {"colour": "red"}
    assert Document.from_json(fields, conversation=KEY) == document


@pytest.mark.parametrize(
    "nonsense",
    [
        {"lease": "mine"},
        {"lease": {"owner": "me", "task": "t", "retry": float("inf")}},
        {"lease": {"owner": "me", "task": "t", "retry": 0, "at": "noon"}},
        {"inbox": []},
        {"inbox": {"C1:1.2": {"text": 1}}},
        {"answered": 1},
        {"delivered": "t0"},
    ],
)
def test_what_is_no_document_is_bad_input(nonsense: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        Document.from_json(nonsense, conversation=KEY)


def test_a_document_that_says_nothing_is_an_empty_one() -> None:
    assert Document.from_json({}, conversation=KEY) == Document()


@pytest.mark.parametrize(
    ("why", "lease", "after", "attempt", "read_at", "may"),
    [
        ("nobody holds it", None, "", Attempt(name="task-2", retry=0), 1000.0, True),
        ("another holds it", LEASE, "", Attempt(name="task-2", retry=0), 1000.0, False),
        ("I hold it", replace(LEASE, owner="me"), "", Attempt(name="task-2", retry=0), 1000.0, True),
        ("its owner named me", LEASE, "other", Attempt(name="task-2", retry=0), 1000.0, True),
        ("somebody else named me", LEASE, "third", Attempt(name="task-2", retry=0), 1000.0, False),
        ("it runs out now", LEASE, "", Attempt(name="task-2", retry=0), 1000.0 + LEASE_SECONDS, False),
        ("it ran out", LEASE, "", Attempt(name="task-2", retry=0), 1000.1 + LEASE_SECONDS, True),
        ("the same attempt again", LEASE, "", Attempt(name="task-1", retry=2), 1000.0, False),
        ("an earlier attempt", LEASE, "", Attempt(name="task-1", retry=1), 1000.0, False),
        ("the holder's attempt is over", LEASE, "", Attempt(name="task-1", retry=3), 1000.0, True),
        ("another task's retries say nothing", LEASE, "", Attempt(name="task-2", retry=9), 1000.0, False),
        ("the server's clock stepped back", LEASE, "", Attempt(name="task-2", retry=0), 10.0, False),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) and " " in value else "",
)
def test_a_lease_may_be_taken_when(  # noqa: PLR0917 - a table, one row per reason
    why: str,
    lease: Lease | None,
    after: str,
    attempt: Attempt,
    read_at: float,
    may: bool,  # noqa: FBT001
) -> None:
    seen = Seen(document=Document(lease=lease), token="1", read_at=read_at)
    assert seen.may_be_taken(me="me", task=replace(TASK, after=after), attempt=attempt) is may, why


def test_a_release_leaves_nobody_at_work_and_nothing_waiting() -> None:
    document = Document(lease=LEASE, answered=("C1:1",)).with_mail(ENVELOPE).released([ENVELOPE.key, "C1:1"], ("t0", "me"))
    assert document == Document(answered=("C1:1", ENVELOPE.key), delivered=("t0", "me"))


def test_a_release_keeps_the_last_200_answered_keys() -> None:
    document = Document()
    for n in range(ANSWERED_LIMIT + 50):
        document = document.released([f"C1:{n}"], ("t0", "me"))
    assert ANSWERED_LIMIT == 200
    assert document.answered == tuple(f"C1:{n}" for n in range(50, 250))


def test_the_second_event_of_a_waiting_message_adds_its_files_and_nothing_else() -> None:
    first = replace(ENVELOPE, files=(File(id="F1"),))
    second = replace(ENVELOPE, text="the same message, told otherwise", files=(File(id="F1"), File(id="F2")))
    document = Document().with_mail(first).with_mail(second).with_mail(first)
    assert document.inbox == {ENVELOPE.key: replace(first, files=(File(id="F1"), File(id="F2")))}


def test_an_inbox_takes_nothing_more_when_it_is_larger_than_a_document_should_be() -> None:
    document = Document().with_mail(replace(ENVELOPE, text="x" * (INBOX_BYTES - 500)))
    assert not document.inbox_is_full
    assert document.with_mail(replace(ENVELOPE, ts="1715000000.000200", text="x" * 500)).inbox_is_full
