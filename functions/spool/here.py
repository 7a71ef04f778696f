"""What a tool may know of the turn it runs in: `RunContext[Here].deps`.

For example:

    @agent.tool(metadata={"spool": "idempotent"})
    async def charge(ctx: RunContext[Here], cents: int) -> str:
        return await billing.charge(cents, idempotency_key=ctx.deps.key(ctx))
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic_ai import RunContext

from spool.envelope import ConversationKey
from spool.ports import Said
from spool.transcript import Transcript, Turn

Semantics = Literal["pure", "idempotent", "at_most_once"]
"""How a tool bears a crash: it may run again; it may with the same key; it never runs twice (what is undeclared)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """The conversation, its earlier turns and the messages that are being answered, as they were when the run began.

    thread: reads the thread's messages from Slack, oldest first; raises `SpoolError`.
    rounds: how many responses the turn's journal holds, whatever the agent keeps of its history.
    """

    conversation: ConversationKey
    transcript: Transcript
    turn: Turn
    thread: Callable[[], Awaitable[Sequence[Said]]]
    rounds: Callable[[], int] = lambda: 0

    def key(self, ctx: RunContext[Any]) -> str:
        """The idempotency key of the tool call at hand: the same when the call is made again after a crash."""
        return f"{self.conversation}/{self.turn.tag}/{self.rounds()}/{ctx.tool_call_id}"


def declared(metadata: dict[str, Any] | None) -> Semantics | None:
    """What a tool's metadata declares, or None. Anything but the three words is a declaration of nothing."""
    value = (metadata or {}).get("spool")
    return value if value in ("pure", "idempotent", "at_most_once") else None
