"""An agent whose model says what the test wrote down, and tools that behave as it says."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_ai import Agent, RunContext, Tool
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from spool.agents import Loaded, tools_of
from spool.here import Here

Calls = Sequence[tuple[str, dict[str, Any]]]
Answer = str | Calls | BaseException | ModelResponse
"""What a scripted model says: a text, calls of tools, an error."""


@dataclass(kw_only=True)
class Script:
    """A model that says these answers in each turn, by the number of its responses there; what it read is kept."""

    answers: Sequence[Answer]
    read: list[list[ModelMessage]] = field(default_factory=list[list[ModelMessage]])
    instructions: list[str | None] = field(default_factory=list[str | None])
    thinking: Callable[[int], Awaitable[object]] | None = None
    """Awaited before each answer with the number of the call, from 0."""

    async def respond(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        call = len(self.read)
        self.read.append(list(messages))
        self.instructions.append(info.instructions)
        if self.thinking:
            await self.thinking(call)
        start = max(i for i, m in enumerate(messages) if any(isinstance(p, UserPromptPart) for p in m.parts))
        done = sum(isinstance(m, ModelResponse) for m in messages[start:])
        return _response(self.answers[min(done, len(self.answers) - 1)], done)

    def returns(self, call: int = -1) -> list[ToolReturnPart]:
        """What the tools of the round before a model call returned."""
        return [p for p in self.read[call][-1].parts if isinstance(p, ToolReturnPart)]

    def results(self, call: int = -1) -> list[str]:
        """The same as text."""
        return [p.model_response_str() for p in self.returns(call)]


def _response(answer: Answer, done: int) -> ModelResponse:
    if isinstance(answer, BaseException):
        raise answer
    if isinstance(answer, ModelResponse):
        return answer
    if isinstance(answer, str):
        return ModelResponse(parts=[TextPart(answer)])
    return ModelResponse(parts=[ToolCallPart(name, args, f"c{done}-{i}") for i, (name, args) in enumerate(answer)])


def agent_of(script: Script, **options: Any) -> Agent[Here, Any]:
    return Agent(FunctionModel(script.respond, model_name="scripted"), deps_type=Here, **options)


def tool(run: Callable[..., Awaitable[str]], *, name: str = "note", semantics: str | None = "pure") -> Tool[Here]:
    return Tool(run, name=name, metadata={"spool": semantics} if semantics else None)


def loaded(agent: Agent[Here, Any]) -> Loaded:
    model = agent.model
    assert isinstance(model, FunctionModel)
    return Loaded(agent=agent, model=model, model_name="function:scripted", instructions=None, tools=tools_of(agent))


def plain(*answers: Answer) -> Loaded:
    """An agent without tools that says this."""
    return loaded(agent_of(Script(answers=answers or ("fine",))))


async def ok() -> str:
    return "ok"


def raising(*errors: BaseException) -> Callable[[], Awaitable[str]]:
    """A tool that raises these, one after the other, and then succeeds."""
    left = list(errors)

    async def does() -> str:
        if left:
            raise left.pop(0)
        return "ok"

    return does


class Bench:
    """An agent with one tool of each kind, which behave as the test says; it asks once for those it is told, then answers."""

    def __init__(self, *names: str, **tools: Callable[[], Awaitable[str]]) -> None:
        answers: list[Answer] = [[(name, {"n": i}) for i, name in enumerate(names)], "fine"]
        self.script = Script(answers=answers)
        self.keys: dict[str, list[str]] = {name: [] for name in tools}
        self.agent = agent_of(self.script, retries=2, tools=[self._tool(name, does) for name, does in tools.items()])

    def _tool(self, name: str, does: Callable[[], Awaitable[str]]) -> Tool[Here]:
        async def run(ctx: RunContext[Here], n: int) -> str:
            del n
            self.keys[name].append(ctx.deps.key(ctx))
            return await does()

        semantics = name.split("_", 1)[0]
        return tool(run, name=name, semantics="at_most_once" if semantics == "once" else semantics)

    @property
    def loaded(self) -> Loaded:
        return loaded(self.agent)
