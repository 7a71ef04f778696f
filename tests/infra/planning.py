"""Terraform without Google: infra/ copied into a folder of its own, checked and planned by the real program.

Terraform takes the stand-in of provider.py for Google's provider, by `dev_overrides`, and `terraform test` mocks what only
Google could answer. What it then plans is what it would plan for an empty project.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

INFRA = Path(__file__).parents[2] / "infra"
NUMBER = "123456789012"
"""The number of every project."""

WITH_ALL: dict[str, Any] = {
    "alert_emails": ["on-call@acme.com"],
    "billing_account": "01AB23-CD45EF-678901",
    "repository": "projects/acme-spool-staging/locations/europe-west1/connections/github/repositories/spool",
    "release_readers": ["serviceAccount:spool-deployer@acme-spool-production.iam.gserviceaccount.com"],
    "secrets": {"CRM_KEY": "spool-crm-key"},
    "transcript_readers": ["group:support@acme.com"],
}
"""Staging with everything that a team may add."""

_PATIENCE = 300
_MOCKS = f"""
mock_provider "google" {{
  override_during = plan
  mock_data "google_project" {{
    defaults = {{ number = "{NUMBER}" }}
  }}
}}
mock_provider "google" {{
  alias = "billing"
}}
run "plan" {{
  command = plan
}}
"""


class Refused(Exception):
    """Terraform says no; the text is its reasons."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A planned resource. address: as Terraform names it, such as google_storage_bucket.transcripts."""

    address: str
    type: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    resources: Sequence[Resource]
    outputs: Mapping[str, Any]

    def of(self, kind: str) -> list[Resource]:
        return [r for r in self.resources if r.type == kind]

    def one(self, address: str) -> Mapping[str, Any]:
        (found,) = [r.values for r in self.resources if r.address == address]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A copy of infra/, with the examples in its tfvars made real. planned: what was planned already, for it takes a second."""

    folder: Path
    program: str
    settings: Path
    planned: dict[str, Plan] = field(default_factory=dict[str, Plan])

    def files(self) -> Iterator[tuple[str, str]]:
        """Name and text of each .tf file."""
        for path in sorted(self.folder.glob("*.tf")):
            yield path.name, path.read_text()

    def plant(self, file: str, old: str, new: str) -> None:
        """An error: `old`, which must be there exactly once, becomes `new`."""
        text = (self.folder / file).read_text()
        assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
        (self.folder / file).write_text(text.replace(old, new))
        self.planned.clear()

    def unformatted(self) -> list[str]:
        """Files that `terraform fmt` would change."""
        return self._run("fmt", "-check", "-recursive", "-list=true").stdout.split()

    def mistakes(self) -> list[str]:
        """What `terraform validate` finds: arguments, types, references, functions."""
        found: dict[str, Any] = json.loads(self._run("validate", "-json").stdout)
        return [_text(d) for d in found["diagnostics"] if d["severity"] == "error"]

    def graph(self) -> dict[str, set[str]]:
        """What each resource waits for directly."""
        edges: dict[str, set[str]] = {}
        for before, after in re.findall(r'^\s*"([^"]+)" -> "([^"]+)";$', self._run("graph").stdout, re.MULTILINE):
            edges.setdefault(before, set()).add(after)
        return edges

    def plan(self, environment: str, /, **variables: Any) -> Plan:
        """What would be made in an empty project. Raises `Refused`."""
        given = [f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in variables.items()]
        words = (f"-var-file={environment}.tfvars", *given)
        if str(words) not in self.planned:
            self.planned[str(words)] = self._plan(*words)
        return self.planned[str(words)]

    def _plan(self, *words: str) -> Plan:
        done = self._run("test", "-json", "-verbose", *words)
        said: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        errors = [_text(line["diagnostic"]) for line in said if line["@level"] == "error" and "diagnostic" in line]
        plans = [line["test_plan"] for line in said if "test_plan" in line]
        if errors or not plans:
            raise Refused("\n".join(errors) or done.stdout + done.stderr)
        return _read(plans[0])

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{name: value for name, value in inherited().items() if not name.startswith("TF_")},
            "TF_CLI_CONFIG_FILE": str(self.settings),
            "TF_DISABLE_PLUGIN_TLS": "1",  # the stand-in speaks in plain, on this machine only
            "CHECKPOINT_DISABLE": "1",  # nobody asks for newer versions
        }
        words = (self.program, words[0], *(["-no-color"] if words[0] in ("test", "validate") else []), *words[1:])
        return subprocess.run(  # noqa: S603 - our own words
            words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )


def make_workspace(folder: Path) -> Workspace:
    """A copy of infra/ in `folder`, which is empty. Without Terraform the test is skipped, or fails where CI says so."""
    program = shutil.which("terraform") or absent("terraform is missing: https://developer.hashicorp.com/terraform/install")
    provider, settings = folder / "provider" / "terraform-provider-google", folder / "terraform.rc"
    provider.parent.mkdir()
    provider.write_text(f"#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name('provider.py')}\n")
    provider.chmod(0o755)
    settings.write_text(
        f'provider_installation {{\n  dev_overrides {{ "hashicorp/google" = "{provider.parent}" }}\n  direct {{}}\n}}\n'
    )
    copy = folder / "infra"
    shutil.copytree(INFRA, copy, ignore=shutil.ignore_patterns(".terraform*"))
    (copy / "plan.tftest.hcl").write_text(_MOCKS.lstrip())
    versions = copy / "versions.tf"
    versions.write_text(versions.read_text().replace('  backend "gcs" {}\n', ""))  # the state's bucket is Google's
    for values in copy.glob("*.tfvars"):
        values.write_text(values.read_text().replace('"your-', '"acme-'))
    return Workspace(folder=copy, program=program, settings=settings)


def absent(sentence: str) -> NoReturn:
    """Skips the test, with a sentence that says what to do, or fails it where nothing may be skipped."""
    if inherited().get("REQUIRE_EMULATORS") == "1":
        pytest.fail(sentence)
    pytest.skip(sentence)


def inherited() -> dict[str, str]:
    return dict(os.environ)  # noqa: TID251 - what a test's own child inherits


def _read(plan: Mapping[str, Any]) -> Plan:
    resources = [
        Resource(address=r["address"], type=r["type"], values=r["change"]["after"])
        for r in plan["resource_changes"]
        if r["mode"] == "managed"
    ]
    return Plan(resources=resources, outputs={name: o.get("after") for name, o in plan["output_changes"].items()})


def _text(diagnostic: Mapping[str, Any]) -> str:
    where: dict[str, Any] = diagnostic.get("range") or {}
    return f"{where.get('filename', '')}: {diagnostic['summary']}: {' '.join(diagnostic.get('detail', '').split())}"
