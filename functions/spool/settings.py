"""The environment, read once into frozen values. Only doors and the command line read it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from spool.errors import Misconfigured


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that may be set from outside; README lists what each is for.

    signing_secrets: one, or two while Slack's secret is being rotated.
    slack_api_url: ends in /api/.
    worker_url: the worker's base URL; empty on one machine: the one recorded in `state_dir`.
    """

    signing_secrets: tuple[str, ...] = ()
    bot_token: str = ""
    slack_api_url: str = "https://slack.com/api/"
    agent: str = "agent:agent"
    model: str = ""
    backend: str = "local"
    state_dir: Path = Path(".spool")
    worker_url: str = ""
    revision: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str] = os.environ, *, need: tuple[str, ...] = ()) -> "Settings":  # noqa: TID251 - this is the place
        """The settings of this process. `need` names variables that must be set; all missing ones stand in one error.

        Raises `Misconfigured`.
        """
        missing = [name for name in need if not environ.get(name, "").strip(", ")]
        if missing:
            msg = f"set {', '.join(missing)} in the environment, and start again"
            raise Misconfigured(msg)
        backend = environ.get("SPOOL_BACKEND") or "local"
        if backend != "local":
            msg = f"SPOOL_BACKEND is {backend!r}: this version knows 'local'"
            raise Misconfigured(msg)
        if backend == "local" and environ.get("K_SERVICE"):
            msg = "SPOOL_BACKEND=local keeps everything on this machine's disk, which Cloud Run throws away: run it elsewhere"
            raise Misconfigured(msg)
        api_url = environ.get("SLACK_API_URL") or "https://slack.com/api/"
        if not api_url.endswith("/api/"):
            msg = f"SLACK_API_URL is {api_url!r}: it must end in /api/"
            raise Misconfigured(msg)
        return cls(
            signing_secrets=tuple(s for s in (p.strip() for p in environ.get("SLACK_SIGNING_SECRET", "").split(",")) if s),
            bot_token=environ.get("SLACK_BOT_TOKEN", ""),
            slack_api_url=api_url,
            agent=environ.get("SPOOL_AGENT") or "agent:agent",
            model=environ.get("SPOOL_MODEL", ""),
            backend=backend,
            state_dir=Path(environ.get("SPOOL_STATE_DIR") or ".spool"),
            worker_url=environ.get("SPOOL_WORKER_URL", ""),
            revision=environ.get("K_REVISION", ""),
        )


def inherited(decided: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: this process's own, with what was decided for the child."""
    return {**os.environ, **decided}  # noqa: TID251 - this is the place
