"""What is decided from a transcript alone: the next move, and what may be deleted (rule G)."""

from dataclasses import replace
from typing import Any

import pytest
from test_envelope import KEY
from test_transcript import transcript, turn

from spool.conversation import Mark
from spool.decision import Move, Reserved, decide, is_garbage
from spool.envelope import Envelope
from spool.transcript import Transcript

ASKED = Envelope(conversation=KEY, ts=KEY.thread_ts, user="U1", text="hi", addressed="dm")  # the message of `turn()`
MORE = replace(ASKED, ts="1715000009.000100")
DONE = turn(state="done", slots=("1.1",))
TAG = DONE.tag


@pytest.mark.parametrize(
    ("move", "found", "delivered", "mail"),
    [
        ("release", Transcript.empty(KEY), None, ()),
        ("open", Transcript.empty(KEY), None, (ASKED,)),
        ("run", transcript(turn()), None, (ASKED, MORE)),
        ("resume", transcript(turn(owner="other")), None, (ASKED, MORE)),
        ("deliver", transcript(DONE), None, (ASKED, MORE)),
        ("deliver", transcript(replace(DONE, owner="other")), None, (ASKED,)),
        ("deliver", transcript(DONE), ("t0", "an owner of a transcript that was deleted"), (ASKED,)),
        ("release", transcript(DONE), ("t0", "me"), (ASKED,)),
        ("release", transcript(replace(DONE, delivered=True)), None, (ASKED,)),
        ("open", transcript(DONE), ("t0", "me"), (ASKED, MORE)),
        ("open", transcript(replace(DONE, delivered=True)), None, (MORE,)),
        ("release", replace(Transcript.empty(KEY), archived_keys=(ASKED.key,)), None, (ASKED,)),
    ],
)
def test_the_next_move_is(move: Move, found: Transcript, delivered: Mark | None, mail: tuple[Envelope, ...]) -> None:
    assert decide(found, me="me", delivered=[None, delivered], pending={e.key: e for e in mail}) == move


def test_an_answer_is_shown_before_the_next_turn_is_opened() -> None:
    assert decide(transcript(DONE), me="me", delivered=(), pending={MORE.key: MORE}) == "deliver"


# ---- rule G


@pytest.mark.parametrize(
    ("why", "fields", "epoch", "garbage"),
    [
        ("open: its poster may still record it", {"state": "open", "slots": None, "epoch": 2}, 2, False),
        ("open: an older epoch is over", {"state": "open", "slots": None, "epoch": 2}, 1, True),
        ("open: a newer epoch is not mine to judge", {"state": "open", "slots": None, "epoch": 2}, 3, False),
        ("done without slots yet: delivery may still record it", {"state": "done", "slots": None, "epoch": 2}, 2, False),
        ("done with a gap: delivery may still record it", {"state": "done", "slots": ("1.1", None), "epoch": 2}, 2, False),
        ("done with a gap: an older epoch is over", {"state": "done", "slots": ("1.1", None), "epoch": 2}, 1, True),
        ("settled: not recorded, never shown", {"state": "done", "slots": ("1.1",), "epoch": 2}, 2, True),
        ("settled: a newer epoch reclaims", {"state": "done", "slots": ("1.1",), "epoch": 2}, 3, False),
        ("undeliverable: nothing is ever shown", {"state": "done", "slots": (), "epoch": 2}, 2, True),
        ("a slot is never garbage", {"state": "done", "slots": ("9.9",), "epoch": 2}, 2, False),
        ("a kept slot of an older epoch is never garbage", {"state": "done", "slots": ("9.9", None), "epoch": 2}, 1, False),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_a_message_of_ours_is_garbage_when(why: str, fields: dict[str, Any], epoch: int, garbage: bool) -> None:  # noqa: FBT001
    message = Reserved(ts="9.9", tag=TAG, epoch=epoch, part=0)
    for others in ((), (turn(id="t1", state="done", slots=("9.8",), epoch=9),)):
        assert is_garbage(message, transcript(turn(**fields), *others)) is garbage, why


def test_a_message_of_a_turn_that_the_transcript_does_not_know_is_left_alone() -> None:
    """Of a deleted transcript, or of a turn that a stale reader has not seen yet."""
    message = Reserved(ts="9.9", tag="t0:C012AB3CD:1700000000.000100", epoch=1, part=0)
    assert not is_garbage(message, transcript(DONE))
    assert not is_garbage(message, Transcript.empty(KEY))


def test_a_stale_reader_never_calls_garbage_what_is_shown_now() -> None:
    """Every state that a turn goes through, judged with every state that it went through before."""
    states = [
        turn(epoch=1),
        turn(epoch=2, owner="you"),
        turn(epoch=2, owner="you", state="done", slots=("2.0", None)),
        turn(epoch=3, owner="me", state="done", slots=("2.0", None)),
        turn(epoch=3, owner="me", state="done", slots=("2.0", "3.1")),
        turn(epoch=4, owner="you", state="done", slots=("2.0", None)),
        turn(epoch=4, owner="you", state="done", slots=("2.0", "4.1")),
    ]
    for now, state in enumerate(states):
        for slot in filter(None, state.slots or ()):
            message = Reserved(ts=slot, tag=TAG, epoch=int(slot[0]), part=int(slot[-1]))
            assert not any(is_garbage(message, transcript(seen)) for seen in states[: now + 1])
