"""A staged folder as the buildpack makes it: a fresh venv from its requirements.txt, started as plain functions-framework."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from spool.cli.deploy.stage import uv

PYTHON = "3.13"
"""What is deployed; where this machine has none, the Python of the tests."""

PATIENCE = 60.0
NAMES = "import importlib.metadata as m, json; print(json.dumps([d.name for d in m.distributions()]))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """One function: its folder, and the venv beside it."""

    name: str
    folder: Path
    venv: Path

    @property
    def distributions(self) -> set[str]:
        """What is installed in the venv, by the names of the package index."""
        return {re.sub(r"[-_.]+", "-", name).lower() for name in json.loads(_run(str(self.venv / "bin/python"), "-c", NAMES))}

    @contextlib.contextmanager
    def serving(self, **environment: str) -> Generator[str]:
        """Started as on Cloud Run: this environment and no other; its URL, once /health answers."""
        port = environment.pop("PORT", "") or str(free_port())
        runtime = self.venv / "run"
        runtime.mkdir(exist_ok=True)
        own = {
            "PATH": f"{self.venv / 'bin'}{os.pathsep}{os.defpath}",
            "HOST": "127.0.0.1",
            "PORT": port,
            "FUNCTION_TARGET": self.name,
            "FUNCTION_SIGNATURE_TYPE": "http",
            "XDG_RUNTIME_DIR": str(runtime),
            "K_REVISION": f"spool-{self.name}-test",
        }
        with (self.venv / "log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - what we built
                [self.venv / "bin/functions-framework"],
                cwd=self.folder,
                env={**own, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._until_healthy(f"http://127.0.0.1:{port}", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    @property
    def log(self) -> str:
        return (self.venv / "log").read_text()

    def _until_healthy(self, url: str, process: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + PATIENCE  # noqa: TID251 - another process is waited for
        while time.monotonic() < until and process.poll() is None:  # noqa: TID251
            if ask(f"{url}/health")[0] == 200:
                return
            time.sleep(0.02)
        raise AssertionError(self.log)


def build(name: str, folder: Path, venv: Path) -> Built:
    """Install exactly the requirements of the folder, checked by hash, and compile them and the folder."""
    _run(uv(), "venv", "--quiet", "--python", _python(), str(venv))
    wanted = ("--require-hashes", "-r", str(folder / "requirements.txt"))
    _run(uv(), "pip", "install", "--quiet", "--compile-bytecode", "--python", str(venv / "bin/python"), *wanted)
    _run(str(venv / "bin/python"), "-m", "compileall", "-f", "-q", str(folder))
    return Built(name=name, folder=folder, venv=venv)


def _python() -> str:
    """An interpreter of PYTHON that starts: pyenv puts one on the path that may only say that it is another's."""
    pyenv = Path.home().glob(f".pyenv/versions/{PYTHON}.*/bin/python{PYTHON}")
    for found in (shutil.which(f"python{PYTHON}"), *map(str, sorted(pyenv))):
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:  # noqa: S603
            return found
    return sys.executable


def ask(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and body; 0 where nobody answers."""
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))  # noqa: S310 - on this machine
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return response.status, response.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read().decode()
    except OSError as e:
        return 0, str(e)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - uv and what we built
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout
