"""The real turn and what is too large for a transcript: it lies beside it, and the model never notices."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from scripted import Bench
from turning import Desk, at_desk, failing

from spool.blobs import LARGE, references

pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`
PAGE = "a long page " * LARGE


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


async def page() -> str:
    return PAGE


async def test_a_large_return_lies_beside_the_transcript_and_later_turns_read_it_whole(desk: Desk) -> None:
    bench = Bench("pure_page", pure_page=page)
    task = await desk.says()
    await desk.take(task, bench.loaded)
    transcript = await desk.transcript(task)
    (path,) = references(transcript.turns[0].steps)
    assert len(transcript.dump()) < LARGE
    assert PAGE.encode() in (await desk.local.read(path) or b"")
    await desk.take(await desk.says("and again", thread=task), bench.loaded)
    assert any(PAGE in str(p) for m in bench.script.read[-1] for p in m.parts)
    assert bench.script.results(1) == [PAGE]


@pytest.mark.parametrize("kind", ["pure", "once"])
async def test_whoever_goes_on_reads_it_whole_and_runs_no_tool_again(desk: Desk, kind: str) -> None:
    name = f"{kind}_page"
    bench = Bench(name, **{name: page})
    bench.script.answers = [[(name, {"n": 1})], TimeoutError("no model")]
    task = await desk.says()
    await desk.take(task, bench.loaded)
    bench.script.answers = [[(name, {"n": 1})], "fine"]
    await desk.take(desk.next_task(), bench.loaded)
    assert bench.script.results() == [PAGE]
    assert len(bench.keys[name]) == 1
    assert desk.shown(task) == ["fine"]


async def test_a_return_that_cannot_be_stored_beside_it_stays_in_the_transcript(desk: Desk) -> None:
    """Storage is in trouble just then: the message is handed on, and a tool that runs at most once is not in doubt."""
    bench = Bench("once_page", once_page=page)
    desk.transcripts.before["keep"] = failing()
    task = await desk.says()
    await desk.take(task, bench.loaded)
    del desk.transcripts.before["keep"]
    await desk.take(desk.next_task(), bench.loaded)
    assert bench.script.results() == [PAGE]
    assert len(bench.keys["once_page"]) == 1
    assert desk.shown(task) == ["fine"]


async def test_a_blob_that_somebody_deleted_costs_no_answer(desk: Desk) -> None:
    bench = Bench("pure_page", pure_page=page)
    task = await desk.says()
    await desk.take(task, bench.loaded)
    (path,) = references((await desk.transcript(task)).turns[0].steps)
    desk.remove(path)
    again = await desk.says("and again", thread=task)
    await desk.take(again, bench.loaded)
    assert any("no longer stored" in str(p) for m in bench.script.read[-1] for p in m.parts)
    assert desk.shown(task) == ["fine", "fine"]


async def test_what_was_deleted_is_stored_anew_when_a_tool_returns_it_again(desk: Desk) -> None:
    bench = Bench("pure_page", pure_page=page)
    task = await desk.says()
    await desk.take(task, bench.loaded)
    (path,) = references((await desk.transcript(task)).turns[0].steps)
    desk.remove(path)
    bench.script.answers = [[("pure_page", {"n": 1})], "fine"]
    again = await desk.says("and again", thread=task)
    await desk.take(again, bench.loaded)
    assert references((await desk.transcript(task)).turns[1].steps) == {path}
    assert PAGE.encode() in (await desk.local.read(path) or b"")
