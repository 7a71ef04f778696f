"""An agent for tests from outside: instant, with one tool that must not run twice; each step leaves a line in TRACES."""

from collections.abc import Sequence

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from slow_room import asked, leave_trace

from spool.here import Here


async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    del info
    text, done = asked(messages)
    leave_trace("thinking", text)
    if done == 0:
        return ModelResponse(parts=[ToolCallPart("charge", {"what": text})])
    return ModelResponse(parts=[TextPart(f"charged for: {text} [{speakers(messages)}]")])


def speakers(messages: Sequence[ModelMessage]) -> int:
    """How many turns of people the model has read."""
    return sum(any(p.part_kind == "user-prompt" for p in m.parts) for m in messages)


agent = Agent(FunctionModel(respond, model_name="quick"), deps_type=Here)


@agent.tool_plain
async def charge(what: str) -> str:
    """Undeclared, hence at most once."""
    leave_trace("charge", what)
    return "charged"
