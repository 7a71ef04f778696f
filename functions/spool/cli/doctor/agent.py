"""The agent and the policy, loaded in a process of their own: what they print, change or end stays there."""

import json
import secrets
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from spool.finding import Finding, ok, problem, unknown

PATIENCE = 120.0
_TRY = 'see what it says itself: uv run spool ask "Hello"'
_PROGRAM = """
import json, sys
from pathlib import Path
from spool.agents import FUNCTIONS, load
from spool.cli.deploy.stage import read_policy
from spool.errors import SpoolError
found = {}
try:
    agent = load(sys.argv[1], model=sys.argv[2])
    found = {"model": agent.model_name, "notice": agent.notice}
except SpoolError as e:
    found = {"agent_error": str(e)}
try:
    found["secrets"] = list(read_policy(Path(FUNCTIONS)).secrets)
except SpoolError as e:
    found["policy_error"] = str(e)
print("\\n" + sys.argv[3] + json.dumps(found))
"""
_KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR", "COVERAGE_PROCESS_START")


def loads(environ: Mapping[str, str], *, agent: str, model: str, may_be_offline: bool) -> Sequence[Finding]:
    """Whether the agent and the policy load in this environment, and whether it holds the secrets that the policy names."""
    try:
        found = _loaded(environ, agent, model)
    except (OSError, subprocess.TimeoutExpired) as e:
        return [unknown(f"the agent was not loaded ({type(e).__name__})", fix=_TRY)]
    if found is None:
        return [problem("the agent ends the process that loads it", fix=_TRY)]
    return [_agent(found, may_be_offline=may_be_offline), *_secrets(found, environ)]


def _agent(found: Mapping[str, Any], *, may_be_offline: bool) -> Finding:
    if error := found.get("agent_error"):
        return problem(f"the agent does not load: {error}", fix="mend what it names; then `spool doctor` again")
    if found["notice"] and not may_be_offline:
        return problem(str(found["notice"]), fix="give the service the model's key: README, Deploy it")
    return ok(str(found["notice"]) or f"the agent loads, and {found['model']} answers")


def _secrets(found: Mapping[str, Any], environ: Mapping[str, str]) -> Sequence[Finding]:
    if error := found.get("policy_error"):
        return [problem(f"the policy does not load: {error}", fix="mend functions/policy.py")]
    names: list[str] = found["secrets"]
    missing = [name for name in names if not environ.get(name)]
    if missing:
        fix = "set it here; in the cloud add a version to its secret, and build again"
        return [problem(f"policy.secrets names {name}, which is not set", fix=fix) for name in missing]
    return [ok(f"policy.secrets are set: {', '.join(names)}" if names else "the policy loads, and names no secrets")]


def _loaded(environ: Mapping[str, str], agent: str, model: str) -> dict[str, Any] | None:
    """What the child found; None where it ended without a word. Raises OSError, TimeoutExpired."""
    mark = f"found {secrets.token_hex(8)}: "  # an agent may print what it likes
    command = (sys.executable, "-c", _PROGRAM, agent, model, mark)
    child = subprocess.run(  # noqa: S603 - our own program
        command, env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    lines = [line.removeprefix(mark) for line in child.stdout.splitlines() if line.startswith(mark)]
    return json.loads(lines[-1]) if lines else None


def bare(environ: Mapping[str, str]) -> dict[str, str]:
    """What of this machine's environment any process needs; the rest is the deployment's."""
    return {name: environ[name] for name in _KEPT if name in environ}
