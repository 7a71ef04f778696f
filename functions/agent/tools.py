"""What the agent can do. A docstring is what the model reads; `metadata` tells Spool how the tool bears a crash:

pure           only reads: may run again
idempotent     may run again with the same key, `ctx.deps.key(ctx)`
at_most_once   never runs twice: the model is told what may have happened (also where nothing is declared)
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic_ai import FunctionToolset, RunContext

from spool.here import Here
from spool.transcript import Turn

FOUND, LISTED, LENGTH = 10, 100, 500
"""At most so many findings, messages of a thread, and characters of each: what a tool returns, the model pays for."""

tools = FunctionToolset[Here]()


@tools.tool(metadata={"spool": "pure"})
def search_turns(ctx: RunContext[Here], query: str) -> str:
    """Search the earlier turns of this conversation for the words of `query`: what people asked you, and what you answered.

    What holds more of the words comes first, and the newer before the older.
    """
    words = set(re.findall(r"\w+", query.casefold()))
    lines = [line for turn in ctx.deps.transcript.turns if turn.id != ctx.deps.turn.id for line in _lines(turn)]
    scores = [sum(word in line.casefold() for word in words) for line in lines]
    ranked = sorted(range(len(lines)), key=lambda i: (-scores[i], -i))
    found = [lines[i] for i in ranked if scores[i]]
    return "\n".join(found[:FOUND]) or f"Nothing found in {len(lines)} earlier messages."


@tools.tool(metadata={"spool": "pure"})
async def read_thread(ctx: RunContext[Here]) -> str:
    """Read the messages of this Slack thread, oldest first, with those that were not addressed to you."""
    said = await ctx.deps.thread()
    lines = [_line(m.ts, "you" if m.mine else f"<@{m.user}>", m.text) for m in said]
    left_out = [f"(the {len(lines) - LISTED} messages before these are left out)"] if len(lines) > LISTED else []
    return "\n".join(left_out + lines[-LISTED:]) or "The thread is empty."


def _lines(turn: Turn) -> Iterator[str]:
    """What was said in a turn; an apology is not worth finding."""
    for message in turn.messages:
        yield _line(message.ts, f"<@{message.user}>", message.text)
    if turn.reply and turn.outcome == "answered":
        yield _line(turn.messages[-1].ts, "you", " ".join(turn.reply.parts))


def _line(ts: str, who: str, text: str) -> str:
    when = datetime.fromtimestamp(float(ts), tz=UTC)
    text = " ".join(text.split())
    return f"{when:%Y-%m-%d %H:%M} UTC {who}: {text if len(text) <= LENGTH else text[:LENGTH] + '…'}"
