"""The real turn and its tools: what fails, what is run again, what a hand-over leaves to whoever goes on."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio
from pydantic_ai import ModelRetry
from scripted import Bench, ok, plain, raising
from turning import Desk, at_desk

from spool.policy import Limits, Policy

pytestmark = pytest.mark.filterwarnings("ignore::pydantic_ai.CostNotFoundWarning")  # as in `spool.turn.run`


@pytest_asyncio.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    async with at_desk(tmp_path) as desk:
        yield desk


# ---- tools that fail


@pytest.mark.parametrize("kind", ["pure", "idempotent", "once"])
async def test_a_tool_that_raises_becomes_a_result_its_siblings_go_on_and_there_is_one_answer(desk: Desk, kind: str) -> None:
    bad = f"{kind}_bad"
    bench = Bench("pure_one", bad, "once_two", **{"pure_one": ok, bad: raising(ValueError("boom")), "once_two": ok})
    task = await desk.says()
    await desk.take(task, bench.loaded)
    one, failed, two = bench.script.results()
    assert (one, two) == ("ok", "ok")
    assert ("may have happened" if kind == "once" else "ValueError('boom')") in failed
    assert [len(k) for k in bench.keys.values()] == [1, 1, 1]
    assert desk.shown(task) == ["fine"]
    assert (await desk.transcript(task)).turns[0].outcome == "answered"


@pytest.mark.parametrize("kind", ["pure", "once"])
async def test_a_tool_that_takes_too_long_is_cut_off_and_the_model_is_told(desk: Desk, kind: str) -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return "never"

    desk.policy = Policy(limits=Limits(tool_seconds=0.05))
    name = f"{kind}_slow"
    bench = Bench(name, "pure_one", **{name: hang, "pure_one": ok})
    task = await desk.says()
    await desk.take(task, bench.loaded)
    slow, one = bench.script.results()
    assert ("may have happened" if kind == "once" else "TimeoutError") in slow
    assert one == "ok"
    assert desk.shown(task) == ["fine"]


@pytest.mark.parametrize("kind", ["pure", "idempotent", "once"])
async def test_a_tool_that_asks_for_another_try_gets_one_from_the_model(desk: Desk, kind: str) -> None:
    name = f"{kind}_picky"
    bench = Bench(name, **{name: raising(ModelRetry("say please"))})
    bench.script.answers = [[(name, {"n": 1})], [(name, {"n": 2})], "fine"]
    task = await desk.says()
    await desk.take(task, bench.loaded)
    assert [p.outcome for p in bench.script.returns(1)] == ["retried"]
    assert [p.content for p in bench.script.returns(1)] == ["say please"]
    assert len(set(bench.keys[name])) == 2
    assert desk.shown(task) == ["fine"]


@pytest.mark.parametrize("error", [ConnectionError("reset"), TimeoutError("slow")])
@pytest.mark.parametrize("kind", ["pure", "idempotent"])
async def test_a_tool_that_stumbles_is_run_again_with_the_same_key(desk: Desk, kind: str, error: Exception) -> None:
    name = f"{kind}_shaky"
    bench = Bench(name, **{name: raising(error)})
    await desk.take(await desk.says(), bench.loaded)
    first, second = bench.keys[name]
    assert first == second
    assert bench.script.results() == ["ok"]


async def test_a_tool_that_must_not_run_twice_is_not_run_again_and_the_model_is_told_that_it_may_have_happened(
    desk: Desk,
) -> None:
    bench = Bench("once_shaky", once_shaky=raising(ConnectionError("reset")))
    task = await desk.says()
    await desk.take(task, bench.loaded)
    assert len(bench.keys["once_shaky"]) == 1
    assert "was interrupted: it may have happened, and it may not" in bench.script.results()[0]
    assert desk.shown(task) == ["fine"]


async def test_a_tool_whose_inner_task_was_cancelled_is_a_failure_of_that_tool_and_not_a_sigterm(desk: Desk) -> None:
    bench = Bench("pure_odd", pure_odd=raising(asyncio.CancelledError()))
    task = await desk.says()
    await desk.take(task, bench.loaded)
    assert desk.shown(task) == ["fine"]
    assert desk.queued() == []


async def test_a_model_call_that_was_cancelled_inside_is_the_models_trouble_and_not_a_sigterm(desk: Desk) -> None:
    task = await desk.says()
    await desk.take(task, plain(asyncio.CancelledError()))
    assert [after > 0 for _, after in desk.queued()] == [True]
