"""An agent for tests from outside: `quick_room`, thinking for a while; its answers to what is long have several parts."""

import asyncio

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from quick_room import charge
from quick_room import respond as respond_quickly
from slow_room import THINK, asked

from spool.here import Here

PAGES = "".join(f"\n\nParagraph {n} of a long answer. " + "word " * 100 for n in range(50))


async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    await asyncio.sleep(THINK)
    response = await respond_quickly(messages, info)
    text, done = asked(messages)
    if done and "long" in text:
        return ModelResponse(parts=[TextPart(f"charged for: {text}{PAGES}")])
    return response


agent = Agent(FunctionModel(respond, model_name="long"), deps_type=Here)
agent.tool_plain(charge)
