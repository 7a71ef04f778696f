"""The checks of a deployment on Google Cloud, by what its services say of themselves.

Their environment is read from Cloud Run, so nothing has to be set on the machine that asks but a login.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from spool.cli.doctor.agent import bare, loads
from spool.cli.doctor.here import DOORS, raising, resources
from spool.errors import Misconfigured, Missing, Refused, SpoolError
from spool.finding import Check, Finding, ok, problem, unknown
from spool.google import checks, deployed
from spool.google.deployed import INGRESS, WORKER, Service
from spool.google.grants import Accounts, granted, grants
from spool.google.rest import Apis, Rest
from spool.settings import QUEUE, TARGET, Settings
from spool.slack import checks as slack
from spool.slack import probe
from spool.slack.manifest import PATH

_SET = "a secret"
"""Stands for the value of a secret where only its being there matters."""

_FIRST = "run `spool setup`, or the steps of README, Deploy it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """One deployment, and the way to ask about it."""

    rest: Rest
    apis: Apis
    project: str
    region: str
    ingress: Service
    worker: Service

    @property
    def events_urls(self) -> tuple[str, ...]:
        return tuple(url + PATH for url in self.ingress.urls)


def there(environ: Mapping[str, str], *, project: str, region: str, apis: Apis, rest: Rest) -> list[Check]:
    """Everything about the deployment in `project`; only what keeps from looking, where that is so."""
    found = list[Service]()
    for name in (INGRESS, WORKER):
        try:
            found.append(deployed.service(rest, apis, project=project, region=region, name=name))
        except Missing:
            text = f"there is no {name} in {project}, {region}"
            return [Check(name="services", look=lambda: [problem(text, fix=_FIRST)])]  # noqa: B023 - it returns at once
        except SpoolError as e:
            return [Check(name="Google Cloud", look=checks.careful(partial(raising, e), project=project))]
    cloud = Cloud(rest=rest, apis=apis, project=project, region=region, ingress=found[0], worker=found[1])
    return _checks(cloud, environ)


def _checks(cloud: Cloud, environ: Mapping[str, str]) -> list[Check]:
    careful = partial(checks.careful, project=cloud.project)
    place = {"project": cloud.project, "region": cloud.region}
    first = [
        Check(name="ingress", look=partial(deployed.serves, cloud.ingress)),
        Check(name="worker", look=partial(deployed.serves, cloud.worker, audience=_audience(cloud.ingress))),
    ]
    if not (cloud.ingress.is_deployed and cloud.worker.is_deployed):
        return first
    return [
        *first,
        Check(name="settings", look=partial(_settings, cloud)),
        Check(name="secrets", look=careful(partial(_secrets, cloud))),
        *_resources(cloud),
        Check(name="sweeper", look=careful(partial(deployed.sweep, cloud.rest, cloud.apis, **place))),
        Check(name="agent", look=partial(_agent, cloud.worker, environ)),
        Check(name="Slack token", look=careful(partial(_token, cloud))),
        Check(name="Request URL", look=careful(partial(_request_url, cloud))),
        Check(name="Slack app", look=partial(_app, cloud, environ)),
    ]


def _audience(service: Service) -> str:
    return service.environment.get("SPOOL_WORKER_AUDIENCE", "spool-worker")


def _environment(service: Service) -> dict[str, str]:
    """What the service's process sees, its secrets' values left out."""
    return {**service.environment, **dict.fromkeys(service.secrets, _SET), "K_SERVICE": service.name}


def _settings(cloud: Cloud) -> Sequence[Finding]:
    """Each door's own, and where the two must agree."""
    found = [_door(name, service) for name, service in (("ingress", cloud.ingress), ("worker", cloud.worker))]
    ours, theirs = cloud.ingress.environment, cloud.worker.environment
    differing = [name for name in (*QUEUE, *TARGET) if ours.get(name, "") != theirs.get(name, "")]
    if differing:
        found.append(problem(f"the two services differ in {', '.join(differing)}", fix="build again: one build deploys both"))
    url = ours.get("SPOOL_WORKER_URL", "").rstrip("/")
    if url and url not in cloud.worker.urls:
        found.append(problem(f"SPOOL_WORKER_URL is {url}: the worker is at {', '.join(cloud.worker.urls)}", fix="build again"))
    return found


def _door(name: str, service: Service) -> Finding:
    need, google = DOORS[name]
    try:
        Settings.read(_environment(service), need=need, google=google)
    except Misconfigured as e:
        return problem(f"{service.name}: {e}", fix="add it in cloudbuild.yaml (a secret: its version), and build again")
    return ok(f"nothing is missing for {service.name}")


def _secrets(cloud: Cloud) -> Sequence[Finding]:
    read = partial(deployed.secrets, cloud.rest, cloud.apis, project=cloud.project)
    return [*read(of=cloud.ingress), *read(of=cloud.worker)]


def _resources(cloud: Cloud) -> list[Check]:
    """Bucket, queue and database as the worker's settings name them, and who may use them."""
    try:
        at = Settings.read(_environment(cloud.worker)).google
    except Misconfigured:
        at = None  # told by the check of the settings
    if at is None:
        return []
    accounts = Accounts(
        ingress=cloud.ingress.account, worker=cloud.worker.account, tasks=at.tasks_account, scheduler=at.scheduler_account
    )
    where = {"project": cloud.project, "region": cloud.region, "queue": at.queue, "bucket": at.bucket}
    needed = grants(cloud.rest, cloud.apis, accounts=accounts, **where)
    looks = [checks.careful(lambda g=grant: [granted(g)], project=cloud.project) for grant in needed]
    return [*resources(cloud.rest, cloud.apis, at, mine=False), *(Check(name="permissions", look=look) for look in looks)]


def _agent(worker: Service, environ: Mapping[str, str]) -> Sequence[Finding]:
    """The agent of this folder in the worker's environment: a secret's value does not matter for loading it."""
    seen = {**bare(environ), **_environment(worker)}
    del seen["K_SERVICE"]
    return loads(
        seen,
        agent=worker.environment.get("SPOOL_AGENT") or "agent:agent",
        model=worker.environment.get("SPOOL_MODEL", ""),
        may_be_offline=False,
    )


def _token(cloud: Cloud) -> Sequence[Finding]:
    value = _value(cloud, cloud.worker, "SLACK_BOT_TOKEN")
    return value if isinstance(value, list) else slack.token(value, api_url=_api_url(cloud))


def _request_url(cloud: Cloud) -> Sequence[Finding]:
    value = _value(cloud, cloud.ingress, "SLACK_SIGNING_SECRET")
    if isinstance(value, list) or not cloud.events_urls:
        return value if isinstance(value, list) else [unknown("the ingress has no URL yet")]
    now = int(time.time())  # noqa: TID251 - a command is a door
    first = value.split(",")[0].strip()
    return probe.request_url(cloud.events_urls[0], secret=first, challenge=secrets.token_hex(16), now=now)


def _app(cloud: Cloud, environ: Mapping[str, str]) -> Sequence[Finding]:
    given = environ.get("SLACK_APP_ID", ""), environ.get("SLACK_CONFIG_TOKEN", "")
    return slack.app(given[0], config_token=given[1], api_url=_api_url(cloud), urls=cloud.events_urls)


def _api_url(cloud: Cloud) -> str:
    return cloud.worker.environment.get("SLACK_API_URL") or "https://slack.com/api/"


def _value(cloud: Cloud, service: Service, name: str) -> str | list[Finding]:
    """A secret, to try it; or why it cannot be tried."""
    secret = service.secrets.get(name)
    if secret is None:
        return [unknown(f"{name} is no secret of {service.name}: it cannot be tried")]
    try:
        return deployed.secret_value(cloud.rest, cloud.apis, project=cloud.project, secret=secret)
    except (Missing, Refused) as e:
        fix = f"look as somebody who has roles/secretmanager.secretAccessor on {secret.name}"
        return [unknown(f"{name} cannot be tried: {e}", fix=fix)]
