"""Bucket, queue, database and worker, looked at without changing anything: what really breaks such deployments.

Permissions are asked for by their names (testIamPermissions): nothing is written to find out whether it could be.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import requests

from spool.errors import Misconfigured, Missing, Refused
from spool.finding import Finding, ok, problem, unknown
from spool.google.rest import LOGIN, TIMEOUT, Apis, Json, Rest, as_object

APPLY = "terraform -chdir=infra apply -var-file=staging.tfvars, or production.tfvars"
COMMITTING = ("storage.objects.create", "storage.objects.delete", "storage.objects.get", "storage.objects.list")
"""What a commit by precondition needs; an overwrite is a deletion for Google."""

COLLECTION, EXPIRY = "conversations", "expire_at"


def careful(look: Callable[[], Sequence[Finding]], *, project: str) -> Callable[[], Sequence[Finding]]:
    """The same, with what may be wrong with any call to Google told as a finding."""

    def looked() -> Sequence[Finding]:
        try:
            return look()
        except Misconfigured as e:
            return [problem(str(e), fix=LOGIN)]
        except Refused as e:
            kind, _, api = e.reason.partition(":")
            if kind == "disabled":
                return [problem(str(e), fix=f"gcloud services enable {api} --project={project}")]
            return [unknown(str(e), fix=f"look as somebody who may read the project {project} (roles/viewer)")]

    return looked


def bucket(rest: Rest, apis: Apis, *, name: str, emulated: bool, mine: bool) -> Sequence[Finding]:
    """Whether it is there and keeps what is committed; where it is `mine`, whether this account may commit."""
    try:
        found = rest.get(f"{apis.storage}/storage/v1/b/{name}")
    except Missing:
        fix = "`spool dev --emulators` makes it" if emulated else APPLY
        return [problem(f"the bucket {name} does not exist", fix=fix)]
    if emulated:
        return [ok(f"the bucket {name} is there"), unknown("the emulator knows no permissions, and asks for none")]
    return [*_settings(found, name), *([_permissions(rest, apis, name)] if mine else [])]


def _settings(found: Json, name: str) -> Sequence[Finding]:
    update = f"gcloud storage buckets update gs://{name}"
    wrong = list[Finding]()
    if found.get("retentionPolicy"):
        text = f"the bucket {name} has a retention policy: it forbids every commit after the first"
        wrong.append(problem(text, fix=f"{update} --clear-retention-period"))
    if not as_object(found.get("versioning")).get("enabled"):
        wrong.append(problem(f"the bucket {name} keeps no old versions", fix=f"{update} --versioning"))
    if as_object(found.get("iamConfiguration")).get("publicAccessPrevention") != "enforced":
        text = f"nothing prevents that the bucket {name} is made public"
        wrong.append(problem(text, fix=f"{update} --public-access-prevention"))
    return wrong or [ok(f"the bucket {name} keeps versions, has no retention policy, and cannot be made public")]


def _permissions(rest: Rest, apis: Apis, name: str) -> Finding:
    answer = rest.get(f"{apis.storage}/storage/v1/b/{name}/iam/testPermissions", permissions=COMMITTING)
    has = cast("list[Any]", answer.get("permissions") or [])
    missing = [permission for permission in COMMITTING if permission not in has]
    if not missing:
        return ok("this account may commit to it")
    return problem(f"this account lacks {', '.join(missing)} on it", fix=f"give it roles/storage.objectUser on gs://{name}")


def queue(rest: Rest, apis: Apis, *, project: str, location: str, name: str, emulated: bool) -> Sequence[Finding]:
    """Whether it is there, runs, and never gives a task up."""
    try:
        found = rest.get(f"{apis.tasks}/v2/projects/{project}/locations/{location}/queues/{name}")
    except Missing:
        fix = "`spool dev --emulators` makes it" if emulated else APPLY
        return [problem(f"the queue {name} does not exist in {location}", fix=fix)]
    which = f"{name} --location={location} --project={project}"
    wrong = list[Finding]()
    if found.get("state") != "RUNNING":
        text = f"the queue {name} is {str(found.get('state')).lower()}: messages wait in it"
        wrong.append(problem(text, fix=f"gcloud tasks queues resume {which}"))
    if as_object(found.get("retryConfig")).get("maxAttempts") != -1:
        text = f"the queue {name} gives a message up after {as_object(found.get('retryConfig')).get('maxAttempts')} attempts"
        wrong.append(problem(text, fix=f"gcloud tasks queues update {which} --max-attempts=unlimited"))
    return wrong or [ok(f"the queue {name} runs, and never gives a message up")]


def database(rest: Rest, apis: Apis, *, project: str, name: str, emulated: bool) -> Sequence[Finding]:
    """Whether it is there, in the right mode, and forgets idle conversations."""
    base = f"{apis.firestore}/v1/projects/{project}/databases/{name}"
    if emulated:
        return [_emulated(rest, base), unknown("the emulator never deletes what has expired")]
    try:
        found = rest.get(base)
    except Missing:
        return [problem(f"the database {name} does not exist", fix=APPLY)]
    if found.get("type") != "FIRESTORE_NATIVE":
        text = f"the database {name} is {found.get('type')}, not FIRESTORE_NATIVE: it lacks the preconditions"
        return [problem(text, fix="make another database in native mode, and name it in SPOOL_DATABASE")]
    return [ok(f"the database {name} is there, in native mode"), _expiry(rest, base, project=project, name=name)]


def _emulated(rest: Rest, base: str) -> Finding:
    with contextlib.suppress(Missing):  # an answer all the same
        rest.get(f"{base}/documents/{COLLECTION}/nobody")
    return ok("the emulator answers; it makes databases by itself")


def _expiry(rest: Rest, base: str, *, project: str, name: str) -> Finding:
    fix = (
        f"gcloud firestore fields ttls update {EXPIRY} --collection-group={COLLECTION} --enable-ttl"
        f" --database={name} --project={project}"
    )
    state = None
    with contextlib.suppress(Missing):
        field = rest.get(f"{base}/collectionGroups/{COLLECTION}/fields/{EXPIRY}")
        state = as_object(field.get("ttlConfig")).get("state")
    if state in ("ACTIVE", "CREATING"):
        return ok(f"the TTL policy on {COLLECTION}.{EXPIRY} is {state.lower()}")
    return problem(f"there is no working TTL policy on {COLLECTION}.{EXPIRY}: documents stay for ever", fix=fix)


def worker(url: str, *, emulated: bool) -> Sequence[Finding]:
    """Whether something private listens at the worker's URL; asked without a token, as a stranger would."""
    try:
        with requests.Session() as session:
            session.trust_env = not emulated
            status = session.get(f"{url}/health", timeout=TIMEOUT, allow_redirects=False).status_code
    except (requests.RequestException, OSError) as e:
        fix = "start `spool dev --emulators`" if emulated else f"see that SPOOL_WORKER_URL is right (now {url})"
        return [problem(f"the worker at {url} cannot be reached ({type(e).__name__})", fix=fix)]
    return [_worker(url, status, emulated=emulated)]


def _worker(url: str, status: int, *, emulated: bool) -> Finding:
    if status == 200:  # noqa: PLR2004 - OK
        if emulated:
            return ok(f"the worker at {url} answers")
        return problem(f"the worker at {url} answers strangers; only its own door keeps them out", fix=APPLY)
    if status in (401, 403):
        return ok(f"the worker at {url} lets no stranger in")
    if status == 404 and not emulated:  # noqa: PLR2004 - Not Found
        return unknown(f"{url} says 404: it is hidden from the internet, as it should be, or not there")
    return problem(f"the worker at {url} answers {status}", fix=f"read its log; see that SPOOL_WORKER_URL is right (now {url})")
