"""`spool smoke worker`, `spool smoke ingress`: does a deployed revision work? Asked before it gets traffic, and after.

    worker    one real task: queue ─► token ─► POST /smoke ─► bucket, document, Slack's token, another task ─► 200
    ingress   /health names the revision; a signed challenge comes back, a forged one does not; a signed event is queued

Nothing of it shows in Slack, and what it writes is the same few bytes each time.
"""

import json
import secrets
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Annotated

import typer

from spool.cli.deploy.stage import ROOT, read_policy
from spool.errors import Misconfigured
from spool.settings import QUEUE, TARGET, Settings
from spool.slack import smoke as slack

TIMEOUT = 30.0
"""Seconds of one request: a cold start is part of it."""

LOOKS = 60
"""Times that a revision is looked for, a second apart: traffic moves within seconds."""

app = typer.Typer(no_args_is_help=True, help="Test a deployed revision from outside; nothing shows in Slack.")


@app.command("worker")
def worker(*, looks: Annotated[int, typer.Option(help="Seconds to wait for the worker's 200.", min=1)] = 180) -> None:
    """Send one real task to the worker at SPOOL_WORKER_URL, and wait until it is answered with 200."""
    settings = Settings.read(google=QUEUE + TARGET)
    if settings.google is None:
        msg = "set SPOOL_BACKEND=google: on this machine `spool ask` is the smoke test"
        raise Misconfigured(msg)
    from spool.google.smoke import Smoke

    at = settings.google
    outcome = Smoke(
        project=at.project,
        location=at.location,
        queue=at.queue,
        worker_url=at.worker_url,
        audience=at.audience,
        service_account=at.tasks_account,
        emulator=at.tasks_emulator,
    ).run(looks=looks, sleep=time.sleep)
    if not outcome.answered:
        msg = (
            f"{at.worker_url} did not answer its smoke test with 200: {outcome.attempts} attempts in {looks} s, the last "
            f"{outcome.said or 'without an answer'}. Its log says why, at severity ERROR"
        )
        raise Misconfigured(msg)
    typer.echo(f"{at.worker_url}: a task was answered with 200: token, bucket, documents, queue and Slack are in reach.")


@app.command("ingress")
def ingress(
    url: Annotated[str, typer.Argument(help="The ingress: https://HOST.")],
    *,
    revision: Annotated[str, typer.Option(help="The revision that must answer there.")] = "",
) -> None:
    """Send signed requests to the ingress at URL, signed with SLACK_SIGNING_SECRET."""
    settings = Settings.read(need=("SLACK_SIGNING_SECRET",))
    door = Door(url=url.rstrip("/"), secret=settings.signing_secrets[0])
    door.serves(revision)
    door.answers_a_challenge()
    door.refuses_a_forgery()
    queued = (
        "a signed event is queued" if read_policy(ROOT / "functions").follows_up(slack.CHANNEL) else "the queue was not tried"
    )
    door.takes_an_event()
    typer.echo(f"{door.url}: {revision or 'a revision'} answers; signatures are checked; {queued}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """An ingress somewhere, and the secret that it should know. Each method raises `Misconfigured` where it fails."""

    url: str
    secret: str

    def serves(self, revision: str) -> None:
        """Its /health names the revision; traffic that is just being moved has a minute."""
        said = ""
        for n in range(LOOKS):
            if n:
                time.sleep(1)
            status, body = _ask(f"{self.url}/health")
            said = f"{status} {body[:200].decode(errors='replace')}"
            if status == 200 and revision in ["", *said.split()]:  # noqa: PLR2004
                return
        self._fail(f"/health says {said!r}, not {revision}", "the revision does not start, or has no traffic: look at its log")

    def answers_a_challenge(self) -> None:
        word = secrets.token_hex(8)
        status, body = self._post(slack.challenge(word), self.secret)
        if status != 200 or json.loads(body or b"{}").get("challenge") != word:  # noqa: PLR2004
            self._fail(
                f"a signed challenge got {status}",
                "a 401 means that its signing secret is not SLACK_SIGNING_SECRET: deploy it again with the newest version",
            )

    def refuses_a_forgery(self) -> None:
        status, _ = self._post(slack.challenge("forged"), secrets.token_hex(16))
        if status != 401:  # noqa: PLR2004
            self._fail(f"a forged request got {status}, not 401", "do not give it traffic")

    def takes_an_event(self) -> None:
        """Where the policy follows threads, its 200 means that it is in the queue."""
        status, _ = self._post(slack.reply_to_nobody(ts=f"{_now():.6f}"), self.secret)
        if status != 200:  # noqa: PLR2004
            self._fail(
                f"a signed event got {status}, not 200",
                "it cannot create a task: its service account needs cloudtasks.enqueuer on the queue and serviceAccountUser "
                "on the tasks' account",
            )

    def _post(self, body: bytes, secret: str) -> tuple[int, bytes]:
        return _ask(f"{self.url}/slack/events", body, slack.headers(secret, body, now=_now()))

    def _fail(self, what: str, remedy: str) -> None:
        msg = f"{self.url}: {what}; {remedy}"
        raise Misconfigured(msg)


def _now() -> float:
    return time.time()  # noqa: TID251 - a command's clock: signatures are for now


def _ask(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body; 0 where nobody answers."""
    request = urllib.request.Request(url, data=body, headers=headers or {})  # noqa: S310 - the operator's own URL
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            return response.status, response.read()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read()
    except OSError as e:
        return 0, str(e).encode()
