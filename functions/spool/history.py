"""What the model reads of a transcript."""

from datetime import UTC, datetime

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart

from spool.transcript import Message, Transcript, Turn


def history(transcript: Transcript) -> list[ModelMessage]:
    """What the model reads: every prompt and only complete rounds; strictly request, response, request, and so on.

    A finished turn ends with what the people saw, so that an apology or a half-done turn before a new question is a
    conversation that every provider accepts.
    """
    messages: list[ModelMessage] = []
    several = speakers(transcript) > 1
    for turn in transcript.turns:
        messages.append(prompt(turn, named=several))
        if turn.state == "open":
            messages += turn.steps
            continue
        steps = turn.steps[:-1] if _ends_unseen(turn) else turn.steps
        messages += steps
        if not steps or not isinstance(steps[-1], ModelResponse):
            shown = "\n\n".join(turn.reply.parts) if turn.reply else ""
            at = datetime.fromtimestamp(turn.finished_at or turn.started_at, UTC)
            messages.append(ModelResponse(parts=[TextPart(shown or "(no answer)")], timestamp=at))
    return messages


def _ends_unseen(turn: Turn) -> bool:
    """The last response is half a round, or the turn ended otherwise than with it: nobody saw it."""
    ends_with_response = bool(turn.steps) and isinstance(turn.steps[-1], ModelResponse)
    return ends_with_response and (turn.outcome != "answered" or bool(turn.unanswered))


def prompt(turn: Turn, *, named: bool) -> ModelRequest:
    """The turn's messages as the model reads them, one part each; `named` tells several speakers apart."""
    said_at = [datetime.fromtimestamp(float(m.ts), UTC) for m in turn.messages]
    return ModelRequest(
        parts=[UserPromptPart(_said(m, named=named), timestamp=at) for m, at in zip(turn.messages, said_at, strict=True)]
    )


def speakers(transcript: Transcript) -> int:
    """How many people, or bots, have spoken to the agent here."""
    return len({m.user for t in transcript.turns for m in t.messages})


def _said(message: Message, *, named: bool) -> str:
    lines = [f"<@{message.user}>: {message.text}" if named else message.text]
    lines += [f"[file {f.name or f.id}]" for f in message.files]
    return "\n".join(lines)
