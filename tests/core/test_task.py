"""Tasks: what the queue carries comes back as it was, and nothing else is taken for a task."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_envelope import KEY, envelopes, json_values

from spool.envelope import Envelope
from spool.errors import BadInput
from spool.task import BUSY_DELAYS, TIDY_DELAY, Task

seconds = st.floats(min_value=0, max_value=4e9)
hops = st.integers(min_value=0, max_value=10_000)
ENVELOPE = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="hi", addressed="dm")
TASK = Task.of(ENVELOPE, first_seen=1715000001.5, trace="00-4bf9-01")


def body(**fields: Any) -> bytes:
    return json.dumps(json.loads(TASK.encode()) | fields).encode()


@given(envelopes, seconds, st.text(), st.text(), hops)
def test_a_message_task_comes_back_as_it_was(envelope: Envelope, first_seen: float, trace: str, after: str, hop: int) -> None:
    task = Task(conversation=envelope.conversation, envelope=envelope, first_seen=first_seen, trace=trace, after=after, hop=hop)
    assert Task.decode(task.encode()) == task


@given(envelopes, st.text())
def test_a_tidy_task_comes_back_as_it_was(envelope: Envelope, tag: str) -> None:
    task = Task.of(envelope, first_seen=1.5).tidy(tag)
    assert Task.decode(task.encode()) == task
    assert task.envelope is None


@given(envelopes)
def test_a_body_is_one_line_of_ascii(envelope: Envelope) -> None:
    encoded = Task.of(envelope, first_seen=1.0).encode()
    assert encoded.isascii()
    assert b"\n" not in encoded


@given(st.binary(max_size=64) | json_values.map(lambda v: json.dumps(v).encode()))
def test_any_other_body_is_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput):
        Task.decode(data)


@given(
    st.sampled_from(["schema", "kind", "team", "channel", "thread_ts", "msg", "hop", "first_seen", "tag", "after"]), json_values
)
def test_a_field_of_another_kind_is_bad_input_or_a_task_that_comes_back(field: str, value: object) -> None:
    try:
        task = Task.decode(body(**{field: value}))
    except BadInput:
        return
    assert Task.decode(task.encode()) == task


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff",
        b"1" * 5000,
        body(schema=2),
        body(kind="poem"),
        body(channel="../../etc/passwd"),
        body(thread_ts=1715000000.0001),
        body(msg=None),
        body(msg={}),
        body(hop="often"),
        body(hop=float("inf")),
        body(first_seen=None),
        body(first_seen=float("nan")),
        body(first_seen=float("inf")),
        body(first_seen=10**400),
    ],
    ids=lambda data: repr(data)[-60:],
)
def test_a_hostile_body_is_bad_input(data: bytes) -> None:
    with pytest.raises(BadInput):
        Task.decode(data)


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert Task.decode(body(mood="good")) == TASK


def test_a_baton_carries_the_same_work_and_names_who_hands_it_on() -> None:
    baton = TASK.baton(after="me").baton(after="you")
    assert (baton.hop, baton.after) == (2, "you")
    assert (baton.envelope, baton.first_seen, baton.trace) == (TASK.envelope, TASK.first_seen, TASK.trace)


def test_a_baton_waits_longer_each_time_up_to_two_minutes() -> None:
    delays: list[float] = []
    task = TASK
    for _ in range(6):
        task = task.baton(after="me")
        delays.append(task.busy_delay)
    assert delays == [*BUSY_DELAYS, 120.0, 120.0] == [15.0, 30.0, 60.0, 120.0, 120.0, 120.0]


def test_a_tidy_task_names_its_turn_and_begins_its_hops_anew() -> None:
    tidy = TASK.baton(after="me").tidy("t0:C012AB3CD:1715000000.000100")
    assert (tidy.kind, tidy.tag, tidy.hop, tidy.after) == ("tidy", "t0:C012AB3CD:1715000000.000100", 0, "")


def test_a_tidy_task_waits_until_no_request_of_a_worker_can_land_any_more() -> None:
    worker_timeout, client_timeout = 1800, 60
    assert worker_timeout + client_timeout < TIDY_DELAY
