"""The user's agent: found, checked, and given a model.

    SPOOL_AGENT ──► import ──► is it an agent? ──► how its tools bear a crash
    SPOOL_MODEL, else the agent's own model, else the offline one

Whatever is wrong with the user's code or settings is one sentence that names the place: `Misconfigured`. `load` may be
called again: it forgets what it half imported, so a mended module is found without a new process.
"""

import hashlib
import importlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pydantic_ai
from pydantic_ai import DeferredToolRequests, ToolOutput
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.messages import InstructionPart
from pydantic_ai.models import Model, infer_model
from pydantic_ai.toolsets import (
    AbstractToolset,
    CombinedToolset,
    FunctionToolset,
    PrefixedToolset,
    RenamedToolset,
    SetMetadataToolset,
    WrapperToolset,
)

from spool.errors import Misconfigured
from spool.here import Semantics, declared
from spool.offline import NAME, offline_model

FUNCTIONS = Path(__file__).parents[1]
DEFAULT_MODEL = "anthropic:claude-sonnet-5-5"
"""What functions/agent/ names as it is shipped: only without this model's key does an agent go offline by itself."""

OUTPUT_TOOL = "final_result"
"""How pydantic-ai names the call by which a model gives a structured answer: it has no effect."""

Tools = Mapping[str, Semantics | None]
"""What each tool declares; None: nothing, or no word that Spool knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The agent and the model that answers for it.

    notice: why the offline model answers, in one line for the log; else empty.
    instructions: sha256 of the agent's literal instructions (what functions add per turn is not in it); None: it has none.
    """

    agent: AbstractAgent[Any, Any]
    model: Model
    model_name: str
    notice: str = ""
    instructions: str | None
    tools: Tools

    @property
    def offline(self) -> bool:
        return self.model_name == NAME

    @property
    def undeclared(self) -> tuple[str, ...]:
        """Tools that run at most once because nobody said otherwise."""
        return tuple(name for name, semantics in self.tools.items() if semantics is None)

    def semantics(self, tool_name: str) -> Semantics:
        """How a tool bears a crash; one that is undeclared, or made only at run time, runs at most once."""
        if tool_name not in self.tools and tool_name.startswith(OUTPUT_TOOL):
            return "pure"
        return self.tools.get(tool_name) or "at_most_once"


class _Unequipped(Misconfigured):
    """The model is known, but its key or its client is not here."""


def load(spec: str = "agent:agent", *, model: str = "") -> Loaded:
    """The agent `module:attribute`, found by PYTHONPATH, then in functions/, with `model` where one is named.

    Raises `Misconfigured`.
    """
    before = set(sys.modules)
    try:
        module, agent = _find(spec)
        chosen, notice = _choose(agent, model=model, shipped=_is_shipped(module))
    except Misconfigured:
        _forget(set(sys.modules) - before, package=spec.partition(":")[0].partition(".")[0])
        raise
    return Loaded(
        agent=agent,
        model=chosen,
        model_name=NAME if notice else chosen.model_id,
        notice=notice,
        instructions=_instructions(agent),
        tools=tools_of(agent),
    )


# ---- the module


def _find(spec: str) -> tuple[ModuleType, AbstractAgent[Any, Any]]:
    name, _, attribute = spec.partition(":")
    if not name or not attribute.isidentifier():
        msg = f"SPOOL_AGENT is {spec!r}: it must look like agent:agent, a module and the name of an Agent in it"
        raise Misconfigured(msg)
    module = _import(name)
    found = getattr(module, attribute, None)
    if not isinstance(found, AbstractAgent):
        what = f"is a {type(found).__name__}" if hasattr(module, attribute) else "is not there"
        msg = f"{module.__file__}: expected `{attribute} = Agent(...)`, a pydantic_ai Agent, but `{attribute}` {what}"
        raise Misconfigured(msg)
    agent = cast("AbstractAgent[Any, Any]", found)
    if DeferredToolRequests in _outputs(agent.output_type):
        msg = f"{module.__file__}: `{attribute}` asks for approvals (DeferredToolRequests), which nobody can give here yet"
        raise Misconfigured(msg)
    return module, agent


def _import(name: str) -> ModuleType:
    if str(FUNCTIONS) not in sys.path:
        sys.path.append(str(FUNCTIONS))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as e:
        place = _place(e)
        if place is None and isinstance(e, ModuleNotFoundError):
            msg = f"SPOOL_AGENT names the module {name!r}, which is neither on PYTHONPATH nor in {FUNCTIONS}"
            raise Misconfigured(msg) from e
        what = e.msg if isinstance(e, SyntaxError) else e
        msg = f"{place or f'module {name!r}'}: {type(e).__name__}: {_one_line(what)}"
        raise Misconfigured(msg) from e


def _place(error: BaseException) -> str | None:
    """The innermost `file:line` of the user's own code on the way to an error."""
    if isinstance(error, SyntaxError) and error.filename and _is_users(error.filename):
        return f"{error.filename}:{error.lineno}"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


def _is_users(file: str) -> bool:
    """Neither Python's, nor an installed package's, nor Spool's."""
    path = Path(file)
    installed = {"site-packages", "dist-packages"}.intersection(path.parts)
    others = (Path(sysconfig.get_path("stdlib")), Path(__file__).parent)
    return not file.startswith("<") and not installed and not any(path.is_relative_to(o) for o in others)


def _forget(new: Collection[str], *, package: str) -> None:
    """Drop the agent's package, and what else of the user's was imported with it, so that the next import reads them anew."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and _is_users(file) and (name in new or name.partition(".")[0] == package):
            del sys.modules[name]


def _is_shipped(module: ModuleType) -> bool:
    return Path(module.__file__ or "").resolve() == (FUNCTIONS / "agent" / "__init__.py").resolve()


# ---- the model


def _choose(agent: AbstractAgent[Any, Any], *, model: str, shipped: bool) -> tuple[Model, str]:
    """The model, and why it is the offline one if it is."""
    if model:
        return _resolve(model, named_by="SPOOL_MODEL"), ""
    own = agent.model
    if own is None:
        return offline_model(), "the offline model answers: neither SPOOL_MODEL nor the agent names a model"
    if isinstance(own, Model):
        return own, ""
    try:
        return _resolve(own, named_by="the agent"), ""
    except _Unequipped as e:
        if not shipped or own != DEFAULT_MODEL:
            raise
        return offline_model(), f"the offline model answers: {e}"


def _resolve(name: str, *, named_by: str) -> Model:
    provider = name.partition(":")[0]
    try:
        return infer_model(name)
    except ImportError as e:
        msg = (
            f'{named_by} names the model {name!r}, whose client is not installed: add "pydantic-ai-slim[{_extra(e, provider)}]'
            f'=={pydantic_ai.__version__}" to the dependency group `agent` in pyproject.toml, and set {_key(provider)}'
        )
        raise _Unequipped(msg) from e
    except Exception as e:  # whatever a provider's client raises for want of a key or a setting
        key = re.search(r"`([A-Z][A-Z0-9]*_[A-Z0-9_]+)`", str(e))
        if not key:
            msg = f"{named_by} names the model {name!r}, which cannot be used: {_one_line(e)}"
            raise Misconfigured(msg) from e
        msg = f"{named_by} names the model {name!r}, whose key is missing: set {key[1]} in the environment"
        raise _Unequipped(msg) from e


def _extra(error: ImportError, provider: str) -> str:
    found = re.search(r"pydantic-ai-slim\[([a-z0-9-]+)\]", str(error))
    return found[1] if found else provider


def _key(provider: str) -> str:
    """The variable of a provider's key. Nearly all are named alike; the client, once installed, says it exactly."""
    exceptions = {
        "bedrock": "AWS_BEARER_TOKEN_BEDROCK",
        "cohere": "CO_API_KEY",
        "google-cloud": "GOOGLE_APPLICATION_CREDENTIALS",
        "huggingface": "HF_TOKEN",
    }
    if provider.startswith("gateway/"):
        return "PYDANTIC_AI_GATEWAY_API_KEY"
    return exceptions.get(provider) or f"{provider.partition('-')[0].upper()}_API_KEY"


def _one_line(what: object) -> str:
    return f"{' '.join(str(what).split()):.300}"


# ---- what is known of the agent without running it


def tools_of(agent: AbstractAgent[Any, Any]) -> Tools:
    """What each tool declares; a structured answer is a call as well, and has no effect."""
    tools: dict[str, Semantics | None] = dict.fromkeys(_output_tools(agent.output_type), "pure")
    tools.update((name, declared(metadata)) for toolset in agent.toolsets for name, metadata in _tools(toolset))
    return tools


def _tools(toolset: AbstractToolset[Any]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Names, as the model calls them, and metadata of the tools that a toolset holds; those made at run time are not seen."""
    match toolset:
        case FunctionToolset():
            yield from ((name, tool.metadata) for name, tool in toolset.tools.items())
        case CombinedToolset():
            yield from (tool for inner in toolset.toolsets for tool in _tools(inner))
        case PrefixedToolset():
            yield from ((f"{toolset.prefix}_{name}", metadata) for name, metadata in _tools(toolset.wrapped))
        case RenamedToolset():
            new = {old: new for new, old in toolset.name_map.items()}
            yield from ((new.get(name, name), metadata) for name, metadata in _tools(toolset.wrapped))
        case SetMetadataToolset():
            yield from ((name, {**(metadata or {}), **toolset.metadata}) for name, metadata in _tools(toolset.wrapped))
        case WrapperToolset():
            yield from _tools(toolset.wrapped)
        case _:
            pass


def _output_tools(output_type: Any) -> Iterator[str]:
    """Names that the agent gives to the calls of its structured answers."""
    for one in _outputs(output_type):
        if isinstance(one, ToolOutput) and (name := cast("ToolOutput[Any]", one).name):
            yield name


def _outputs(output_type: Any) -> list[Any]:
    """What an agent may end with, one by one."""
    several = isinstance(output_type, Sequence) and not isinstance(output_type, str)
    return [o for one in cast("Sequence[Any]", output_type) for o in _outputs(one)] if several else [output_type]


def _instructions(agent: AbstractAgent[Any, Any]) -> str | None:
    """pydantic-ai shows an agent's instructions to nobody but the model, hence the private name; a test watches it."""
    given = [sourced.instruction for sourced in getattr(agent, "_instructions", ())]
    literal = [i.content if isinstance(i, InstructionPart) else i for i in given if isinstance(i, str | InstructionPart)]
    return hashlib.sha256("\n\n".join(literal).encode()).hexdigest() if literal else None
