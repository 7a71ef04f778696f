"""The private door: only the queue and the scheduler come in, whatever a stranger sends; and no legitimate task is lost."""

import asyncio
import base64
import hmac
import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from alone import Alone, alone, free_port, until
from issuer import AUDIENCE, Issuer, issuing, new_key

from emulated import Place
from spool.console.server import serve
from spool.console.workspace import Workspace
from spool.envelope import ConversationKey, Envelope
from spool.errors import Ambiguous
from spool.google.emulated import call_sweep, make_bucket
from spool.google.identity import PAUSE, REMOVED, TOKEN_LIMIT, Identity, Keys
from spool.google.tasks import GoogleTasks
from spool.task import Task

QUEUE, SCHEDULER = "spool-tasks@p.iam.gserviceaccount.com", "spool-scheduler@p.iam.gserviceaccount.com"


@pytest.fixture
def issuer() -> Generator[Issuer]:
    with issuing() as found:
        yield found


class Hand:
    """A clock that a test turns."""

    time = 1000.0

    def __call__(self) -> float:
        return self.time


def doorkeeper(issuer: Issuer, *, now: Callable[[], float] = Hand(), behind_iam: bool = False) -> Identity:  # noqa: B008
    accounts = {"/task": QUEUE, "/sweep": SCHEDULER, "/nobody": ""}
    keys = Keys(issuer.url, now=now)
    return Identity(keys=keys, issuer=issuer.url, audience=AUDIENCE, accounts=accounts, behind_iam=behind_iam)


async def test_each_account_may_call_its_own_path_alone(issuer: Issuer) -> None:
    keeper = doorkeeper(issuer)
    queue, scheduler = f"Bearer {issuer.token(QUEUE)}", f"Bearer {issuer.token(SCHEDULER)}"
    assert await keeper.refusal(queue, "/task") == ""
    assert await keeper.refusal(scheduler, "/sweep") == ""
    assert await keeper.refusal(queue.replace("Bearer", "bearer"), "/task") == ""
    assert (
        await keeper.refusal(queue, "/sweep") == await keeper.refusal(scheduler, "/task") == "its token is of another account"
    )
    assert await keeper.refusal(queue, "/other") == "its token is of another account"
    assert await keeper.refusal(f"Bearer {issuer.token('')}", "/nobody") == "its token is of another account"
    assert issuer.asked == ["/.well-known/openid-configuration", "/jwks"]


def unsigned(issuer: Issuer, **header: Any) -> str:
    """A token whose signature is empty."""
    parts = ({"typ": "JWT", "kid": "one", **header}, issuer.claims(QUEUE))
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + "."


def by_secret(issuer: Issuer) -> str:
    """HS256, its secret the public key: what a verifier that trusts the header's algorithm falls for."""
    header, claims, _ = unsigned(issuer, alg="HS256").split(".")
    signature = hmac.digest(issuer.public, f"{header}.{claims}".encode(), "sha256")
    return f"{header}.{claims}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def swapped(issuer: Issuer) -> str:
    """The signature of one token under the claims of another."""
    mine, other = issuer.token("mallory@p.iam.gserviceaccount.com").split("."), issuer.token(QUEUE).split(".")
    return ".".join((other[0], other[1], mine[2]))


FORGED: dict[str, Callable[[Issuer], str]] = {
    "nothing": lambda _: "",
    "a scheme alone": lambda _: "Bearer",
    "another scheme": lambda i: f"Basic {i.token(QUEUE)}",
    "garbage": lambda _: "Bearer \xff\xfe.\x00.é",
    "dots": lambda _: "Bearer ....",
    "deep JSON": lambda _: "Bearer " + base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.x",
    "a header that is no object": lambda _: "Bearer " + base64.urlsafe_b64encode(b"[]").decode() + ".e30.x",
    "a huge token": lambda i: f"Bearer {i.token(QUEUE, more='x' * TOKEN_LIMIT)}",
    "a key of somebody else under our kid": lambda i: f"Bearer {i.token(QUEUE, key=new_key())}",
    "an unknown kid": lambda i: f"Bearer {i.token(QUEUE, kid='other', key=new_key())}",
    "a kid that is a number": lambda i: f"Bearer {unsigned(i, alg='RS256', kid=1)}",
    "no kid": lambda i: f"Bearer {unsigned(i, alg='RS256', kid=None)}",
    "another token's signature": lambda i: f"Bearer {swapped(i)}",
    "the algorithm none": lambda i: f"Bearer {unsigned(i, alg='none')}",
    "the algorithm None": lambda i: f"Bearer {unsigned(i, alg='None')}",
    "HS256 with the public key": lambda i: f"Bearer {by_secret(i)}",
    "a removed signature where nobody removes any": lambda i: f"Bearer {i.token(QUEUE).rpartition('.')[0]}{REMOVED}",
    "another audience": lambda i: f"Bearer {i.token(QUEUE, aud='https://worker.example.com')}",
    "several audiences": lambda i: f"Bearer {i.token(QUEUE, aud=[AUDIENCE, 'other'])}",
    "no audience": lambda i: f"Bearer {i.token(QUEUE, aud=None)}",
    "another issuer": lambda i: f"Bearer {i.token(QUEUE, iss='https://accounts.example.com')}",
    "no issuer": lambda i: f"Bearer {i.token(QUEUE, iss=None)}",
    "another account": lambda i: f"Bearer {i.token('mallory@p.iam.gserviceaccount.com')}",
    "the account in other letters": lambda i: f"Bearer {i.token(QUEUE.upper())}",
    "no account": lambda i: f"Bearer {i.token(QUEUE, email=None)}",
    "an unverified e-mail": lambda i: f"Bearer {i.token(QUEUE, email_verified=False)}",
    "an e-mail verified in words": lambda i: f"Bearer {i.token(QUEUE, email_verified='true')}",
    "no word whether it is verified": lambda i: f"Bearer {i.token(QUEUE, email_verified=None)}",
    "expired": lambda i: f"Bearer {i.token(QUEUE, exp=int(i.claims(QUEUE)['iat']) - 60)}",
    "never expiring": lambda i: f"Bearer {i.token(QUEUE, exp=None)}",
    "not yet issued": lambda i: f"Bearer {i.token(QUEUE, iat=int(i.claims(QUEUE)['iat']) + 300)}",
    "not yet valid": lambda i: f"Bearer {i.token(QUEUE, nbf=int(i.claims(QUEUE)['iat']) + 300)}",
}


@pytest.mark.parametrize("name", FORGED)
async def test_no_stranger_comes_in(issuer: Issuer, name: str) -> None:
    authorization = FORGED[name](issuer)
    why = await doorkeeper(issuer).refusal(authorization, "/task")
    assert why
    assert not authorization or authorization not in why


@pytest.mark.parametrize("name", [n for n in FORGED if "removed" not in n])
async def test_no_stranger_comes_in_behind_iam_either(issuer: Issuer, name: str) -> None:
    assert await doorkeeper(issuer, behind_iam=True).refusal(FORGED[name](issuer), "/task")


def without_signature(issuer: Issuer, account: str = QUEUE, **changes: Any) -> str:
    return f"Bearer {issuer.token(account, **changes).rpartition('.')[0]}{REMOVED}"


async def test_where_cloud_run_has_taken_the_signature_off_the_claims_decide(issuer: Issuer) -> None:
    keeper = doorkeeper(issuer, behind_iam=True)
    assert await keeper.refusal(without_signature(issuer), "/task") == ""
    assert await keeper.refusal(f"Bearer {issuer.token(QUEUE)}", "/task") == ""
    now = int(issuer.claims(QUEUE)["iat"])
    wrong: list[dict[str, Any]] = [
        {"aud": "other"},
        {"aud": [AUDIENCE]},
        {"iss": "https://accounts.example.com"},
        {"exp": now - 60},
        {"iat": now + 300},
        {"nbf": now + 300},
        {"email_verified": False},
        {"exp": None},
        {"email": None},
    ]
    for changes in wrong:
        assert await keeper.refusal(without_signature(issuer, **changes), "/task"), changes
    assert await keeper.refusal(without_signature(issuer, SCHEDULER), "/task")


async def test_clocks_may_differ_by_a_little(issuer: Issuer) -> None:
    keeper, now = doorkeeper(issuer), int(issuer.claims(QUEUE)["iat"])
    assert await keeper.refusal(f"Bearer {issuer.token(QUEUE, iat=now + 10)}", "/task") == ""
    assert await keeper.refusal(f"Bearer {issuer.token(QUEUE, exp=now - 10)}", "/task") == ""


async def test_a_new_key_of_the_issuer_is_found_and_strangers_do_not_make_us_ask(issuer: Issuer) -> None:
    hand = Hand()
    keeper = doorkeeper(issuer, now=hand)
    assert await keeper.refusal(f"Bearer {issuer.token(QUEUE)}", "/task") == ""
    for n in range(50):
        assert await keeper.refusal(
            f"Bearer {issuer.token(QUEUE, kid=f'made-up-{n}', key=new_key() if not n else None)}", "/task"
        )
    assert len(issuer.asked) == 2
    issuer.keys["two"] = new_key()
    hand.time += PAUSE
    assert await keeper.refusal(f"Bearer {issuer.token(QUEUE)}", "/task") == ""
    assert len(issuer.asked) == 4
    del issuer.keys["one"]
    hand.time += 10_000
    assert await keeper.refusal(f"Bearer {issuer.token(QUEUE)}", "/task") == ""
    assert list(keeper._keys._keys) == ["two"]  # pyright: ignore[reportPrivateUsage] - only there it shows


async def test_without_the_issuer_known_keys_stay_good_and_nobody_else_is_judged(issuer: Issuer) -> None:
    hand = Hand()
    keeper, good = doorkeeper(issuer, now=hand), f"Bearer {issuer.token(QUEUE)}"
    issuer.down = True
    with pytest.raises(Ambiguous, match=r"cannot be fetched: HTTPError"):
        await keeper.refusal(good, "/task")
    with pytest.raises(Ambiguous):
        await keeper.refusal(good, "/task")
    assert len(issuer.asked) == 1
    issuer.down, hand.time = False, hand.time + PAUSE
    assert await keeper.refusal(good, "/task") == ""
    issuer.down, hand.time = True, hand.time + 100_000
    assert await keeper.refusal(good, "/task") == ""


async def test_what_is_no_answer_of_the_issuer_leaves_known_keys_good(issuer: Issuer) -> None:
    hand = Hand()
    keeper, good = doorkeeper(issuer, now=hand), f"Bearer {issuer.token(QUEUE)}"
    issuer.garbled = True
    with pytest.raises(Ambiguous, match="cannot be fetched: BadStatusLine"):
        await keeper.refusal(good, "/task")
    issuer.garbled, hand.time = False, hand.time + PAUSE
    assert await keeper.refusal(good, "/task") == ""
    issuer.garbled, hand.time = True, hand.time + 100_000
    assert await keeper.refusal(good, "/task") == ""


async def test_the_queue_does_not_wait_while_a_strangers_key_is_asked_for(issuer: Issuer) -> None:
    hand = Hand()
    keeper, good = doorkeeper(issuer, now=hand), f"Bearer {issuer.token(QUEUE)}"
    assert await keeper.refusal(good, "/task") == ""
    hand.time += PAUSE
    issuer.answers.clear()
    stranger = asyncio.create_task(keeper.refusal(f"Bearer {issuer.token(QUEUE, kid='made-up')}", "/task"))
    await until(lambda: len(issuer.asked) == 3)
    async with asyncio.timeout(2):
        assert await keeper.refusal(good, "/task") == ""
    assert not stranger.done()
    issuer.answers.set()
    assert await stranger


async def test_an_issuer_that_is_another_one_is_not_believed(issuer: Issuer) -> None:
    issuer.calls_itself = "https://accounts.example.com"
    with pytest.raises(Ambiguous, match="SPOOL_OIDC_ISSUER"):
        await doorkeeper(issuer).refusal(f"Bearer {issuer.token(QUEUE)}", "/task")


# ---- the door itself, and the queue


def accounts(place: Place) -> tuple[str, str]:
    return tuple(f"spool-{name}@{place.project}.iam.gserviceaccount.com" for name in ("tasks", "scheduler"))  # pyright: ignore[reportReturnType]


async def test_the_door_answers_a_stranger_with_403_and_says_so_once(place: Place, issuer: Issuer, tmp_path: Path) -> None:
    environment = {**place.environment, "SLACK_BOT_TOKEN": "xoxb-secret-token", "SPOOL_OIDC_ISSUER": issuer.url}
    queue, scheduler = accounts(place)
    async with alone("worker", tmp_path, environment) as door:
        statuses = [await door.post(path) for path in ("/task", "/sweep", "/smoke")]
        huge = await door.post("/task", Authorization="Bearer " + "x" * 60_000)
        statuses += [await door.post("/task", Authorization=f"Bearer {issuer.token(scheduler)}"), huge]
        assert statuses == [403, 403, 403, 403, 403]
        assert await door.post("/sweep", Authorization=f"Bearer {issuer.token(queue)}") == 403
        assert await door.post("/other") == await door.post("/") == 404
        mine = {"Authorization": f"Bearer {issuer.token(queue)}"}
        assert await door.post("/task", b"no JSON", **mine) == 500
        assert await door.post("/task", b"x" * (2 << 20), **mine) == 500
        sent = f"Bearer {issuer.token(scheduler)}"
        swept = [
            await door.post("/sweep", Authorization=sent) for _ in range(5)
        ]  # on a busy machine Firestore may be slow to begin
        assert swept[-1] == 200
        assert set(swept) <= {200, 500}
        told = [line for line in door.events() if line["event"] != "sweep_failed"]
    assert [line["event"] for line in told] == ["forbidden"] * 6 + ["unreadable_task"] * 2
    assert {line["severity"] for line in told if line["event"] == "forbidden"} == {"WARNING"}


async def test_headers_that_make_no_sense_bring_a_stranger_nowhere(tmp_path: Path) -> None:
    environment = {"SLACK_BOT_TOKEN": "xoxb-secret-token", "SPOOL_STATE_DIR": str(tmp_path / "state")}
    async with alone("worker", tmp_path, environment) as door:
        assert await door.post("/task", X_CloudTasks_TaskRetryCount="9" * 5000) == 403
        assert await door.post("/task", X_CloudTasks_TaskName="n" * 9000, X_CloudTasks_TaskRetryCount="\u0663") == 403
        assert await door.post("/task", Host="[") == 403
        assert await door.post("/other", Host="worker/task?") == 404


async def test_a_task_is_kept_while_nobody_can_tell_who_is_calling(place: Place, issuer: Issuer, tmp_path: Path) -> None:
    environment = {**place.environment, "SLACK_BOT_TOKEN": "xoxb-secret-token", "SPOOL_OIDC_ISSUER": issuer.url}
    issuer.down = True
    async with alone("worker", tmp_path, environment) as door:
        assert await door.post("/task", Authorization=f"Bearer {issuer.token(accounts(place)[0])}") == 500
        [line] = door.events("unverified")
    assert (line["severity"], line["message"].count("\n")) == ("ERROR", 0)
    assert issuer.url in line["message"]


def tasks(place: Place, worker: str) -> GoogleTasks:
    return GoogleTasks(
        project=place.project,
        location=place.location,
        queue=place.queue,
        worker_url=worker,
        audience=AUDIENCE,
        service_account=accounts(place)[0],
        emulator=place.emulators.tasks,
    )


async def said(slack: Workspace, text: str) -> Task:
    """Somebody says something: the task that the ingress makes of it."""
    ts = await slack.say("C0GENERAL", "U0ADA", text)
    key = ConversationKey(team=slack.installation.team, channel="C0GENERAL", thread_ts=ts)
    envelope = Envelope(conversation=key, ts=ts, user="U0ADA", text=text, addressed="mention")
    return Task.of(envelope, first_seen=float(ts), trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def answers(slack: Workspace, task: Task) -> list[str]:
    shown = slack.messages(task.conversation.channel, task.conversation.thread_ts)
    return [m["text"] for m in shown if m.get("bot_id") and not str(m["text"]).startswith("…")]


async def test_the_queues_own_token_opens_the_door_and_the_answer_is_one_line(place: Place, tmp_path: Path) -> None:
    slack = Workspace(tmp_path / "slack")
    async with serve(slack) as port:
        environment = at(place, slack, port)
        async with alone("worker", tmp_path, environment) as door:
            queue, task = tasks(place, door.url), await said(slack, "what is my salary?")
            await queue.create(task)
            await until(lambda: answers(slack, task))
            for account in accounts(place):
                sweep(place, door, account)
            await until(lambda: door.events("forbidden"))
            await until(lambda: door.events("answered"))
            await queue.close()
            log, [line], worked = door.log, door.events("answered"), door.events()
    assert (line["conversation"], line["key"]) == (str(task.conversation), task.envelope and task.envelope.key)
    assert line["logging.googleapis.com/trace"] == f"projects/{place.project}/traces/0af7651916cd43dd8448eb211c80319c"
    assert (line["outcome"], line["messages"], line["attempt"]) == ("answered", 1, 0)
    assert line["seconds"] >= 0 < line["generation"]
    assert line["permalink"].startswith("https://slack.com/archives/C0GENERAL/p")
    assert "salary" not in log
    assert slack.installation.token not in log
    told = [entry["event"] for entry in worked if entry.get("conversation")]
    assert told == ["answered"]


def at(place: Place, slack: Workspace, port: int) -> dict[str, str]:
    slack_at = {"SLACK_BOT_TOKEN": slack.installation.token, "SLACK_API_URL": f"http://127.0.0.1:{port}/api/"}
    return {**place.environment, **slack_at}


def sweep(place: Place, door: Alone, account: str) -> None:
    names = {"project": place.project, "location": place.location, "queue": place.queue, "emulator": place.emulators.tasks}
    call_sweep(**names, worker_url=door.url, audience=AUDIENCE, service_account=account)


GONE: dict[str, Callable[[Place], dict[str, str]]] = {
    "no bucket": lambda place: {"SPOOL_BUCKET": f"{place.project}-late"},
    "no storage": lambda _: {"STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{free_port()}"},
}


@pytest.mark.parametrize("name", GONE)
async def test_without_its_stores_the_worker_says_why_and_answers_once_when_they_are_back(
    place: Place, tmp_path: Path, name: str
) -> None:
    slack = Workspace(tmp_path / "slack")
    async with serve(slack) as port:
        environment, gone = at(place, slack, port), GONE[name](place)
        async with alone("worker", tmp_path, {**environment, **gone}) as door:
            queue, task = tasks(place, door.url), await said(slack, "hello")
            await queue.create(task)
            await until(lambda: [e for e in door.events() if e["event"] in ("handed_over", "not_handed_on")])
            trouble = [line for line in door.events() if line["severity"] in ("WARNING", "ERROR")]
            worker = door.url
        assert not answers(slack, task)
        assert any(gone.get("SPOOL_BUCKET", "bucket") in line["message"] for line in trouble)
        make_bucket(project=place.project, bucket=gone.get("SPOOL_BUCKET", place.bucket), emulator=place.emulators.storage)
        back = {**environment, "SPOOL_BUCKET": gone.get("SPOOL_BUCKET", place.bucket)}
        async with alone("worker", tmp_path, back, port=int(worker.rpartition(":")[2])):
            await until(lambda: answers(slack, task), within=90)
            await queue.close()
        assert len(answers(slack, task)) == 1
