"""An agent for the tests of processes whose only tool is a plain function, slow, and must not run twice."""

import time
from collections.abc import Sequence

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from slow_room import THINK, asked, leave_trace

from spool.here import Here


async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    del info
    text, done = asked(messages)
    if done == 0:
        return ModelResponse(parts=[ToolCallPart("charge", {"what": text})])
    return ModelResponse(parts=[TextPart(f"the tool says: {returned(messages)}")])


def returned(messages: Sequence[ModelMessage]) -> str:
    return " ".join(p.model_response_str() for p in messages[-1].parts if isinstance(p, ToolReturnPart))


agent = Agent(FunctionModel(respond, model_name="threaded"), deps_type=Here)


@agent.tool_plain
def charge(what: str) -> str:
    """Undeclared, hence at most once; pydantic-ai runs it in a thread, which no cancellation stops."""
    leave_trace("charge", what)
    time.sleep(THINK)
    leave_trace("charged", what)
    return "charged"
