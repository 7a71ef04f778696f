"""cloudbuild.yaml, step by step on this machine: its own scripts, with a gcloud and a uv that only remember."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLOUDBUILD = ROOT / "cloudbuild.yaml"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
BUILD_ID = "5f6e7d8c-1111-2222-3333-444455556666"
FAKE_UV = """#!/bin/sh
echo "$@" >> "$FAKE/uv"
env | grep -E '^(SPOOL|SLACK|GOOGLE)_' | sort >> "$FAKE/uv"
"""


def flags(words: Iterable[str]) -> dict[str, str]:
    """The flags of a command line, without their hyphens."""
    pairs = (word.removeprefix("--").partition("=") for word in words if word.startswith("--"))
    return {name: value for name, _, value in pairs}


def cloudbuild() -> dict[str, Any]:
    return yaml.safe_load(CLOUDBUILD.read_text())


@dataclass
class Build:
    """One build in `folder`, which holds build/ as `spool stage` left it. `substitutions` beside those of the file."""

    folder: Path
    commit: str = COMMIT
    build_id: str = BUILD_ID
    substitutions: Mapping[str, str] = field(default_factory=dict[str, str])
    errors: str = ""
    output: str = ""

    def __post_init__(self) -> None:
        for name in ("versions", "bin", "workspace/.uv/bin"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        _executable(self.folder / "workspace/.uv/bin/uv", FAKE_UV)
        fake = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).with_name("fake_gcloud.py"))])
        _executable(self.folder / "bin/gcloud", f'#!/bin/sh\nexec {fake} "$@"\n')

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def has_version(self, secret: str, version: str) -> None:
        """The newest enabled version of a secret; empty: it has none."""
        (self.folder / "versions" / secret).write_text(version + "\n" if version else "")

    def run(self, *leave_out: str) -> str:
        """Every step in order, up to the first that fails: its id, or empty."""
        for step in cloudbuild()["steps"]:
            if step["id"] not in leave_out and not self.step(step["id"]):
                return step["id"]
        return ""

    def step(self, name: str) -> bool:
        """Run one step; whether it succeeds."""
        (script,) = [step["script"] for step in cloudbuild()["steps"] if step["id"] == name]
        file = self.folder / "step"
        _executable(file, script)
        done = subprocess.run([file], cwd=self.workspace, env=self._environment(), capture_output=True, text=True, check=False)  # noqa: S603
        self.output, self.errors = self.output + done.stdout, done.stderr
        return done.returncode == 0

    @property
    def calls(self) -> list[list[str]]:
        """What gcloud was asked, in order."""
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def uv(self) -> str:
        """What uv was asked, and in which environment."""
        path = self.folder / "uv"
        return path.read_text() if path.exists() else ""

    def deploy(self, service: str) -> list[str]:
        (call,) = [call for call in self.calls if call[1:4] == ["run", "deploy", service]]
        return call

    def environment_of(self, service: str) -> dict[str, str]:
        """The variables that a service is given, secrets as `secret:version`."""
        call = self.deploy(service)
        lists = [
            re.sub(r"^--set-(env-vars|secrets)=", "", word) for word in call if word.startswith(("--set-env", "--set-sec"))
        ]
        return {name: value for one in lists for name, _, value in (pair.partition("=") for pair in one.split(","))}

    def _environment(self) -> dict[str, str]:
        """What Cloud Build gives to a script: `automapSubstitutions`. A build by hand has an empty commit."""
        own = {"PROJECT_ID": "team-spool", "PROJECT_NUMBER": "123", "LOCATION": "europe-west1", "BUILD_ID": self.build_id}
        path = f"{self.folder / 'bin'}{os.pathsep}{os.defpath}"
        given = {**cloudbuild()["substitutions"], **self.substitutions}
        return {**own, **given, "COMMIT_SHA": self.commit, "PATH": path, "FAKE": str(self.folder)}


def _executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
