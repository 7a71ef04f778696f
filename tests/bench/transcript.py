"""What a transcript costs, as ratios within one run: `python tests/bench/transcript.py [rounds]`.

    5 MB      dump + load                  to   pydantic-ai's own adapter on the same messages     aim 1.5
    1,000     load + commit, 1,000 steps,  to   the same                                           aim 1.5
              embedded backend

CPU seconds, medians of pairs taken in turns, so that whatever else this machine does troubles both sides alike.
"""

# ruff: noqa: T201 - a script: it prints

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.usage import RequestUsage

from spool.envelope import ConversationKey
from spool.local.transcripts import LocalTranscripts
from spool.transcript import Message, Reply, Transcript, Turn

KEY = ConversationKey(team="T012AB3CD", channel="C012AB3CD", thread_ts="1715000000.000100")
AT = datetime(2024, 5, 6, 12, 53, 20, tzinfo=UTC)
USAGE = RequestUsage(input_tokens=812, output_tokens=64)
ROUNDS_OF_TOOLS = 3
STEPS = 2 * ROUNDS_OF_TOOLS + 1
"""Messages of one turn: three rounds of tools, and the answer."""


def conversation(turns: int, *, returned: int) -> Transcript:
    """So many finished turns; each tool returns so many characters."""
    return Transcript(
        team=KEY.team,
        channel=KEY.channel,
        thread_ts=KEY.thread_ts,
        turns=tuple(turn(n, returned=returned) for n in range(turns)),
    )


def turn(n: int, *, returned: int) -> Turn:
    ts = f"17150{n:05}.000100"
    steps: list[ModelMessage] = []
    for r in range(ROUNDS_OF_TOOLS):
        call = ToolCallPart("find", {"query": "sign-ups since Monday", "page": r}, tool_call_id=f"call_{n}_{r}")
        found = ToolReturnPart("find", "A row. " * (returned // 7), tool_call_id=call.tool_call_id, timestamp=AT)
        steps += [response(TextPart("Let me look that up."), call), ModelRequest(parts=[found], timestamp=AT)]
    answer = "Sign-ups rose by **12 %**. " * 20
    return Turn(
        id=f"t{n}",
        messages=(Message(key=f"{KEY.channel}:{ts}", ts=ts, user="U012ANNA1", text="How did the sign-ups develop?"),),
        state="done",
        outcome="answered",
        owner="0f8fad5bd9cb469fa165708677289501",
        steps=(*steps, response(TextPart(answer))),
        reply=Reply(parts=(answer,)),
        slots=(ts,),
        delivered=True,
        model="anthropic:claude-sonnet-5-5",
        usage={"requests": 4, "input_tokens": 3248, "output_tokens": 256},
        started_at=1715000000.5,
        finished_at=1715000009.5,
    )


def response(*parts: TextPart | ToolCallPart) -> ModelResponse:
    return ModelResponse(parts=list(parts), usage=USAGE, model_name="claude-sonnet-5-5", timestamp=AT)


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    before = time.process_time()
    work()
    return time.process_time() - before


def compare(name: str, rounds: int, ours: Callable[[], object], whole: Transcript) -> None:
    """Print what `ours` takes, and what pydantic-ai's adapter takes to dump and load all messages of `whole`."""
    messages = [step for t in whole.turns for step in t.steps]

    def adapter() -> None:
        ModelMessagesTypeAdapter.validate_json(ModelMessagesTypeAdapter.dump_json(messages))

    for first in (ours, adapter):
        first()  # builds what all others use
    pairs = [(cpu(ours), cpu(adapter)) for _ in range(rounds)]
    mine, theirs = (statistics.median(column) * 1e3 for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    size = len(whole.dump()) / 1e6
    print(
        f"{name:14} {len(messages):5} messages {size:5.1f} MB {mine:7.1f} ms to {theirs:7.1f} ms   ratio {ratio:.2f}   aim 1.5"
    )


def main(rounds: int) -> None:
    large = conversation(200, returned=7000)
    compare("dump + load", rounds, lambda: Transcript.load(large.dump()), large)
    for returned in (300, 3000):
        usual = conversation(1000 // STEPS, returned=returned)
        with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
            store = LocalTranscripts(Path(directory))
            runner.run(store.commit(KEY.path, usual, generation=0))

            async def one_commit(store: LocalTranscripts = store) -> None:
                found, generation = await store.load(KEY.path, key=KEY)
                await store.commit(KEY.path, found, generation=generation)

            compare("load + commit", rounds, lambda once=one_commit, on=runner: on.run(once()), usual)
            store.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 21)
