"""A story, as it is printed: one line for each thing, its name in front, the sentence that matters last."""

from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.text import Text

from spool.cli.terminal import neutral, one_line, when
from spool.cli.why.found import Held
from spool.cli.why.story import Call, Carried, Round, Story, TurnStory
from spool.cli.why.verdict import ENDED, seconds
from spool.evidence import Version

WIDTH = 10
SHOWN = 10
"""Rows of one kind on one screen: the first, and the last ones. `--json` has them all."""

Row = tuple[str, str]


def print_story(console: Console, story: Story) -> None:
    """Print it. A pipe gets `name<tab>text`."""
    for name, text in rows(story):
        _say(console, name, text)
    _say(console, "next", f"{story.state.upper()}: {story.next}", style="bold green" if story.state in ENDED else "bold yellow")


def rows(story: Story) -> Iterator[Row]:
    """Everything but what happens next."""
    yield from _event(story)
    yield "thread", story.conversation or "not known"
    yield from _folded([("task", _task(task)) for task in story.tasks] or [("task", "none in the queue")])
    yield "lease", lease(story.lease, document=story.document)
    if story.inbox:
        yield from _folded([("inbox", key) for key in story.inbox])
    if story.turn:
        yield from _turn(story.turn)
    yield from _folded([("commit", _commit(version)) for version in story.commits])
    yield from _folded([("record", path) for path in story.dead])
    yield from _folded([("log", f"{when(line.at)} {line.severity} {line.text}") for line in story.logs])
    yield from (("note", note) for note in story.notes)


def _folded(rows: Sequence[Row]) -> Iterator[Row]:
    if len(rows) <= SHOWN:
        yield from rows
        return
    yield rows[0]
    yield "", f"… {len(rows) - SHOWN} more, in --json …"
    yield from rows[1 - SHOWN :]


def lease(held: Held | None, *, document: bool | None) -> str:
    """Who works on a conversation, in one line. document: whether it has one; None: it could not be read."""
    if document is None:
        return "not known: the conversation's document could not be read"
    if not document:
        return "no document: nothing was said here lately, or it was lost, which costs time and no answer"
    if held is None:
        return "none: nobody is at work"
    runs = f"runs out in {seconds(held.left)}" if held.holds else f"ran out {seconds(held.left)} ago"
    heard = "just now" if held.age is None else f"{seconds(held.age)} ago"
    return f"{held.owner} · {runs} · heard from {heard} · task {held.task or '(no name)'}, attempt {held.retry + 1}"


def _event(story: Story) -> Iterator[Row]:
    event = story.event
    if story.role == "answer":
        yield "link to", f"the agent's own answer to {story.message}"
    if event is None:
        yield "message", story.message or "(the whole conversation)"
        return
    files = f"{event.files} file{'s' if event.files != 1 else ''}" if event.files else None
    yield (
        "message",
        " · ".join(filter(None, (event.key, when(event.ts), f"by {event.user}", event.addressed, files, event.event_id))),
    )
    if story.permalink:
        yield "", story.permalink
    if event.text is not None:
        yield "text", event.text


def _task(task: Carried) -> str:
    due = f"due in {seconds(task.due_in)}" if task.due_in > 0 else f"due since {seconds(task.due_in)}"
    tries = f"{task.attempts} attempt{'s' if task.attempts != 1 else ''}" if task.attempts else "not tried yet"
    status = f"last answered {task.previous_status}" if task.previous_status else None
    kind = {"msg": "baton" if task.hop else "message", "tidy": "tidy"}.get(task.kind, "not readable")
    hop = f"hop {task.hop}" if task.hop else None
    work = "at work" if task.at_work else None
    return " · ".join(filter(None, (task.name, kind, task.message or None, hop, due, tries, status, work)))


def _commit(version: Version) -> str:
    size = f"{version.size:,} bytes"
    return f"generation {version.generation} · {when(version.updated)} · {size}{'' if version.live else ' · replaced'}"


def _turn(turn: TurnStory) -> Iterator[Row]:
    ended = f"{turn.outcome or turn.state} {when(turn.finished_at)}".strip()
    others = len(turn.messages) - 1
    with_others = f"with {others} other message{'s' if others != 1 else ''}" if others else None
    take_overs = f"{turn.attempts} take-over{'s' if turn.attempts != 1 else ''} without a step" if turn.attempts else None
    words = (turn.tag, f"opened {when(turn.started_at)}", ended, with_others)
    yield "turn", " · ".join(filter(None, words))
    protocol = (
        f"owner {turn.owner}",
        f"epoch {turn.epoch}",
        take_overs,
        "messy" if turn.messy else None,
        turn.model,
        turn.revision,
    )
    yield "", " · ".join(filter(None, protocol))
    yield from _folded([(f"round {n}", _round(r)) for n, r in enumerate(turn.rounds, 1)])
    for n, part in enumerate(turn.parts, 1):
        yield (
            f"part {n}",
            f"{part.characters:,} characters · " + (f"in {part.slot} · {part.permalink}" if part.slot else "no slot yet"),
        )
        if part.text:
            yield "text", part.text
    yield "delivered", "yes" if turn.delivered else "not yet" if turn.state == "open" else "not on record"


def _round(done: Round) -> str:
    calls = ", ".join(map(_call, done.calls)) or "the reply"
    return f"{done.model or 'a model'} · {done.input_tokens + done.output_tokens:,} tokens · {calls}"


def _call(call: Call) -> str:
    how = "UNKNOWN, it may have happened" if call.ended == "unknown" else call.ended or "no return yet"
    words = ", ".join(filter(None, (call.semantics, how)))
    return f"{call.tool}({call.arguments or ''}) [{words}]" if call.arguments else f"{call.tool} [{words}]"


def _say(console: Console, name: str, text: str, *, style: str = "") -> None:
    """In a terminal the text is wrapped beside its name; a pipe gets both between a tab."""
    if not console.is_terminal:
        console.file.write(f"{name}\t{one_line(text)}\n")
        return
    body = Text(neutral(text), style=style).wrap(console, max(console.width - WIDTH - 1, 20))
    for n, line in enumerate(body):
        console.print(Text(f"{name if n == 0 else '':<{WIDTH}} ", style="dim") + line)
