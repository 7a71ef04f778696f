"""A transcript as a person reads it: who said what and when, which tools ran, how each turn ended.

Transcript ──entries──► Entry, one after the other ─┬─► show          in a terminal, or as plain text
                                                    └─► as_markdown   a document
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, RetryFeedbackPart, ToolCallPart, ToolReturnPart
from rich.console import Console

from spool.blobs import references
from spool.cli.terminal import neutral, one_line, say, say_markdown, when
from spool.transcript import Message, Transcript, Turn

LENGTH = 300
"""Characters of a tool's arguments, and of what it returned."""

BESIDE = "too large or binary, it lies beside the transcript; `spool threads export KEY --format messages` brings it back"
"""What a reference means to whoever meets it."""

_STYLES = {"turn": "bold cyan", "said": "", "aside": "dim", "call": "yellow", "result": "dim", "reply": "", "note": "dim"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing to read; `who` speaks where somebody does, `text` is Markdown in a reply or an aside of the agent."""

    kind: Literal["turn", "said", "aside", "call", "result", "reply", "note"]
    text: str
    who: str = ""


def entries(transcript: Transcript) -> Iterator[Entry]:
    """Everything in the order in which it happened."""
    for turn in transcript.turns:
        yield Entry(kind="turn", text=_heading(turn))
        yield from (_said(m) for m in turn.messages)
        for step in turn.steps:
            yield from _worked(step, turn)
            yield from (Entry(kind="result", text=f"{path}: {BESIDE}") for path in sorted(references([step])))
        if turn.reply:
            who = " · ".join(filter(None, ("the agent", when(turn.finished_at))))
            yield Entry(kind="reply", who=who, text="\n\n".join(turn.reply.parts))
        yield Entry(kind="note", text=_shown(turn))


def show(console: Console, transcript: Transcript, *, key: str) -> None:
    """Print the whole thread."""
    say(console, one_line(transcript.title) or "(no title)", style="bold")
    say(console, key, style="dim")
    for entry in entries(transcript):
        if entry.kind in ("turn", "said", "reply"):
            say(console, "")
        if entry.who:
            say(console, one_line(entry.who), style="bold")
        if entry.kind in ("reply", "aside"):
            say_markdown(console, entry.text)
        else:
            say(console, entry.text, style=_STYLES[entry.kind], indent=0 if entry.kind == "turn" else 2)


def as_markdown(transcript: Transcript, *, key: str) -> str:
    """The thread as a document. What people said is quoted; tools' words are code; a reply stays the Markdown it is."""
    parts = [f"# {_plain(transcript.title) or key}", f"`{key}`"]
    for entry in entries(transcript):
        if entry.who:
            parts.append(f"**{_plain(entry.who)}**")
        parts.append(_block(entry))
    return "\n\n".join(parts) + "\n"


def _block(entry: Entry) -> str:
    match entry.kind:
        case "turn":
            return f"## {_plain(entry.text)}"
        case "said":
            return "\n".join(f"> {line}" for line in neutral(entry.text).split("\n"))
        case "call" | "result":
            return "- `" + one_line(entry.text).replace("`", "'") + "`"
        case "note":
            return f"*{_plain(entry.text)}*"
        case "aside" | "reply":
            return neutral(entry.text)


def _plain(text: str) -> str:
    """One line that Markdown reads as it is."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>#&|~!" else c for c in one_line(text))


def _heading(turn: Turn) -> str:
    used = sum(turn.usage.get(name, 0) for name in ("input_tokens", "output_tokens"))
    cost = None if turn.cost_usd is None else f"${turn.cost_usd:.4f}"
    ended = turn.outcome or f"open, attempt {turn.attempts + 1}"
    return " · ".join(filter(None, (turn.id, ended, turn.model, f"{used} tokens" if used else None, cost)))


def _said(message: Message) -> Entry:
    files = [f"[file {f.name or f.id}]" for f in message.files]
    return Entry(kind="said", who=f"{message.user} · {when(message.ts)}", text="\n".join([message.text, *files]))


def _worked(step: ModelMessage, turn: Turn) -> Iterator[Entry]:
    """What the agent said beside its calls, the calls, and what came back; its last words are the reply."""
    if isinstance(step, ModelResponse):
        if step.text and (step.tool_calls or step is not turn.steps[-1]):
            yield Entry(kind="aside", text=step.text)
        yield from (Entry(kind="call", text=_call(c, turn)) for c in step.tool_calls)
    else:
        yield from _returned(step)


def _call(call: ToolCallPart, turn: Turn) -> str:
    text = f"→ {call.tool_name}({one_line(call.args_as_json_str(), limit=LENGTH)})"
    return f"{text}   UNKNOWN: it may have happened, and it may not" if call.tool_call_id in turn.unknown else text


def _returned(request: ModelRequest) -> Iterator[Entry]:
    for part in request.parts:
        if isinstance(part, ToolReturnPart):
            failed = "" if part.outcome == "success" else f" ({part.outcome})"
            text = f"← {part.tool_name}{failed}: {one_line(part.model_response_str(), limit=LENGTH)}"
            yield Entry(kind="result", text=text)
        elif isinstance(part, RetryFeedbackPart):
            yield Entry(kind="result", text=f"← that would not do: {one_line(str(part.content), limit=LENGTH)}")


def _shown(turn: Turn) -> str:
    """In which messages of Slack the answer stands."""
    if turn.state == "open":
        return "still open: not answered yet"
    slots = [slot or "(none yet)" for slot in turn.slots or ()]
    return f"in message {', '.join(slots)}" if slots else "shown nowhere"
