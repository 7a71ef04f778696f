"""Which room may know what: the rules of doors and rooms that import-linter cannot see, and those of the tools themselves."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"
DOORS = ("ingress", "worker")
THE_USERS = ("agent", "policy")
ADAPTERS = ("spool.local", "spool.google", "spool.slack.chat", "spool.console")
LINES = 300
OWNERS = {
    "sqlite3": ("spool.local", "spool.console.state"),
    "slack_sdk": ("spool.slack",),
    "slack_bolt": ("spool.slack", "agent.listeners"),
    "google": ("spool.google",),
    "grpc": ("spool.google",),
    "jwt": ("spool.google.identity",),
    "aiohttp": ("spool.local.dispatcher", "spool.slack.chat", "spool.console", "spool.cli"),
    "typer": ("spool.cli",),
    "rich": ("spool.cli",),
}
"""Vendors' libraries, and the only rooms that speak their words."""


@dataclass(frozen=True)
class Module:
    """One file of functions/, as an importer names it."""

    name: str
    tree: ast.Module
    lines: int

    def is_in(self, *rooms: str) -> bool:
        return any(self.name == room or self.name.startswith(room + ".") for room in rooms)

    @property
    def imports(self) -> Iterator[str]:
        """Everything that the file imports, wherever in it: modules, and the names taken out of them."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

    def imported_of(self, *rooms: str) -> list[str]:
        return [name for name in self.imports if any(name == room or name.startswith(room + ".") for room in rooms)]

    @property
    def dotted(self) -> set[str]:
        """Every `a.b` in the file."""
        attributes = (node for node in ast.walk(self.tree) if isinstance(node, ast.Attribute))
        return {f"{node.value.id}.{node.attr}" for node in attributes if isinstance(node.value, ast.Name)}


def modules() -> Iterator[Module]:
    for path in sorted(FUNCTIONS.rglob("*.py")):
        source = path.read_text()
        name = ".".join(path.relative_to(FUNCTIONS).with_suffix("").parts).removesuffix(".__init__")
        yield Module(name, ast.parse(source), source.count("\n"))


MODULES = tuple(modules())


def test_the_modules_are_found() -> None:
    assert {"ingress", "worker", "policy", "agent", "spool.turn", "spool.transcript"} <= {m.name for m in MODULES}


def test_every_import_says_in_full_what_it_means() -> None:
    """Which is also how the rules below find it."""
    assert not [m.name for m in MODULES for node in ast.walk(m.tree) if isinstance(node, ast.ImportFrom) and node.level]


def test_the_machine_room_knows_neither_doors_nor_the_users_rooms() -> None:
    """The user's agent is found by its name in the settings, the policy is handed in."""
    assert not [(m.name, found) for m in MODULES if m.is_in("spool") if (found := m.imported_of(*DOORS, *THE_USERS))]


def test_nothing_imports_a_door() -> None:
    assert not [m.name for m in MODULES if m.imported_of(*DOORS)]


def test_only_doors_settings_and_the_command_line_read_the_environment() -> None:
    readers = [m for m in MODULES if m.dotted & {"os.environ", "os.getenv"} or m.imported_of("os.environ", "os.getenv")]
    assert not [m.name for m in readers if not m.is_in(*DOORS, "spool.settings", "spool.cli")]


def test_only_doors_and_the_command_line_read_settings() -> None:
    assert not [m.name for m in MODULES if m.imported_of("spool.settings") and not m.is_in(*DOORS, "spool.cli")]


def test_only_doors_and_the_command_line_choose_adapters() -> None:
    for adapter in ADAPTERS:
        choosers = [m for m in MODULES if m.imported_of(adapter) and not m.is_in(adapter)]
        assert not [m.name for m in choosers if not m.is_in(*DOORS, "spool.cli")], adapter


def test_only_doors_and_the_simulated_slack_make_responses() -> None:
    assert not [m.name for m in MODULES if m.imported_of("starlette") and not m.is_in(*DOORS, "spool.console")]


@pytest.mark.parametrize("vendor", OWNERS)
def test_a_vendors_words_stay_in_its_room(vendor: str) -> None:
    assert not [m.name for m in MODULES if m.imported_of(vendor) and not m.is_in(*OWNERS[vendor])]


@pytest.mark.parametrize("noun", ["errors", "envelope", "task", "conversation", "transcript", "decision", "history", "policy"])
def test_a_noun_neither_waits_nor_looks_at_the_clock(noun: str) -> None:
    (module,) = [m for m in MODULES if m.name == f"spool.{noun}"]
    assert not module.imported_of("time", "asyncio", "random", "uuid", "os", "logging", "pathlib")
    assert not [node for node in ast.walk(module.tree) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]
    assert not module.dotted & {"datetime.now", "datetime.today", "datetime.utcnow"}


def test_no_file_is_too_long_to_be_one_noun() -> None:
    assert not [(m.name, m.lines) for m in MODULES if m.lines > LINES]


def test_the_layers_hold() -> None:
    """The command that CI runs, as it runs it."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_exception_to_a_rule_of_the_linters_says_why() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text()
    tool = tomllib.loads(pyproject)["tool"]["ruff"]["lint"]
    rules = {rule for rules in (tool["ignore"], *tool["per-file-ignores"].values()) for rule in rules}
    for rule in rules:
        (line,) = re.findall(rf'^.*"{rule}"[],].*$', pyproject, re.MULTILINE)[-1:]
        assert re.search(r"# \S+ \S+", line), f"no reason beside {rule}"


def test_the_changelog_is_open() -> None:
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
