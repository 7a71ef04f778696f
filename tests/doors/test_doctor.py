"""`spool doctor`: every fault that keeps an agent from answering is told with its fix, and nothing is changed by looking."""

import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from driving import SECRET, driven
from fake_cloud import (
    BOT_TOKEN,
    HERE,
    MODEL_KEY,
    PROJECT,
    REGION,
    SIGNING_SECRET,
    STABLE,
    Cloud,
    policy,
    serving_cloud,
    version,
)

from emulated import Place
from spool.cli import main
from spool.cli.doctor import Found, look
from spool.cli.doctor.agent import loads
from spool.cli.doctor.deployment import there
from spool.cli.doctor.here import DOORS, here
from spool.envelope import ConversationKey, Envelope
from spool.errors import Misconfigured
from spool.finding import Check, Finding, ok, problem, unknown
from spool.google import checks as google
from spool.google.rest import LOGIN, Rest
from spool.local import checks as local
from spool.local.lock import Lock
from spool.local.tasks import LocalTasks
from spool.settings import inherited
from spool.slack import checks as slack
from spool.slack.manifest import manifest
from spool.slack.probe import request_url
from spool.task import Task

ROOT = Path(__file__).parents[2]
NOW = 1_715_000_000
SAID = Envelope(
    conversation=ConversationKey(team="T1", channel="C1", thread_ts="1715000000.000100"),
    ts="1715000000.000100",
    user="U1",
    text="Hello",
    addressed="dm",
)
TASK = Task.of(SAID, first_seen=float(NOW))
Run = Callable[..., tuple[int, str, str]]
Break = Callable[[Cloud], object]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with serving_cloud() as found:
        yield found


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SLACK_BOT_TOKEN", "SLACK_SIGNING_SECRET", "SPOOL_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPOOL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def run(state_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command, on a machine whose ports are free, whatever else runs on this one: port 0 is any free one."""
    del state_dir
    monkeypatch.setattr("spool.cli.doctor.here.PORTS", ((0, "use --port"),))

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["doctor", *arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def seen(checks: list[Check], *names: str) -> list[Found]:
    return asyncio.run(look([check for check in checks if not names or check.name in names]))


def deployed(cloud: Cloud, *names: str, **environ: str) -> list[Found]:
    """What is found of the deployment in `cloud`; of the checks named, or of all."""
    rest = Rest(project=PROJECT, anonymous=True)
    given = inherited({**environ, "SLACK_API_URL": f"{cloud.url}/api/"})
    for path in ("ingress", "worker"):
        env = cloud.answers.get(f"/v2/{HERE}/services/spool-{path}", {}).get("template", {"containers": [{"env": []}]})
        env["containers"][0]["env"].append({"name": "SLACK_API_URL", "value": f"{cloud.url}/api/"})
    return seen(there(given, project=PROJECT, region=REGION, apis=cloud.apis, rest=rest), *names)


def problems(found: list[Found]) -> list[Finding]:
    return [finding for _, finding in found if finding.state == "problem"]


def states(found: list[Found]) -> set[str]:
    return {finding.state for _, finding in found}


# ---- the command


def test_a_problem_is_told_with_its_fix_below_it_and_is_a_failure(run: Run, state_dir: Path) -> None:
    state_dir.write_text("no directory")
    code, out, _ = run()
    assert code == 1
    lines = out.splitlines()
    (at,) = [n for n, line in enumerate(lines) if line.startswith("PROBLEM")]
    assert "is no directory" in lines[at]
    assert lines[at + 1].strip().startswith("fix: remove it")
    assert lines[-1].startswith("1 problem: ")


def test_where_all_is_well_it_says_so_and_has_written_nothing(run: Run, tmp_path: Path) -> None:
    asyncio.run(a_queue(tmp_path / "state"))
    before = tree(tmp_path)
    code, out, _ = run()
    assert (code, out.splitlines()[-1].startswith("All clear: ")) == (0, True), out
    assert "queue.db is sound" in out
    assert tree(tmp_path) == before


async def a_queue(state_dir: Path) -> None:
    tasks = LocalTasks(state_dir)
    await tasks.create(TASK)
    tasks.close()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def test_programs_get_one_array(run: Run) -> None:
    code, out, _ = run("--json")
    found = json.loads(out)
    assert code == 0
    assert {frozenset(one) for one in found} == {frozenset(("check", "state", "text", "fix"))}
    assert {"state", "databases", "ports", "agent", "Slack"} <= {one["check"] for one in found}


def test_help_does_not_wait_for_googles_or_slacks_libraries() -> None:
    program = "import sys; from spool.cli import main\ntry: main(['doctor', '--help'])\nexcept SystemExit: pass\n"
    program += "assert not {'google.auth', 'slack_sdk', 'pydantic_ai'} & set(sys.modules)"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_url_beside_a_project_is_a_wrong_use(run: Run) -> None:
    code, _, err = run("--project", PROJECT, "--url", STABLE)
    assert (code, "--project the ingress says" in err) == (1, True)


def test_a_check_that_fails_itself_hides_no_other() -> None:
    def broken() -> list[Finding]:
        raise ZeroDivisionError(SIGNING_SECRET)

    def misconfigured() -> list[Finding]:
        msg = "set this"
        raise Misconfigured(msg)

    names = ("first", "second", "third")
    found = asyncio.run(
        look([Check(name=n, look=f) for n, f in zip(names, (broken, misconfigured, lambda: [ok("fine")]), strict=True)])
    )
    assert [name for name, _ in found] == list(names)
    assert [f.state for _, f in found] == ["unknown", "unknown", "ok"]
    assert "ZeroDivisionError" in found[0][1].text
    assert SIGNING_SECRET not in str(found)


# ---- this machine


def test_a_damaged_database_is_named(state_dir: Path) -> None:
    state_dir.mkdir()
    with closing(sqlite3.connect(state_dir / "transcripts.db")) as db:
        db.execute("CREATE TABLE t (x)")
        db.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 100)
        db.commit()
    data = bytearray((state_dir / "transcripts.db").read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    (state_dir / "transcripts.db").write_bytes(data)
    (state_dir / "conversations.db").write_bytes(b"no database at all" * 100)
    hint, truth = local.databases(state_dir)
    assert (hint.state, truth.state) == ("problem", "problem")
    assert f"{state_dir / 'transcripts.db'} is damaged" in truth.text
    assert ".recover" in truth.fix
    assert f"{state_dir / 'conversations.db'} is damaged" in hint.text
    assert "may be deleted: it is a hint" in hint.fix


async def test_a_database_that_somebody_has_open_is_read_as_it_is(state_dir: Path) -> None:
    tasks = LocalTasks(state_dir)
    await tasks.create(TASK)
    try:
        assert (state_dir / "queue.db-wal").exists()
        assert [f.text for f in local.databases(state_dir)] == ["queue.db is sound"]
    finally:
        tasks.close()


def test_a_taken_port_is_told_with_the_way_to_choose_another(state_dir: Path) -> None:
    state_dir.mkdir()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (state_dir / "worker-port").write_text(f"{port}\n")
        found = problems(seen(here(inherited({}), url=""), "ports"))
    assert [f"port {port} is in use" in f.text and "to choose another" in f.fix for f in found if "worker-port" in f.fix] == [
        True
    ]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SPOOL_BACKEND", "cloud", "write 'local' or 'google'"),
        ("SLACK_API_URL", "https://slack.com", "must end in /api/"),
        ("SPOOL_AGENT", "nothing:agent", "neither on PYTHONPATH"),
        ("SPOOL_MODEL", "nobody:nothing", "nobody:nothing"),
    ],
)
def test_a_wrong_setting_is_one_problem(state_dir: Path, name: str, value: str, said: str) -> None:
    environ = inherited({"SPOOL_STATE_DIR": str(state_dir), name: value})
    (found,) = problems(seen(here(environ, url=""), "settings", "agent"))
    assert said in found.text


def test_an_agent_that_ends_the_process_ends_only_its_own(tmp_path: Path) -> None:
    (tmp_path / "rude.py").write_text("import os\nprint('found : {}', flush=True)\nos._exit(3)\n")
    (found,) = loads(inherited({"PYTHONPATH": str(tmp_path)}), agent="rude:agent", model="", may_be_offline=True)
    assert (found.state, found.text) == ("problem", "the agent ends the process that loads it")


def test_an_offline_model_is_fine_on_this_machine_and_a_problem_in_the_cloud() -> None:
    environ = {name: value for name, value in inherited({}).items() if not name.endswith("_API_KEY")}
    for offline, state in ((True, "ok"), (False, "problem")):
        agent, policy = loads(environ, agent="agent:agent", model="", may_be_offline=offline)
        assert (agent.state, "offline model" in agent.text, policy.state) == (state, True, "ok")


def test_the_needs_of_the_doors_are_those_that_they_read() -> None:
    for door, names in {"ingress": "QUEUE + TARGET", "worker": "STORES + QUEUE + TARGET + CALLERS"}.items():
        need, _ = DOORS[door]
        source = (ROOT / "functions" / f"{door}.py").read_text()
        assert f"Settings.read(need={need!r}, google={names})".replace("'", '"') in source


# ---- emulators


def test_on_emulators_what_can_be_looked_at_is_and_the_rest_is_said(place: Place) -> None:
    found = seen(here(inherited(place.environment), url=""), "bucket", "queue", "database")
    assert states(found) == {"ok", "unknown"}
    assert [name for name, f in found if f.state == "unknown"] == ["bucket", "database"]


def test_on_emulators_a_missing_bucket_and_queue_are_problems(place: Place) -> None:
    environment = inherited({**place.environment, "SPOOL_BUCKET": "nobodys", "SPOOL_QUEUE": "nobodys"})
    found = seen(here(environment, url=""), "bucket", "queue")
    assert [f.text.split(" does not")[0] for f in problems(found)] == ["the bucket nobodys", "the queue nobodys"]


def test_on_emulators_only_what_spool_dev_itself_needs_is_missing(place: Place) -> None:
    """It brings Slack, and what both doors need beside; the names of project, place, queue and bucket it does not."""
    given = {"SPOOL_BACKEND": "google", **place.emulators.environment}
    (one,) = problems(seen(here(given, url=""), "settings", "Slack"))
    for name in ("GOOGLE_CLOUD_PROJECT", "SPOOL_LOCATION", "SPOOL_QUEUE", "SPOOL_BUCKET"):
        assert name in one.text
    assert "SLACK" not in one.text
    assert problems(seen(here(inherited(place.environment), url=""), "settings", "worker", "Slack")) == []


def test_where_spool_dev_runs_on_emulators_those_are_looked_at(place: Place, state_dir: Path) -> None:
    """Whoever asks need not name them: it has written down where they are."""
    state_dir.mkdir()
    recorded = {"console": "", "ingress": "http://127.0.0.1:1", "emulated": place.environment}
    (state_dir / "dev.json").write_text(json.dumps(recorded))
    lock = Lock(state_dir / "dev.lock")
    assert lock.take()
    found = seen(here(inherited({}), url=""), "settings", "ports", "bucket", "queue", "database")
    lock.give()
    assert [(name, f.state) for name, f in found if name in ("settings", "ports")] == [("settings", "ok"), ("ports", "ok")]
    assert any(place.bucket in f.text for _, f in found)
    assert {name for name, _ in seen(here(inherited({}), url=""))} & {"bucket", "queue"} == set()


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody is logged in to Google Cloud."""
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("nobody")
def test_every_missing_setting_of_both_doors_is_named_at_once() -> None:
    given = {"SPOOL_BACKEND": "google", "SLACK_BOT_TOKEN": "", "SLACK_SIGNING_SECRET": ""}
    (ingress, worker) = problems(seen(here(given, url=""), "settings"))
    for name in ("SLACK_SIGNING_SECRET", "GOOGLE_CLOUD_PROJECT", "SPOOL_LOCATION", "SPOOL_QUEUE"):
        assert name in ingress.text
    for name in ("SLACK_BOT_TOKEN", "SPOOL_BUCKET"):
        assert name in worker.text


def test_an_emulator_that_is_gone_is_told_and_is_no_traceback() -> None:
    emulators = {
        "CLOUD_TASKS_EMULATOR_HOST": "127.0.0.1:9",
        "FIRESTORE_EMULATOR_HOST": "127.0.0.1:9",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9",
    }
    names = {"GOOGLE_CLOUD_PROJECT": "p", "SPOOL_LOCATION": "l", "SPOOL_QUEUE": "q", "SPOOL_BUCKET": "b"}
    found = seen(here({"SPOOL_BACKEND": "google", **emulators, **names}, url=""), "bucket", "queue", "database", "worker")
    assert ["cannot be reached" in f.text for _, f in found if f.state != "ok"][:2] == [True, True]


@pytest.mark.usefixtures("nobody")
def test_without_a_login_google_is_one_finding() -> None:
    names = {"GOOGLE_CLOUD_PROJECT": "p", "SPOOL_LOCATION": "l", "SPOOL_QUEUE": "q", "SPOOL_BUCKET": "b"}
    found = seen(here({"SPOOL_BACKEND": "google", **names}, url=""), "Google Cloud", "bucket", "queue", "database")
    assert [(name, f.state, f.fix) for name, f in found] == [
        ("Google Cloud", "problem", "gcloud auth application-default login")
    ]


# ---- a deployment


def test_a_healthy_deployment_is_all_clear_and_was_only_read(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    ingress = cloud.answers[f"/v2/{HERE}/services/spool-ingress"]
    ingress["urls"] = [cloud.url]
    cloud.answers["/api/apps.manifest.export"]["manifest"]["settings"]["event_subscriptions"]["request_url"] = (
        f"{cloud.url}/slack/events"
    )
    monkeypatch.setenv("SLACK_BOT_TOKEN", "this machine's own is nobody's business")
    found = deployed(cloud, SLACK_APP_ID="A012AB3CD", SLACK_CONFIG_TOKEN="xoxe.xoxp-not-to-be-seen")
    assert states(found) == {"ok"}, found
    assert cloud.writes == []
    shown = str(found)
    for secret in (SIGNING_SECRET, BOT_TOKEN, MODEL_KEY, "not-to-be-seen"):
        assert secret not in shown


def path(name: str) -> str:
    return {
        "bucket": f"/storage/v1/b/{PROJECT}-spool",
        "queue": f"/v2/{HERE}/queues/spool",
        "database": f"/v1/projects/{PROJECT}/databases/(default)",
        "ttl": f"/v1/projects/{PROJECT}/databases/(default)/collectionGroups/conversations/fields/expire_at",
        "sweep": f"/v1/{HERE}/jobs/spool-sweep",
        "ingress": f"/v2/{HERE}/services/spool-ingress",
        "worker": f"/v2/{HERE}/services/spool-worker",
    }[name]


def changed(name: str, **values: Any) -> Break:
    return lambda cloud: cloud.answers[path(name)].update(values)


def gone(name: str) -> Break:
    return lambda cloud: cloud.answers.pop(path(name))


def unset(service: str, variable: str) -> Break:
    def break_it(cloud: Cloud) -> None:
        container = cloud.answers[path(service)]["template"]["containers"][0]
        container["env"] = [e for e in container["env"] if e["name"] != variable]

    return break_it


def granted(thing: str, *, role: str, to: tuple[str, ...]) -> Break:
    return lambda cloud: cloud.answers.update({thing: policy(role, *to)})


def made_public(cloud: Cloud) -> None:
    cloud.answers[f"{path('worker')}:getIamPolicy"]["bindings"][0]["members"].append("allUsers")


FAULTS: Mapping[str, tuple[str, Break, str, str]] = {
    "no bucket": ("bucket", gone("bucket"), "does not exist", "terraform"),
    "a retention policy": (
        "bucket",
        changed("bucket", retentionPolicy={"retentionPeriod": "60"}),
        "forbids every commit",
        "--clear-retention",
    ),
    "no versions": ("bucket", changed("bucket", versioning={}), "no old versions", "--versioning"),
    "may be public": ("bucket", changed("bucket", iamConfiguration={}), "made public", "--public-access-prevention"),
    "no queue": ("queue", gone("queue"), "does not exist", "terraform"),
    "a paused queue": ("queue", changed("queue", state="PAUSED"), "is paused", "queues resume spool"),
    "a queue that gives up": (
        "queue",
        changed("queue", retryConfig={"maxAttempts": 5}),
        "after 5 attempts",
        "--max-attempts=unlimited",
    ),
    "no database": ("database", gone("database"), "does not exist", "terraform"),
    "Datastore mode": ("database", changed("database", type="DATASTORE_MODE"), "not FIRESTORE_NATIVE", "SPOOL_DATABASE"),
    "no TTL": ("database", gone("ttl"), "no working TTL policy", "--enable-ttl"),
    "a broken TTL": ("database", changed("ttl", ttlConfig={"state": "NEEDS_REPAIR"}), "no working TTL", "--enable-ttl"),
    "no sweeper": ("sweeper", gone("sweep"), "does not exist", "terraform"),
    "a paused sweeper": ("sweeper", changed("sweep", state="PAUSED"), "is paused", "jobs resume"),
    "a refused sweeper": ("sweeper", changed("sweep", status={"code": 7}), "code 7", "worker"),
    "no custom audience": ("worker", changed("worker", customAudiences=[]), "take tokens for 'spool-worker'", "terraform"),
    "a worker that fails": (
        "worker",
        changed("worker", terminalCondition={"state": "CONDITION_FAILED", "message": "Secret not found"}),
        "Secret not found",
        "logs read spool-worker",
    ),
    "a missing variable": ("settings", unset("worker", "SPOOL_BUCKET"), "SPOOL_BUCKET", "cloudbuild.yaml"),
    "a missing secret": ("settings", unset("ingress", "SLACK_SIGNING_SECRET"), "SLACK_SIGNING_SECRET", "cloudbuild.yaml"),
    "another worker's URL": (
        "settings",
        changed("worker", urls=[], uri="https://other.run.app"),
        "the worker is at https://other",
        "build",
    ),
    "no version": ("secrets", lambda c: c.answers.pop(version("spool-slack-bot-token")), "has no version 3", "versions add"),
    "a disabled version": (
        "secrets",
        lambda c: c.answers[version("spool-model-key")].update(state="DISABLED"),
        "is disabled",
        "versions enable 3",
    ),
    "a queue that may not call": (
        "permissions",
        granted(f"{path('worker')}:getIamPolicy", role="roles/run.invoker", to=("scheduler",)),
        "spool-tasks@acme-spool-staging.iam.gserviceaccount.com may not call spool-worker",
        "terraform",
    ),
    "a public worker": ("permissions", made_public, "allUsers may call spool-worker", "terraform"),
    "an ingress that may not enqueue": (
        "permissions",
        granted(f"{path('queue')}:getIamPolicy", role="roles/cloudtasks.enqueuer", to=("worker",)),
        "spool-ingress@acme-spool-staging.iam.gserviceaccount.com may not put tasks into spool",
        "terraform",
    ),
    "a worker that may only create": (
        "permissions",
        granted(f"{path('bucket')}/iam", role="roles/storage.objectCreator", to=("worker",)),
        "may not commit to",
        "terraform",
    ),
    "missing scopes": (
        "Slack token",
        lambda c: setattr(c, "token_scopes", "chat:write,app_mentions:read"),
        "channels:history",
        "Install App",
    ),
    "a revoked token": (
        "Slack token",
        lambda c: c.answers.update({"/api/auth.test": {"ok": False, "error": "token_revoked"}}),
        "token_revoked",
        "OAuth & Permissions",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_one_problem_with_its_fix(cloud: Cloud, fault: str) -> None:
    name, break_it, text, fix = FAULTS[fault]
    break_it(cloud)
    (found,) = problems(deployed(cloud, name))
    assert text in found.text
    assert fix in found.fix
    assert cloud.writes == []


def test_services_that_differ_would_lose_each_other(cloud: Cloud) -> None:
    env = cloud.answers[path("ingress")]["template"]["containers"][0]["env"]
    next(e for e in env if e["name"] == "SPOOL_QUEUE")["value"] = "another"
    (found,) = problems(deployed(cloud, "settings"))
    assert "differ in SPOOL_QUEUE" in found.text


def test_before_the_first_build_only_that_is_said(cloud: Cloud) -> None:
    for name in ("ingress", "worker"):
        cloud.answers[path(name)]["template"]["containers"][0]["image"] = "us-docker.pkg.dev/cloudrun/container/hello"
    found = deployed(cloud)
    assert [f.text for f in problems(found)] == [
        f"spool-{name} still runs the placeholder: nothing is deployed yet" for name in ("ingress", "worker")
    ]
    assert len(found) == 2


def test_where_nothing_is_deployed_the_fix_is_setup(cloud: Cloud) -> None:
    cloud.answers.pop(path("ingress"))
    ((name, found),) = deployed(cloud)
    assert (name, found.state, "spool setup" in found.fix) == ("services", "problem", True)


def test_an_api_that_is_off_is_named_with_the_command(cloud: Cloud) -> None:
    metadata = {"service": "cloudtasks.googleapis.com"}
    cloud.answers[path("queue")] = {
        "error": {"message": "off", "details": [{"reason": "SERVICE_DISABLED", "metadata": metadata}]}
    }
    cloud.statuses[path("queue")] = 403
    (found,) = problems(deployed(cloud, "queue"))
    assert found.fix == f"gcloud services enable cloudtasks.googleapis.com --project={PROJECT}"


@pytest.mark.parametrize(("status", "said"), [(403, "not allowed"), (500, "status 500"), (503, "status 503")])
def test_what_cannot_be_read_is_no_problem_and_is_said(cloud: Cloud, status: int, said: str) -> None:
    things = {"bucket": path("bucket"), "queue": path("queue"), "secrets": version("spool-slack-bot-token")}
    cloud.statuses.update(dict.fromkeys((*things.values(), f"{path('worker')}:getIamPolicy"), status))
    found = deployed(cloud, *things, "permissions")
    assert states(found) == {"unknown", "ok"}
    assert all(said in f.text for _, f in found if f.state == "unknown")
    assert {name for name, f in found if f.state == "unknown"} == {*things, "permissions"}


def test_a_login_that_has_run_out_is_a_problem(cloud: Cloud) -> None:
    cloud.statuses[path("queue")] = 401
    (found,) = problems(deployed(cloud, "queue"))
    assert found.fix == "gcloud auth application-default login"


def test_secrets_that_this_person_may_not_read_are_not_tried(cloud: Cloud) -> None:
    cloud.statuses.update({f"{version(s)}:access": 403 for s in ("spool-slack-bot-token", "spool-slack-signing-secret")})
    found = deployed(cloud, "Slack token", "Request URL")
    assert [f.state for _, f in found] == ["unknown", "unknown"]
    assert all("secretAccessor" in f.fix for _, f in found)


def test_an_account_of_its_own_is_asked_for_its_permissions_and_nothing_is_written(cloud: Cloud) -> None:
    name, rest = f"{PROJECT}-spool", Rest(project=PROJECT, anonymous=True)
    assert [f.state for f in google.bucket(rest, cloud.apis, name=name, emulated=False, mine=True)] == ["ok", "ok"]
    cloud.answers[f"{path('bucket')}/iam/testPermissions"]["permissions"].remove("storage.objects.delete")
    (found,) = [f for f in google.bucket(rest, cloud.apis, name=name, emulated=False, mine=True) if f.state == "problem"]
    assert ("storage.objects.delete" in found.text, "objectUser" in found.fix, cloud.writes) == (True, True, [])


@pytest.mark.parametrize(("status", "state"), [(403, "ok"), (401, "ok"), (200, "problem"), (404, "unknown"), (500, "problem")])
def test_a_private_worker_turns_strangers_away(cloud: Cloud, status: int, state: str) -> None:
    cloud.answers["/health"] = {}
    if status != 200:
        cloud.statuses["/health"] = status
    assert [f.state for f in google.worker(cloud.url, emulated=False)] == [state]


@pytest.fixture
def login(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Application default credentials, whose tokens the cloud itself gives out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    mail = f"somebody@{PROJECT}.iam.gserviceaccount.com"
    info = {"type": "service_account", "client_email": mail, "private_key": pem.decode(), "token_uri": f"{cloud.url}/token"}
    (tmp_path / "adc.json").write_text(json.dumps(info))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "adc.json"))
    cloud.answers["/token"] = {"access_token": "ya29.x", "expires_in": 3600, "token_type": "Bearer"}
    return cloud


def test_it_asks_as_whoever_is_logged_in_at_the_projects_expense(login: Cloud) -> None:
    rest = Rest(project=PROJECT)
    where = {"project": PROJECT, "location": REGION, "name": "spool"}
    assert [f.state for f in google.queue(rest, login.apis, **where, emulated=False)] == ["ok"]
    assert (login.headers["authorization"], login.headers["x-goog-user-project"]) == ("Bearer ya29.x", PROJECT)


def test_a_login_that_google_does_not_take_any_more_is_a_problem_with_its_fix(login: Cloud) -> None:
    login.answers["/token"] = {"error": "invalid_grant"}
    login.statuses["/token"] = 400
    rest = Rest(project=PROJECT)
    where = {"project": PROJECT, "region": REGION}
    ((_, found),) = seen(there({}, **where, apis=login.apis, rest=rest))
    assert (found.state, "not valid any more" in found.text, found.fix) == ("problem", True, LOGIN)


# ---- Slack


def test_a_token_of_another_kind_is_not_even_sent(cloud: Cloud) -> None:
    (found,) = slack.token("xoxp-not-to-be-seen", api_url=f"{cloud.url}/api/")
    assert (found.state, "not-to-be-seen" in found.text + found.fix, cloud.requests) == ("problem", False, [])


def test_a_slack_that_says_no_scopes_cannot_be_judged(cloud: Cloud) -> None:
    cloud.token_scopes = None
    assert [f.state for f in slack.token(BOT_TOKEN, api_url=f"{cloud.url}/api/")] == ["ok", "unknown"]


def test_scopes_that_nobody_uses_are_mentioned(cloud: Cloud) -> None:
    cloud.token_scopes = f"{cloud.token_scopes},files:write"
    assert "not used: files:write" in slack.token(BOT_TOKEN, api_url=f"{cloud.url}/api/")[1].text


@pytest.mark.parametrize("status", [500, 429])
def test_a_slack_in_trouble_is_a_problem_without_its_token(cloud: Cloud, status: int) -> None:
    cloud.statuses["/api/auth.test"] = status
    cloud.answers.pop("/api/auth.test")
    (found,) = slack.token(BOT_TOKEN, api_url=f"{cloud.url}/api/")
    assert (found.state, str(status) in found.text, BOT_TOKEN in found.text) == ("problem", True, False)


def test_without_a_configuration_token_it_says_what_to_compare_where() -> None:
    (found,) = slack.app("", config_token="", api_url="http://127.0.0.1:9/api/", urls=[f"{STABLE}/slack/events"])
    assert (found.state, f"{STABLE}/slack/events" in found.fix, "message.channels" in found.fix) == ("unknown", True, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {
                "event_subscriptions": {
                    **manifest(STABLE)["settings"]["event_subscriptions"],
                    "request_url": "https://old.run.app/",
                }
            },
            "https://old.run.app/, not to",
        ),
        ({"event_subscriptions": {"request_url": f"{STABLE}/slack/events", "bot_events": ["app_mention"]}}, "message.channels"),
        ({"event_subscriptions": None}, "no URL"),
        ({"socket_mode_enabled": True}, "Socket Mode is on"),
        ({"token_rotation_enabled": True}, "12 hours"),
    ],
)
def test_an_app_that_is_set_up_otherwise_is_told_how(cloud: Cloud, change: dict[str, Any], said: str) -> None:
    cloud.answers["/api/apps.manifest.export"]["manifest"]["settings"].update(change)
    urls = [f"{STABLE}/slack/events"]
    found = slack.app("A012AB3CD", config_token="xoxe-x", api_url=f"{cloud.url}/api/", urls=urls)
    assert said in found[0].text
    assert {f.state for f in found} == {"problem"}


def test_an_expired_configuration_token_is_no_problem_of_the_deployment(cloud: Cloud) -> None:
    cloud.answers["/api/apps.manifest.export"] = {"ok": False, "error": "token_expired"}
    (found,) = slack.app("A012AB3CD", config_token="xoxe-x", api_url=f"{cloud.url}/api/", urls=[])
    assert (found.state, "token_expired" in found.text) == ("unknown", True)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the signature"),
        (403, "lets nobody in"),
        (404, "nothing there"),
        (302, "sends elsewhere"),
        (503, "answers 503"),
    ],
)
def test_a_request_url_that_is_wrong_is_told_how(cloud: Cloud, status: int, said: str) -> None:
    cloud.statuses["/slack/events"] = status
    (found,) = request_url(f"{cloud.url}/slack/events", secret=SIGNING_SECRET, challenge="c", now=NOW)
    assert (found.state, said in found.text, bool(found.fix)) == ("problem", True, True)
    assert len(cloud.requests) == 1


def test_something_else_at_the_request_url_is_not_the_ingress(cloud: Cloud) -> None:
    cloud.challenges = False
    (found,) = request_url(f"{cloud.url}/slack/events", secret=SIGNING_SECRET, challenge="c", now=NOW)
    assert (found.state, "is not the ingress" in found.text) == ("problem", True)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/slack/events", "ftp://x/slack/events", "file:///etc/passwd", "https://", "x"]
)
def test_a_request_url_that_nobody_answers_cannot_be_reached(url: str) -> None:
    (found,) = request_url(url, secret=SIGNING_SECRET, challenge="c", now=NOW)
    assert (found.state, "cannot be reached" in found.text) == ("problem", True)


async def test_the_real_ingress_answers_the_challenge_and_refuses_another_secret(tmp_path: Path) -> None:
    async with driven(tmp_path) as spool:
        environ = {**spool.environment, "SLACK_SIGNING_SECRET": SECRET}
        found = await look(
            [c for c in here(environ, url=spool.events_url) if c.name in ("Request URL", "ports", "Slack token")]
        )
        assert {name: f.state for name, f in found if "scopes" not in f.text} == dict.fromkeys(
            ("ports", "Slack token", "Request URL"), "ok"
        )
        wrong = await look(
            [c for c in here({**environ, "SLACK_SIGNING_SECRET": "another"}, url=spool.events_url) if c.name == "Request URL"]
        )
        assert [("refuses the signature" in f.text, f.state) for _, f in wrong] == [(True, "problem")]


def test_a_problem_never_comes_without_a_fix() -> None:
    assert problem("x", fix="y").fix == "y"
    assert unknown("x").fix == ""
