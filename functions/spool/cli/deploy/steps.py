"""The first deploy as data: which commands, in which order, and how to see that each is done.

    tools ─► login ─► project, billing, APIs ─► Terraform's state ─► infra/ ─► Slack app ─► secrets ─► build ─► Request URL

The order matters: Terraform needs a bucket before it can make any, the app needs the ingress' URL, a revision does not start
before its secrets have versions, and Slack accepts the URL only of an ingress that answers.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from spool.cli.deploy.site import Site

APIS = ("cloudresourcemanager", "iam", "serviceusage", "storage")
"""What Terraform must find enabled, to enable the others."""

Argv = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A command that only looks. done: whether what it prints, having succeeded, says that the step is done."""

    argv: Argv
    done: Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A command that changes something. secret: the variable whose value it reads from stdin, or empty."""

    argv: Argv
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """title: what is there afterwards. why: what to know before. by_hand: what only a person can do, remembered when done."""

    name: str
    title: str
    why: str = ""
    probe: Probe | None = None
    changes: tuple[Change, ...] = ()
    by_hand: str = ""


def steps(site: Site) -> list[Step]:
    """All of them, in their order."""
    return [*_login(), *_project(site), *_infra(site), _slack_app(), *_secrets(site), _build(site), _request_url()]


def commands(site: Site) -> list[Argv]:
    """Every command that setup may run."""
    found = [(*([s.probe.argv] if s.probe else []), *(c.argv for c in s.changes)) for s in steps(site)]
    others = (events_url(), substitutions(), head(), trigger(site, "0" * 40), submit(site, {"_ENVIRONMENT": site.environment}))
    return list(dict.fromkeys([*(argv for argvs in found for argv in argvs), *others]))


def _login() -> list[Step]:
    accounts = Probe(argv=("gcloud", "auth", "list", "--filter=status:ACTIVE", "--format=value(account)"), done=_anything)
    token = Probe(argv=("gcloud", "auth", "application-default", "print-access-token"), done=_anything)
    adc = Change(argv=("gcloud", "auth", "application-default", "login"))
    return [
        Step(name="login", title="gcloud is logged in", probe=accounts, changes=(Change(argv=("gcloud", "auth", "login")),)),
        Step(name="adc", title="Terraform and spool doctor are logged in", probe=token, changes=(adc,)),
    ]


def _project(site: Site) -> list[Step]:
    p = site.project
    active = Probe(argv=("gcloud", "projects", "describe", p, "--format=value(lifecycleState)"), done=_is("ACTIVE"))
    paid = Probe(argv=("gcloud", "billing", "projects", "describe", p, "--format=value(billingEnabled)"), done=_is("True"))
    listed = ("gcloud", "services", "list", "--enabled", f"--project={p}", "--format=value(config.name)")
    names = tuple(f"{api}.googleapis.com" for api in APIS)
    enable = Change(argv=("gcloud", "services", "enable", *names, f"--project={p}"))
    return [
        Step(
            name="project",
            title=f"the project {p}",
            why="An id that somebody else has taken is refused: put another one into the tfvars file.",
            probe=active,
            changes=(Change(argv=("gcloud", "projects", "create", p)),),
        ),
        _billing(site, paid),
        Step(
            name="apis",
            title="the APIs that Terraform needs first",
            probe=Probe(argv=listed, done=_holds(names)),
            changes=(enable,),
        ),
    ]


def _billing(site: Site, probe: Probe) -> Step:
    link = ("gcloud", "billing", "projects", "link", site.project)
    title = f"{site.project} is billed"
    if not site.billing_account:
        by_hand = f"Link a billing account: gcloud billing accounts list, then {' '.join(link)} --billing-account=…"
        return Step(name="billing", title=title, probe=probe, by_hand=by_hand)
    change = Change(argv=(*link, f"--billing-account={site.billing_account}"))
    return Step(name="billing", title=title, probe=probe, changes=(change,))


def _infra(site: Site) -> list[Step]:
    bucket, project = f"gs://{site.project}-spool-state", f"--project={site.project}"
    describe = ("gcloud", "storage", "buckets", "describe", bucket)
    kinds = (f"--location={site.region}", "--uniform-bucket-level-access", "--public-access-prevention")
    make = Change(argv=("gcloud", "storage", "buckets", "create", bucket, project, *kinds))
    terraform, values = ("terraform", "-chdir=infra"), f"-var-file={site.environment}.tfvars"
    backend = (f"-backend-config=bucket={site.project}-spool-state", "-backend-config=prefix=spool")
    plan = (*terraform, "plan", values, "-detailed-exitcode", "-input=false", "-lock=false", "-no-color")
    init = Change(argv=(*terraform, "init", "-reconfigure", *backend))
    return [
        Step(
            name="state",
            title="a bucket for Terraform's state",
            probe=Probe(argv=(*describe, "--format=value(name)"), done=_anything),
            changes=(make,),
        ),
        Step(
            name="state-versions",
            title="that bucket keeps old versions",
            probe=Probe(argv=(*describe, "--format=value(versioning_enabled)"), done=_is("True")),
            changes=(Change(argv=("gcloud", "storage", "buckets", "update", bucket, "--versioning")),),
        ),
        Step(
            name="infra",
            title="everything in infra/",
            why="Terraform shows what it would make, and asks for a yes of its own. If an API is not ready yet: setup again.",
            probe=Probe(argv=plan, done=lambda _: True),  # exit code 0: nothing to change
            changes=(init, Change(argv=(*terraform, "apply", values))),
        ),
    ]


def _slack_app() -> Step:
    return Step(
        name="slack-app",
        title="the Slack app",
        by_hand=(
            "Open the link, choose the workspace, create the app, then Install App. Slack may say that the Request URL does "
            "not answer: it will, after the first build. Keep the page open: the next steps ask for two secrets from it."
        ),
    )


def _secrets(site: Site) -> list[Step]:
    return [_secret(site.project, variable, name) for variable, name in site.secrets.items()]


def _secret(project: str, variable: str, name: str) -> Step:
    what = (name, f"--project={project}")
    enabled = ("--filter=state=ENABLED", "--limit=1", "--format=value(name)")
    return Step(
        name=name,
        title=f"a version of the secret {name}",
        why=f"You are asked for {variable} without an echo; it goes to gcloud through a pipe, and is kept nowhere else.",
        probe=Probe(argv=("gcloud", "secrets", "versions", "list", *what, *enabled), done=_anything),
        changes=(Change(argv=("gcloud", "secrets", "versions", "add", *what, "--data-file=-"), secret=variable),),
    )


def _build(site: Site) -> Step:
    """Its command is made when it runs: it needs Terraform's outputs, or the commit."""
    describe = (
        "gcloud",
        "run",
        "services",
        "describe",
        "spool-ingress",
        f"--project={site.project}",
        f"--region={site.region}",
    )
    return Step(
        name="build",
        title="the first build: both functions are deployed",
        why="It tests, builds and deploys, which takes about ten minutes.",
        probe=Probe(argv=(*describe, "--format=json(status.traffic)"), done=is_promoted),
    )


def _request_url() -> Step:
    return Step(
        name="request-url",
        title="Slack knows that the Request URL answers",
        by_hand=(
            "In https://api.slack.com/apps → your app → Event Subscriptions: press Retry beside the URL until it says "
            "Verified, then Save."
        ),
    )


# ---- what is known only on the way


def events_url() -> Argv:
    return ("terraform", "-chdir=infra", "output", "-raw", "events_api_url")


def substitutions() -> Argv:
    return ("terraform", "-chdir=infra", "output", "-json", "substitutions")


def head() -> Argv:
    return ("git", "rev-parse", "HEAD")


def trigger(site: Site, commit: str) -> Argv:
    """The build, where a repository is connected."""
    where = (f"--project={site.project}", f"--region={site.region}")
    return ("gcloud", "builds", "triggers", "run", f"spool-{site.environment}", *where, f"--sha={commit}")


def submit(site: Site, values: Mapping[str, str]) -> Argv:
    """The build of this folder by hand, with what a trigger would say.

    Its source goes where infra/ deletes it after a month: gcloud's own place is a bucket in the United States, for ever.
    """
    deployer = f"projects/{site.project}/serviceAccounts/spool-deployer@{site.project}.iam.gserviceaccount.com"
    where = (f"--project={site.project}", f"--region={site.region}", f"--service-account={deployer}")
    source = f"--gcs-source-staging-dir=gs://run-sources-{site.project}-{site.region}/by-hand"
    given = ";".join(f"{name}={value}" for name, value in values.items())
    return ("gcloud", "builds", "submit", *where, source, "--config=cloudbuild.yaml", f"--substitutions=^;^{given}")


def needs_a_trigger(site: Site) -> str:
    """Why no build of this environment can be started by hand, and what to do; empty where one can."""
    if site.repository or site.environment != "production":
        return ""
    page = f"https://console.cloud.google.com/cloud-build/repositories/2nd-gen?project={site.project}"
    return (
        "production deploys a commit that staging ran, and a build by hand names none: connect the repository to Cloud Build "
        f"in {site.region} ({page}), write its name into infra/production.tfvars, and run spool setup again"
    )


# ---- what a probe printed


def _anything(out: str) -> bool:
    return bool(out.strip())


def _is(word: str) -> Callable[[str], bool]:
    return lambda out: out.strip() == word


def _holds(words: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda out: set(words) <= set(out.split())


def is_promoted(out: str) -> bool:
    """Whether traffic goes to a revision that a build made; the one that infra/ makes is numbered, such as -00001-abc."""
    try:
        status: Any = json.loads(out)["status"]
        targets = cast("list[dict[str, Any]]", status["traffic"])
        serving = [str(t.get("revisionName", "")) for t in targets if t.get("percent")]
    except (ValueError, LookupError, TypeError, AttributeError):
        return False
    return bool(serving) and not any(re.search(r"-\d{5}-\w+$", name) for name in serving)
