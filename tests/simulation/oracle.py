"""What must be true, judged from nothing but Slack and the transcript."""

from itertools import pairwise
from typing import TYPE_CHECKING

from spool.blobs import references
from spool.transcript import MAX_ATTEMPTS, Transcript, Turn

if TYPE_CHECKING:
    from world import Shown, World

PATH = "threads/T1/C1/1700000000.000000.json"


def transcript(world: "World") -> Transcript | None:
    data, generation = world.objects.get(PATH, (b"", 0))
    return Transcript.load(data) if generation else None


def finals(world: "World") -> dict[tuple[str, int], list["Shown"]]:
    shown: dict[tuple[str, int], list[Shown]] = {}
    for m in sorted(world.slack.values(), key=lambda m: m.ts):
        if m.final and not m.deleted:
            shown.setdefault((m.tag, m.part), []).append(m)
    return shown


def look(world: "World") -> None:
    """At every change in Slack: no second answer, none before its turn."""
    t, shown = transcript(world), finals(world)
    order = [(turn.tag, p) for turn in (t.turns if t else ()) for p in range(_parts(turn))]
    if any(len(v) > 1 for v in shown.values()):
        world.complain("two visible answers for one turn and part")
    known = {k for k in shown if k in order or world.script.erase is None}
    if known != set(order[: len(known)]):
        world.complain("a later answer or part is visible before an earlier one")
    for k in known:
        world.shown_at.setdefault(k, world.now)


def judge(world: "World") -> list[str]:
    """At rest: every acked message in one turn, every turn with one answer, no stray, no tool run twice."""
    t = transcript(world)
    turns, shown = (t.turns if t else ()), finals(world)
    keys = t.keys if t else []
    if len(keys) != len(set(keys)):
        world.complain("a message is in two turns")
    for at, envelope in world.envelopes():
        if envelope.key in world.acked and envelope.key not in keys and at >= (world.script.erase or 0):
            world.complain(f"acked {envelope.text} never entered a turn")
    for turn in turns:
        _judge_turn(world, turn, [shown.get((turn.tag, p), []) for p in range(_parts(turn))])
    for m in world.slack.values():
        if not m.deleted and not m.final:
            world.complain("a stray message is visible at rest")
    _judge_tools(world, turns)
    _judge_blobs(world, turns)
    _judge_document(world, set(keys))
    if world.swept and not world.plan and not world.script.hang_thinking:
        world.complain("a sweep made a task although nobody hung")
    latest = max(world.shown_at.values(), default=0)
    if not world.plan and world.script.within is not None and latest > world.script.within:
        world.complain("late without a fault")
    return world.complaints


def _parts(turn: Turn) -> int:
    return len(turn.reply.parts) if turn.reply and turn.outcome != "undeliverable" else 0


def _judge_turn(world: "World", turn: Turn, shown: list[list["Shown"]]) -> None:
    if turn.state != "done":
        world.complain("a turn is left open")
        return
    sick = any(m.text in world.script.poison for m in turn.messages)
    if [len(s) for s in shown] != [1] * len(shown):
        world.complain(f"{turn.id} shows {[len(s) for s in shown]} of its parts")
    elif turn.reply and shown and tuple(s[0].text for s in shown) != turn.reply.parts:
        world.complain("the visible text is not the committed reply")
    elif any(a[0].ts > b[0].ts for a, b in pairwise(shown)):
        world.complain("the parts stand in the wrong order")
    if turn.outcome == "undeliverable" and world.script.refuse is None:
        world.complain("a deliverable answer was given up as undeliverable")
    if turn.outcome == "failed" and not sick and len(world.plan) < MAX_ATTEMPTS:
        world.complain("a healthy message was given up")
    if turn.outcome == "answered" and sick:
        world.complain("poison was answered")
    if sick and len(turn.messages) > 1:
        world.complain("a healthy message went down with the poison")
    if turn.unknown and not world.plan and not sick and not world.script.storm:
        world.complain("a hand-over lost what its tools returned")


def _judge_tools(world: "World", turns: tuple[Turn, ...]) -> None:
    asked = {c.tool_call_id for turn in turns for s in turn.steps if s.kind == "response" for c in s.tool_calls}
    for (name, key), times in world.tools_run.items():
        if key.split("/")[-1] not in asked and world.script.erase is None:
            world.complain(f"{name} ran without a journalled intent")
        if name == "charge" and times > 1:
            world.complain("an at-most-once tool ran twice")


def _judge_blobs(world: "World", turns: tuple[Turn, ...]) -> None:
    named = references(s for turn in turns for s in turn.steps)
    if named - world.objects.keys():
        world.complain("a transcript names what is not stored")
    if world.script.large and not world.plan and len(named) != sum(len(t.steps) // 2 * 2 for t in turns):
        world.complain("a large return stands in the transcript")


def _judge_document(world: "World", keys: set[str]) -> None:
    document = world.document
    if document and set(document["answered"]) & set(document["inbox"]):
        world.complain("an answered message waits in the inbox")
    if document and set(document["answered"]) - keys and world.script.erase is None:
        world.complain("the document invented an answered key")
