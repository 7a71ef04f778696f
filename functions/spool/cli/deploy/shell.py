"""Other programs, run for a person who watches: `gcloud`, `terraform`, `git`."""

import subprocess
from collections.abc import Sequence

from spool.settings import inherited

LOOKING = 300.0
"""Seconds that a command may take that only looks; a plan of Terraform's is the slowest."""

_QUIET = {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1", "TF_INPUT": "0"}


def looked(argv: Sequence[str]) -> tuple[int, str]:
    """The exit code and the output of a command that only looks; nothing of it is shown, and it asks nothing."""
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            argv, env=inherited(_QUIET), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LOOKING, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return -1, ""
    return done.returncode, done.stdout


def run(argv: Sequence[str], *, stdin: str | None = None) -> int:
    """The exit code of a command that a person watches; `stdin` goes through a pipe, without it the terminal stays its input.

    Ctrl-C is the command's to answer first, for a Terraform that is killed leaves its state locked; then it is raised here.
    """
    interrupted = False
    with subprocess.Popen(argv, env=inherited({}), stdin=None if stdin is None else subprocess.PIPE, text=True) as process:  # noqa: S603
        while True:
            try:
                process.communicate(stdin)
                break
            except KeyboardInterrupt:
                interrupted, stdin = True, None
    if interrupted:
        raise KeyboardInterrupt
    return process.returncode
