"""`spool ask`: a question goes the way of every message, and its answer counts when people can see it."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from spool.cli import dev, main
from spool.cli.ask import is_shown, stage
from spool.console.server import serve
from spool.console.workspace import Workspace
from spool.envelope import ConversationKey, Envelope
from spool.local.lock import Lock
from spool.local.transcripts import LocalTranscripts
from spool.settings import Settings
from spool.slack.render import fallback
from spool.transcript import Outcome, Reply, Transcript, Turn

Json = dict[str, Any]
Ask = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture(autouse=True)
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SPOOL_MODEL", "SPOOL_AGENT", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SPOOL_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest_asyncio.fixture
async def workspace(state_dir: Path) -> AsyncGenerator[Workspace]:
    """The workspace of a `spool dev` whose functions never answer: the test does."""
    made, lock = Workspace(state_dir), Lock(state_dir / "dev.lock")
    async with serve(made) as port:
        (state_dir / "dev.json").write_text(
            json.dumps({"console": f"http://127.0.0.1:{port}", "ingress": "http://127.0.0.1:9"})
        )
        assert lock.take()
        yield made
        lock.give()


@pytest.fixture
def ask(capfd: pytest.CaptureFixture[str]) -> Ask:
    """Runs the command beside the test's own loop; its exit code, stdout and stderr."""

    def run(arguments: tuple[str, ...]) -> int:
        try:
            main(("ask", *arguments))
        except SystemExit as ended:
            return ended.code if isinstance(ended.code, int) else 0
        return 0

    async def ask(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(run, arguments)
        out, err = capfd.readouterr()
        return code, out, err

    return ask


async def asked(workspace: Workspace, channel: str = "C0GENERAL") -> Json:
    """The question, once it is said."""
    await workspace.until(lambda: bool(workspace.messages(channel)), within=20)
    return workspace.messages(channel)[-1]


def opened(question: Json, channel: str = "C0GENERAL") -> Transcript:
    key = ConversationKey(team="T0SPOOL", channel=channel, thread_ts=question.get("thread_ts", question["ts"]))
    said = Envelope(conversation=key, ts=question["ts"], user=question["user"], text=question["text"], addressed="mention")
    return Transcript.empty(key).opened([said], owner="w1", now=0)


def finished(transcript: Transcript, *slots: str | None, reply: str = "**Three**", outcome: Outcome = "answered") -> Transcript:
    parts = Reply(parts=(reply,) * len(slots)) if slots else None
    return transcript.with_last(replace(transcript.turns[0], state="done", outcome=outcome, reply=parts, slots=slots))


async def commit(state_dir: Path, transcript: Transcript) -> None:
    key = ConversationKey(team=transcript.team, channel=transcript.channel, thread_ts=transcript.thread_ts)
    with contextlib.closing(LocalTranscripts(state_dir)) as store:
        _, generation = await store.load(key.path, key=key)
        await store.commit(key.path, transcript, generation=generation)


def posted(workspace: Workspace, turn: Turn, *, ts: str = "", text: str = "…") -> Json:
    """A message of the agent's that belongs to the turn."""
    mine = {"user": "U0SPOOL", "bot_id": "B0SPOOL", "app_id": "A0SPOOL", "ts": ts or workspace.next_ts(), "text": text}
    payload = {"tag": turn.tag, "epoch": 1, "part": 0}
    channel, _, question = turn.messages[0].key.partition(":")
    return workspace.post(channel, {**mine, "metadata": {"event_payload": payload}}, thread_ts=question)


async def spawned(*arguments: str) -> tuple[int, str, str]:
    """`spool`, as people run it."""
    command, pipe = (sys.executable, "-m", "spool.cli", *arguments), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


# ---- through both functions


async def test_a_question_is_answered_by_the_dev_that_runs_and_its_thread_goes_on() -> None:
    async with dev.running(Settings.read(), port=0, console_port=0, quiet=True):
        code, out, err = await spawned("ask", "What is a < b?", "--channel", "D0ADA")
        assert (code, "> What is a < b?" in out) == (0, True), err
        key = err.split()[-1]
        code, out, err = await spawned("ask", "And now?", "--channel", "D0ADA", "--thread", key.split("/")[-1])
        assert (code, "> And now?" in out, err.split()[-1]) == (0, True, key), err
        _, listed, _ = await spawned("threads", "list", "--json")
        assert [(t["key"], t["turns"]) for t in json.loads(listed)] == [(key, 2)]


async def test_without_a_running_dev_it_runs_one_of_its_own_and_leaves_none_behind() -> None:
    code, out, err = await spawned("ask", "Hello?")
    assert (code, "> <@U0SPOOL> Hello?" in out) == (0, True), err
    assert "\x1b" not in out + err
    assert dev.found(Settings.read()) is None


# ---- step by step


async def test_the_answer_counts_when_every_part_is_visible(workspace: Workspace, state_dir: Path, ask: Ask) -> None:
    asking = asyncio.ensure_future(ask("How many < 5?", "--user", "U0GRACE"))
    question = await asked(workspace)
    assert (question["user"], question["text"]) == ("U0GRACE", "<@U0SPOOL> How many &lt; 5?")
    await commit(state_dir, transcript := opened(question))
    first, second = (posted(workspace, transcript.turns[0])["ts"] for _ in range(2))
    await commit(state_dir, finished(transcript, first, second))
    workspace.change("C0GENERAL", {**workspace.messages("C0GENERAL")[1], "text": fallback("**Three**")})
    await asyncio.sleep(0.3)
    assert not asking.done()
    workspace.change("C0GENERAL", {**workspace.messages("C0GENERAL")[2], "text": fallback("**Three**")})
    code, out, err = await asking
    assert (code, out) == (0, "**Three**\n**Three**\n")
    assert err.splitlines()[-1] == f"spool threads show T0SPOOL/C0GENERAL/{question['ts']}"
    assert err.splitlines()[0] == "starting"


async def test_an_apology_is_printed_and_is_a_failure(workspace: Workspace, state_dir: Path, ask: Ask) -> None:
    asking = asyncio.ensure_future(ask("Hello?"))
    transcript = opened(await asked(workspace))
    slot = posted(workspace, transcript.turns[0], text="Sorry\x1b[2J")["ts"]
    await commit(state_dir, finished(transcript, slot, reply="Sorry\x1b[2J", outcome="failed"))
    code, out, err = await asking
    assert (code, out) == (1, "Sorry[2J\n")
    assert "ended as failed" in err.splitlines()[-1]


async def test_an_answer_that_nobody_will_see_is_said_to_be_so(workspace: Workspace, state_dir: Path, ask: Ask) -> None:
    asking = asyncio.ensure_future(ask("Hello?"))
    await commit(state_dir, finished(opened(await asked(workspace)), outcome="undeliverable"))
    code, out, err = await asking
    assert (code, out) == (1, "")
    assert "refuses to show" in err.splitlines()[-1]


async def test_out_of_patience_it_says_that_nothing_is_lost_and_where_to_look(workspace: Workspace, ask: Ask) -> None:
    code, out, err = await ask("Hello?", "--timeout", "0.3")
    question = await asked(workspace)
    assert (code, out) == (1, "")
    assert "not lost" in (last := err.splitlines()[-1])
    assert f"spool threads show T0SPOOL/C0GENERAL/{question['ts']}" in last


@pytest.mark.parametrize("place", [("--channel", "C0NOWHERE"), ("--thread", "1715000000.000100"), ("--channel", "../\x1b[2J")])
async def test_nothing_is_said_where_nobody_listens(workspace: Workspace, ask: Ask, place: tuple[str, str]) -> None:
    code, out, err = await ask("Hello?", *place)
    assert (code, out) == (1, "")
    assert "there is no" in err.splitlines()[-1]
    assert "\x1b" not in err
    assert workspace.messages("C0GENERAL") + workspace.messages("C0NOWHERE") == []


async def test_a_workspace_that_goes_away_is_one_sentence(workspace: Workspace, state_dir: Path, ask: Ask) -> None:
    (state_dir / "dev.json").write_text('{"console": "http://127.0.0.1:9", "ingress": "http://127.0.0.1:9"}')
    code, _, err = await ask("Hello?")
    assert (code, err.count("\n")) == (1, 2)
    assert "still running" in err
    assert workspace.messages("C0GENERAL") == []


async def test_a_dev_in_front_of_another_slack_cannot_be_asked(workspace: Workspace, state_dir: Path, ask: Ask) -> None:
    (state_dir / "dev.json").write_text('{"console": "", "ingress": "http://127.0.0.1:9"}')
    code, _, err = await ask("Hello?")
    assert (code, "--no-simulator" in err) == (1, True)
    assert workspace.messages("C0GENERAL") == []


async def test_an_empty_question_is_a_wrong_use(ask: Ask) -> None:
    assert (await ask("  "))[0] == 2


# ---- decisions


QUESTION: Json = {"ts": "1715000000.000100", "user": "U0ADA", "text": "Hello?"}
SLOT = "1715000001.000100"


@pytest.mark.parametrize(
    ("slots", "visible", "shown"),
    [
        ((SLOT,), [{"ts": SLOT, "text": fallback("**Three**")}], True),
        ((SLOT,), [{"ts": SLOT, "text": "…"}], False),
        ((SLOT,), [], False),
        ((None,), [{"ts": SLOT, "text": fallback("**Three**")}], False),
    ],
)
def test_a_reply_is_shown_when_it_stands_in_its_slots(slots: tuple[str | None, ...], visible: list[Json], shown: bool) -> None:  # noqa: FBT001
    assert is_shown(finished(opened(QUESTION), *slots).turns[0], visible) is shown
    assert not is_shown(opened(QUESTION).turns[0], visible)


def test_a_stage_is_told_in_the_agents_own_words() -> None:
    turn = opened(QUESTION).turns[0]
    mine: Json = {"ts": SLOT, "text": "…", "metadata": {"event_payload": {"tag": turn.tag}}}
    others: Json = {**mine, "text": "other", "metadata": {"event_payload": {"tag": "t7:C0GENERAL:1"}}}
    assert stage(None, [mine]) == "queued"
    assert stage(turn, [QUESTION, others]) == "turn t0 has begun"
    assert stage(turn, [QUESTION, others, mine]) == f"reserved {SLOT}"
    assert stage(turn, [{**mine, "text": "… using `a &lt; b`\nmore"}]) == "… using `a < b`"
