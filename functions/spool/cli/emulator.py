"""One of the emulators that others wrote: where it is found, how it is started, and how to get it.

    named by the environment ──► on this machine ──► in docker compose ──► missing: a sentence says how to get it

A started one is a child of this process, on a free port of 127.0.0.1, and keeps everything in memory.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from spool.errors import Misconfigured

COMPOSE = Path(__file__).parents[3] / "tests" / "compose.yaml"
PATIENCE = 60.0
"""Seconds for one to answer; the slowest needs two, or twenty on a machine that does much else."""

_PULL_PATIENCE = 600.0
_NAMED_PATIENCE = 10.0
_DOCKER_PATIENCE = 10.0
_GRACE = 5.0
_LOOK = 0.02
_DIE_WITH_PARENT = (  # the wish for it survives exec, and the child is single-threaded while it makes it
    "import os, sys; from spool.local.children import die_with_parent; "
    "die_with_parent(int(sys.argv[1])); os.execvp(sys.argv[2], sys.argv[2:])"
)
Environ = Mapping[str, str]
Command = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulator:
    """What is known of one emulator.

    variable: names its address in the environment. scheme: what stands before host and port there.
    ready: the path of a URL that answers 200 once it is up.
    service: its name in compose.yaml, where PORT says on which port of the host it listens.
    find: the command that starts it on a port, or None where the machine lacks something. settings: beside the environment.
    """

    name: str
    variable: str
    scheme: str = ""
    ready: str = "/"
    service: str
    find: Callable[[Environ, int], Command | None]
    settings: Callable[[int], Environ] = lambda _: {}
    get: str


def _firestore(environ: Environ, port: int) -> Command | None:
    """Java, started directly: the wrapper and gcloud leave it running when they are ended."""
    java, jar = shutil.which("java", path=environ.get("PATH")), _jar(environ)
    if not java or not jar:
        return None
    entry = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
    options = ("-Duser.language=en", "-Xmx512m", "-XX:+UseSerialGC", "-cp", str(jar))
    return [java, *options, entry, "start", "--host=127.0.0.1", f"--port={port}"]


def _jar(environ: Environ) -> Path | None:
    """Where FIRESTORE_EMULATOR_JAR says, else beside the real gcloud."""
    name = "cloud-firestore-emulator"
    gcloud = shutil.which("gcloud", path=environ.get("PATH"))
    beside = Path(gcloud).resolve().parents[1] / "platform" / name / f"{name}.jar" if gcloud else None
    jar = Path(environ["FIRESTORE_EMULATOR_JAR"]) if environ.get("FIRESTORE_EMULATOR_JAR") else beside
    return jar if jar and jar.is_file() else None


def _storage(environ: Environ, port: int) -> Command | None:
    program = _program("fake-gcs-server", environ, "go/bin")
    url = f"127.0.0.1:{port}"
    where = ("-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-external-url", f"http://{url}", "-public-host", url)
    return [program, *where, "-backend", "memory", "-log-level", "error"] if program else None


def _tasks(environ: Environ, port: int) -> Command | None:
    del port
    program = _program("cloud-tasks-emulator", environ, ".cargo/bin")
    return [program] if program else None


def _program(name: str, environ: Environ, folder: str) -> str | None:
    """On the PATH, or where its installer puts it."""
    folders = (environ.get("PATH", os.defpath), str(Path(environ.get("HOME") or Path.home()) / folder))
    return shutil.which(name, path=os.pathsep.join(folders))


FIRESTORE = Emulator(
    name="the Firestore emulator",
    variable="FIRESTORE_EMULATOR_HOST",
    service="firestore",
    find=_firestore,
    get="install Java 17 and `gcloud components install cloud-firestore-emulator` "
    "(Debian: openjdk-17-jre-headless and google-cloud-cli-firestore-emulator)",
)
STORAGE = Emulator(
    name="the storage emulator",
    variable="STORAGE_EMULATOR_HOST",
    scheme="http://",
    ready="/_internal/healthcheck",
    service="storage",
    find=_storage,
    get="`go install github.com/fsouza/fake-gcs-server@v1.56.1`",
)
TASKS = Emulator(
    name="the Cloud Tasks emulator",
    variable="CLOUD_TASKS_EMULATOR_HOST",
    ready="/.well-known/openid-configuration",
    service="tasks",
    find=_tasks,
    settings=lambda port: {"LISTEN_ADDR": f"127.0.0.1:{port}", "OIDC_ISSUER": f"http://127.0.0.1:{port}", "QUEUES": ""},
    get="`cargo install cloud-tasks-emulator --version 0.1.3 --locked`",
)
ALL = (FIRESTORE, STORAGE, TASKS)


class Running:
    """One that works, or is about to."""

    def __init__(self, emulator: Emulator, address: str, *, patience: float) -> None:
        self.emulator, self.address = emulator, address
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as it runs
        self._down: Command | None = None

    @classmethod
    def begin(cls, emulator: Emulator, environ: Environ) -> "Running | None":
        """Find or start it, without waiting until it answers; None where it is missing.

        Linux ends it with the thread that calls this, and so with the process, even by SIGKILL; not so what docker runs.
        """
        if named := environ.get(emulator.variable):
            return cls(emulator, named, patience=_NAMED_PATIENCE)
        port = _free_port()
        address = f"{emulator.scheme}127.0.0.1:{port}"
        if command := emulator.find(environ, port):
            running = cls(emulator, address, patience=PATIENCE)
            running._start(command, {**environ, **emulator.settings(port)})
            return running
        if not _docker_answers(environ):
            return None
        running = cls(emulator, address, patience=_PULL_PATIENCE)
        running._start(_compose(emulator, environ, "up", emulator.service), {**environ, "PORT": str(port)})
        running._down = _compose(emulator, environ, "down")
        return running

    def _start(self, command: Command, environ: Environ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - a program that was looked up, with arguments of our own
            [sys.executable, "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for its parent, which ends it when nobody needs it any more
        )

    @property
    def started(self) -> bool:
        """Whether it is a child of ours; else somebody else keeps it running."""
        return self._process is not None

    def wait(self) -> None:
        """Return when it answers. Raises `Misconfigured` when it does not."""
        until = time.monotonic() + self._patience  # noqa: TID251 - a process of this machine
        while time.monotonic() < until and not (self._process and self._process.poll() is not None):  # noqa: TID251
            if self._answers():
                return
            time.sleep(_LOOK)
        remedy = self._last_words() if self._process else f"start it there, or unset {self.emulator.variable}"
        msg = f"{self.emulator.name} does not answer at {self.address}: {remedy}"
        raise Misconfigured(msg)

    def _answers(self) -> bool:
        url = f"http://{self.address.removeprefix('http://').rstrip('/')}{self.emulator.ready}"
        try:
            with urllib.request.urlopen(url, timeout=2) as response:
                return response.status == 200  # noqa: PLR2004
        except (OSError, urllib.error.URLError, ValueError):
            return False

    def stop(self) -> None:
        """End it, where it is a child of ours."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._down:
            subprocess.run(self._down, check=False, capture_output=True)  # noqa: S603 - as above
        self._log.close()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read()[-2000:].decode(errors="replace").strip().splitlines()
        return f"its last words are: {lines[-1]}" if lines else "it said nothing"


def _docker_answers(environ: Environ) -> bool:
    """Whether there are a docker engine and its compose command."""
    docker = shutil.which("docker", path=environ.get("PATH"))
    if not docker or not COMPOSE.is_file():
        return False
    try:
        for question in (("info",), ("compose", "version")):
            subprocess.run([docker, *question], check=True, capture_output=True, timeout=_DOCKER_PATIENCE)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _compose(emulator: Emulator, environ: Environ, *words: str) -> Command:
    """A project of its own, so that two users of one engine do not end each other's."""
    docker = shutil.which("docker", path=environ.get("PATH")) or "docker"
    project = f"spool-{os.getpid()}-{emulator.service}"
    return [docker, "compose", "--project-name", project, "--file", str(COMPOSE), *words]


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]
