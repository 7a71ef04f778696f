"""infra/ is what it says: checked and planned by Terraform itself, without Google. Each check finds a planted error."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from planning import INFRA, WITH_ALL, Refused, Workspace, absent, inherited

ROOT = INFRA.parent
CHECKOV = "checkov==3.3.30"  # run by uv on its own: its hundred pinned dependencies are nobody else's


# Checks of the text: each gives its complaints


def unformatted(infra: Workspace) -> list[str]:
    return infra.unformatted()


def mistakes(infra: Workspace) -> list[str]:
    return infra.mistakes()


def variables_without_words(infra: Workspace) -> list[str]:
    """A variable says what it is for, refuses nonsense (a bool takes none) and is used."""
    everything = "\n".join(text for _, text in infra.files())
    found: list[str] = []
    for name, body in re.findall(r'^variable "(\w+)" \{\n(.*?)^\}$', everything, re.DOTALL | re.MULTILINE):
        wanted = ["description", "type", *([] if re.search(r"type += bool$", body, re.MULTILINE) else ["validation"])]
        found += [f"{name} has no {word}" for word in wanted if not re.search(rf"^  {word}\b", body, re.MULTILINE)]
        used = len(re.findall(rf"\bvar\.{name}\b", everything)) - len(re.findall(rf"\bvar\.{name}\b", body))
        found += [] if used else [f"{name} is not used"]
    return found


def roles_without_reason(infra: Workspace) -> list[str]:
    """The line that names a role says what for."""
    lines = [(file, line) for file, text in infra.files() for line in text.splitlines()]
    named = [(file, line) for file, line in lines if re.search(r'"roles/\w', line)]
    return [f"{file}: {line.strip()}" for file, line in named if not re.search(r'"roles/[\w.]+".* # .{10}', line)]


def values_of_secrets(infra: Workspace) -> list[str]:
    """A secret's value would stand in the state, which more people may read than the secret."""
    kinds = r"secret_manager_secret_version|secret_data|sensitive_labels|auth_token"
    return [f"{file}: {line.strip()}" for file, text in infra.files() for line in text.splitlines() if re.search(kinds, line)]


def hasty(infra: Workspace) -> list[str]:
    """In an empty project an API must be switched on before anything is made with it."""
    edges = infra.graph()

    def reaches(name: str) -> bool:
        return name == "google_project_service.api" or any(map(reaches, edges.get(name, ())))

    everything = "\n".join(text for _, text in infra.files())
    made = (".".join(pair) for pair in re.findall(r'^resource "(\w+)" "(\w+)"', everything, re.MULTILINE))
    return [name for name in made if not reaches(name)]


# Checks of a plan


def transcripts_that_expire(infra: Workspace) -> list[str]:
    """Only what was overwritten or deleted may go away by itself, and late: a task lives for 31 days."""
    bucket = infra.plan("staging", **WITH_ALL).one("google_storage_bucket.transcripts")
    conditions = [rule["condition"][0] for rule in bucket["lifecycle_rule"]]
    found = [
        f"deletes live ones, or too soon: {c}"
        for c in conditions
        if c["with_state"] != "ARCHIVED" or (c["days_since_noncurrent_time"] or 0) < 35
    ]
    return [*found, *(["a retention policy forbids overwriting"] if bucket["retention_policy"] else [])]


def alerts_without_words(infra: Workspace) -> list[str]:
    """Whoever is woken reads what to do."""
    found: list[str] = []
    for alert in infra.plan("staging", **WITH_ALL).of("google_monitoring_alert_policy"):
        (documentation,) = alert.values["documentation"] or [{"content": ""}]
        words: str = documentation["content"]
        if len(words) < 40 or "\n" in words or not words.endswith("."):
            found.append(f"{alert.address}: {words!r}")
    return found


def events_that_nobody_writes(infra: Workspace) -> list[str]:
    """Alerts and metrics count events by the words that the code writes."""
    sources = "\n".join(path.read_text() for path in (ROOT / "functions").rglob("*.py"))
    asked: set[str] = set()
    for alert in infra.plan("staging", **WITH_ALL).of("google_monitoring_alert_policy"):
        for (threshold,) in (c["condition_threshold"] for c in alert.values["conditions"] if c["condition_threshold"]):
            for several in re.findall(r"metric\.labels\.event=one_of\((.*?)\)", threshold["filter"]):
                asked |= set(re.findall(r'"(\w+)"', several))
    for metric in infra.plan("staging", **WITH_ALL).of("google_logging_metric"):
        asked |= set(re.findall(r'jsonPayload\.event="(\w+)"', metric.values["filter"]))
    assert asked
    return [event for event in sorted(asked) if f'"{event}"' not in sources]


def strangers(infra: Workspace) -> list[str]:
    """Nobody is everybody, and nobody may do everything."""
    found: list[str] = []
    for resource in infra.plan("staging", **WITH_ALL).resources:
        said = json.dumps(resource.values)
        found += [f"{resource.address}: {who}" for who in ("allUsers", "allAuthenticatedUsers") if who in said]
        found += [
            f"{resource.address}: {role}" for role in ("roles/owner", "roles/editor", "roles/viewer") if f'"{role}"' in said
        ]
    return found


def complaints_of_checkov(infra: Workspace) -> list[str]:
    """What a scanner for insecure settings finds beyond the exceptions, each of which says why."""
    uv = inherited().get("UV") or shutil.which("uv") or absent("uv is missing: run the tests by `uv run pytest`")
    words = [uv, "tool", "run", "--from", CHECKOV, "checkov", "-d", str(infra.folder), "--framework", "terraform"]
    done = subprocess.run(  # noqa: S603 - our own words
        [*words, "--skip-download", "--quiet", "--compact", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if not done.stdout.strip():
        absent(f"{CHECKOV} cannot be run by uv: {done.stderr.strip()[-300:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["summary"]["resource_count"] > 40
    assert report["summary"]["parsing_errors"] == 0
    return [f"{c['check_id']} {c['resource']}: {c['check_name']}" for c in report["results"]["failed_checks"]]


CHECKS: tuple[Callable[[Workspace], list[str]], ...] = (
    unformatted,
    mistakes,
    variables_without_words,
    roles_without_reason,
    values_of_secrets,
    hasty,
    transcripts_that_expire,
    alerts_without_words,
    events_that_nobody_writes,
    strangers,
    complaints_of_checkov,
)


@pytest.mark.parametrize("check", CHECKS)
def test_nothing_is_wrong(check: Callable[[Workspace], list[str]], infra: Workspace) -> None:
    assert check(infra) == []


@pytest.mark.parametrize(
    "planted",
    [
        (unformatted, "queue.tf", '  name     = "spool"', '  name = "spool"', "queue.tf"),
        (mistakes, "queue.tf", "max_doublings ", "max_doublngs ", 'argument named "max_doublngs" is not expected'),
        (
            mistakes,
            "queue.tf",
            "  stackdriver_logging_config {",
            "  stackdriver_logging {",
            'type "stackdriver_logging" are not expected',
        ),
        (mistakes, "queue.tf", "    sampling_ratio = 1\n", "", 'argument "sampling_ratio" is required'),
        (mistakes, "queue.tf", '"2s"', "[2]", "string required"),
        (
            mistakes,
            "services.tf",
            "google_cloud_tasks_queue.spool.name",
            "google_cloud_tasks_queue.sploo.name",
            "has not been declared",
        ),
        (
            mistakes,
            "services.tf",
            "google_cloud_tasks_queue.spool.name",
            "google_cloud_tasks_queue.spool.nam",
            'attribute named "nam"',
        ),
        (mistakes, "scheduler.tf", '"google_cloud_scheduler_job"', '"google_cloud_schedule"', "does not support resource type"),
        (
            variables_without_words,
            "variables.tf",
            'variable "region" {\n  description',
            'variable "region" {\n  # description',
            "region has no description",
        ),
        (variables_without_words, "variables.tf", "# What runs\n", 'variable "x" {\n  type = bool\n}\n', "x is not used"),
        (
            roles_without_reason,
            "accounts.tf",
            '"roles/datastore.user" #',
            '"roles/datastore.user"\n  #',
            "roles/datastore.user",
        ),
        (
            values_of_secrets,
            "secrets.tf",
            'resource "google_secret_manager_secret" "secret"',
            'resource "google_secret_manager_secret_version" "s"',
            "_version",
        ),
        (
            hasty,
            "registry.tf",
            "  depends_on = [google_project_service.api]\n",
            "",
            "google_artifact_registry_repository.spool",
        ),
        (transcripts_that_expire, "bucket.tf", '      with_state                 = "ARCHIVED"\n', "", "deletes live ones"),
        (
            transcripts_that_expire,
            "bucket.tf",
            "  versioning {",
            "  retention_policy {\n    retention_period = 60\n  }\n  versioning {",
            "a retention policy",
        ),
        (alerts_without_words, "alerts.tf", "    content   = each.value.todo", '    content   = "See there."', "See there."),
        (events_that_nobody_writes, "alerts.tf", '["apology"]', '["apologie"]', "apologie"),
        (strangers, "services.tf", '"INGRESS_TRAFFIC_ALL"', '"allUsers"', "allUsers"),
        (strangers, "accounts.tf", '"roles/datastore.user"', '"roles/editor"', "roles/editor"),
        (
            complaints_of_checkov,
            "bucket.tf",
            "uniform_bucket_level_access = true",
            "uniform_bucket_level_access = false",
            "CKV_GCP_29",
        ),
    ],
)
def test_each_check_finds_an_error_that_is_planted(
    planted: tuple[Callable[[Workspace], list[str]], str, str, str, str], broken: Workspace
) -> None:
    check, file, old, new, complaint = planted
    broken.plant(file, old, new)
    found = check(broken)
    assert any(complaint in one for one in found), f"not found: {found}"


# What is refused


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_the_examples_are_no_values(environment: str, broken: Workspace) -> None:
    for values in broken.folder.glob("*.tfvars"):
        shutil.copy(INFRA / values.name, values)
    with pytest.raises(Refused, match="This is still the example"):
        broken.plan(environment)


LONG = "projects/other/locations/us-east1/connections/c/repositories/r"
NONSENSE: dict[str, list[tuple[Any, str]]] = {
    "project_id": [("Acme", "A project id has")],
    "environment": [("test", "Write staging or production")],
    "region": [("eu", "Write one region")],
    "ingress_min_instances": [(7, "no more than ingress_max_instances"), (-1, "Write 0 or more")],
    "worker_min_instances": [(7, "no more than worker_max_instances"), (-1, "Write 0 or more")],
    "ingress_max_instances": [(101, "Write 1 to 100")],
    "worker_max_instances": [(101, "Write 1 to 100")],
    "worker_concurrency": [(81, "Write 1 to 80"), (0, "Write 1 to 80")],
    "model": [("claude", "Write provider:name"), ("anthropic:claude,SPOOL_BUCKET=x", "Write provider:name")],
    "model_key_env": [("the key", "Write a name such as")],
    "model_location": [("mars", "Write a region, us, eu or global")],
    "secrets": [({"CRM_KEY": "crm"}, "each id begins with spool-"), ({"SLACK_BOT_TOKEN": "spool-x"}, "Spool's own")],
    "transcript_readers": [(["allUsers"], "every conversation to the world")],
    "alert_emails": [(["on-call@example.com"], "of your own"), (["on-call"], "of your own")],
    "alert_channels": [(["pager"], "notificationChannels")],
    "billing_account": [("mine", "Write an id such as")],
    "monthly_budget": [(0, "Write a whole number"), (1.5, "Write a whole number")],
    "repository": [("acme/spool", "gcloud builds repositories list"), (LONG, "connect the repository there")],
    "branch": [("ma in", "a branch's plain name")],
    "releases_bucket": [("some-bucket", "staging makes its own")],
    "release_readers": [(["user:me@acme.com"], "Write serviceAccount:")],
}


COMPARING = {"ingress_min_instances", "worker_min_instances", "secrets", "repository", "releases_bucket"}
"""Variables that are held against another, which must be in order itself."""


@pytest.mark.parametrize("comparing", [False, True])
@pytest.mark.parametrize("nth", [0, 1])
def test_nonsense_is_refused_with_a_sentence(nth: int, comparing: bool, infra: Workspace) -> None:  # noqa: FBT001
    values = {name: values for name, values in NONSENSE.items() if (name in COMPARING) == comparing}
    tried = {name: several[nth] for name, several in values.items() if nth < len(several)}
    with pytest.raises(Refused) as refused:
        infra.plan("staging", **{name: value for name, (value, _) in tried.items()})
    assert [name for name, (_, sentence) in tried.items() if sentence not in str(refused.value)] == []


def test_production_needs_to_know_where_staging_records(infra: Workspace) -> None:
    with pytest.raises(Refused, match="Production needs staging's releases bucket"):
        infra.plan("production", releases_bucket="")


def test_each_variable_that_refuses_is_shown_nonsense(infra: Workspace) -> None:
    text = dict(infra.files())["variables.tf"]
    refusing = re.findall(r'^variable "(\w+)" \{\n(?:(?!^\}$).*\n)*?  validation', text, re.MULTILINE)
    assert set(refusing) == set(NONSENSE)
