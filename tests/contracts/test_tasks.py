"""`spool.ports.Tasks`, sentence by sentence, on every backend."""

import asyncio

import pytest
from backends import Backend, envelope, in_threads

from spool.errors import Refused
from spool.task import Task


def task(text: str = "hello", *, n: int = 0) -> Task:
    return Task.of(envelope(text, n=n), first_seen=1.5, trace="trace")


async def test_a_created_task_is_delivered_as_it_was(backend: Backend) -> None:
    sent = task("Grüße 👋 \x00 \u2028 'quoted'").baton(after="owner")
    await backend.tasks().create(sent)
    assert await backend.delivered() == [sent]


async def test_a_task_is_delivered_until_it_is_acked(backend: Backend) -> None:
    await backend.tasks().create(task())
    assert await backend.delivered() == await backend.delivered() == [task()]


async def test_a_delayed_task_is_not_delivered_before_its_time(backend: Backend) -> None:
    await backend.tasks().create(task(), delay=backend.moment)
    await backend.pass_time(0.75 * backend.moment)
    assert await backend.delivered() == []
    await backend.pass_time(0.26 * backend.moment)
    assert await backend.delivered() == [task()]


async def test_the_same_task_created_twice_is_two_tasks(backend: Backend) -> None:
    """A name would be refused for an hour after its task is gone, and the message lost."""
    tasks = backend.tasks()
    await tasks.create(task())
    await tasks.create(task())
    assert await backend.delivered() == [task(), task()]


async def test_what_will_never_fit_is_refused_and_nothing_is_queued(backend: Backend) -> None:
    with pytest.raises(Refused, match="larger"):
        await backend.tasks().create(task("x" * 1_000_001))
    await backend.tasks().create(task("y" * 40_000))
    assert await backend.delivered() == [task("y" * 40_000)]


def test_tasks_created_by_many_at_once_are_all_there(backend: Backend) -> None:
    async def create(first: int) -> None:
        tasks = backend.tasks()
        for n in range(first, first + 25):
            await tasks.create(task(n=n))

    in_threads(*(lambda n=n: create(25 * n) for n in range(4)))
    assert {t.encode() for t in asyncio.run(backend.delivered())} == {task(n=n).encode() for n in range(100)}
