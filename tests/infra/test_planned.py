"""What Terraform would build in an empty project, and what the rest of the project believes of it."""

import ast
import json
import re

import pytest
from granted import grants
from planning import INFRA, NUMBER, WITH_ALL, Plan, Workspace

from spool import settings

ROOT = INFRA.parent
CLOUDBUILD = (ROOT / "cloudbuild.yaml").read_text()


# What is built


def test_a_queued_message_is_tried_until_it_is_answered_and_never_faster_than_workers_can(plan: Plan) -> None:
    queue, worker = plan.one("google_cloud_tasks_queue.spool"), plan.one("google_cloud_run_v2_service.worker")
    (retry,) = queue["retry_config"]
    wanted = {"max_attempts": -1, "max_retry_duration": "0s", "min_backoff": "2s", "max_backoff": "60s", "max_doublings": 5}
    assert retry == wanted
    (template,) = worker["template"]
    slots = template["scaling"][0]["max_instance_count"] * template["max_instance_request_concurrency"]
    (rates,) = queue["rate_limits"]
    assert 0 < rates["max_concurrent_dispatches"] <= slots
    assert template["timeout"] == "1800s", "the longest that Cloud Tasks waits"


def test_the_bucket_keeps_every_step_and_shows_nothing_to_the_public(plan: Plan) -> None:
    bucket = plan.one("google_storage_bucket.transcripts")
    assert bucket["versioning"] == [{"enabled": True}]
    assert bucket["soft_delete_policy"] == [{"retention_duration_seconds": 604800}]
    assert (bucket["uniform_bucket_level_access"], bucket["public_access_prevention"]) == (True, "enforced")


def test_the_only_index_is_the_one_that_the_sweeper_asks_by(plan: Plan) -> None:
    fields = {f.values["field"]: f.values for f in plan.of("google_firestore_field")}
    indexed = {name: [i for c in f["index_config"] for i in c["indexes"]] for name, f in fields.items()}
    sweeper = {"order": "ASCENDING", "query_scope": "COLLECTION", "array_config": None}
    assert indexed == {"*": [], "expire_at": [], "lease.at": [sweeper]}
    assert [name for name, f in fields.items() if f["ttl_config"]] == ["expire_at"]
    assert {f["collection"] for f in fields.values()} == {"conversations"}


def test_the_sweep_is_called_each_minute_as_the_scheduler_for_the_workers_audience(plan: Plan) -> None:
    job, worker = plan.one("google_cloud_scheduler_job.sweep"), plan.one("google_cloud_run_v2_service.worker")
    (target,) = job["http_target"]
    assert (job["schedule"], target["http_method"]) == ("* * * * *", "POST")
    assert target["uri"] == f"https://spool-worker-{NUMBER}.europe-west1.run.app/sweep"
    (token,) = target["oidc_token"]
    assert token["service_account_email"].startswith("spool-scheduler@")
    assert [token["audience"]] == worker["custom_audiences"]


def test_only_the_ingress_is_open_to_the_world(plan: Plan) -> None:
    ingress, worker = (plan.one(f"google_cloud_run_v2_service.{name}") for name in ("ingress", "worker"))
    assert (ingress["invoker_iam_disabled"], ingress["ingress"]) == (True, "INGRESS_TRAFFIC_ALL")
    assert (worker["invoker_iam_disabled"], worker["ingress"]) == (None, "INGRESS_TRAFFIC_INTERNAL_ONLY")


def test_each_account_may_do_what_it_is_for_and_nothing_else(infra: Workspace) -> None:
    found = grants(infra.plan("staging", **WITH_ALL))
    assert found["ingress"] == {
        ("queue", "cloudtasks.enqueuer"),
        ("account tasks", "iam.serviceAccountUser"),
        ("secret SLACK_SIGNING_SECRET", "secretmanager.secretAccessor"),
    }
    assert found["worker"] == {
        ("queue", "cloudtasks.enqueuer"),
        ("account tasks", "iam.serviceAccountUser"),
        ("project", "datastore.user"),
        ("bucket transcripts", "storage.objectUser"),
        ("secret SLACK_BOT_TOKEN", "secretmanager.secretAccessor"),
        ("secret ANTHROPIC_API_KEY", "secretmanager.secretAccessor"),
        ("secret CRM_KEY", "secretmanager.secretAccessor"),
    }
    assert found["tasks"] == found["scheduler"] == {("service worker", "run.invoker")}
    values = {what for what, role in found["deployer"] if role == "secretmanager.secretAccessor"}
    assert values == {"secret SLACK_SIGNING_SECRET"}, "the only value that a build may read"
    for account in ("builder", "deployer"):
        assert ("bucket transcripts", "storage.objectUser") not in found[account]


def test_models_on_google_cloud_need_no_key(infra: Workspace) -> None:
    plan = infra.plan("staging", model_key_env="", model="google-cloud:gemini-3-pro")
    assert ("project", "aiplatform.user") in grants(plan)["worker"]
    assert sorted(plan.outputs["secrets"]) == ["SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET"]
    assert any(api.values["service"] == "aiplatform.googleapis.com" for api in plan.of("google_project_service"))


def test_readers_of_transcripts_read_that_bucket_and_nothing_else(infra: Workspace) -> None:
    plan = infra.plan("staging", **WITH_ALL)
    named = [r.address for r in plan.resources if "group:support@acme.com" in json.dumps(r.values)]
    assert named == ["google_storage_bucket_iam_policy.transcripts"]
    policy = json.loads(plan.one(named[0])["policy_data"])
    roles = [b["role"] for b in policy["bindings"] if "group:support@acme.com" in b["members"]]
    assert roles == ["roles/storage.objectViewer"]


def test_production_waits_for_an_approval_and_reads_what_staging_ran(infra: Workspace) -> None:
    staging = infra.plan("staging", **WITH_ALL)
    its = WITH_ALL["repository"].replace("-staging", "-production")
    production = infra.plan("production", repository=its, releases_bucket=staging.outputs["releases_bucket"])
    here, there = (p.one("google_cloudbuild_trigger.deploy[0]") for p in (staging, production))
    assert (here["approval_config"], there["approval_config"]) == (
        [{"approval_required": False}],
        [{"approval_required": True}],
    )
    pushes = [t["repository_event_config"][0]["push"][0] for t in (here, there)]
    assert [(p["branch"], p["tag"]) for p in pushes] == [("^main$", None), (None, "^release-")]
    assert here["substitutions"]["_RELEASES"] == there["substitutions"]["_RELEASES"] == "acme-spool-staging-spool-releases"
    assert {
        r.values["role"]
        for r in staging.of("google_storage_bucket_iam_member")
        if r.values["member"] in WITH_ALL["release_readers"]
    } == {"roles/storage.objectViewer"}


def test_alerts_and_budget_reach_people(infra: Workspace) -> None:
    plan = infra.plan("staging", **WITH_ALL)
    assert [c.values["labels"] for c in plan.of("google_monitoring_notification_channel")] == [
        {"email_address": "on-call@acme.com"}
    ]
    (budget,) = plan.of("google_billing_budget")
    assert budget.values["budget_filter"][0]["projects"] == [f"projects/{NUMBER}"]
    assert len(plan.of("google_monitoring_alert_policy")) > 15
    assert infra.plan("staging").of("google_monitoring_alert_policy") == [], "what reaches nobody is not paid for"


def test_a_budget_writes_to_mailboxes_only_because_it_takes_no_other_channel(infra: Workspace) -> None:
    """https://cloud.google.com/billing/docs/how-to/budgets-notification-recipients"""
    pager = {"alert_channels": ["projects/acme-spool-staging/notificationChannels/7"]}
    without, beside = (
        infra.plan("staging", **{**WITH_ALL, **pager, "alert_emails": []}),
        infra.plan("staging", **{**WITH_ALL, **pager}),
    )
    assert without.one("google_billing_budget.monthly[0]")["all_updates_rule"] == []
    (rule,) = beside.one("google_billing_budget.monthly[0]")["all_updates_rule"]
    assert len(rule["monitoring_notification_channels"]) == len(WITH_ALL["alert_emails"])
    assert pager["alert_channels"][0] not in rule["monitoring_notification_channels"]
    (alert, *_) = without.of("google_monitoring_alert_policy")
    assert alert.values["notification_channels"] == pager["alert_channels"]


def test_only_the_branch_itself_is_deployed_and_none_that_is_like_it(infra: Workspace) -> None:
    (trigger,) = infra.plan("staging", **WITH_ALL, branch="v1.2").of("google_cloudbuild_trigger")
    pattern = trigger.values["repository_event_config"][0]["push"][0]["branch"]
    assert [bool(re.search(pattern, name)) for name in ("v1.2", "v1x2", "v1.2-mine", "my-v1.2")] == [True, False, False, False]


def test_whoever_is_woken_gets_commands_that_name_this_deployment(infra: Workspace) -> None:
    """`spool doctor` alone looks at the machine that it runs on."""
    alerts = infra.plan("staging", **WITH_ALL).of("google_monitoring_alert_policy")
    commands = [
        c
        for a in alerts
        for c in re.findall(r"`((?:spool doctor|gcloud \S+ \S+ \S+ \S+)[^`]*)`", a.values["documentation"][0]["content"])
    ]
    assert {c.split()[0] for c in commands} == {"spool", "gcloud"}
    assert [c for c in commands if not re.search(r"--project[= ]acme-spool-staging .*europe-west1", c)] == []


def test_the_dashboard_shows_metrics_that_are_there(plan: Plan) -> None:
    (tiles,) = [json.loads(d.values["dashboard_json"])["mosaicLayout"]["tiles"] for d in plan.of("google_monitoring_dashboard")]
    filters = re.findall(r"metric\.type=\\\"([^\"\\]+)", json.dumps(tiles))
    own = {f"logging.googleapis.com/user/{m.values['name']}" for m in plan.of("google_logging_metric")}
    assert own <= set(filters), "each of our own metrics has a chart"
    assert {name for name in filters if name.startswith("logging.")} <= own
    places = [(tile["xPos"], tile["yPos"]) for tile in tiles]
    assert len(set(places)) == len(places)


# Lists that must agree


def needed(door: str) -> set[str]:
    """What functions/DOOR.py must be told on Google Cloud, by the arguments of its `Settings.read`."""
    tree = ast.parse((ROOT / "functions" / f"{door}.py").read_text())
    (call,) = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "Settings.read"]
    names: set[str] = set()
    for keyword in call.keywords:
        for part in ast.walk(keyword.value):
            if isinstance(part, ast.Constant):
                names.add(str(part.value))
            if isinstance(part, ast.Name):
                names |= set(getattr(settings, part.id))
    return names


def given(plan: Plan, door: str) -> set[str]:
    """What the service of that door is told, secrets included."""
    (template,) = plan.one(f"google_cloud_run_v2_service.{door}")["template"]
    plain = {variable["name"] for variable in template["containers"][0]["env"]}
    held = {what.removeprefix("secret ") for what, role in grants(plan)[door] if role == "secretmanager.secretAccessor"}
    return plain | held


READ = set(re.findall(r'"([A-Z][A-Z_]+)"', (ROOT / "functions" / "spool" / "settings.py").read_text()))
ELSEWHERE = {"GOOGLE_CLOUD_LOCATION", "ANTHROPIC_API_KEY"}
"""Read by the model's own client."""


@pytest.mark.parametrize("door", ["ingress", "worker"])
def test_a_service_is_told_what_its_door_needs_and_nothing_that_nobody_reads(door: str, plan: Plan) -> None:
    assert needed(door)
    assert needed(door) - given(plan, door) == set()
    assert given(plan, door) - READ - (ELSEWHERE if door == "worker" else set()) == set()


@pytest.mark.parametrize("door", ["ingress", "worker"])
def test_a_deploy_sets_what_terraform_says(door: str, plan: Plan) -> None:
    (deploy,) = re.findall(rf"^ +gcloud run deploy spool-{door} .*?\n\n", CLOUDBUILD, re.DOTALL | re.MULTILINE)
    (pairs,) = re.findall(r'--set-env-vars="(.*?)"', deploy)
    (template,) = plan.one(f"google_cloud_run_v2_service.{door}")["template"]
    (container,) = template["containers"]
    assert {pair.split("=")[0] for pair in pairs.split(",")} == {variable["name"] for variable in container["env"]}
    limits = container["resources"][0]["limits"]
    for flag in (
        f"--cpu={limits['cpu']}",
        f"--memory={limits['memory']}",
        f"--timeout={template['timeout'].rstrip('s')}",
        "--cpu-boost",
    ):
        assert flag in deploy.split()
    assert f'--service-account="{template["service_account"].split("@")[0]}@' in deploy
    for kept in ("--min", "--ingress", "--allow-unauthenticated", "--no-allow-unauthenticated", "--add-custom-audiences"):
        assert not re.search(rf"{kept}\b(?!-)", deploy), f"{kept} is Terraform's"


def test_a_build_by_hand_is_told_what_a_trigger_says(plan: Plan) -> None:
    """In words that gcloud takes apart at semicolons."""
    pairs = [pair.split("=", 1) for pair in plan.outputs["by_hand"].split(";")]
    assert dict(pairs) == plan.outputs["substitutions"]


def test_triggers_and_cloudbuild_name_the_same_substitutions(plan: Plan) -> None:
    (block,) = re.findall(r"^substitutions:\n((?:  .*\n)+)", CLOUDBUILD, re.MULTILINE)
    assert set(re.findall(r"^  (_\w+):", block, re.MULTILINE)) == set(plan.outputs["substitutions"])
