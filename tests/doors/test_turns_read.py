"""The real turn and what the model reads: messages in full, files that come late, who said what."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from scripted import Calls, Script, agent_of, loaded, plain
from turning import ADA, GRACE, Desk, at_desk, until, with_envelope

from spool.envelope import File

pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`
NOTE: Calls = [("note", {})]


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


async def test_an_envelope_that_was_cut_is_read_again_in_full(desk: Desk) -> None:
    script, long = Script(answers=["fine"]), "word " * 10_000
    task = with_envelope(await desk.says(long), text=long[:40], cut=True)
    await desk.take(task, loaded(agent_of(script)))
    assert (await desk.transcript(task)).turns[0].messages[0].text.strip() == long.strip()
    assert prompt_of(script).strip() == long.strip()


async def test_a_cut_message_that_is_gone_from_slack_is_answered_by_its_first_part(desk: Desk) -> None:
    script = Script(answers=["fine"])
    root = await desk.says("root")
    task = with_envelope(await desk.says("first part", thread=root), cut=True)
    assert task.envelope
    await desk.workspace.remove(task.conversation.channel, task.envelope.ts)
    await desk.take(task, loaded(agent_of(script)))
    assert prompt_of(script) == "first part"


def prompt_of(script: Script, call: int = -1) -> str:
    """What the people of the last turn said, as the model read it."""
    return "\n".join(str(p.content) for m in script.read[call] for p in m.parts if p.part_kind == "user-prompt")


async def test_files_that_only_a_second_event_brings_reach_the_transcript_and_the_next_model_call(desk: Desk) -> None:
    script = Script(answers=[NOTE, "fine"])
    agent = agent_of(script)
    task = await desk.says("see this")

    @agent.tool_plain(metadata={"spool": "pure"})
    async def note() -> str:  # pyright: ignore[reportUnusedFunction]
        await desk.take(with_envelope(task, files=(File(id="F1", name="plan.pdf"),), event_id="Ev2"), plain("twice"))
        desk.clock.heartbeat.set()
        await until(
            lambda: not desk.clock.heartbeat.is_set() and desk.rpcs[-2:] == ["conversations.read", "conversations.write"]
        )
        return "noted"

    await desk.take(task, loaded(agent))
    assert prompt_of(script, 0) == "see this"
    assert prompt_of(script, 1) == "see this\n[file plan.pdf]"
    turns = (await desk.transcript(task)).turns
    assert [[f.id for f in m.files] for t in turns for m in t.messages] == [["F1"]]
    await desk.take(desk.next_task(), plain("twice"))
    assert desk.shown(task) == ["fine"]


async def test_files_that_a_second_event_brings_to_a_short_turn_reach_the_transcript(desk: Desk) -> None:
    task = await desk.says("see this")

    async def think(_: int) -> None:
        await desk.take(with_envelope(task, files=(File(id="F1", name="plan.pdf"),), event_id="Ev2"), plain("twice"))

    await desk.take(task, loaded(agent_of(Script(answers=["fine"], thinking=think))))
    await desk.take(desk.next_task(), plain("twice"))
    turns = (await desk.transcript(task)).turns
    assert [[f.id for f in m.files] for t in turns for m in t.messages] == [["F1"]]


async def test_several_speakers_are_named_to_the_model_and_one_is_not(desk: Desk) -> None:
    script = Script(answers=["fine"])
    root = await desk.says("one")
    await desk.take(root, loaded(agent_of(script)))
    assert prompt_of(script) == "one"
    await desk.take(await desk.says("two", user=GRACE, thread=root), loaded(agent_of(script)))
    assert prompt_of(script) == f"<@{ADA}>: one\n<@{GRACE}>: two"
