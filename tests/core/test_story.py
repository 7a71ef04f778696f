"""The story of a message, from what was read of it: whatever state things are in, one sentence says what happens next."""

import io
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from rich.console import Console

from spool.cli.why.found import Found
from spool.cli.why.printing import print_story
from spool.cli.why.story import story
from spool.cli.why.verdict import SWEPT, seconds
from spool.conversation import Document, Lease, Seen
from spool.envelope import ConversationKey, Envelope
from spool.evidence import Line, Queued, Version
from spool.slack.permalink import Link
from spool.task import Task
from spool.transcript import Outcome, Reply, Transcript

NOW = 1_715_000_100.0
KEY = ConversationKey(team="T1", channel="C1", thread_ts="1715000000.000100")
SAID = Envelope(
    conversation=KEY, ts="1715000000.000100", user="U1", text="my secret words", addressed="mention", event_id="Ev1"
)
LATER = replace(SAID, ts="1715000050.000200", user="U2", text="and more", addressed="thread", event_id="Ev2")
SLOT = "1715000001.000300"
STEPS = (
    ModelResponse(
        parts=[ToolCallPart("pay", {"iban": "private"}, tool_call_id="c1"), ToolCallPart("look", {}, tool_call_id="c2")]
    ),
    ModelRequest(parts=[ToolReturnPart("look", "3", tool_call_id="c2")]),
    ModelResponse(parts=[TextPart("my reply")]),
)


def opened(*envelopes: Envelope, **changed: Any) -> Transcript:
    """A transcript whose turn is open, as its owner left it."""
    transcript = Transcript.empty(KEY).opened(envelopes or [SAID], owner="w1", now=NOW - 90)
    return transcript.with_last(replace(transcript.turns[0], **changed))


def done(*envelopes: Envelope, outcome: Outcome = "answered", **changed: Any) -> Transcript:
    given: dict[str, Any] = {
        "reply": Reply(parts=("my reply",)),
        "slots": (SLOT,),
        "steps": STEPS,
        "finished_at": NOW - 80,
        **changed,
    }
    return opened(*envelopes, state="done", outcome=outcome, **given)


def lease(age: float, *, owner: str = "w1", task: str = "n1") -> Lease:
    return Lease(owner=owner, task=task, retry=0, at=NOW - age)


def seen(held: Lease | None = None, *, answered: tuple[str, ...] = (), inbox: tuple[Envelope, ...] = ()) -> Seen:
    document = Document(lease=held, answered=answered, inbox={e.key: e for e in inbox})
    return Seen(document=document, token="1", read_at=NOW)


def queued(envelope: Envelope = SAID, *, due: float = 0.0, hop: int = 0, name: str = "n1", **counted: int) -> Queued:
    task = replace(Task.of(envelope, first_seen=NOW - 95), hop=hop)
    return Queued(name=name, task=task, due=NOW + due, attempts=counted.get("attempts", 0), previous=counted.get("previous"))


def found(envelope: Envelope = SAID, **read: Any) -> Found:
    link = Link(channel="C1", ts=envelope.ts, site="acme.slack.com")
    whole: dict[str, Any] = {"key": KEY, **read}
    return Found(asked="the link", link=link, place=".spool", now=NOW, **whole)


def told(it: Found, *, content: bool = False, width: int = 0) -> str:
    """What is printed, in a pipe or in a terminal of this width."""
    console = Console(file=io.StringIO(), force_terminal=bool(width), color_system=None, width=width or 80)
    print_story(console, story(it, content=content))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def verdict(it: Found) -> tuple[str, str]:
    whole = story(it)
    return whole.state, whole.next


# ---- nothing, or not yet


def test_a_message_that_never_came_says_what_to_look_at() -> None:
    state, sentence = verdict(found(key=None))
    assert state == "unknown"
    assert "never arrived here: .spool has no trace of it" in sentence
    assert "functions/policy.py" in sentence
    assert "401 and 503" in sentence
    assert "queue" not in sentence


def test_an_unknown_message_of_a_known_thread_says_so() -> None:
    known = "the thread T1/C1/1715000000.000100 is known, this message of it is not"
    assert known in verdict(found(LATER, transcript=done()))[1]
    assert known in verdict(found(LATER, seen=seen(None, answered=(SAID.key,))))[1]


def test_an_unknown_message_where_nobody_serves_may_be_in_another_place() -> None:
    assert "is that the right SPOOL_STATE_DIR?" in verdict(found(key=None, serving=False))[1]
    assert "SPOOL_STATE_DIR" not in verdict(found(key=None, serving=True))[1]


def test_where_the_queue_could_not_be_read_whole_an_unknown_message_may_wait_there() -> None:
    assert "could not be read whole" in verdict(found(key=None, tasks_whole=False))[1]


def test_a_message_that_only_the_log_names_did_arrive() -> None:
    state, sentence = verdict(found(logs=[Line(at=NOW, severity="ERROR", text="refused for good")]))
    assert (state, sentence.startswith("The log names it")) == ("unknown", True)


def test_a_message_in_the_queue_waits_for_its_task() -> None:
    assert verdict(found(tasks=[queued(due=-2)])) == (
        "queued",
        "It has not been begun: its task is due since 2 s, not tried yet.",
    )


def test_a_failing_task_says_how_often_and_with_what_answer() -> None:
    state, sentence = verdict(found(tasks=[queued(due=14, attempts=3, previous=500)]))
    assert (state, sentence) == (
        "queued",
        "It has not been begun: its task is due in 14 s, tried 3 times, the last one answered 500.",
    )


def test_a_message_that_waits_for_its_baton_says_when() -> None:
    it = found(LATER, transcript=opened(), seen=seen(lease(5), inbox=(LATER,)), tasks=[queued(LATER, due=14, hop=1)])
    state, sentence = verdict(it)
    assert (state, sentence.startswith("It waits in the inbox of the worker that is at work")) == ("waiting", True)
    assert sentence.endswith("Should that fail, its baton is due in 14 s, not tried yet.")


def test_mail_in_an_inbox_that_nobody_will_read_is_not_called_waiting() -> None:
    it = found(LATER, transcript=done(), seen=seen(None, inbox=(LATER,)))
    state, sentence = verdict(it)
    assert state == "stopped"
    assert "no task in the queue carries it" in sentence


def test_without_a_spool_dev_nothing_will_happen_on_this_machine() -> None:
    queue = [queued(due=1)]
    assert "No `spool dev` runs" in verdict(found(tasks=queue, serving=False))[1]
    assert "No `spool dev` runs" not in verdict(found(tasks=queue, serving=True))[1]
    assert "No `spool dev` runs" not in verdict(found(tasks=queue))[1]
    released = seen(None, answered=(SAID.key,))
    assert "No `spool dev` runs" not in verdict(found(transcript=done(), seen=released, serving=False))[1]


# ---- at work


def test_a_running_turn_says_who_works_on_it_and_since_when_nothing_was_heard() -> None:
    assert verdict(found(transcript=opened(), seen=seen(lease(7)))) == (
        "running",
        "A worker is at work on it; it was heard from 7 s ago.",
    )


def test_a_worker_that_misses_its_heartbeats_may_be_dead() -> None:
    state, sentence = verdict(found(transcript=opened(), seen=seen(lease(45))))
    assert (state, sentence.endswith("heard from 45 s ago, though it should be every 20 s: it may be dead.")) == (
        "running",
        True,
    )


@pytest.mark.parametrize("transcript", [opened(), done()], ids=["open", "showing"])
def test_nobody_works_under_a_lease_whose_attempt_the_queue_has_ended(transcript: Transcript) -> None:
    """The lease still holds: only the queue knows that the worker is gone."""
    begun_again = found(transcript=transcript, seen=seen(lease(7)), tasks=[queued(due=1, attempts=2, previous=504)])
    sentence = "The queue goes on with it: its task is due in 1 s, tried 2 times, the last one answered 504."
    assert verdict(begun_again) == ("stopped", f"Attempt 1 of its worker is over. {sentence}")
    assert "at work" not in told(begun_again)
    under_way = found(transcript=transcript, seen=seen(lease(7)), tasks=[queued(attempts=1)])
    assert verdict(under_way)[0] in ("running", "showing")
    assert "at work" in told(under_way)


def test_a_worker_whose_spool_dev_has_ended_is_not_called_at_work() -> None:
    it = found(transcript=opened(), seen=seen(lease(7)), tasks=[queued(due=-9, attempts=1)], serving=False)
    state, sentence = verdict(it)
    assert state == "stopped"
    assert sentence.startswith("Its worker ended with `spool dev`. The queue goes on with it: its task is due since 9 s")
    assert sentence.endswith("until one does, nothing happens.")


def test_take_overs_without_progress_are_counted() -> None:
    it = found(transcript=opened(attempts=3, epoch=4), seen=seen(lease(7)))
    assert "after 3 of at most 5 take-overs without progress" in verdict(it)[1]
    assert "epoch 4 · 3 take-overs without a step" in told(it)


def test_another_owner_of_the_lease_is_about_to_take_the_turn_over() -> None:
    assert "takes the turn over" in verdict(found(transcript=opened(), seen=seen(lease(1, owner="w2"))))[1]


def test_a_lease_that_ran_out_is_found_by_the_sweeper_within_the_time_that_is_left() -> None:
    state, sentence = verdict(found(transcript=opened(), seen=seen(lease(100))))
    assert state == "stopped"
    assert "last heard from 1.7 min ago, and its lease ran out 40 s ago" in sentence
    assert "The sweeper finds it within 50 s" in sentence
    assert "sweeper" not in verdict(found(transcript=opened(), seen=seen(lease(100)), serving=False))[1]


def test_a_lease_that_ran_out_at_the_very_edge_is_judged_by_the_servers_clock() -> None:
    assert verdict(found(transcript=opened(), seen=seen(lease(60))))[0] == "running"
    assert verdict(found(transcript=opened(), seen=seen(lease(60.1))))[0] == "stopped"
    late = replace(found(transcript=opened(), seen=seen(lease(10))), now=NOW + 4000)
    assert verdict(late)[0] == "running"


def test_a_sweeper_that_is_overdue_is_named() -> None:
    assert "should have found it by now" in verdict(found(transcript=opened(), seen=seen(lease(SWEPT + 1))))[1]


def test_a_dead_worker_whose_task_is_tried_again_says_when() -> None:
    it = found(transcript=opened(), seen=seen(lease(70)), tasks=[queued(due=3, attempts=2)])
    assert "The queue goes on with it: its task is due in 3 s, tried 2 times." in verdict(it)[1]


def test_a_turn_that_was_handed_over_waits_for_its_successor() -> None:
    it = found(transcript=opened(), seen=seen(), tasks=[queued(due=30, hop=2)])
    assert verdict(it) == (
        "waiting",
        "Its turn was handed over, and goes on where it stopped: its baton is due in 30 s, not tried yet.",
    )


def test_an_open_turn_that_nobody_carries_says_how_to_wake_it() -> None:
    state, sentence = verdict(found(transcript=opened(), seen=seen()))
    assert (state, "Any new message in the thread takes the turn up again" in sentence) == ("stopped", True)


def test_a_lost_document_is_said_to_cost_no_answer() -> None:
    it = found(transcript=opened(), tasks=[queued(due=2)])
    assert verdict(it)[0] == "waiting"
    assert "no document: nothing was said here lately, or it was lost, which costs time and no answer" in told(it)
    assert "the conversation's document is gone" in verdict(found(transcript=opened()))[1]
    assert "handed over" not in verdict(it)[1]


def test_a_document_that_could_not_be_read_is_not_called_lost() -> None:
    """Whether somebody is at work is then not known, and nobody is told that nothing happens."""
    state, sentence = verdict(found(transcript=opened(), document_read=False))
    assert (state, "whether a worker is at work on it is not known" in sentence) == ("open", True)
    for it in (found(transcript=opened(), document_read=False), found(transcript=done(), document_read=False)):
        assert "lease\tnot known: the conversation's document could not be read\n" in told(it)
        assert "gone" not in told(it)
        assert story(it).document is None
    assert "in the inbox, which could not be read" in verdict(found(document_read=False))[1]


# ---- over


def test_an_answered_message_says_where_the_answer_stands() -> None:
    it = found(transcript=done(), seen=seen(None, answered=(SAID.key,)))
    assert verdict(it) == ("answered", "Answered, in 1 message. Nothing more happens.")
    link = "https://acme.slack.com/archives/C1/p1715000001000300?thread_ts=1715000000.000100&cid=C1"
    assert f"part 1\t8 characters · in {SLOT} · {link}\n" in told(it)
    assert "delivered\tyes\n" in told(it)


def test_duplicates_that_are_still_queued_are_no_second_answer() -> None:
    it = found(transcript=done(), seen=seen(None, answered=(SAID.key,)), tasks=[queued(due=5), queued(due=9, name="n2")])
    assert verdict(it)[1] == "Answered, in 1 message. 2 tasks of it are still in the queue: they find that, and end."


def test_a_message_answered_together_with_others_names_them() -> None:
    both = done(SAID, LATER, delivered=True)
    it = found(LATER, transcript=both)
    assert story(it).turn == story(found(transcript=both)).turn
    assert "with 1 other message" in told(it)
    assert verdict(it)[0] == "answered"


def test_a_reply_on_record_that_nobody_is_known_to_have_shown_is_not_called_delivered() -> None:
    lost = found(transcript=done())
    assert "whether Slack shows it is not (the conversation's document is gone" in verdict(lost)[1]
    assert "delivered\tnot on record" in told(lost)
    assert verdict(found(transcript=done(), seen=seen(lease(3))))[0] == "showing"
    assert verdict(found(transcript=done(), seen=seen(lease(90))))[0] == "stopped"
    assert verdict(found(transcript=done(), seen=seen(), tasks=[queued(due=4, hop=1)]))[0] == "waiting"


def test_the_turn_before_another_one_was_shown() -> None:
    """No turn opens before the answer of the one before it is visible."""
    both = done().opened([LATER], owner="w2", now=NOW - 10)
    assert verdict(found(transcript=both))[0] == "answered"


def test_an_apology_says_where_the_turn_is_kept_and_what_a_person_can_do() -> None:
    path = KEY.dead("t0")
    failed = done(outcome="failed")
    it = found(transcript=failed, seen=seen(None, answered=(SAID.key,)), dead={path: failed, KEY.dead("t9"): None})
    state, sentence = verdict(it)
    assert state == "failed"
    assert f"is kept in {path}." in sentence
    assert "ask again" in sentence


def test_an_undeliverable_turn_is_not_called_delivered() -> None:
    gone = done(outcome="undeliverable", slots=(), delivered=True)
    it = found(transcript=gone, dead={KEY.dead("t0"): gone})
    assert verdict(it)[0] == "undeliverable"
    assert "Slack refuses" in verdict(it)[1]
    assert "delivered\tnot on record" in told(it)


def test_a_cancelled_turn_was_stopped_by_a_person() -> None:
    assert verdict(found(transcript=done(outcome="cancelled", delivered=True))) == (
        "cancelled",
        "A person stopped it. Nothing more happens.",
    )


def test_a_record_alone_still_tells_the_end() -> None:
    state, sentence = verdict(found(dead={KEY.dead("t0"): done(outcome="failed")}))
    assert (state, KEY.dead("t0") in sentence) == ("failed", True)


def test_an_answer_whose_transcript_was_deleted_is_known_from_the_document() -> None:
    state, sentence = verdict(found(seen=seen(None, answered=(SAID.key,))))
    assert (state, "deleted" in sentence) == ("answered", True)


def test_a_message_of_an_archived_turn_is_answered() -> None:
    assert verdict(found(transcript=replace(Transcript.empty(KEY), archived_keys=(SAID.key,))))[0] == "answered"


# ---- what cannot be read


def test_a_broken_transcript_says_so_whatever_else_is_known() -> None:
    alone = found(unreadable="12 bytes that are no transcript")
    assert verdict(alone)[0] == "unreadable"
    stands_in = done(outcome="failed")
    it = replace(alone, transcript=stands_in, dead={KEY.dead("unreadable"): stands_in}, seen=seen(None, answered=(SAID.key,)))
    state, sentence = verdict(it)
    assert state == "failed"
    assert sentence.startswith("The transcript cannot be read, and is left as it is (12 bytes that are no transcript).")
    assert KEY.dead("unreadable") in sentence


def test_a_transcript_of_a_later_version_waits_for_its_reader() -> None:
    state, sentence = verdict(found(too_new="the transcript has schema 2", tasks=[queued(due=100, hop=1)]))
    assert (state, "every 2 minutes" in sentence, "schema 2" in sentence) == ("too new", True, True)


def test_what_could_not_be_read_is_named() -> None:
    assert "note\tNot read: the queue: not allowed\n" in told(found(notes=["Not read: the queue: not allowed"]))


def test_a_long_story_still_fits_on_one_screen_and_json_has_all_of_it() -> None:
    """Of many rows of one kind the first and the last ones are shown."""
    rounds = [ModelResponse(parts=[ToolCallPart("look", {}, tool_call_id=f"c{n}")]) for n in range(50)]
    commits = [Version(generation=n, updated=NOW - 80, size=10, live=n == 99) for n in range(100)]
    lines = [Line(at=NOW + n, severity="INFO", text=f"line {n}") for n in range(100)]
    tasks = [queued(name=f"n{n}") for n in range(60)]
    it = found(transcript=done(steps=tuple(rounds)), versions=commits, logs=lines, tasks=tasks)
    shown = told(it).splitlines()
    assert len(shown) < 60
    for name, count in (("round", 50), ("commit", 100), ("log", 100), ("task", 60)):
        assert sum(row.startswith(name) for row in shown) == 10
        assert f"\t… {count - 10} more, in --json …" in shown
    assert [row.split()[1] for row in shown if row.startswith("round")] == ["1", *map(str, range(42, 51))]
    assert len(story(it).commits) == len(story(it).logs) == 100


# ---- what was pointed at


def test_the_agents_own_answer_leads_to_the_message_that_it_answers() -> None:
    link = Link(channel="C1", ts=SLOT)
    it = replace(found(transcript=done(), seen=seen(None, answered=(SAID.key,))), link=link, role="answer")
    whole = story(it)
    assert (whole.message, whole.state) == (SAID.key, "answered")
    assert f"the agent's own answer to {SAID.key}" in told(it)


def test_a_whole_conversation_tells_of_its_last_turn() -> None:
    link = Link(team="T1", channel="C1", thread_ts=KEY.thread_ts)
    it = replace(found(transcript=done(), seen=seen(None, answered=(SAID.key,))), link=link, role="conversation")
    assert (story(it).message, story(it).state) == (SAID.key, "answered")
    twice = replace(it, tasks=[queued(due=9)])
    assert story(twice).state == "answered"


def test_a_whole_conversation_tells_of_what_waits_since() -> None:
    link = Link(team="T1", channel="C1", thread_ts=KEY.thread_ts)
    it = found(transcript=done(), seen=seen(None, answered=(SAID.key,)), tasks=[queued(LATER, due=9, hop=1)])
    state, sentence = verdict(replace(it, link=link, role="conversation"))
    assert (state, sentence.startswith(f"1 message without a turn, the first {LATER.key}. It has not been begun")) == (
        "queued",
        True,
    )


def test_a_conversation_whose_transcript_is_gone_is_known_from_its_document() -> None:
    link = Link(team="T1", channel="C1", thread_ts=KEY.thread_ts)
    it = replace(found(seen=seen(None, answered=(SAID.key, LATER.key))), link=link, role="conversation")
    sentence = "Its transcript is gone. The conversation's document knows 2 answered messages, the last C1:1715000050.000200."
    assert verdict(it) == ("unknown", sentence)


def test_a_conversation_that_is_not_there_is_unknown() -> None:
    link = Link(team="T1", channel="C1", thread_ts=KEY.thread_ts)
    assert verdict(replace(found(), link=link, role="conversation")) == (
        "unknown",
        "Nothing is known of this conversation in .spool.",
    )


# ---- what is shown, and what is not


def rounds(of: Found, *, content: bool = False) -> list[tuple[str, str | None, str | None, str | None]]:
    turn = story(of, content=content).turn
    assert turn
    return [(c.tool, c.semantics, c.ended, c.arguments) for r in turn.rounds for c in r.calls]


def test_each_call_says_how_it_bears_a_crash_and_how_it_ended() -> None:
    semantics: Callable[[str], str] = {"pay": "at_most_once", "look": "pure"}.__getitem__
    it = found(transcript=done(unknown=("c1",)), semantics=semantics)
    assert rounds(it) == [("pay", "at_most_once", "unknown", None), ("look", "pure", "success", None)]
    assert "pay [at_most_once, UNKNOWN, it may have happened], look [pure, success]" in told(it)
    unloaded = found(transcript=opened(steps=STEPS[:1]))
    assert rounds(unloaded) == [("pay", None, None, None), ("look", None, None, None)]


@pytest.mark.parametrize("envelope", [SAID, LATER])
def test_what_people_and_models_said_is_shown_only_when_asked_for(envelope: Envelope) -> None:
    it = found(
        envelope,
        transcript=done(delivered=True),
        seen=seen(None, inbox=(LATER,)),
        tasks=[queued(LATER)],
        dead={KEY.dead("t0"): done()},
    )
    words = ("my secret words", "and more", "my reply", "private")
    for quiet in (told(it), repr(asdict(story(it)))):
        assert not [w for w in words if w in quiet]
    loud = told(it, content=True)
    assert envelope.text in loud
    assert ("my reply" in loud, "private" in loud) == ((True, True) if envelope is SAID else (False, False))


def test_commits_are_those_of_the_turn_and_the_one_that_counts() -> None:
    versions = [
        Version(generation=n, updated=NOW + at, size=1234, live=n == 5)
        for n, at in ((1, -500), (2, -92), (3, -85), (4, -40), (5, -2))
    ]
    it = found(transcript=done(delivered=True), versions=versions)
    assert [c.generation for c in story(it).commits] == [2, 3, 5]
    assert "commit\tgeneration 2 · 2024-05-06 12:53:28 UTC · 1,234 bytes · replaced\n" in told(it)


def test_the_lease_and_the_mapping_are_in_one_line() -> None:
    it = found(transcript=opened(), seen=seen(lease(20, task="4711")), tasks=[queued(name="4711", attempts=1)])
    assert "lease\tw1 · runs out in 40 s · heard from 20 s ago · task 4711, attempt 1\n" in told(it)
    assert "task\t4711 · message · C1:1715000000.000100 · due since 0 s · 1 attempt · at work\n" in told(it)


def test_nothing_that_a_stranger_wrote_steers_the_terminal() -> None:
    hostile = "\x1b[2J\x1b]0;x\x07\u202e"
    said = replace(SAID, user="U1" + hostile, text=hostile)
    it = found(transcript=done(said, owner="w" + hostile), logs=[Line(at=NOW, severity="INFO", text=hostile)], notes=[hostile])
    for shown in (told(it, content=True), told(it, content=True, width=100)):
        assert not any(c in shown for c in ("\x1b[2J", "\x1b]", "\x07", "\u202e"))


def test_a_usual_story_fits_on_one_screen() -> None:
    it = found(
        transcript=done(),
        seen=seen(None, answered=(SAID.key,)),
        versions=[Version(generation=n, updated=NOW - 88 + n, size=2000, live=n == 3) for n in range(4)],
        logs=[Line(at=NOW - 90 + n, severity="INFO", text="something happened") for n in range(50)],
    )
    assert len(told(it, width=120).splitlines()) <= 40


def test_the_last_line_is_what_happens_next() -> None:
    assert told(found(key=None)).splitlines()[-1].startswith("next\tUNKNOWN: It never arrived here")


def test_everything_in_a_story_is_json() -> None:
    whole = story(found(transcript=done(), seen=seen(lease(1)), tasks=[queued()]))
    assert json.loads(json.dumps(asdict(whole)))["turn"]["tag"] == f"t0:{SAID.key}"


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0 s"), (-14.4, "14 s"), (99, "99 s"), (150, "2.5 min"), (180, "3 min"), (9000, "2.5 h"), (400_000, "5 days")],
)
def test_durations_are_for_people(value: float, said: str) -> None:
    assert seconds(value) == said
