"""gcloud as a checker, without a network: its linter, its parser of cloudbuild.yaml, its idea of what is uploaded."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

HOW = "gcloud is not on the path: get the Google Cloud SDK, https://cloud.google.com/sdk/docs/install"
PARSE = """
import sys
sys.path[:0] = [sys.argv[1] + "/lib", sys.argv[1] + "/lib/third_party"]
from googlecloudsdk.api_lib.cloudbuild import cloudbuild_util, config
try:
    config.LoadCloudbuildConfigFromPath(sys.argv[2], cloudbuild_util.GetMessagesModule(), params={})
except Exception as e:
    print(type(e).__name__, e)
"""


def require(found: bool, how: str) -> None:  # noqa: FBT001 - reads as a sentence
    """Skip the test where something is missing, with the sentence that says how to get it; fail where REQUIRE_EMULATORS=1."""
    if not found:
        (pytest.fail if os.environ.get("REQUIRE_EMULATORS") == "1" else pytest.skip)(how)  # noqa: TID251 - a test's own switch


def sdk() -> Path:
    """The root of the SDK beside the gcloud on the path."""
    gcloud = shutil.which("gcloud")
    require(gcloud is not None, HOW)
    return Path(os.path.realpath(gcloud or "")).parents[1]


def gcloud(*arguments: str, cwd: Path | None = None) -> str:
    """What gcloud prints, with a configuration of its own: no account, nobody's defaults."""
    with tempfile.TemporaryDirectory() as config:
        own = {"CLOUDSDK_CONFIG": config, "CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "CLOUDSDK_CORE_CHECK_GCE_METADATA": "false"}
        environ = {**os.environ, **own, "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true"}  # noqa: TID251 - of a child
        command = [str(sdk() / "bin" / "gcloud"), *arguments]
        done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stdout


def lint(commands: Iterable[str]) -> dict[str, str]:
    """What gcloud's own linter says against each command line; only those that it finds wrong."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        lines = list(dict.fromkeys(commands))
        json.dump([{"command_string": line, "id": str(n)} for n, line in enumerate(lines)], file)
        file.flush()
        found: dict[str, Any] = json.loads(
            gcloud("meta", "lint-gcloud-commands", "--serialize", f"--commands-file={file.name}")
        )
    assert len(found) == len(lines), found.keys()
    return {lines[int(n)]: str(verdict["error_message"]) for n, (verdict, *_) in found.items() if not verdict["success"]}


def parse_cloudbuild(path: Path) -> str:
    """What gcloud's own parser says against the file; empty where it takes it."""
    python = sdk() / "platform" / "bundledpythonunix" / "bin" / "python3"
    command = [str(python) if python.exists() else "python3", "-c", PARSE, str(sdk()), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def uploads(folder: Path) -> set[str]:
    """The files of a folder that gcloud would upload."""
    return set(gcloud("meta", "list-files-for-upload", str(folder)).split("\n")) - {""}
