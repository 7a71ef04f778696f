"""Lines for Cloud Logging: what happened, to which message, in which trace; never what was said, never a secret."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from spool import logs
from spool.errors import Ambiguous, SpoolError
from spool.google.logs import OWN, REPORTED, Json, Place, secrets_in, stack, traceparent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAID = "my salary is 100"
TOKEN = "xoxb-123456789012-abcdefghij"
Say = Callable[..., dict[str, Any]]


def lines(log: logging.Logger, place: Place) -> tuple[list[str], logging.Handler]:
    """What a logger writes from now on."""
    written = list[str]()
    handler = logging.Handler()
    formatter = Json(place)
    handler.emit = lambda record: written.append(formatter.format(record))
    log.addHandler(handler)
    return written, handler


@pytest.fixture
def say() -> Generator[Say]:
    """Log one line under a name, and read it as Google does."""
    added = list[tuple[logging.Logger, logging.Handler]]()

    def one(
        name: str, *args: Any, level: int = logging.INFO, content: bool = False, secrets: tuple[str, ...] = (), **more: Any
    ) -> dict[str, Any]:
        log = logging.getLogger(name)
        log.setLevel(logging.DEBUG)
        log.propagate = False
        place = Place(project="p", service="spool-worker", version="r1", own=(*OWN, "agent"), content=content, secrets=secrets)
        written, handler = lines(log, place)
        added.append((log, handler))
        log.log(level, *args, **more)
        log.removeHandler(handler)
        [line] = written
        assert "\n" not in line
        return json.loads(line)

    yield one
    for log, handler in added:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
        log.propagate = True


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """The error as it is after it was raised."""
    try:
        raise error from cause  # noqa: TRY301
    except BaseException as e:  # noqa: BLE001
        return e


# ---- shape


def test_a_line_has_severity_message_time_and_the_event(say: Say) -> None:
    line = say("spool.turn", "answered after %s s", 3.2, extra={"event": "answered", "seconds": 3.2, "rounds": 2})
    assert line["severity"] == "INFO"
    assert line["message"] == "answered after 3.2 s"
    assert line["time"].endswith("+00:00")
    assert (line["event"], line["seconds"], line["rounds"]) == ("answered", 3.2, 2)


def test_every_line_of_a_message_carries_its_fields_whoever_logs_it(say: Say) -> None:
    with logs.about(conversation="T/C/1.2", key="C:1.2", trace=f"00-{TRACE}-{SPAN}-01"):
        line = say("grpc._channel", "retrying %s", "x")
    assert (line["conversation"], line["key"]) == ("T/C/1.2", "C:1.2")
    assert line["logging.googleapis.com/trace"] == f"projects/p/traces/{TRACE}"
    assert line["logging.googleapis.com/spanId"] == SPAN
    assert line["logging.googleapis.com/trace_sampled"] is True
    assert "conversation" not in say("grpc._channel", "later")


async def test_fields_reach_tasks_and_threads_and_no_other_message() -> None:
    def seen() -> Any:
        return logs.current().get("key")

    async def work(key: str) -> tuple[Any, Any, Any]:
        with logs.about(key=key):
            await asyncio.sleep(0)
            return seen(), await asyncio.to_thread(seen), await asyncio.create_task(asyncio.sleep(0, seen()))

    assert await asyncio.gather(work("a"), work("b")) == [("a", "a", "a"), ("b", "b", "b")]
    assert seen() is None


def test_what_is_added_ends_with_the_block() -> None:
    with logs.about(key="a"):
        logs.add(turn="t1")
        assert dict(logs.current()) == {"key": "a", "turn": "t1"}
    assert not logs.current()


def test_a_trace_that_is_none_is_left_out(say: Say) -> None:
    for trace in ("", "garbage", f"00-{TRACE}", f"00-{TRACE}-{SPAN}-01\n"):
        with logs.about(trace=trace):
            assert not [name for name in say("spool", "x") if name.startswith("logging.googleapis.com")]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"traceparent": f"00-{TRACE}-{SPAN}-01"}, f"00-{TRACE}-{SPAN}-01"),
        ({"x-cloud-trace-context": f"{TRACE}/11;o=1"}, f"00-{TRACE}-000000000000000b-01"),
        ({"x-cloud-trace-context": TRACE.upper()}, f"00-{TRACE}-0000000000000001-00"),
        ({"traceparent": f"00-{TRACE}-{SPAN}-00", "x-cloud-trace-context": f"{TRACE}/1"}, f"00-{TRACE}-{SPAN}-00"),
        ({"x-cloud-trace-context": "hello/1"}, ""),
        ({}, ""),
    ],
)
def test_both_headers_name_the_trace(headers: dict[str, str], expected: str) -> None:
    assert traceparent(headers) == expected


def test_an_error_has_the_shape_of_error_reporting(say: Say) -> None:
    line = say("spool.turn", "given up", level=logging.ERROR)
    assert line["@type"] == REPORTED
    assert line["serviceContext"] == {"service": "spool-worker", "version": "r1"}
    assert line["context"]["reportLocation"]["functionName"] == "one"
    assert "@type" not in say("spool.turn", "only so", level=logging.WARNING)


@pytest.mark.parametrize("how", ["logged with it", "named as its cause"])
def test_a_failure_brings_its_stack_trace(say: Say, how: str) -> None:
    error = raised(KeyError(SAID))
    more: dict[str, Any] = {"exc_info": error} if how == "logged with it" else {"extra": {"cause": error}}
    line = say("spool.turn", "it failed", level=logging.ERROR, **more)
    assert line["stack_trace"].startswith("Traceback (most recent call last):\n  File ")
    assert line["stack_trace"].endswith("\nKeyError\n")
    assert "in raised" in line["stack_trace"]
    assert SAID not in json.dumps(line)


def test_arguments_that_do_not_fit_lose_no_line(say: Say) -> None:
    assert say("spool", "%d messages", "many")["message"] == "%d messages"
    assert say("spool", "%(n)d messages", {"n": 2})["message"] == "2 messages"


def test_what_no_json_holds_is_written_as_text(say: Say) -> None:
    assert say("spool", "x", extra={"count": {1}})["count"] == "{1}"
    assert say("spool", "half \ud83d")["message"] == "half \ud83d"


# ---- what is never said


FOREIGN: dict[str, Callable[[Say], dict[str, Any]]] = {
    "an argument": lambda say: say("pydantic_ai", "model said %s", SAID),
    "a text made before": lambda say: say("aiohttp.access", f"GET /?q={SAID}"),
    "an error for a text": lambda say: say("grpc._channel", ValueError(SAID)),
    "an error's words": lambda say: say("asyncio", "never retrieved", exc_info=raised(ValueError(SAID)), level=logging.ERROR),
    "an unhandled task": lambda say: say("asyncio", f"future: <Task exception=ValueError('{SAID}')>", level=logging.ERROR),
    "a field of theirs": lambda say: say("somebody", "x", extra={"key": SAID, "model": SAID}),
    "a chain": lambda say: say("spool", "x", exc_info=raised(SpoolError("ours"), raised(ValueError(SAID)))),
    "a group": lambda say: say("spool", "x", exc_info=raised(ExceptionGroup(SAID, [ValueError(SAID)])), level=logging.ERROR),
    "a note": lambda say: say("spool", "x", exc_info=raised(noted()), level=logging.ERROR),
    "our own sentence about it": lambda say: say("spool", "it failed: %s", ValueError(SAID)),
    "our own sentence is one": lambda say: say("spool", ValueError(SAID)),
    "the same with quotes": lambda say: say("spool", "it failed: %r", ValueError(SAID)),
}


def noted() -> BaseException:
    error = ValueError("x")
    error.add_note(SAID)
    return error


@pytest.mark.parametrize("name", FOREIGN)
def test_words_of_others_are_not_shown(say: Say, name: str) -> None:
    assert SAID not in json.dumps(FOREIGN[name](say))


def test_of_others_what_is_constant_in_their_source_is_shown(say: Say) -> None:
    assert say("pydantic_ai", "model said %s", SAID)["message"].startswith("model said %s (pydantic_ai, ")
    assert "test_logs.py" in say("aiohttp.access", f"GET {SAID}")["message"]


def test_spools_own_errors_keep_their_words_along_a_chain() -> None:
    cause = raised(Ambiguous("the bucket gave no clear answer"), raised(OSError(SAID)))
    told = stack(raised(RuntimeError(SAID), cause), content=False)
    assert SAID not in told
    assert "spool.errors.Ambiguous: the bucket gave no clear answer\n" in told
    assert told.index("OSError") < told.index("Ambiguous") < told.index("RuntimeError")


def test_an_endless_chain_ends() -> None:
    one, two = ValueError("x"), KeyError("y")
    one.__cause__, two.__cause__ = two, one
    assert stack(one, content=False).count("Traceback") == 2


def test_with_the_flag_words_are_shown(say: Say) -> None:
    assert say("pydantic_ai", "model said %s", SAID, content=True)["message"] == f"model said {SAID}"
    line = say("spool", "x", exc_info=raised(ValueError(SAID)), level=logging.ERROR, content=True)
    assert line["stack_trace"].endswith(f"ValueError: {SAID}\n")


def test_the_users_own_lines_are_his(say: Say) -> None:
    assert say("agent.tools", "looked up %s", "sign-ups")["message"] == "looked up sign-ups"
    assert "sign-ups" not in say("agentless", "looked up %s", "sign-ups")["message"]


@pytest.mark.parametrize("content", [False, True])
def test_no_secret_is_shown_not_even_with_the_flag(say: Say, *, content: bool) -> None:
    secrets = secrets_in({"OPENAI_API_KEY": "k-0123456789", "SLACK_SIGNING_SECRET": "first-one,second-one", "HOME": "/root"})
    for secret in (
        "k-0123456789",
        "first-one",
        "second-one",
        TOKEN,
        "sk-proj-aaaaaaaaaaaaaaaa",
        "eyJhbGciOi.eyJpc3Mi.c2ln",
        "ya29.c.c0A-_z",
    ):
        line = say("spool", "calling with %s", secret, content=content, secrets=secrets)
        assert secret not in json.dumps(line)
        assert "[secret]" in line["message"]
        line = say("spool", "x", exc_info=raised(SpoolError(secret)), level=logging.ERROR, content=content, secrets=secrets)
        assert secret not in json.dumps(line)


def test_secrets_are_known_by_name_and_a_short_value_is_none() -> None:
    environ = {"STRIPE": "stripe-value", "DB_PASSWORD": "hunter2hunter2", "A_KEY": "1", "SPOOL_QUEUE": "a-long-value"}
    assert set(secrets_in(environ, ["STRIPE"])) == {"stripe-value", "hunter2hunter2"}


# ---- a whole process

PROCESS = """
import asyncio, logging, sys, warnings
from spool.google.logs import Place, configure
configure(Place(project="p", service="spool-worker"))
warnings.warn("my salary is 100")
logging.getLogger("gunicorn.error").error("Worker (pid:%s) was sent SIGKILL! Perhaps out of memory?", 7)
logging.getLogger("uvicorn.error").error("Exception in ASGI application\\n", exc_info=ValueError("my salary is 100"))
logging.getLogger("httpx").info("HTTP Request: POST https://api.example.com")
async def main():
    asyncio.get_running_loop().call_exception_handler({"message": "my salary", "exception": ValueError("my salary")})
asyncio.run(main())
raise KeyError("my salary is 100")
"""


def test_whatever_a_process_says_is_one_json_line_each_and_quotes_nobody() -> None:
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, check=False)  # noqa: S603
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (1, "")
    assert "salary" not in done.stdout
    assert [(line["severity"], line["logger"]) for line in said] == [
        ("WARNING", "spool"),
        ("ERROR", "gunicorn.error"),
        ("ERROR", "uvicorn.error"),
        ("ERROR", "asyncio"),
        ("CRITICAL", "spool"),
    ]
    assert said[1]["message"] == "Worker (pid:7) was sent SIGKILL! Perhaps out of memory?"
    assert said[4]["event"] == "crashed"
    assert said[4]["stack_trace"].endswith("KeyError\n")


def test_lines_of_several_threads_do_not_mix(capfd: pytest.CaptureFixture[str]) -> None:
    code = (
        "import logging, threading\nfrom spool.google.logs import Place, configure\nconfigure(Place(project='p'))\n"
        "def work():\n  for n in range(200): logging.getLogger('spool').info('%s', 'x' * 2000)\n"
        "all = [threading.Thread(target=work) for _ in range(4)]\n[t.start() for t in all]\n[t.join() for t in all]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 800
    assert threading.active_count() >= 1
    assert not capfd.readouterr().out
