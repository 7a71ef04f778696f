"""Who may do what: the permissions that the two functions, the queue and the scheduler cannot do without.

Read from each thing's own IAM policy; what somebody granted on the whole project is not seen there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from spool.errors import Missing, Refused
from spool.finding import Finding, ok, problem, unknown
from spool.google.checks import APPLY
from spool.google.deployed import WORKER
from spool.google.rest import Apis, Json, Rest, as_objects

COMMITTERS = ("roles/storage.objectUser", "roles/storage.objectAdmin", "roles/storage.admin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The service accounts, by their e-mail addresses."""

    ingress: str
    worker: str
    tasks: str
    scheduler: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Who must have one of `roles` on a thing; `read` gets its IAM policy."""

    what: str
    roles: tuple[str, ...]
    accounts: tuple[str, ...]
    read: Callable[[], Json]


def grants(rest: Rest, apis: Apis, *, project: str, region: str, queue: str, bucket: str, accounts: Accounts) -> list[Grant]:
    """What the two functions, the queue and the scheduler cannot do without."""
    here = f"projects/{project}/locations/{region}"
    run = f"{apis.run}/v2/{here}/services/{WORKER}:getIamPolicy"
    tasks = f"{apis.tasks}/v2/{here}/queues/{queue}:getIamPolicy"
    account = f"{apis.iam}/v1/projects/{project}/serviceAccounts/{accounts.tasks}:getIamPolicy"
    objects = f"{apis.storage}/storage/v1/b/{bucket}/iam"
    both, callers = (accounts.ingress, accounts.worker), (accounts.tasks, accounts.scheduler)
    enqueue, act_as = ("roles/cloudtasks.enqueuer",), ("roles/iam.serviceAccountUser",)
    return [
        Grant(what=f"call {WORKER}", roles=("roles/run.invoker",), accounts=callers, read=lambda: rest.get(run)),
        Grant(what=f"put tasks into {queue}", roles=enqueue, accounts=both, read=lambda: rest.ask(tasks, {})),
        Grant(what=f"act as {accounts.tasks}", roles=act_as, accounts=both, read=lambda: rest.ask(account, {})),
        Grant(what=f"commit to {bucket}", roles=COMMITTERS, accounts=(accounts.worker,), read=lambda: rest.get(objects)),
    ]


def granted(grant: Grant) -> Finding:
    """Whether each account has it."""
    try:
        policy = grant.read()
    except Missing:
        return problem(f"nobody can {grant.what}: it does not exist", fix=APPLY)
    except Refused as e:
        if e.reason != "denied":
            raise
        return unknown(f"who may {grant.what}: {e}", fix="look as somebody who may read policies (roles/iam.securityReviewer)")
    holders = set(_members(policy, grant.roles))
    if public := holders & {"allUsers", "allAuthenticatedUsers"}:
        return problem(f"{public.pop()} may {grant.what}", fix=APPLY)
    if lacking := [a for a in grant.accounts if a and f"serviceAccount:{a}" not in holders]:
        return problem(f"{', '.join(lacking)} may not {grant.what}: {grant.roles[0]} is missing on it", fix=APPLY)
    return ok(f"{', '.join(a.partition('@')[0] for a in grant.accounts)} may {grant.what}")


def _members(policy: Json, roles: Sequence[str]) -> Iterator[str]:
    for binding in as_objects(policy.get("bindings")):
        if binding.get("role") in roles:
            yield from map(str, cast("list[Any]", binding.get("members") or []))
