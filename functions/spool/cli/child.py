"""One function under functions-framework, as a process of its own that is started again whenever it dies."""

import asyncio
import functools
import hashlib
import os
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from spool.errors import Misconfigured
from spool.local.children import die_with_parent

FUNCTIONS = Path(__file__).parents[2]
PATIENCE = 30.0
"""Seconds for a function to start."""

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 5.0
"""Seconds before a dead child is started again: doubled while it keeps dying at once."""

GRACE = 10.0
"""Seconds that a child has to hand its turns over, as on Cloud Run."""


class Child:
    """One function under functions-framework, started again whenever it dies."""

    def __init__(self, target: str, port: int, environment: Mapping[str, str], *, quiet: bool) -> None:
        self.target, self._port, self._quiet = target, port, quiet
        # gunicorn opens a control socket there: two functions must not share it, and its path must be short
        name = hashlib.sha256(f"{environment['SPOOL_STATE_DIR']}/{target}".encode()).hexdigest()[:16]
        self._runtime = Path(tempfile.gettempdir()) / f"spool-{os.getuid()}-{name}"
        self._environment = {**environment, "XDG_RUNTIME_DIR": str(self._runtime)}
        self._process: asyncio.subprocess.Process | None = None

    async def keep_running(self) -> None:
        """Until cancelled; then it has time to hand over."""
        pause, clock = FIRST_PAUSE, asyncio.get_running_loop().time
        try:
            while True:
                started = clock()
                await self._start()
                await self._ended()
                pause = FIRST_PAUSE if clock() - started > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
                await asyncio.sleep(pause)
        finally:
            await self._stop()

    async def _start(self) -> None:
        self._runtime.mkdir(mode=0o700, exist_ok=True)
        source = FUNCTIONS / f"{self.target}.py"
        arguments = ("--target", self.target, "--source", str(source), "--host", "127.0.0.1", "--port", str(self._port))
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "functions_framework",
            *arguments,
            env=self._environment,
            stdout=asyncio.subprocess.DEVNULL if self._quiet else None,
            stderr=asyncio.subprocess.DEVNULL if self._quiet else None,
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
            process_group=0,  # Ctrl-C is for spool dev alone, which then lets turns hand over
        )

    async def _ended(self) -> None:
        if self._process:
            await self._process.wait()

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(GRACE):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def reload(self) -> None:
        """SIGTERM: turns at work hand over, and the function starts anew."""
        if self._process and self._process.returncode is None:
            self._process.terminate()

    async def answers(self) -> None:
        """Return when it does. Raises `Misconfigured` when it does not."""
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while loop.time() < until:
            if await asyncio.to_thread(self._is_healthy):
                return
            await asyncio.sleep(0.02)
        msg = f"the {self.target} did not start within {PATIENCE:.0f} s on port {self._port}: its own output above says why"
        raise Misconfigured(msg)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=1) as response:
                return response.status == 200  # noqa: PLR2004
        except (OSError, urllib.error.URLError):
            return False
