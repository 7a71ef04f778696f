"""The agent's run, written down as it happens: rounds into the transcript, effects at most once (R5).

    model answers ──► asks for tools ──► one commit: the returns before it, the response ──► its tools run ──► model …
                 └──► final ──► finish

The hooks are pydantic-ai's own (a capability). A response is the intent of its calls: no tool starts before its commit.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_ai import Agent, RunContext
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.exceptions import ApprovalRequired, CallDeferred, ModelRetry, ToolFailed, ToolRetryError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolCallPart
from pydantic_ai.models import ModelRequestContext
from pydantic_ai.tools import ToolDefinition

from spool.errors import Ambiguous
from spool.here import declared
from spool.history import prompt, speakers
from spool.transcript import storable
from spool.turn.memory import Ended, Memory
from spool.turn.patience import is_cancelled, persist
from spool.turn.signals import HandOver, Reenter, Undeliverable
from spool.turn.slots import show_progress
from spool.turn.work import OUT_OF_TIME, Work

PROGRESS_SECONDS = 5.0
TOOL_TRIES = 3
VERDICTS = (ModelRetry, ToolRetryError, ToolFailed, ApprovalRequired, CallDeferred)
"""What a tool says on purpose; pydantic-ai knows what to do with it."""

TRANSIENT = (TimeoutError, ConnectionError, Ambiguous)


def in_doubt(call: ToolCallPart) -> str:
    """What the model is told of a call that nobody knows to have happened."""
    return (
        f"{call.tool_name}({call.args_as_json_str()[:500]}) was interrupted: it may have happened, and it may not. "
        "Do not repeat it. Tell the user that this is uncertain, and what they can check."
    )


@dataclass(kw_only=True)
class Journal(AbstractCapability[Any]):
    """Writes one run of one turn. `steps` is what the turn's journal holds and what came since, complete rounds only."""

    work: Work
    memory: Memory
    steps: list[ModelMessage]
    asked: ModelRequest
    early: asyncio.Task[None] | None = field(default=None, init=False)

    def get_ordering(self) -> CapabilityOrdering:
        return CapabilityOrdering(position="outermost")

    # ---- rounds

    async def before_node_run(self, ctx: RunContext[Any], *, node: Any) -> Any:
        """A round is complete when the next model call is about to be made with its returns."""
        del ctx
        if Agent.is_model_request_node(node):
            answered = self.steps[-1] if self.steps else None
            if isinstance(answered, ModelResponse):
                await self._add(replace(node.request, instructions=None))
            self._may_go_on()
            if isinstance(answered, ModelResponse) and self._ran_at_most_once(answered):
                self.early = asyncio.create_task(self._commit())  # beside the model call: from here on none is in doubt
        return node

    async def wrap_model_request(
        self, ctx: RunContext[Any], *, request_context: ModelRequestContext, handler: Any
    ) -> ModelResponse:
        """Buy each response once: one whose commit had no clear answer is still in memory."""
        del ctx
        n = self.responses
        if n not in self.memory.responses:
            self._bring_new_files(request_context)
            self.memory.responses[n] = await handler(request_context)
        return self.memory.responses[n]

    async def after_node_run(self, ctx: RunContext[Any], *, node: Any, result: Any) -> Any:
        """Commit a response that asks for tools, before any of them starts."""
        del ctx
        if Agent.is_model_request_node(node) and Agent.is_call_tools_node(result):
            await self._add(_storable_calls(result.model_response))
            if result.model_response.tool_calls:
                await self.settle()
                self._is_deliverable()
                await self._commit()
                self._tell_progress(result.model_response.tool_calls)
        return result

    async def _add(self, step: ModelMessage) -> None:
        """A step counts from here on, even where storing what is large in it is cut off: then it stays in the transcript."""
        self.steps.append(step)
        self.steps[-1] = await self.work.book.lift(step)

    @property
    def responses(self) -> int:
        return sum(isinstance(s, ModelResponse) for s in self.steps)

    def _ran_at_most_once(self, response: ModelResponse) -> bool:
        n = self.responses - 1
        return any((n, c.tool_call_id) in self.memory.returns for c in response.tool_calls)

    def _bring_new_files(self, request: ModelRequestContext) -> None:
        """The prompt as it reads now, where a second event of a message has brought files since the run began."""
        now = prompt(self.work.turn.with_files(self.work.mail), named=speakers(self.work.book.transcript) > 1)
        if now.parts != self.asked.parts:
            old = self.asked.parts
            request.messages = [
                replace(m, parts=now.parts) if isinstance(m, ModelRequest) and m.parts == old else m for m in request.messages
            ]

    def _may_go_on(self) -> None:
        """Stop spending when the lease is lost, or when a next round could not end in time."""
        if self.work.admission and self.work.admission.lease_is_lost:
            msg = "the lease is lost"
            raise Reenter(msg)
        if self.work.ports.clock.now() - self.work.begun > OUT_OF_TIME:
            msg = "out of time"
            raise HandOver(msg, delay=0)

    def _is_deliverable(self) -> None:
        """No tool runs for an answer that Slack refuses to carry."""
        if self.memory.refused:
            raise Undeliverable(self.memory.refused.reason)

    async def _commit(self) -> None:
        """The journal as it stands; a new step is progress and ends the count of attempts."""
        turn = replace(self.work.turn, steps=tuple(self.steps), attempts=0)
        await self.work.write(turn.with_files(self.work.mail))

    async def settle(self) -> None:
        """Await the early commit of returns, if one is under way. Raises `Reenter`."""
        if self.early:
            await asyncio.wait({self.early})  # which, unlike an await, is not cancelled with me
            early, self.early = self.early, None
            early.result()

    async def keep(self) -> None:
        """Before a hand-over: returns in hand become a step of their own, or the successor would have to doubt them."""
        with suppress(Reenter):
            await self.settle()
            if len(self.steps) > len(self.work.turn.steps) and isinstance(self.steps[-1], ModelRequest):
                await self._commit()

    # ---- tools

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: dict[str, Any], handler: Any
    ) -> Any:
        """Run a call by its declared semantics. Whatever a tool raises becomes a result: its siblings go on."""
        del ctx
        semantics = declared(tool_def.metadata) or "at_most_once"
        if call.tool_call_id in self.work.turn.unknown:
            raise ToolFailed(in_doubt(call))
        try:
            async with asyncio.timeout(self.work.ports.policy.limits.tool_seconds):
                if semantics == "at_most_once":
                    return storable(await self._once(call, lambda: handler(args)))
                return storable(await self._again(lambda: handler(args)))
        except VERDICTS:
            raise
        except (Exception, asyncio.CancelledError) as e:  # a tool is the user's code: anything may come out of it
            if isinstance(e, asyncio.CancelledError) and is_cancelled():
                raise
            kind = type(e).__name__
            self.work.say(
                logging.WARNING, f"tool {call.tool_name} failed: {kind}", event="tool_failed", tool=call.tool_name, error=kind
            )
            raise ToolFailed(in_doubt(call) if semantics == "at_most_once" else f"{call.tool_name} failed: {e!r:.500}") from e

    async def _once(self, call: ToolCallPart, run: Any) -> Any:
        """Never a second time in this process either: after a re-admission the same response is answered from memory."""
        key = (self.responses - 1, call.tool_call_id)
        had = self.memory.returns.get(key)
        if had is None:
            self.memory.returns[key] = had = Ended(error=ToolFailed(in_doubt(call)))  # until it ends
            try:
                had = Ended(result=await run())
            except VERDICTS as e:
                had = Ended(error=e)
            self.memory.returns[key] = had
        if had.error:
            raise had.error
        return had.result

    async def _again(self, run: Any) -> Any:
        """A pure or idempotent call that stumbles is made again, with the same key."""

        async def attempt() -> Any:
            try:
                return await run()
            except TRANSIENT as e:
                raise Ambiguous(repr(e)) from e

        try:
            return await persist(attempt, clock=self.work.ports.clock, tries=TOOL_TRIES)
        except HandOver as e:
            raise ToolFailed(str(e)) from e

    # ---- progress

    def _tell_progress(self, calls: Sequence[ToolCallPart]) -> None:
        """While tools run, and seldom: what is being done, for whoever waits."""
        memory, now = self.memory, self.work.ports.clock.now()
        if memory.tainted or 0 not in memory.ts or now - memory.shown_at < PROGRESS_SECONDS:
            return
        if memory.progress and not memory.progress.done():
            return
        memory.shown_at = now
        names = ", ".join(dict.fromkeys(f"`{c.tool_name}`" for c in calls))
        memory.progress = self.work.begin(show_progress(self.work, f"… using {names}", memory=memory))


def _storable_calls(response: ModelResponse) -> ModelResponse:
    """The response with arguments that a transcript can hold; too deep ones become the text that they are."""
    parts = [
        replace(p, args=str(storable(p.args))) if isinstance(p, ToolCallPart) and storable(p.args) is not p.args else p
        for p in response.parts
    ]
    return replace(response, parts=parts) if parts != list(response.parts) else response
