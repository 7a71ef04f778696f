"""The model that answers when there is no other: it says what it is, and really calls the tools.

    the message names a tool, or asks for what one of INTENTS does ──► one round of calls ──► an answer from their returns

It thinks from the messages and the tools' schemas alone, without clock or chance: the same turn gets the same answer,
and a turn that is run again after a crash makes the same calls. After a tool's name a message may give the arguments as
a JSON object, else they are made up from the schema and the words of the message.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, DeltaToolCalls, FunctionModel
from pydantic_ai.tools import ToolDefinition

from spool.here import declared

NAME = "offline"
INTENTS = {
    "search_turns": re.compile(r"\b(search|earlier|before|previous(ly)?|remember)\b", re.IGNORECASE),
    "read_thread": re.compile(r"\b(threads?|summar\w*)\b", re.IGNORECASE),
}
"""Words that ask for a tool without naming it. A tool that runs at most once must be named."""

WHAT_I_AM = (
    "**I am Spool's offline model**: no language model is connected, so I only repeat what I was told and what tools returned. "
    "To connect one, set `SPOOL_MODEL` (such as `anthropic:claude-sonnet-5-5`) and the key of its provider."
)
QUOTED = 2_000
"""Characters of a question or a tool's return that an answer repeats."""

_Schema = Mapping[str, Any]


def offline_model() -> FunctionModel:
    return FunctionModel(_respond, stream_function=_stream, model_name=NAME)


async def _respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    return respond(messages, info)


async def _stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str | DeltaToolCalls]:
    for index, part in enumerate(respond(messages, info).parts):
        if isinstance(part, ToolCallPart):
            yield {index: DeltaToolCall(part.tool_name, part.args_as_json_str(), tool_call_id=part.tool_call_id)}
        elif isinstance(part, TextPart):
            for word in re.findall(r"\s*\S+\s*", part.content):
                yield word


def respond(messages: Sequence[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Tool calls first, where the newest prompt asks for some; else the answer."""
    start = max((i for i, m in enumerate(messages) if _asked(m)), default=0)
    text = _asked(messages[start])
    said = sum(isinstance(m, ModelResponse) for m in messages)
    if not any(isinstance(m, ModelResponse) for m in messages[start:]):
        calls = [
            ToolCallPart(tool.name, _arguments(tool, text), tool_call_id=f"{NAME}-{said}-{i}")
            for i, tool in enumerate(t for t in info.function_tools if _wanted(t, text))
        ]
        if calls:
            return ModelResponse(parts=calls)
    return ModelResponse(parts=[_answer(_written(text, messages[start:]), info, call_id=f"{NAME}-{said}-answer")])


def _asked(message: ModelMessage) -> str:
    """What people say in this message, without the speakers' names before it; empty in any other message."""
    if not isinstance(message, ModelRequest):
        return ""
    contents = [p.content for p in message.parts if isinstance(p, UserPromptPart)]
    texts = [t for c in contents for t in ([c] if isinstance(c, str) else c) if isinstance(t, str)]
    return "\n".join(re.sub(r"^<@\w+>: ", "", text) for text in texts)


def _wanted(tool: ToolDefinition, text: str) -> bool:
    """Whether the text names the tool, or asks for what it does and it may do it twice."""
    meant = tool.name in INTENTS and INTENTS[tool.name].search(text)
    return bool(_named(tool, text) or (meant and declared(tool.metadata) in ("pure", "idempotent")))


def _named(tool: ToolDefinition, text: str) -> re.Match[str] | None:
    return re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", text)


def _arguments(tool: ToolDefinition, text: str) -> dict[str, Any]:
    """The JSON object that follows the tool's name; else what fits the schema."""
    named = _named(tool, text)
    rest = text[named.end() :].strip(" \n:,`") if named else ""
    if rest.startswith("{"):
        try:
            return json.JSONDecoder().raw_decode(rest)[0]
        except ValueError:
            pass
    made = _made(tool.parameters_json_schema, root=tool.parameters_json_schema, text=rest or _topic(text))
    return cast("dict[str, Any]", made)


def _topic(text: str) -> str:
    """What a question is about: what it quotes, or what comes after its last "for" or "about", or all of it."""
    quoted = re.search(r"[\"“`]([^\"”`]+)[\"”`]", text)
    about = re.search(r".*\b(?:for|about)\s+(.+?)[?.!\s]*$", text, re.IGNORECASE | re.DOTALL)
    found = quoted or about
    return found[1] if found else text


def _made(schema: _Schema, *, root: _Schema, text: str) -> Any:
    """A value that fits a JSON schema, as far as types, enums and bounds go; its strings are `text`."""
    if "$ref" in schema:
        return _made(root["$defs"][str(schema["$ref"]).rsplit("/", 1)[-1]], root=root, text=text)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return next((v for v in schema["enum"] if str(v).casefold() in text.casefold()), schema["enum"][0])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return _made(options[0], root=root, text=text)
    return _made_of_type(schema, root=root, text=text)


def _made_of_type(schema: _Schema, *, root: _Schema, text: str) -> Any:
    match schema.get("type"):
        case "object":
            properties: dict[str, _Schema] = schema.get("properties", {})
            return {n: _made(properties.get(n, {}), root=root, text=text) for n in schema.get("required", ())}
        case "array":
            items: list[_Schema] = schema.get("prefixItems") or [schema.get("items", {})] * max(1, schema.get("minItems", 1))
            return [_made(item, root=root, text=text) for item in items]
        case "integer" | "number" as kind:
            return _number(schema, text, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return text[: schema.get("maxLength", QUOTED)]


def _number(schema: _Schema, text: str, *, whole: bool) -> float:
    """The first number of the text, else 1, within the bounds."""
    found = re.search(r"(?<![\w.-])-?\d+" if whole else r"(?<![\w.-])-?\d+(\.\d+)?", text)
    value = (int if whole else float)(found[0] if found else 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum", value - 1) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", value + 1) - 1)
    return max(low, min(high, value))


def _written(text: str, turn: Sequence[ModelMessage]) -> str:
    """The answer: what I am, what I was told, what the tools returned."""
    return "\n\n".join([WHAT_I_AM, f"You said:\n\n{_quote(text)}", *_returned(turn)])


def _returned(turn: Sequence[ModelMessage]) -> Iterator[str]:
    for part in (p for m in turn if isinstance(m, ModelRequest) for p in m.parts):
        if isinstance(part, ToolReturnPart):
            what = "returned" if part.outcome == "success" else f"was {part.outcome}"
            yield f"`{part.tool_name}` {what}:\n\n{_quote(part.model_response_str())}"


def _quote(text: str) -> str:
    short = text if len(text) <= QUOTED else text[:QUOTED] + "…"
    return "\n".join(f"> {line}" for line in short.splitlines()) or "> (nothing)"


def _answer(text: str, info: AgentInfo, *, call_id: str) -> TextPart | ToolCallPart:
    """The answer in the form that the agent asks for: text, a call of its output tool, or JSON."""
    if info.output_tools and not info.allow_text_output:
        tool = info.output_tools[0]
        schema = tool.parameters_json_schema
        return ToolCallPart(tool.name, cast("dict[str, Any]", _made(schema, root=schema, text=text)), tool_call_id=call_id)
    wanted = info.model_request_parameters.output_object
    return TextPart(json.dumps(_made(wanted.json_schema, root=wanted.json_schema, text=text)) if wanted else text)
