"""The environment, read once into frozen values. Only doors and the command line read it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spool.errors import Misconfigured

EMULATORS = ("CLOUD_TASKS_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST")
STORES = ("GOOGLE_CLOUD_PROJECT", "SPOOL_BUCKET")
"""What Google's stores need; on emulators too."""

QUEUE = ("GOOGLE_CLOUD_PROJECT", "SPOOL_LOCATION", "SPOOL_QUEUE")
"""What Google's queue needs; on emulators too."""

TARGET = ("SPOOL_WORKER_URL", "SPOOL_WORKER_AUDIENCE", "SPOOL_TASKS_SERVICE_ACCOUNT")
"""Whom the queue calls, and as whom; the emulators have defaults."""

CALLERS = ("SPOOL_WORKER_AUDIENCE", "SPOOL_TASKS_SERVICE_ACCOUNT", "SPOOL_SCHEDULER_SERVICE_ACCOUNT")
"""Who may call the worker; the emulators have defaults."""

Backend = Literal["local", "google"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Google:
    """Where everything is on Google Cloud, or in its emulators.

    worker_url: the worker's base URL, which queued tasks carry.
    audience: whom the queue's tokens are for; the worker takes no other.
    tasks_account, scheduler_account: the service accounts (e-mail addresses) that may call the worker.
    issuer: who signs their tokens; its keys are found by OpenID discovery.
    tasks_emulator, firestore_emulator: host:port; storage_emulator: a URL. All three or none: empty on Google Cloud itself.
    """

    project: str
    location: str = ""
    queue: str = ""
    bucket: str = ""
    database: str = "(default)"
    worker_url: str = ""
    audience: str = "spool-worker"
    tasks_account: str = ""
    scheduler_account: str = ""
    issuer: str = "https://accounts.google.com"
    tasks_emulator: str = ""
    firestore_emulator: str = ""
    storage_emulator: str = ""

    @property
    def emulated(self) -> bool:
        return bool(self.tasks_emulator)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that may be set from outside; README lists what each is for.

    signing_secrets: one, or two while Slack's secret is being rotated.
    slack_api_url: ends in /api/.
    worker_url: the worker's base URL; empty on one machine: the one recorded in `state_dir`.
    google: set where the backend is "google".
    log_content: whether logs may quote what people and models said.
    revision: which deployment this is, as Cloud Run names it.
    """

    signing_secrets: tuple[str, ...] = ()
    bot_token: str = ""
    slack_api_url: str = "https://slack.com/api/"
    agent: str = "agent:agent"
    model: str = ""
    backend: Backend = "local"
    state_dir: Path = Path(".spool")
    worker_url: str = ""
    google: Google | None = None
    log_content: bool = False
    service: str = ""
    revision: str = ""

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str] = os.environ,  # noqa: TID251 - this is the place
        *,
        need: tuple[str, ...] = (),
        google: tuple[str, ...] = (),
    ) -> "Settings":
        """The settings of this process. `need` names variables that must be set, `google` those that must be where the backend
        is Google's; all missing ones stand in one error.

        Raises `Misconfigured`.
        """
        backend = _backend(environ)
        emulated = backend == "google" and _emulated(environ)
        wanted = (*need, *google) if backend == "google" else need
        defaults = _emulated_defaults(environ) if emulated else {}
        missing = [name for name in dict.fromkeys(wanted) if not environ.get(name, "").strip(", ") and name not in defaults]
        if missing:
            msg = f"set {', '.join(missing)} in the environment, and start again"
            raise Misconfigured(msg)
        api_url = environ.get("SLACK_API_URL") or "https://slack.com/api/"
        if not api_url.endswith("/api/"):
            msg = f"SLACK_API_URL is {api_url!r}: it must end in /api/"
            raise Misconfigured(msg)
        return cls(
            signing_secrets=tuple(s for s in (p.strip() for p in environ.get("SLACK_SIGNING_SECRET", "").split(",")) if s),
            bot_token=environ.get("SLACK_BOT_TOKEN", "").strip(),  # a secret is often pasted with its line break
            slack_api_url=api_url,
            agent=environ.get("SPOOL_AGENT") or "agent:agent",
            model=environ.get("SPOOL_MODEL", ""),
            backend=backend,
            state_dir=Path(environ.get("SPOOL_STATE_DIR") or ".spool"),
            worker_url=environ.get("SPOOL_WORKER_URL", ""),
            google=_google({**defaults, **{n: v for n, v in environ.items() if v}}) if backend == "google" else None,
            log_content=_flag(environ, "SPOOL_LOG_CONTENT"),
            service=environ.get("K_SERVICE", ""),
            revision=environ.get("K_REVISION", ""),
        )


def _backend(environ: Mapping[str, str]) -> Backend:
    """Google's in the cloud, this machine's elsewhere, unless told."""
    backend = environ.get("SPOOL_BACKEND") or ("google" if environ.get("K_SERVICE") else "local")
    if backend not in ("local", "google"):
        msg = f"SPOOL_BACKEND is {backend!r}: write 'local' or 'google'"
        raise Misconfigured(msg)
    if backend == "local" and environ.get("K_SERVICE"):
        msg = "SPOOL_BACKEND=local keeps everything on this machine's disk, which Cloud Run throws away: run it elsewhere"
        raise Misconfigured(msg)
    return backend


def _emulated(environ: Mapping[str, str]) -> bool:
    """Whether this is about emulators. A mixture would write tests into a real bucket. Raises `Misconfigured`."""
    named = [name for name in EMULATORS if environ.get(name)]
    if named and environ.get("K_SERVICE"):
        msg = f"{', '.join(named)}: there are no emulators on Cloud Run; remove it from the service's environment"
        raise Misconfigured(msg)
    if named and len(named) < len(EMULATORS):
        msg = f"set {', '.join(n for n in EMULATORS if n not in named)} as well as {', '.join(named)}: all emulators, or none"
        raise Misconfigured(msg)
    storage = environ.get("STORAGE_EMULATOR_HOST", "")
    if named and not storage.startswith(("http://", "https://")):
        msg = f"STORAGE_EMULATOR_HOST is {storage!r}: it is a URL, such as http://127.0.0.1:4443"
        raise Misconfigured(msg)
    return bool(named)


def _emulated_defaults(environ: Mapping[str, str]) -> dict[str, str]:
    """What only Google Cloud itself must be told; the issuer is the tasks emulator, which signs with a key of its own."""
    accounts = f"{environ.get('GOOGLE_CLOUD_PROJECT', '')}.iam.gserviceaccount.com"
    return {
        "SPOOL_WORKER_URL": "http://127.0.0.1:3002",
        "SPOOL_WORKER_AUDIENCE": "spool-worker",
        "SPOOL_TASKS_SERVICE_ACCOUNT": f"spool-tasks@{accounts}",
        "SPOOL_SCHEDULER_SERVICE_ACCOUNT": f"spool-scheduler@{accounts}",
        "SPOOL_OIDC_ISSUER": f"http://{environ.get('CLOUD_TASKS_EMULATOR_HOST', '')}",
    }


def _google(environ: Mapping[str, str]) -> Google:
    return Google(
        project=environ.get("GOOGLE_CLOUD_PROJECT", ""),
        location=environ.get("SPOOL_LOCATION", ""),
        queue=environ.get("SPOOL_QUEUE", ""),
        bucket=environ.get("SPOOL_BUCKET", ""),
        database=environ.get("SPOOL_DATABASE", "(default)"),
        worker_url=environ.get("SPOOL_WORKER_URL", "").rstrip("/"),
        audience=environ.get("SPOOL_WORKER_AUDIENCE", "spool-worker"),
        tasks_account=environ.get("SPOOL_TASKS_SERVICE_ACCOUNT", ""),
        scheduler_account=environ.get("SPOOL_SCHEDULER_SERVICE_ACCOUNT", ""),
        issuer=environ.get("SPOOL_OIDC_ISSUER", "https://accounts.google.com"),
        tasks_emulator=environ.get("CLOUD_TASKS_EMULATOR_HOST", ""),
        firestore_emulator=environ.get("FIRESTORE_EMULATOR_HOST", ""),
        storage_emulator=environ.get("STORAGE_EMULATOR_HOST", ""),
    )


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").lower()
    if value not in ("", "true", "false"):
        msg = f"{name} is {value!r}: write true or false"
        raise Misconfigured(msg)
    return value == "true"


def inherited(decided: Mapping[str, str]) -> dict[str, str]:
    """The environment of a child: this process's own, with what was decided for the child."""
    return {**os.environ, **decided}  # noqa: TID251 - this is the place
