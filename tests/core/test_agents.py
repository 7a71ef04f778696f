"""Loading the user's agent: every mistake in it is one clear sentence, and a mended one loads."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic_ai import Agent, FunctionToolset, models
from pydantic_ai.models.test import TestModel

from spool import agents
from spool.agents import Loaded, load, tools_of
from spool.errors import Misconfigured

KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")
CLIENTS = ("anthropic", "openai", "cohere")
Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_network_and_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ALLOW_MODEL_REQUESTS", False)
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)


@pytest.fixture
def no_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if no provider's client were installed, even where a team has added one."""
    for name in [n for n in sys.modules if n.startswith("pydantic_ai.providers.")]:
        monkeypatch.delitem(sys.modules, name)
    for client in CLIENTS:
        monkeypatch.setitem(sys.modules, client, None)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module into a folder on PYTHONPATH; what was imported from there is forgotten afterwards."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(text: str, *, name: str = "mine.py") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    yield write
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def refused(spec: str = "mine:agent", *, model: str = "") -> str:
    """The one sentence that `load` refuses with."""
    with pytest.raises(Misconfigured) as caught:
        load(spec, model=model)
    text = str(caught.value)
    assert "\n" not in text
    return text


GOOD = """\
from pydantic_ai import Agent
agent = Agent({model}, instructions="Be brief.", defer_model_check=True)
"""


def good(model: str | None = "test") -> str:
    return GOOD.format(model=repr(model))


# ---- the module


def test_the_default_agent_loads_from_functions() -> None:
    loaded = load()
    assert loaded.agent.name == "spool"
    assert loaded.instructions


def test_a_syntax_error_names_its_file_and_line(write: Write) -> None:
    path = write("agent = 1\n\ndef broken(:\n")
    assert refused().startswith(f"{path}:3: SyntaxError")


def test_a_syntax_error_in_another_file_of_the_user_names_that_file(write: Write) -> None:
    write("import helpers_of_mine\n")
    path = write("x = (\n", name="helpers_of_mine.py")
    assert refused().startswith(f"{path}:1: SyntaxError")


def test_an_error_at_import_names_the_users_innermost_line_even_when_a_library_raised_it(write: Write) -> None:
    path = write("import json\n\ndef read():\n    return json.loads('{')\n\nread()\n")
    assert refused().startswith(f"{path}:4: JSONDecodeError")


def test_a_missing_package_names_the_line_that_wants_it(write: Write) -> None:
    path = write("\nimport no_such_package\n")
    assert refused().startswith(f"{path}:2: ModuleNotFoundError: No module named 'no_such_package'")


def test_a_module_that_exits_is_an_error_and_not_the_end(write: Write) -> None:
    path = write("import sys\nsys.exit('no')\n")
    assert refused().startswith(f"{path}:2: SystemExit: no")


def test_a_module_that_is_nowhere_is_named_with_where_it_was_looked_for() -> None:
    text = refused("no_such_room:agent")
    assert "'no_such_room'" in text
    assert str(agents.FUNCTIONS) in text


@pytest.mark.parametrize("spec", ["agent", ":agent", "agent:", "agent:a.b"])
def test_a_spec_of_another_form_is_refused(spec: str) -> None:
    assert "SPOOL_AGENT" in refused(spec)


def test_a_missing_attribute_and_one_of_another_type_say_what_was_expected(write: Write) -> None:
    path = write("other = 1\n")
    assert refused() == f"{path}: expected `agent = Agent(...)`, a pydantic_ai Agent, but `agent` is not there"
    write("agent = 'spool'\n")
    assert refused().endswith("but `agent` is a str")


def test_a_mended_module_loads_without_a_new_process(write: Write) -> None:
    write("from room.tools import x\n" + good(), name="room/__init__.py")
    write("x = 1 / 0\n", name="room/tools.py")
    assert "tools.py:1: ZeroDivisionError" in refused("room:agent")
    write("x = 1\n", name="room/tools.py")
    assert load("room:agent").model_name == "test:test"


def test_what_the_broken_module_imported_of_the_users_is_read_anew_and_libraries_stay(write: Write) -> None:
    write("import part_of_mine, colorsys\nagent = part_of_mine.make()\n")
    write("def make(): return None\n", name="part_of_mine.py")
    refused()
    library = sys.modules["colorsys"]
    write(good() + "make = lambda: agent\n", name="part_of_mine.py")
    assert load("mine:agent").agent is sys.modules["part_of_mine"].agent
    assert sys.modules["colorsys"] is library


# ---- the model


def test_spool_model_overrides_the_agents_own_model(write: Write) -> None:
    write(good("openai:gpt-5"))
    loaded = load("mine:agent", model="test")
    assert isinstance(loaded.model, TestModel)
    assert not loaded.offline


def test_without_spool_model_the_agents_own_model_answers_be_it_a_name_or_a_model(write: Write) -> None:
    write(good("test"))
    assert load("mine:agent").model_name == "test:test"
    write(good() + "from pydantic_ai.models.test import TestModel\nother = Agent(TestModel(model_name='own'))\n")
    sys.modules.pop("mine")
    assert load("mine:other").model_name == "test:own"


def test_where_nobody_names_a_model_the_offline_one_answers_and_says_why(write: Write) -> None:
    write(good(None))
    loaded = load("mine:agent")
    assert loaded.offline
    assert loaded.model_name == "offline"
    assert "neither SPOOL_MODEL nor the agent" in loaded.notice


@pytest.mark.usefixtures("no_clients")
def test_the_default_agent_without_its_client_or_key_answers_offline_and_says_why() -> None:
    loaded = load()
    assert loaded.offline
    assert "ANTHROPIC_API_KEY" in loaded.notice
    assert "\n" not in loaded.notice


@pytest.mark.usefixtures("no_clients")
def test_a_users_own_agent_never_goes_offline_by_itself(write: Write) -> None:
    write(good(agents.DEFAULT_MODEL))
    text = refused()
    assert "the agent names the model 'anthropic:claude-sonnet-5-5'" in text
    assert '"pydantic-ai-slim[anthropic]==2.62.0"' in text
    assert "ANTHROPIC_API_KEY" in text


@pytest.mark.parametrize(
    ("model", "extra", "key"),
    [
        ("anthropic:claude-sonnet-5-5", "anthropic", "ANTHROPIC_API_KEY"),
        ("openai-chat:gpt-5", "openai", "OPENAI_API_KEY"),
        ("openrouter:x/y", "openai", "OPENROUTER_API_KEY"),
        ("cohere:command", "cohere", "CO_API_KEY"),
        ("gateway/openai:gpt-5", "openai", "PYDANTIC_AI_GATEWAY_API_KEY"),
    ],
)
@pytest.mark.usefixtures("no_clients")
def test_a_missing_extra_says_which_and_where_it_goes(model: str, extra: str, key: str) -> None:
    text = refused("agent:agent", model=model)
    assert text.startswith(f"SPOOL_MODEL names the model {model!r}")
    assert f"pydantic-ai-slim[{extra}]==" in text
    assert "dependency group `agent`" in text
    assert key in text


def test_a_missing_key_says_which(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(good("openai:gpt-5"))

    def infer_model(name: str) -> None:
        """What pydantic-ai says where the client is installed and its key is not set."""
        from pydantic_ai.providers import missing_api_key_error  # noqa: PLC0415 - only this fake needs it

        del name
        message = "Set the `OPENAI_API_KEY` environment variable or pass it via `OpenAIProvider(api_key=...)` to use it."
        raise missing_api_key_error(message)

    monkeypatch.setattr(agents, "infer_model", infer_model)
    text = "the model 'openai:gpt-5', whose key is missing: set OPENAI_API_KEY in the environment"
    assert refused() == f"the agent names {text}"
    assert refused(model="openai:gpt-5") == f"SPOOL_MODEL names {text}"
    assert "ANTHROPIC" not in load().notice
    assert load().offline


@pytest.mark.parametrize("model", ["gpt-5", "nobody:model"])
def test_an_unknown_model_is_refused_even_for_the_default_agent(model: str) -> None:
    assert f"Unknown model: {model}" in refused("agent:agent", model=model)


def test_importing_the_room_and_its_loader_imports_no_providers_client() -> None:
    code = (
        "import sys, agent, spool.agents\n"
        "assert not {'anthropic', 'openai', 'google.genai', 'boto3', 'mcp'} & set(sys.modules), 'a client was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own interpreter, our own text


# ---- what is known of the agent


def look() -> str:
    """Look."""
    return ""


def test_a_tools_semantics_are_as_declared_and_at_most_once_where_they_are_not() -> None:
    plain, crm = FunctionToolset[object](), FunctionToolset[object](metadata={"spool": "idempotent"})
    plain.add_function(look, name="reads", metadata={"spool": "pure"})
    plain.add_function(look, name="silent")
    plain.add_function(look, name="misspelt", metadata={"spool": "pur"})
    crm.add_function(look)
    agent = Agent("test", toolsets=[plain, crm.prefixed("crm")])
    found = Loaded(agent=agent, model=TestModel(), model_name="test", instructions=None, tools=tools_of(agent))
    names = ("reads", "silent", "misspelt", "crm_look", "of_a_server")
    assert [found.semantics(n) for n in names] == ["pure", "at_most_once", "at_most_once", "idempotent", "at_most_once"]
    assert found.undeclared == ("silent", "misspelt")


def test_tools_are_seen_through_every_wrapper() -> None:
    inner = FunctionToolset[object]()
    inner.add_function(look)
    wrapped = inner.renamed({"see": "look"}).with_metadata(spool="pure").filtered(lambda _ctx, _tool: True)
    assert tools_of(Agent("test", toolsets=[wrapped])) == {"see": "pure"}


def test_the_instructions_hash_is_that_of_the_literal_text(write: Write) -> None:
    write(good())
    assert load("mine:agent").instructions == hashlib.sha256(b"Be brief.").hexdigest()
    write("from pydantic_ai import Agent\nagent = Agent('test', instructions=lambda: 'now')\n", name="yours.py")
    assert load("yours:agent").instructions is None
