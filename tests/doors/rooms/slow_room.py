"""An agent for the tests of processes: slow, with a tool that must not run twice; each step leaves a line in TRACES."""

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from spool.here import Here

TRACES = Path(os.environ["TRACES"])  # noqa: TID251 - a room of its own
THINK = float(os.environ.get("THINK", "0.3"))  # noqa: TID251


def leave_trace(what: str, text: str) -> None:
    """One write of one line, so that processes do not tear each other's lines."""
    line = json.dumps({"what": what, "text": text, "pid": os.getpid()}) + "\n"
    file = os.open(TRACES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


def asked(messages: Sequence[ModelMessage]) -> tuple[str, int]:
    """What the turn's people said, and how many responses there were since."""
    start = max(i for i, m in enumerate(messages) if any(isinstance(p, UserPromptPart) for p in m.parts))
    text = " ".join(str(p.content) for p in messages[start].parts if isinstance(p, UserPromptPart))
    return text, sum(isinstance(m, ModelResponse) for m in messages[start:])


async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    del info
    text, done = asked(messages)
    leave_trace("thinking", text)
    await asyncio.sleep(THINK)
    if done == 0:
        return ModelResponse(parts=[ToolCallPart("charge", {"what": text})])
    return ModelResponse(parts=[TextPart(f"charged for: {text}")])


agent = Agent(FunctionModel(respond, model_name="slow"), deps_type=Here)


@agent.tool
async def charge(ctx: RunContext[Here], what: str) -> str:
    """Undeclared, hence at most once."""
    del ctx
    leave_trace("charge", what)
    await asyncio.sleep(THINK / 3)
    return "charged"


@agent.tool_plain
def charge_in_a_thread(what: str) -> str:
    """The same, but pydantic-ai runs it in a thread, which no cancellation stops."""
    leave_trace("charge", what)
    return "charged"
