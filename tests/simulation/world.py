"""A world for the real turn: virtual time, a queue, a bucket, documents and a Slack that fail on plan.

A plan is `{number of the RPC in the whole run: kind of fault}`, so a failing plan is a one-line reproduction. Kill -9 is
not a cancelled coroutine: a dead instance's calls never return, its `finally` blocks may run but reach nothing.
"""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import oracle
from fakes import SimChat, SimClock, SimConversations, SimTasks, SimTranscripts
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from virtual import VirtualLoop

from spool.agents import Loaded, Tools
from spool.blobs import LARGE
from spool.envelope import ConversationKey, Envelope
from spool.errors import Ambiguous, Conflict, Missing, NotHandedOn, Refused
from spool.here import Here
from spool.local.dispatcher import SWEEP
from spool.task import Attempt, Task
from spool.turn.sweep import sweep
from spool.turn.take import take
from spool.turn.work import Ports

KEY = ConversationKey(team="T1", channel="C1", thread_ts="1700000000.000000")
OF_A_CALL = ("crash_before", "crash_after", "term", "cut", "lost", "fail", "late", "freeze")
KINDS = (*OF_A_CALL, "wipe", "restore", "away", "dup", "userdel")
AWAY, FREEZE, HANG = 300.0, 150.0, 3000.0
"""Seconds that the documents do not answer, that a process stands still, and that it does so past the queue's deadline."""

INSTANCE: ContextVar["Instance"] = ContextVar("instance")
MAX_RETRIES = 60
LOOK = 60.0
"""Seconds between two looks whether all is done."""

MAX_RPCS = 1500


@dataclass(frozen=True, kw_only=True)
class Script:
    """What happens in a scene, besides the planned faults.

    messages: (second, name) of each. rounds: tool rounds of each turn. think: seconds of a model call. large: what tools return
    is too large for a transcript.
    poison: messages whose model calls kill the instance, from round `poison_round` on. storm: every step's model call
    kills that often. kill_thinking, hang_thinking: (round, seconds into its model call) of one more kill, or of a hang.
    down: (prefix of RPC names, from, to). away: (from, to), the documents answer nobody; what is written may have its effect.
    sweep: when the first sweep comes, then one each minute. erase: when the transcript is deleted. refuse: Slack refuses every
    reservation for good from then on. within: every answer is visible by then when no fault is planned.
    """

    messages: tuple[tuple[float, str], ...]
    rounds: int = 1
    parts: int = 1
    think: float = 8.0
    large: bool = False
    poison: tuple[str, ...] = ()
    poison_round: int = 0
    storm: int = 0
    down: tuple[str, float, float] | None = None
    away: tuple[float, float] | None = None
    sweep: float | None = None
    erase: float | None = None
    within: float | None = None
    refuse: float | None = None
    dead_model: bool = False
    kill_thinking: tuple[int, float] | None = None
    hang_thinking: tuple[int, float] | None = None


class Instance:
    """One process serving one attempt; a killed one's calls never return, a frozen one's when it wakes."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.dead = self.told_to_stop = False
        self.frozen_until = 0.0
        self.killed: asyncio.Future[None] = world.loop.create_future()
        self.job: asyncio.Task[None] | None = None
        self.asking = Counter[str]()


@dataclass(kw_only=True)
class Queued:
    task: Task
    name: str
    retry: int = 0
    done: bool = False


@dataclass(kw_only=True)
class Shown:
    """A message in Slack."""

    ts: str
    tag: str
    epoch: int
    part: int
    text: str = "…"
    final: bool = False
    deleted: bool = False


@dataclass
class World:
    plan: Mapping[int, str]
    script: Script
    seed: int = 0
    rpc_count: int = 0
    rpcs: Counter[str] = field(default_factory=Counter[str])
    trace: list[tuple[int, str, float]] = field(default_factory=list[tuple[int, str, float]])
    model_calls: int = 0
    complaints: list[str] = field(default_factory=list[str])
    acked: list[str] = field(default_factory=list[str])
    refused_events: int = 0
    slack: dict[str, Shown] = field(default_factory=dict[str, Shown])
    shown_at: dict[tuple[str, int], float] = field(default_factory=dict[tuple[str, int], float])
    tools_run: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    queue: dict[str, Queued] = field(default_factory=dict[str, Queued])
    active: int = 0
    swept: int = 0
    away_until: float = 0.0
    kills_by_round: Counter[int] = field(default_factory=Counter[int])

    def __post_init__(self) -> None:
        self.loop = VirtualLoop(self.seed + 1)
        asyncio.set_event_loop(self.loop)
        self.rng = random.Random(self.seed)
        self.counter = itertools.count(1)
        self.objects: dict[str, tuple[bytes, int]] = {}
        self.document: dict[str, Any] | None = None
        self.version = 0
        self.old_documents: list[str] = []
        self.hanging: list[Any] = []
        tools: Tools = {"charge": None, "note": "idempotent"}
        self.over = False
        self.loaded = Loaded(agent=AGENT, model=MODEL, model_name="function:simulated", instructions=None, tools=tools)

    @property
    def now(self) -> float:
        return self.loop.time()

    @property
    def conversation(self) -> ConversationKey:
        return KEY

    def complain(self, text: str) -> None:
        if text not in self.complaints:
            self.complaints.append(text)

    # ---- every call to the outside

    async def rpc(self, instance: Instance, name: str, effect: Callable[[], Any], latency: float = 0.02) -> Any:
        """The answer. Nothing may be asked of Slack once the queue has its ack: without a request a process stands still, and
        what it has begun goes on hours later."""
        instance.asking[name] += 1
        try:
            return await self._rpc(instance, name, effect, latency)
        finally:
            instance.asking[name] -= 1

    async def _rpc(self, instance: Instance, name: str, effect: Callable[[], Any], latency: float) -> Any:
        i, self.rpc_count = self.rpc_count, self.rpc_count + 1
        self.rpcs[name] += 1
        self.trace.append((i, name, round(self.now, 2)))
        kind = self.plan.get(i)
        try:
            await self.wait(instance, latency * (0.5 + self.rng.random()))
            await self._before(instance, name, kind, effect)
        except asyncio.CancelledError:
            self._land_anyway(instance, effect, name)
            raise
        if kind == "late":
            await self._late(instance, effect, name)
        self._meanwhile(kind)
        result = effect()
        if kind == "term":
            self.tell_to_stop(instance)
        if kind == "lost":
            await self.wait(instance, 10)
            raise Ambiguous(name)
        if kind == "crash_after":
            self.kill(instance)
            await self.never()
        await self.wait(instance, latency * (0.5 + self.rng.random()))
        return result

    async def _before(self, instance: Instance, name: str, kind: str | None, effect: Callable[[], Any]) -> None:
        if kind == "crash_before":
            self.kill(instance)
            await self.never()
        if kind == "cut":
            self.tell_to_stop(instance)
            await self.wait(instance, 0.1)
        if kind in ("freeze", "hang"):
            instance.frozen_until = self.now + (FREEZE if kind == "freeze" else HANG)
            await self.wait(instance, 0)
        if kind == "fail" or self._is_down(name):
            raise Ambiguous(name)
        if kind == "away":
            self.away_until = self.now + AWAY
        if self._is_away(name):
            await self._unanswered(instance, effect, name)
        if self.rpc_count > MAX_RPCS:
            self.complain("did not come to rest")
            self.loop.stop()
            await self.never()

    async def _late(self, instance: Instance, effect: Callable[[], Any], name: str) -> None:
        self._land_after(45, effect)
        await self.wait(instance, 10)
        raise Ambiguous(name)

    def _land_anyway(self, instance: Instance, effect: Callable[[], Any], name: str) -> None:
        """Whoever stops waiting does not take a request back: a thread goes on with it, or it is on its way."""
        if not (self.over or instance.dead or self._is_down(name) or self._is_away(name)):
            self._land_after(self.rng.choice((0.05, 1.0, 45.0)), effect)

    def _land_after(self, seconds: float, effect: Callable[[], Any]) -> None:
        def land() -> None:
            with suppress(Conflict, Missing, Refused):
                effect()

        self.loop.call_later(seconds, land)

    def _is_away(self, name: str) -> bool:
        away = self.script.away
        return name.startswith("fs") and (self.now < self.away_until or bool(away and away[0] <= self.now < away[1]))

    async def _unanswered(self, instance: Instance, effect: Callable[[], Any], name: str) -> None:
        """Refused at once, or silence; then with an effect or without."""
        manner = self.rng.choice(("refused", "silence", "effect"))
        if manner == "effect":
            with suppress(Conflict):
                effect()
        await self.wait(instance, 0 if manner == "refused" else 10)
        raise Ambiguous(name)

    def _meanwhile(self, kind: str | None) -> None:
        """Faults that befall somebody else."""
        if kind == "wipe":
            self.document = None
        if kind == "restore" and self.old_documents:
            self.version += 1
            self.document = {**json.loads(self.old_documents[len(self.old_documents) // 2]), "version": self.version}
        if kind == "dup" and (name := next((q.name for q in self.queue.values() if q.task.kind == "msg"), None)):
            self.spawn(name, duplicate=True)
        if kind == "userdel" and (shown := next((m for m in self.slack.values() if not m.deleted and not m.final), None)):
            shown.deleted = True

    def _is_down(self, name: str) -> bool:
        down = self.script.down
        return bool(down and name.startswith(down[0]) and down[1] <= self.now < down[2])

    async def wait(self, instance: Instance, seconds: float) -> None:
        if self.over:
            raise asyncio.CancelledError
        await asyncio.sleep(seconds)
        if instance.frozen_until > self.now:
            await asyncio.sleep(instance.frozen_until - self.now)
        if instance.dead:
            await self.never()

    async def never(self) -> None:
        if self.over:
            raise asyncio.CancelledError
        future = self.loop.create_future()
        self.hanging.append(future)
        await future

    def kill(self, instance: Instance) -> None:
        instance.dead = True
        if not instance.killed.done():
            instance.killed.set_result(None)

    def tell_to_stop(self, instance: Instance) -> None:
        """SIGTERM, and SIGKILL 10 s later."""
        if not instance.told_to_stop:
            instance.told_to_stop = True
            if instance.job:
                instance.job.cancel()
            self.loop.call_later(10, lambda: self.kill(instance))

    # ---- Slack

    def placeholder(self, *, ts: str, tag: str, epoch: int, part: int) -> "Shown":
        return Shown(ts=ts, tag=tag, epoch=epoch, part=part)

    def changed(self) -> None:
        """Something is shown: the oracle looks at once."""
        oracle.look(self)

    # ---- the queue

    def create(self, task: Task, delay: float) -> None:
        name = f"k{next(self.counter)}"
        self.queue[name] = Queued(task=Task.decode(task.encode()), name=name)
        self.loop.call_later(delay, lambda: self.spawn(name))

    def spawn(self, name: str, *, duplicate: bool = False) -> None:
        self.hanging.append(self.loop.create_task(self._dispatch(name, duplicate=duplicate)))

    async def _dispatch(self, name: str, *, duplicate: bool) -> None:
        queued = self.queue[name]
        if queued.done and not duplicate:
            return
        instance = Instance(self)
        instance.job = self.loop.create_task(self._serve(instance, queued))
        self.hanging.append(instance.job)
        self.active += 1
        await asyncio.wait({instance.job, instance.killed}, timeout=1800, return_when=asyncio.FIRST_COMPLETED)
        self.active -= 1
        if self._was_acked(instance):
            queued.done = True
            if any(n for name, n in instance.asking.items() if name.startswith("slack")):
                self.complain("Slack was asked for something after the ack")
        elif not duplicate:
            self._retry(queued)

    async def _serve(self, instance: Instance, queued: Queued) -> None:
        INSTANCE.set(instance)
        await take(queued.task, Attempt(name=queued.name, retry=queued.retry), ports=self.ports(instance))

    def _was_acked(self, instance: Instance) -> bool:
        job = instance.job
        if not job or not job.done() or instance.dead or job.cancelled():
            return False
        error = job.exception()
        if error and not isinstance(error, NotHandedOn):
            self.complain(f"the worker answered with {error!r}")
        return error is None

    def _retry(self, queued: Queued) -> None:
        queued.retry += 1
        if queued.retry > MAX_RETRIES:
            self.complain("a task was retried for ever")
            queued.done = True
        else:
            self.loop.call_later(min(60, 2 * 2 ** min(queued.retry - 1, 5)), lambda: self.spawn(queued.name))

    # ---- the ingress: one RPC, and Slack's three retries

    async def _event(self, envelope: Envelope) -> None:
        for delay in (0, 1, 60, 300):
            await asyncio.sleep(delay)
            instance = Instance(self)
            task = Task.of(envelope, first_seen=self.now)
            job = self.loop.create_task(SimTasks(instance).create(task))
            self.hanging.append(job)
            await asyncio.wait({job, instance.killed}, timeout=3.0, return_when=asyncio.FIRST_COMPLETED)
            if job.done() and not instance.dead and not job.exception():
                self.acked.append(envelope.key)
                return
        self.refused_events += 1

    # ---- a run

    def ports(self, instance: Instance) -> Ports:
        return Ports(
            tasks=SimTasks(instance),
            transcripts=SimTranscripts(instance),
            conversations=SimConversations(instance),
            chat=SimChat(instance),
            clock=SimClock(instance),
            ids=lambda: f"n{next(self.counter)}",
            agent=lambda: self.loaded,
        )

    def envelopes(self) -> list[tuple[float, Envelope]]:
        return [(at, envelope(name)) for at, name in self.script.messages]

    def run(self, until: float = 6 * 3600) -> "World":
        for at, message in self.envelopes():
            self.loop.call_later(at, lambda m=message: self.hanging.append(self.loop.create_task(self._event(m))))
        if self.script.erase is not None:
            self.loop.call_later(self.script.erase, self.objects.clear)
        if self.script.sweep is not None:
            self.loop.call_later(self.script.sweep, self._sweep)
        self.loop.call_later(until, self._out_of_time)
        self.loop.call_later(LOOK, self._until_at_rest)
        self.loop.run_forever()
        self._bury_the_dead()
        return self

    def _sweep(self) -> None:
        async def count() -> None:
            self.swept += await sweep(ports=self.ports(Instance(self)))

        self.hanging.append(self.loop.create_task(count()))
        self.loop.call_later(SWEEP, self._sweep)

    def _out_of_time(self) -> None:
        self.complain("did not come to rest")
        self.loop.stop()

    def _until_at_rest(self) -> None:
        all_in = len(self.acked) + self.refused_events == len(self.script.messages)
        if self.active == 0 and all_in and all(q.done for q in self.queue.values()):
            self.loop.stop()
        else:
            self.loop.call_later(LOOK, self._until_at_rest)

    def _bury_the_dead(self) -> None:
        """Unwind what killed instances left hanging, now that nothing can be reached any more."""
        self.over = True
        for _ in range(20):
            pending = asyncio.all_tasks(self.loop)
            for task in pending:
                task.cancel()
            if not pending:
                break
            self.loop.call_later(1, self.loop.stop)
            self.loop.run_forever()
        self.loop.forget_everything()
        asyncio.set_event_loop(None)
        self.loop.close()


def envelope(name: str) -> Envelope:
    """Message "m3": its ts tells its number, its text its name."""
    return Envelope(conversation=KEY, ts=f"17000000{int(name[1:]):02d}.000000", user="U1", text=name, addressed="mention")


# ---- the agent: asks for `charge` and `note` in every round, then answers


async def _respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    del info
    instance = INSTANCE.get()
    world, script = instance.world, instance.world.script
    world.model_calls += 1
    start = max(i for i, m in enumerate(messages) if any(isinstance(p, UserPromptPart) for p in m.parts))
    names = [str(p.content) for p in messages[start].parts if isinstance(p, UserPromptPart)]
    done = sum(isinstance(m, ModelResponse) for m in messages[start:])
    _check_rounds(world, messages)
    if done >= script.poison_round and set(names) & set(script.poison) and not script.dead_model:
        world.kill(instance)
        await world.never()
    world.kills_by_round[done] += 1
    if world.kills_by_round[done] <= script.storm:
        world.kill(instance)
        await world.never()
    if script.kill_thinking and script.kill_thinking[0] == done and world.kills_by_round[done] == 1:
        await world.wait(instance, script.kill_thinking[1])
        world.kill(instance)
    if script.hang_thinking and script.hang_thinking[0] == done and world.kills_by_round[done] == 1:
        await world.wait(instance, script.hang_thinking[1])
        instance.frozen_until = world.now + HANG
    await world.wait(instance, script.think)
    return await world.rpc(instance, "llm", lambda: _answer(world, done, names), 0.5)


def _check_rounds(world: World, messages: Sequence[ModelMessage]) -> None:
    for message, following in itertools.zip_longest(messages, messages[1:]):
        if isinstance(message, ModelResponse) and message.tool_calls:
            parts = following.parts if isinstance(following, ModelRequest) else ()
            returned = [p.tool_call_id for p in parts if isinstance(p, ToolReturnPart) and p.outcome != "interrupted"]
            if [c.tool_call_id for c in message.tool_calls] != returned:
                world.complain("an incomplete round became history")
            for p in parts:
                if isinstance(p, ToolReturnPart) and p.outcome == "success" and p.content != returns(world, p.tool_call_id):
                    world.complain("the model read another return than its tool made")
    if any(a.kind == b.kind for a, b in itertools.pairwise(messages)):
        world.complain("two requests, or two responses, in a row became history")


def returns(world: World, call: str) -> str:
    """What a tool's call returns, each its own."""
    return f"ok {call} " * LARGE if world.script.large else "ok"


def _answer(world: World, done: int, names: list[str]) -> ModelResponse:
    if done < world.script.rounds:
        calls = [ToolCallPart(tool, {}, f"c{next(world.counter)}") for tool in ("charge", "note")]
        return ModelResponse(parts=calls)
    text = "\f".join(f"answer to {'+'.join(names)}, part {i}" for i in range(world.script.parts))
    return ModelResponse(parts=[TextPart(text)])


MODEL = FunctionModel(_respond, model_name="simulated")
AGENT = Agent(deps_type=Here, retries=2)


async def _run_tool(ctx: RunContext[Here], name: str) -> str:
    instance = INSTANCE.get()
    key = ctx.deps.key(ctx)

    def effect() -> str:
        instance.world.tools_run[name, key] += 1
        return returns(instance.world, key.rpartition("/")[2])

    return await instance.world.rpc(instance, f"tool.{name}", effect, 0.3)


@AGENT.tool
async def charge(ctx: RunContext[Here]) -> str:
    """Undeclared, hence at most once."""
    return await _run_tool(ctx, "charge")


@AGENT.tool(metadata={"spool": "idempotent"})
async def note(ctx: RunContext[Here]) -> str:
    """May run again with its key."""
    return await _run_tool(ctx, "note")
