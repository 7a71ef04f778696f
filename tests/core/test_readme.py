"""README, the code and CI say the same."""

import re
import subprocess
from pathlib import Path

from typer.main import get_command

from spool.cli import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_first_block_runs_spool_and_the_second_every_test() -> None:
    assert BLOCKS[0].splitlines()[-1].endswith("spool dev")
    assert BLOCKS[1].splitlines()[-1].endswith("pytest")


def test_ci_runs_readmes_own_test_command() -> None:
    (extract,) = re.findall(r"^tests=\$\((awk .*)\)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    found = subprocess.run(["bash", "-c", extract], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603, S607
    assert found.stdout == BLOCKS[1]


def test_every_variable_that_settings_read_is_described_and_no_other() -> None:
    settings = (ROOT / "functions" / "spool" / "settings.py").read_text()
    read = set(re.findall(r"(?:environ\.get\(|_flag\(environ, )\"([A-Z_]+)\"", settings))
    described = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    assert described == read - {"K_SERVICE", "K_REVISION"}, "Cloud Run sets those two by itself"


def test_every_command_is_shown() -> None:
    commands = getattr(get_command(app), "commands", {})
    missing = [name for name in commands if f"spool {name}" not in README]
    assert commands
    assert missing == []


def test_every_file_that_readme_names_is_there() -> None:
    named = set(re.findall(r"`((?:functions|tests|infra)/[\w./-]+)`", README))
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_no_figure_is_left_to_be_filled_in() -> None:
    assert "@@" not in README
