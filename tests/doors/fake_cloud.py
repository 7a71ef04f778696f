"""The JSON APIs of Google Cloud and Slack's Web API, as far as the doctor reads them, with answers that a test can change.

A healthy deployment, until told otherwise. Every request is kept, to show that nothing was written.
"""

import base64
import contextlib
import json
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from spool.google.rest import Apis
from spool.slack.manifest import PATH, manifest, scopes

PROJECT, REGION = "acme-spool-staging", "europe-west1"
SIGNING_SECRET, BOT_TOKEN, MODEL_KEY = "8f742231b10e8888abcd99bbbccc85a5", "xoxb-1-not-to-be-seen", "sk-not-to-be-seen"
STABLE = "https://spool-ingress-123456789012.europe-west1.run.app"
WORKER_URL = "https://spool-worker-123456789012.europe-west1.run.app"
HERE = f"projects/{PROJECT}/locations/{REGION}"
READS = (":getIamPolicy", ":testIamPermissions")

Json = dict[str, Any]


def account(name: str) -> str:
    return f"spool-{name}@{PROJECT}.iam.gserviceaccount.com"


def member(name: str) -> str:
    return f"serviceAccount:{account(name)}"


def service(name: str, environment: Mapping[str, str], secrets: Mapping[str, str]) -> Json:
    env: list[Json] = [{"name": n, "value": v} for n, v in environment.items()]
    env += [{"name": n, "valueSource": {"secretKeyRef": {"secret": s, "version": "3"}}} for n, s in secrets.items()]
    image = f"europe-west1-docker.pkg.dev/{PROJECT}/spool/{name}@sha256:0"
    return {
        "uri": f"https://{name}-abcdefghij-ew.a.run.app",
        "urls": [f"https://{name}-123456789012.europe-west1.run.app", f"https://{name}-abcdefghij-ew.a.run.app"],
        "customAudiences": ["spool-worker"],
        "terminalCondition": {"state": "CONDITION_SUCCEEDED"},
        "template": {"serviceAccount": account(name.removeprefix("spool-")), "containers": [{"image": image, "env": env}]},
    }


def healthy() -> dict[str, Json]:
    """What each path says when all is well."""
    shared = {
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "SPOOL_LOCATION": REGION,
        "SPOOL_QUEUE": "spool",
        "SPOOL_WORKER_URL": WORKER_URL,
        "SPOOL_WORKER_AUDIENCE": "spool-worker",
        "SPOOL_TASKS_SERVICE_ACCOUNT": account("tasks"),
    }
    bucket, scheduler = f"{PROJECT}-spool", account("scheduler")
    worker = {**shared, "SPOOL_BUCKET": bucket, "SPOOL_SCHEDULER_SERVICE_ACCOUNT": scheduler, "SPOOL_MODEL": "test"}
    queue, database = f"/v2/{HERE}/queues/spool", f"/v1/projects/{PROJECT}/databases/(default)"
    secrets = {"spool-slack-signing-secret": SIGNING_SECRET, "spool-slack-bot-token": BOT_TOKEN, "spool-model-key": MODEL_KEY}
    return {
        f"/v2/{HERE}/services/spool-ingress": service(
            "spool-ingress", shared, {"SLACK_SIGNING_SECRET": "spool-slack-signing-secret"}
        ),
        f"/v2/{HERE}/services/spool-worker": service(
            "spool-worker", worker, {"SLACK_BOT_TOKEN": "spool-slack-bot-token", "ANTHROPIC_API_KEY": "spool-model-key"}
        ),
        f"/v2/{HERE}/services/spool-worker:getIamPolicy": policy("roles/run.invoker", "tasks", "scheduler"),
        f"{queue}:getIamPolicy": policy("roles/cloudtasks.enqueuer", "ingress", "worker"),
        f"/v1/projects/{PROJECT}/serviceAccounts/{account('tasks')}:getIamPolicy": policy(
            "roles/iam.serviceAccountUser", "ingress", "worker"
        ),
        f"/storage/v1/b/{bucket}/iam": policy("roles/storage.objectUser", "worker"),
        f"/storage/v1/b/{bucket}/iam/testPermissions": {
            "permissions": [f"storage.objects.{verb}" for verb in ("create", "delete", "get", "list")]
        },
        f"/storage/v1/b/{bucket}": {
            "versioning": {"enabled": True},
            "iamConfiguration": {"publicAccessPrevention": "enforced"},
        },
        queue: {"state": "RUNNING", "retryConfig": {"maxAttempts": -1, "minBackoff": "2s"}},
        database: {"type": "FIRESTORE_NATIVE"},
        f"{database}/collectionGroups/conversations/fields/expire_at": {"ttlConfig": {"state": "ACTIVE"}},
        f"/v1/{HERE}/jobs/spool-sweep": {"state": "ENABLED", "status": {}},
        **{f"{version(name)}": {"name": version(name), "state": "ENABLED"} for name in secrets},
        **{f"{version(name)}:access": {"payload": {"data": encoded(value)}} for name, value in secrets.items()},
        "/api/auth.test": {"ok": True, "user": "spool", "team": "Acme", "team_id": "T012AB3CD", "bot_id": "B012AB3CD"},
        "/api/apps.manifest.export": {"ok": True, "manifest": manifest(STABLE)},
    }


def policy(role: str, *names: str) -> Json:
    return {"bindings": [{"role": role, "members": [member(name) for name in names]}]}


def version(secret: str) -> str:
    return f"/v1/projects/{PROJECT}/secrets/{secret}/versions/3"


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


@dataclass
class Cloud:
    """Google and Slack on one port. statuses: paths that answer with an error, whatever they say. headers: the last ones."""

    port: int = 0
    answers: dict[str, Json] = field(default_factory=healthy)
    statuses: dict[str, int] = field(default_factory=dict[str, int])
    token_scopes: str | None = ",".join(scopes())
    challenges: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def apis(self) -> Apis:
        return Apis(**dict.fromkeys(Apis.__dataclass_fields__, self.url))

    @property
    def writes(self) -> list[tuple[str, str]]:
        """Requests that might have changed something."""
        ours = ("/api/auth.test", "/api/apps.manifest.export", PATH)
        return [(m, p) for m, p in self.requests if m != "GET" and not p.endswith(READS) and p not in ours]

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Json, dict[str, str]]:
        self.requests.append((method, path))
        headers = {"x-oauth-scopes": self.token_scopes} if path == "/api/auth.test" and self.token_scopes is not None else {}
        if status := self.statuses.get(path):
            return status, self.answers.get(path, {"error": {"message": f"status {status}"}}), {"Location": "/elsewhere"}
        if path == PATH:
            return 200, {"challenge": json.loads(body)["challenge"]} if self.challenges else {}, {}
        found = self.answers.get(path)
        return (200, found, headers) if found is not None else (404, {"error": {"message": "not found"}}, {})


@contextlib.contextmanager
def serving_cloud() -> Generator[Cloud]:
    """A cloud on a port of its own."""
    cloud = Cloud()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            cloud.headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer, headers = cloud.answer(
                self.command, urlsplit(self.path).path.replace("%28", "(").replace("%29", ")"), body
            )
            data = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815 - the server's own word

        def log_message(self, *args: Any, **_: Any) -> None:
            """A test's output is pytest's."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    cloud.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield cloud
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
