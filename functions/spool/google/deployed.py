"""What runs on Cloud Run, looked at without changing anything.

The names are those that infra/ makes. A service tells its own environment, so a deployment is checked by the settings that it
really has, from any machine that is logged in.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from spool.errors import BadInput, Missing
from spool.finding import Finding, ok, problem
from spool.google.checks import APPLY
from spool.google.rest import Apis, Json, Rest, as_object, as_objects

INGRESS, WORKER = "spool-ingress", "spool-worker"
PLACEHOLDER = "cloudrun/container/hello"
"""The image with which infra/ makes a service; the first build replaces it."""

_BUILD = "run its build: README, Deploy it, or `spool setup`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A version of a secret that a service reads as an environment variable."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Cloud Run service.

    place: gcloud's options that lead to it. urls: base URLs, the stable one first.
    trouble: why its last revision does not serve, or empty.
    """

    name: str
    place: str = ""
    urls: tuple[str, ...] = ()
    image: str = ""
    account: str = ""
    audiences: tuple[str, ...] = ()
    trouble: str = ""
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, Secret] = field(default_factory=dict[str, Secret])

    @property
    def is_deployed(self) -> bool:
        return PLACEHOLDER not in self.image


def service(rest: Rest, apis: Apis, *, project: str, region: str, name: str) -> Service:
    """The service as it is. Raises `Missing`, `Refused`, `Ambiguous`."""
    found = rest.get(f"{apis.run}/v2/projects/{project}/locations/{region}/services/{name}")
    template = as_object(found.get("template"))
    container = next(iter(as_objects(template.get("containers"))), cast("Json", {}))
    condition = as_object(found.get("terminalCondition"))
    trouble = "" if condition.get("state") == "CONDITION_SUCCEEDED" else str(condition.get("message") or "it is not ready")
    return Service(
        name=name,
        place=f"--project={project} --region={region}",
        urls=_urls(found, name),
        image=str(container.get("image") or ""),
        account=str(template.get("serviceAccount") or ""),
        audiences=tuple(map(str, cast("list[Any]", found.get("customAudiences") or []))),
        trouble=" ".join(trouble.split())[:300],
        environment={str(e.get("name")): str(e.get("value") or "") for e in as_objects(container.get("env"))},
        secrets={str(e.get("name")): s for e in as_objects(container.get("env")) if (s := _secret(e))},
    )


def _urls(found: Json, name: str) -> tuple[str, ...]:
    """Every base URL; first the one that names the project's number: Terraform prints it, and it never changes."""
    urls = [str(url).rstrip("/") for url in (*cast("list[Any]", found.get("urls") or []), found.get("uri")) if url]
    return tuple(dict.fromkeys(sorted(urls, key=lambda url: not url.removeprefix(f"https://{name}-").split(".")[0].isdigit())))


def _secret(variable: Json) -> Secret | None:
    ref = as_object(as_object(variable.get("valueSource")).get("secretKeyRef"))
    name = str(ref.get("secret") or "").rsplit("/", 1)[-1]
    return Secret(name=name, version=str(ref.get("version") or "latest")) if name else None


def serves(it: Service, *, audience: str = "") -> Sequence[Finding]:
    """Whether its revision serves, and whether the queue's tokens are for it (`audience`, where it is private)."""
    if not it.is_deployed:
        return [problem(f"{it.name} still runs the placeholder: nothing is deployed yet", fix=_BUILD)]
    if it.trouble:
        fix = f"see why in its log: gcloud run services logs read {it.name} {it.place}"
        return [problem(f"{it.name} does not serve: {it.trouble}", fix=fix)]
    if audience and audience not in it.audiences:
        return [problem(f"{it.name} does not take tokens for {audience!r}", fix=APPLY)]
    return [ok(f"{it.name} serves {it.image.rsplit('/', 1)[-1].partition('@')[0]}")]


def secrets(rest: Rest, apis: Apis, *, project: str, of: Service) -> Sequence[Finding]:
    """Whether each secret that the service reads has the version it reads."""
    return [_version(rest, apis, project, env, secret) for env, secret in of.secrets.items()] or [ok(f"{of.name} reads none")]


def _version(rest: Rest, apis: Apis, project: str, env: str, secret: Secret) -> Finding:
    add = f"gcloud secrets versions add {secret.name} --project={project} --data-file=-, then build again"
    try:
        found = rest.get(f"{apis.secrets}/v1/projects/{project}/secrets/{secret.name}/versions/{secret.version}")
    except Missing:
        return problem(f"{env}: the secret {secret.name} has no version {secret.version}", fix=add)
    if found.get("state") != "ENABLED":
        text = f"{env}: version {secret.version} of {secret.name} is {str(found.get('state')).lower()}"
        return problem(text, fix=f"gcloud secrets versions enable {secret.version} --secret={secret.name}, or {add}")
    return ok(f"{env} is version {str(found.get('name', '')).rsplit('/', 1)[-1]} of {secret.name}")


def secret_value(rest: Rest, apis: Apis, *, project: str, secret: Secret) -> str:
    """The secret itself, to try it, never to show it. Raises `Missing`, `Refused`, `Ambiguous`, `BadInput`."""
    url = f"{apis.secrets}/v1/projects/{project}/secrets/{secret.name}/versions/{secret.version}:access"
    data = str(as_object(rest.get(url).get("payload")).get("data") or "")
    try:
        return base64.b64decode(data, validate=True).decode()
    except (ValueError, binascii.Error):
        msg = f"the secret {secret.name} holds bytes that are no text"
        raise BadInput(msg) from None


def sweep(rest: Rest, apis: Apis, *, project: str, region: str) -> Sequence[Finding]:
    """Whether the scheduler calls the sweeper, and is let in."""
    try:
        job = rest.get(f"{apis.scheduler}/v1/projects/{project}/locations/{region}/jobs/spool-sweep")
    except Missing:
        return [problem("the job spool-sweep does not exist: a hung turn waits half an hour", fix=APPLY)]
    which = f"spool-sweep --location={region} --project={project}"
    if job.get("state") != "ENABLED":
        text = f"the job spool-sweep is {str(job.get('state')).lower()}"
        return [problem(text, fix=f"gcloud scheduler jobs resume {which}")]
    if code := as_object(job.get("status")).get("code"):
        text = f"the last call of the sweeper failed (code {code})"
        return [problem(text, fix="see the worker's log; whether it is deployed, and who may call it, stands in this list")]
    return [ok("the scheduler calls the sweeper")]
