"""RUN: the agent answers, or its turn ends with a sentence that says why not."""

import asyncio
import logging
import traceback
import warnings
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal

from pydantic_ai import CostNotFoundWarning
from pydantic_ai.capabilities import ReinjectSystemPrompt
from pydantic_ai.exceptions import (
    FallbackExceptionGroup,
    ModelAPIError,
    ModelAuthenticationError,
    ModelNotFoundError,
    ModelRequestRejectedError,
    UsageLimitExceeded,
)
from pydantic_ai.usage import UsageLimits
from pydantic_core import to_json

from spool.agents import Loaded
from spool.errors import Ambiguous, Misconfigured, Refused
from spool.here import Here
from spool.history import history, prompt, speakers
from spool.transcript import MAX_ATTEMPTS
from spool.turn.finish import apologise, finish, usage
from spool.turn.journal import Journal
from spool.turn.memory import Memory
from spool.turn.patience import is_cancelled, persist
from spool.turn.signals import HandOver, Reenter, Undeliverable
from spool.turn.slots import reserve
from spool.turn.work import GIVE_UP, Work

warnings.filterwarnings("ignore", category=CostNotFoundWarning)  # a model without a known price has no limit in dollars

SORRY = "Sorry, I could not answer this: I was interrupted again and again, and have stopped trying."
SORRY_MODEL = "Sorry, I could not answer this: my model has been failing for too long, and I have stopped trying."
SORRY_UNREADABLE = "Sorry, I could not answer this: the record of our conversation is damaged. It is kept for a person to mend."
SORRY_FAILED = "Sorry, I could not answer this: something in me is broken. The people who run me can see the error in my log."
"""What is wrong with the agent's own code is for its log, not for the channel."""

MODEL_TRIES = 3
TROUBLE = (ModelAPIError, FallbackExceptionGroup, TimeoutError, ConnectionError, Ambiguous)
"""The model does not answer, or not now: somebody else tries again later."""

MENDABLE = (ModelAuthenticationError, ModelNotFoundError)
"""Refusals that a person can put right while the message waits; any other rejected request stays rejected."""


async def run(work: Work) -> None:
    """Answer the open turn, which is mine, from where its journal ends. Raises `Reenter`, `HandOver`."""
    if not work.memory.is_of(work.turn):
        work.memory = Memory.of(work.turn, lookup=True)  # my own write landed although its answer was lost
    memory = work.memory
    if memory.reserving is None:
        memory.shown_at = work.ports.clock.now()
        memory.reserving = work.begin(_reserve_first(work, memory))
    if work.book.stands_in:
        return await apologise(work, SORRY_UNREADABLE)
    if work.turn.attempts >= MAX_ATTEMPTS:
        return await apologise(work, SORRY)
    loaded = None if work.gives_up else load_agent(work)
    if loaded is None:
        return await apologise(work, SORRY_FAILED)
    return await _answer(work, loaded)


def load_agent(work: Work) -> Loaded | None:
    """The user's agent. While its module is broken messages wait; None when they have waited too long."""
    try:
        return work.ports.agent()
    except Misconfigured as e:
        work.say(logging.ERROR, str(e), event="misconfigured")
        if work.ports.clock.now() - work.task.first_seen < GIVE_UP:
            raise HandOver(str(e)) from e
        return None


async def _reserve_first(work: Work, memory: Memory) -> None:
    """Part 1's message, while the model thinks. Where Slack does not answer, finish and delivery try again."""
    try:
        await reserve(work, 1, memory=memory)
    except Refused as e:
        memory.refused = e
    except HandOver as e:
        work.say(logging.WARNING, f"not reserved yet: {e}")


async def _answer(work: Work, loaded: Loaded) -> None:
    asked = prompt(work.turn, named=speakers(work.book.transcript) > 1)
    journal = Journal(work=work, memory=work.memory, steps=list(work.turn.steps), asked=asked)
    try:
        reply = await persist(lambda: _converse(work, loaded, journal), clock=work.ports.clock, tries=MODEL_TRIES)
    except Reenter:
        with suppress(Reenter):
            await journal.settle()
        raise
    except (HandOver, asyncio.CancelledError) as e:
        if isinstance(e, asyncio.CancelledError) and (task := asyncio.current_task()):
            task.uncancel()
        await journal.keep()
        patient = not isinstance(e, HandOver) or e.delay == 0
        if patient or work.ports.clock.now() - work.turn.started_at < GIVE_UP:
            raise
        await apologise(work, SORRY_MODEL)
    except Undeliverable:
        await finish(work, (), outcome="undeliverable", steps=journal.steps)
    except UsageLimitExceeded as e:
        await journal.settle()
        work.say(logging.WARNING, f"limit reached: {e}", event="limit")
        await apologise(work, f"I have stopped here: this turn reached its limit. ({e})", steps=journal.steps)
    except Exception as e:  # noqa: BLE001 - the agent is the user's code: anything may come out of it
        await journal.settle()
        kind = type(e).__name__
        work.say(logging.ERROR, f"the agent failed: {kind} {_where(e)}", event="agent_failed", error=kind, cause=e)
        await apologise(work, SORRY_FAILED, steps=journal.steps)
    else:
        await journal.settle()
        await finish(work, work.ports.chat.parts(reply), outcome="answered", steps=journal.steps, loaded=loaded)


async def _converse(work: Work, loaded: Loaded, journal: Journal) -> str:
    """One run of the agent from where the journal stands; what it says in the end. Raises `Ambiguous` on its trouble."""
    turn = replace(work.turn, steps=tuple(journal.steps))
    here = Here(
        conversation=work.task.conversation,
        transcript=work.book.transcript,
        turn=work.turn,
        thread=lambda: work.ports.chat.thread(work.task.conversation),
        rounds=lambda: journal.responses,
    )
    limits = work.ports.policy.limits
    try:
        result = await loaded.agent.run(
            message_history=await work.book.whole(history(work.book.transcript.with_last(turn))),
            model=loaded.model,
            deps=here,
            usage=usage(turn.steps),
            usage_limits=UsageLimits(
                request_limit=limits.rounds,
                total_tokens_limit=limits.tokens,
                cost_limit=None if limits.dollars is None else Decimal(str(limits.dollars)),
            ),
            capabilities=[journal, ReinjectSystemPrompt()],  # the history holds no system prompt
            conversation_id=str(work.task.conversation),
        )
    except TROUBLE as e:
        if isinstance(e, ModelRequestRejectedError) and not isinstance(e, MENDABLE):
            raise
        msg = f"the model is in trouble: {type(e).__name__}"
        raise Ambiguous(msg) from e
    except asyncio.CancelledError as e:
        if is_cancelled():
            raise
        msg = "the model's client gave up by itself"
        raise Ambiguous(msg) from e
    return result.output if isinstance(result.output, str) else to_json(result.output, indent=2).decode()


def _where(error: BaseException) -> str:
    """The innermost line of an error's traceback; its text could quote what people said."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
