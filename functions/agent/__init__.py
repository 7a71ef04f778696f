"""Your agent: its model, its instructions and its tools. This folder is yours; copy its shape and change its words.

    instructions.md   what it is told, in Markdown
    tools.py          what it can do, and how each tool bears a crash

Packages that your tools import, and the client of your model, go into the dependency group `agent` of pyproject.toml.
"""

from pathlib import Path

from pydantic_ai import Agent

from agent.tools import tools
from spool.here import Here

agent = Agent(
    "anthropic:claude-sonnet-5-5",  # any pydantic-ai model; SPOOL_MODEL, where set, overrides it
    name="spool",
    deps_type=Here,
    instructions=Path(__file__).with_name("instructions.md").read_text(encoding="utf-8"),
    toolsets=[tools],
    defer_model_check=True,  # this file must import without the model's key
)
