"""What is deployed where: one environment, as its tfvars file says."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spool.errors import Misconfigured

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_BILLING = re.compile(r"[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}")
_VALUE = re.compile(r'^(\w+)\s*=\s*"([^"\\]*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What is deployed where. secrets: the variable of each secret, and the secret's name."""

    project: str
    region: str = "europe-west1"
    environment: str = "staging"
    billing_account: str = ""
    repository: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])


def read_site(root: Path, environment: str, *, policy_secrets: Mapping[str, str]) -> Site:
    """What infra/ENVIRONMENT.tfvars says. Raises `Misconfigured`."""
    path = root / "infra" / f"{environment}.tfvars"
    try:
        values = dict(_VALUE.findall(path.read_text(encoding="utf-8")))
    except OSError as e:
        msg = f"{path} cannot be read ({e.strerror}): run this in Spool's own folder, with --environment staging or production"
        raise Misconfigured(msg) from e
    project, billing = values.get("project_id", ""), values.get("billing_account", "")
    if not _PROJECT.fullmatch(project) or project.startswith("your-"):
        msg = f"{path}: project_id is {project!r:.60}; write your own: 6 to 30 lower case letters, digits and hyphens"
        raise Misconfigured(msg)
    if billing and not _BILLING.fullmatch(billing):
        msg = f"{path}: billing_account is {billing!r:.60}; it looks like 01AB23-45CD67-89EF01: gcloud billing accounts list"
        raise Misconfigured(msg)
    key = values.get("model_key_env", "ANTHROPIC_API_KEY")
    slack = {"SLACK_SIGNING_SECRET": "spool-slack-signing-secret", "SLACK_BOT_TOKEN": "spool-slack-bot-token"}
    return Site(
        project=project,
        region=values.get("region") or "europe-west1",
        environment=environment,
        billing_account=billing,
        repository=values.get("repository", ""),
        secrets={**slack, **({key: "spool-model-key"} if key else {}), **policy_secrets},
    )
