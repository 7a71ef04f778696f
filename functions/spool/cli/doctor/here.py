"""Which checks there are for which place: this machine, emulators, or a deployment on Google Cloud."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from spool.cli import dev
from spool.cli.doctor.agent import loads
from spool.errors import Misconfigured, SpoolError
from spool.finding import Check, Finding, ok, problem, unknown
from spool.settings import CALLERS, QUEUE, STORES, TARGET, Google, Settings

if TYPE_CHECKING:  # Google's and Slack's libraries take a second: only a check that needs them waits for them
    from spool.google.rest import Apis, Rest

Look = Callable[[], Sequence[Finding]]
DOORS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ingress": (("SLACK_SIGNING_SECRET",), QUEUE + TARGET),
    "worker": (("SLACK_BOT_TOKEN",), STORES + QUEUE + TARGET + CALLERS),
}
"""What each door asks of its settings: always, and on Google's backend. A test holds them against the doors."""

PORTS = ((3000, "use --console-port"), (3001, "use --port"))
"""Those that `spool dev` wants, each with the way to choose another."""

_WORKSPACE = "none is set: `spool dev` brings its own Slack workspace"


# ---- this environment


def here(environ: Mapping[str, str], *, url: str) -> list[Check]:
    """The place that this process' own environment names, or the emulators of the `spool dev` that runs there.

    url: the ingress' public URL, where there is one.
    """
    try:
        settings = Settings.read(environ)
        running = None if settings.google else dev.found(settings)
        if running and running.emulated:
            environ = {**environ, "SPOOL_BACKEND": "google", **running.emulated}
            settings = Settings.read(environ)
    except Misconfigured as e:
        return [Check(name="settings", look=partial(_misread, e))]
    checks = [Check(name="settings", look=partial(_settings, environ))]
    checks += _machine(settings) if _is_dev(settings) else []
    checks += _google(settings.google, worker_url=_worker_url(settings)) if settings.google else []
    look = partial(loads, environ, agent=settings.agent, model=settings.model, may_be_offline=_is_dev(settings))
    return [*checks, Check(name="agent", look=look), *_slack(environ, settings, url=url)]


def _is_dev(settings: Settings) -> bool:
    """Whether this is a place of `spool dev`, which has a default for everything else."""
    return settings.google is None or settings.google.emulated


def _worker_url(settings: Settings) -> str:
    from spool.local.checks import recorded_port

    if settings.google and not settings.google.emulated:
        return settings.google.worker_url
    port = recorded_port(settings.state_dir)
    return settings.worker_url or (f"http://127.0.0.1:{port}" if port else "")


def _settings(environ: Mapping[str, str]) -> Sequence[Finding]:
    """Every missing one: of `spool dev`, or of both doors."""
    if not _is_dev(Settings.read(environ)):
        return [_door(name, environ) for name in DOORS]
    try:
        Settings.read(environ, google=STORES + QUEUE)
    except Misconfigured as e:
        return [problem(f"`spool dev` would not start: {e}", fix="or `spool dev --emulators`, which has a default for each")]
    return [ok("nothing is missing for `spool dev`")]


def _door(name: str, environ: Mapping[str, str]) -> Finding:
    need, google = DOORS[name]
    try:
        Settings.read(environ, need=need, google=google)
    except Misconfigured as e:
        return problem(f"the {name} would not start: {e}", fix="README, Settings, says what each variable is")
    return ok(f"nothing is missing for the {name}")


def _machine(settings: Settings) -> list[Check]:
    from spool.local import checks

    return [
        Check(name="state", look=lambda: checks.state_dir(settings.state_dir)),
        Check(name="databases", look=lambda: checks.databases(settings.state_dir)),
        Check(name="ports", look=partial(_ports, settings)),
    ]


def _ports(settings: Settings) -> Sequence[Finding]:
    from spool.local import checks

    if running := dev.found(settings):
        return [ok(f"`spool dev` runs here: {running.ingress_url}/slack/events")]
    recorded = checks.recorded_port(settings.state_dir)
    remedy = f"delete {settings.state_dir / 'worker-port'} to choose another"
    return checks.ports([*PORTS, *([(recorded, remedy)] if recorded else [])])


def _google(at: Google, *, worker_url: str) -> list[Check]:
    from spool.google import checks
    from spool.google.rest import Apis, Rest

    apis = Apis()
    if at.emulated:
        tasks, firestore = (f"http://{host}" for host in (at.tasks_emulator, at.firestore_emulator))
        apis = Apis(storage=at.storage_emulator, tasks=tasks, firestore=firestore)
    rest = Rest(project=at.project, anonymous=at.emulated)
    worker = Check(name="worker", look=lambda: checks.worker(worker_url, emulated=at.emulated))
    try:
        rest.login()
    except Misconfigured as e:
        return [Check(name="Google Cloud", look=checks.careful(partial(raising, e), project=at.project))]
    return [*resources(rest, apis, at), *([worker] if worker_url else [])]


def raising(error: SpoolError) -> Sequence[Finding]:
    """A look that finds what was found before."""
    raise error


def resources(rest: "Rest", apis: "Apis", at: Google, *, mine: bool = True) -> list[Check]:
    """What both functions need of Google, as far as the settings name it.

    mine: whether this machine's account is the one that must have the permissions.
    """
    from spool.google import checks

    project, emulated = at.project, at.emulated
    looks: dict[str, tuple[str, Look]] = {
        "bucket": (at.bucket, lambda: checks.bucket(rest, apis, name=at.bucket, emulated=emulated, mine=mine)),
        "queue": (
            at.location and at.queue,
            lambda: checks.queue(rest, apis, project=project, location=at.location, name=at.queue, emulated=emulated),
        ),
        "database": (project, lambda: checks.database(rest, apis, project=project, name=at.database, emulated=emulated)),
    }
    known = {name: look for name, (named, look) in looks.items() if named}
    return [Check(name=name, look=checks.careful(look, project=project)) for name, look in known.items()]


def _slack(environ: Mapping[str, str], settings: Settings, *, url: str) -> list[Check]:
    from spool.slack import checks, probe

    token = partial(checks.token, settings.bot_token, api_url=settings.slack_api_url)
    if _is_dev(settings) and not settings.bot_token:
        return [Check(name="Slack", look=lambda: [ok(_WORKSPACE)])]
    secret = settings.signing_secrets[0] if settings.signing_secrets else ""
    tried = partial(_tried, probe.request_url, url=url, secret=secret)
    return [
        Check(name="Slack token", look=token if settings.bot_token else lambda: [unknown("SLACK_BOT_TOKEN is not set")]),
        Check(name="Request URL", look=tried),
        Check(name="Slack app", look=_app(environ, settings, urls=(url,) if url else ())),
    ]


def _tried(request_url: Callable[..., Sequence[Finding]], *, url: str, secret: str) -> Sequence[Finding]:
    if not (url and secret):
        fix = "spool doctor --url https://…/slack/events, with SLACK_SIGNING_SECRET set"
        return [unknown("the ingress' public URL is tried only if it is given, and with its signing secret", fix=fix)]
    now = int(time.time())  # noqa: TID251 - a command is a door
    return request_url(url, secret=secret, challenge=secrets.token_hex(16), now=now)


def _app(environ: Mapping[str, str], settings: Settings, *, urls: Sequence[str]) -> Look:
    from spool.slack import checks

    given = environ.get("SLACK_APP_ID", ""), environ.get("SLACK_CONFIG_TOKEN", "")
    return lambda: checks.app(given[0], config_token=given[1], api_url=settings.slack_api_url, urls=urls)


def _misread(error: SpoolError) -> Sequence[Finding]:
    return [problem(str(error), fix="README, Settings, says what each variable is")]
