"""The dispatcher against a real worker on the loopback: every task arrives, however often somebody dies."""

import asyncio
import multiprocessing
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from spool.envelope import ConversationKey, Envelope
from spool.errors import Ambiguous
from spool.local.dispatcher import Dispatcher, seconds
from spool.local.queue import Dispatch, Queue
from spool.local.tasks import LocalTasks
from spool.task import Task

START = 1_715_000_000.0
Answer = Callable[[web.Request], Awaitable[web.Response]]


class Time:
    """Passes only where the dispatcher sleeps."""

    def __init__(self) -> None:
        self._now = START

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += seconds
        await asyncio.sleep(0)

    async def after(self, seconds: float) -> None:
        """Return once the dispatcher has slept so long."""
        end = self._now + seconds
        async with asyncio.timeout(20):
            while self._now < end:  # noqa: ASYNC110 - an event per instant of virtual time would be no simpler
                await asyncio.sleep(0)


class Worker:
    """Answers tasks from a script, then with 200, and keeps what it was sent."""

    def __init__(self, time: Time) -> None:
        self._time = time
        self._arrival = asyncio.Condition()
        self.script: list[int | Answer] = []
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []
        self.times: list[float] = []
        self.url = ""
        self.sweep: Answer | None = None
        """What answers a sweep; 404 where nothing does."""

        self.open = asyncio.Event()
        """Set at the end of a test: lets go of whoever waits."""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        async with self._arrival:
            self.requests.append(request)
            self.bodies.append(body)
            self.times.append(self._time.now())
            answer = self.script.pop(0) if self.script else 200
            self._arrival.notify_all()
        return web.Response(status=answer) if isinstance(answer, int) else await answer(request)

    async def wait(self, request: web.Request) -> web.Response:
        """An answer that does not come before the test lets it."""
        del request
        await self.open.wait()
        return web.Response()

    async def got(self, count: int) -> None:
        async with asyncio.timeout(20), self._arrival:
            await self._arrival.wait_for(lambda: len(self.requests) >= count)

    def headers(self, name: str) -> list[str | None]:
        return [r.headers.get(f"X-CloudTasks-{name}") for r in self.requests]

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncGenerator[None]:
        app = web.Application()
        app.router.add_post("/task", self.handle)
        if self.sweep:
            app.router.add_post("/sweep", self.sweep)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            self.open.set()
            await runner.cleanup()


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def worker(time: Time) -> AsyncIterator[Worker]:
    made = Worker(time)
    async with made.serve():
        yield made


@asynccontextmanager
async def running(dispatcher: Dispatcher) -> AsyncGenerator[None]:
    """The dispatcher at work, as `spool dev` runs it."""
    run = asyncio.create_task(dispatcher.run())
    try:
        yield
    finally:
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run


def dispatcher(state_dir: Path, worker: Worker, time: Time, *, concurrency: int = 8, deadline: float = 20.0) -> Dispatcher:
    return Dispatcher(
        state_dir,
        worker_url=worker.url,
        token="secret",
        concurrency=concurrency,
        deadline=deadline,
        now=time.now,
        sleep=time.sleep,
    )


def task(n: int = 0) -> Task:
    key = ConversationKey(team="T1", channel="C1", thread_ts="1715000000.000100")
    return Task.of(Envelope(conversation=key, ts=f"1715000100.{n:06}", user="U1", text="hi", addressed="dm"), first_seen=1.0)


async def create(state_dir: Path, time: Time, *numbers: int, delay: float = 0.0) -> None:
    with closing(LocalTasks(state_dir, now=time.now)) as tasks:
        for n in numbers or (0,):
            await tasks.create(task(n), delay=delay)


def left(state_dir: Path) -> int:
    with closing(Queue(state_dir)) as queue:
        return len(queue.claim(now=2e10, limit=1000, running=()))


async def test_a_task_arrives_as_cloud_tasks_would_send_it(tmp_path: Path, worker: Worker, time: Time) -> None:
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(1)
    sent = {k: v for k, v in worker.requests[0].headers.items() if k not in ("Host", "Accept", "Accept-Encoding")}
    assert len(sent.pop("X-CloudTasks-TaskName")) == 16
    assert sent == {
        "Authorization": "Bearer secret",
        "Content-Type": "application/json",
        "Content-Length": str(len(task().encode())),
        "User-Agent": "Google-Cloud-Tasks",
        "Connection": "close",
        "X-CloudTasks-QueueName": "spool",
        "X-CloudTasks-TaskRetryCount": "0",
        "X-CloudTasks-TaskExecutionCount": "0",
        "X-CloudTasks-TaskETA": "1715000000.000000",
    }
    assert worker.bodies == [task().encode()]


async def test_a_task_that_was_answered_with_2xx_is_gone(tmp_path: Path, worker: Worker, time: Time) -> None:
    worker.script = [204]
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(1)
        await time.after(120.0)
    assert len(worker.requests) == 1
    assert left(tmp_path) == 0


@pytest.mark.parametrize("status", [301, 302, 400, 403, 404, 408, 500, 502])
async def test_anything_but_2xx_is_tried_again(tmp_path: Path, worker: Worker, time: Time, status: int) -> None:
    worker.script = [status]
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(2)
        await time.after(1.0)
    assert worker.headers("TaskRetryCount") == ["0", "1"]
    assert worker.headers("TaskPreviousResponse") == [None, str(status)]
    assert len(set(worker.headers("TaskName"))) == 1
    assert left(tmp_path) == 0


async def test_a_redirect_is_not_followed(tmp_path: Path, worker: Worker, time: Time) -> None:
    """The worker never redirects: whoever does is somebody else, and gets no token."""

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": str(request.url)})

    worker.script = [redirect]
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(2)
    assert worker.headers("TaskPreviousResponse") == [None, "307"]


async def test_the_retry_count_counts_every_attempt_and_the_execution_count_no_5xx(
    tmp_path: Path, worker: Worker, time: Time
) -> None:
    worker.script = [500, 404, 500, 400]
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(5)
    assert worker.headers("TaskRetryCount") == ["0", "1", "2", "3", "4"]
    assert worker.headers("TaskExecutionCount") == ["0", "0", "1", "1", "2"]


async def test_retries_wait_twice_as_long_each_time_up_to_a_minute(tmp_path: Path, worker: Worker, time: Time) -> None:
    worker.script = [500] * 12
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(13)
    waits = [later - earlier for earlier, later in zip(worker.times, worker.times[1:], strict=False)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0], abs=0.3)


async def test_one_failing_task_does_not_hold_up_the_others(tmp_path: Path, worker: Worker, time: Time) -> None:
    worker.script = [500]
    await create(tmp_path, time, *range(9))
    async with running(dispatcher(tmp_path, worker, time, concurrency=1)):
        await worker.got(10)
    assert worker.bodies[0] == worker.bodies.pop()
    assert len(set(worker.bodies)) == 9


@pytest.mark.parametrize("status", [429, 503])
async def test_a_worker_that_wants_less_gets_nothing_for_a_while(
    tmp_path: Path, worker: Worker, time: Time, status: int
) -> None:
    worker.script = [status] * 5
    await create(tmp_path, time, *range(3))
    async with running(dispatcher(tmp_path, worker, time, concurrency=1)):
        await worker.got(6)
    waits = [later - earlier for earlier, later in zip(worker.times, worker.times[1:], strict=False)]
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6], abs=0.3)
    assert waits == sorted(waits)


async def test_one_success_forgets_how_often_the_worker_wanted_less(tmp_path: Path, worker: Worker, time: Time) -> None:
    worker.script = [503] * 5
    await create(tmp_path, time, 0)
    async with running(dispatcher(tmp_path, worker, time, concurrency=1)):
        await worker.got(6)
        worker.script = [503]
        await create(tmp_path, time, 1, 2)
        await worker.got(8)
    assert worker.times[7] - worker.times[6] == pytest.approx(0.1, abs=0.3)


async def test_a_worker_that_says_when_is_left_alone_until_then(tmp_path: Path, worker: Worker, time: Time) -> None:
    async def later(request: web.Request) -> web.Response:
        del request
        return web.Response(status=503, headers={"Retry-After": "30"})

    worker.script = [later]
    await create(tmp_path, time, 0, 1)
    async with running(dispatcher(tmp_path, worker, time, concurrency=1)):
        await worker.got(3)
    assert worker.times[1] - worker.times[0] >= 30.0


@pytest.mark.parametrize(
    ("text", "wait"), [("", 0.0), ("7", 7.0), ("-7", 0.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("²", 0.0)]
)
def test_a_retry_after_that_is_no_number_asks_for_nothing(text: str, wait: float) -> None:
    assert seconds(text) == wait


async def test_no_more_tasks_are_in_flight_than_allowed(tmp_path: Path, worker: Worker, time: Time) -> None:
    worker.script = [worker.wait] * 20
    await create(tmp_path, time, *range(20))
    async with running(dispatcher(tmp_path, worker, time, concurrency=8)):
        await worker.got(8)
        await time.after(60.0)
        assert len(worker.requests) == 8
        worker.open.set()
        await worker.got(20)
    assert len(set(worker.bodies)) == 20


async def test_what_is_in_flight_is_not_sent_again_beside_what_is_new(tmp_path: Path, worker: Worker, time: Time) -> None:
    worker.script = [worker.wait]
    await create(tmp_path, time, 0)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(1)
        await create(tmp_path, time, 1)
        await worker.got(2)
        await time.after(1.0)
    assert worker.bodies == [task(0).encode(), task(1).encode()]


async def test_an_attempt_that_outlives_the_deadline_is_tried_again(tmp_path: Path, worker: Worker, time: Time) -> None:
    worker.script = [worker.wait]
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time, deadline=0.05)):
        await worker.got(2)
    assert worker.headers("TaskPreviousResponse") == [None, "504"]
    assert worker.headers("TaskExecutionCount") == ["0", "0"]


async def test_a_connection_cut_in_the_middle_is_tried_again(tmp_path: Path, worker: Worker, time: Time) -> None:
    async def cut(request: web.Request) -> web.Response:
        assert request.transport
        request.transport.abort()
        return web.Response()

    async def cut_in_the_answer(request: web.Request) -> web.Response:
        answer = web.StreamResponse(headers={"Content-Length": "100"})
        await answer.prepare(request)
        await answer.write(b"half")
        return await cut(request)

    worker.script = [cut, cut_in_the_answer]
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(3)
    assert worker.headers("TaskRetryCount") == ["0", "1", "2"]


async def test_a_delayed_task_comes_at_its_time(tmp_path: Path, worker: Worker, time: Time) -> None:
    await create(tmp_path, time, delay=15.0)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(1)
    assert worker.times[0] - START == pytest.approx(15.0, abs=0.5)
    assert worker.times[0] - START >= 15.0


def absent(time: Time) -> tuple[Worker, int]:
    """A worker that does not listen yet, and its port."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    worker = Worker(time)
    worker.url = f"http://127.0.0.1:{port}"
    return worker, port


async def test_before_the_worker_ever_listened_no_attempt_is_counted(tmp_path: Path, time: Time) -> None:
    worker, port = absent(time)
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await time.after(60.0)
        async with worker.serve(port):
            await worker.got(1)
    assert worker.headers("TaskRetryCount") == ["0"]


async def test_a_worker_that_comes_back_gets_its_tasks_at_once(tmp_path: Path, time: Time) -> None:
    worker, port = absent(time)
    async with running(dispatcher(tmp_path, worker, time)):
        async with worker.serve(port):
            await create(tmp_path, time, 0)
            await worker.got(1)
        await create(tmp_path, time, 1)
        await time.after(60.0)
        back = time.now()
        async with worker.serve(port):
            await worker.got(2)
    assert worker.times[1] - back < 5.0
    assert worker.headers("TaskRetryCount") == ["0", "1"]


async def test_of_two_dispatchers_one_works_and_the_other_takes_over(tmp_path: Path, worker: Worker, time: Time) -> None:
    await create(tmp_path, time, *range(10))
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(10)
        await time.after(1.0)
        async with running(dispatcher(tmp_path, worker, time)):
            await create(tmp_path, time, *range(10, 20))
            await worker.got(20)
            await time.after(1.0)
    assert len(worker.bodies) == len(set(worker.bodies)) == 20
    async with running(dispatcher(tmp_path, worker, time)):
        await create(tmp_path, time, 20)
        await worker.got(21)


async def test_a_dispatcher_that_is_stopped_leaves_its_tasks_due(tmp_path: Path, worker: Worker, time: Time) -> None:
    worker.script = [worker.wait]
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(1)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(2)
    assert worker.headers("TaskRetryCount") == ["0", "1"]
    assert worker.times[1] - worker.times[0] < 1.0


async def test_an_ack_that_could_not_be_stored_is_a_second_delivery(
    tmp_path: Path, worker: Worker, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = Queue.ack

    def fail_once(_: Queue, name: str) -> None:
        monkeypatch.setattr(Queue, "ack", ack)
        raise Ambiguous(name)

    monkeypatch.setattr(Queue, "ack", fail_once)
    await create(tmp_path, time)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(2)
        await time.after(60.0)
    assert len(worker.requests) == 2
    assert left(tmp_path) == 0


async def test_a_queue_that_cannot_be_read_for_a_while_stops_nothing(
    tmp_path: Path, worker: Worker, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Queue.claim

    def fail_once(_: Queue, **_now: Any) -> list[Dispatch]:
        monkeypatch.setattr(Queue, "claim", claim)
        raise Ambiguous

    await create(tmp_path, time, 0)
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(1)
        await time.after(1.0)
        monkeypatch.setattr(Queue, "claim", fail_once)
        await create(tmp_path, time, 1)
        await worker.got(2)


def dispatch(state_dir: Path, url: str) -> None:
    """A dispatcher in a process of its own, on this machine's clock."""
    asyncio.run(Dispatcher(state_dir, worker_url=url, token="secret").run())


def create_here(state_dir: Path) -> None:
    """A task made by a process of its own."""
    asyncio.run(LocalTasks(state_dir).create(task(7)))


async def test_a_dispatcher_killed_in_a_delivery_is_followed_by_one_with_a_higher_retry_count(
    tmp_path: Path, worker: Worker, time: Time
) -> None:
    worker.script = [worker.wait] * 2
    await create(tmp_path, time, 0, 1)
    process = multiprocessing.get_context("spawn").Process(target=dispatch, args=(tmp_path, worker.url))
    process.start()
    try:
        await worker.got(2)
    finally:
        process.kill()
        process.join()
    async with running(dispatcher(tmp_path, worker, time)):
        await worker.got(4)
        await time.after(1.0)
    assert worker.headers("TaskRetryCount") == ["0", "0", "1", "1"]
    assert set(worker.headers("TaskName")[:2]) == set(worker.headers("TaskName")[2:])
    assert left(tmp_path) == 0


async def test_a_task_from_another_process_is_noticed(tmp_path: Path, worker: Worker) -> None:
    async with running(Dispatcher(tmp_path, worker_url=worker.url, token="secret")):
        process = multiprocessing.get_context("spawn").Process(target=create_here, args=(tmp_path,))
        process.start()
        await worker.got(1)
        process.join()
    assert worker.bodies == [task(7).encode()]


# ---- sweeps


@pytest.mark.parametrize("status", [200, 403, 404, 500, 503])
async def test_each_minute_the_worker_is_asked_to_sweep_whatever_it_answers(tmp_path: Path, time: Time, status: int) -> None:
    worker, asked = Worker(time), list[tuple[float, str]]()

    async def sweep(request: web.Request) -> web.Response:
        asked.append((time.now() - START, request.headers["Authorization"]))
        return web.Response(status=status)

    worker.sweep = sweep
    async with worker.serve(), running(dispatcher(tmp_path, worker, time)):
        await time.after(185.0)
        await create(tmp_path, time)
        await worker.got(1)
    assert [token for _, token in asked] == ["Bearer secret"] * 3
    assert all(60 * n <= at < 60 * n + 30 for n, (at, _) in enumerate(asked, 1))


async def test_a_sweep_that_hangs_keeps_no_task_waiting(tmp_path: Path, time: Time) -> None:
    worker = Worker(time)
    worker.sweep = worker.wait
    async with worker.serve(), running(dispatcher(tmp_path, worker, time)):
        await time.after(61.0)
        await create(tmp_path, time)
        await worker.got(1)
        await time.after(10.0)
        assert left(tmp_path) == 0
