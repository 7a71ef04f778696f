"""`spool threads`: everything that is kept can be read, by people and by programs, and nothing of it steers a terminal."""

import asyncio
import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic_ai.messages import (
    BinaryContent,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from rich.console import Console

from emulated import Place
from spool.blobs import Blob, lifted
from spool.cli import backend, main
from spool.cli.reading import as_markdown, show
from spool.cli.terminal import neutral, say_table
from spool.envelope import ConversationKey, Envelope, File
from spool.transcript import Reply, Transcript

Run = Callable[..., tuple[int, str, str]]
HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]x[/red]\u202eevil\x9b31m\r\nnext"


def key(n: int = 0, channel: str = "C1") -> ConversationKey:
    return ConversationKey(team="T1", channel=channel, thread_ts=f"1715000000.{n:06}")


def thread(text: str = "How many?", *, n: int = 0, user: str = "U1", reply: str = "**Three**, says the tool.") -> Transcript:
    """A thread of one answered turn with one round: one tool that returned, one that nobody knows of."""
    said = Envelope(conversation=key(n), ts=f"1715000100.{n:06}", user=user, text=text, files=(File(id="F1"),), addressed="dm")
    opened = Transcript.empty(key(n)).opened([said], owner="w1", now=1_715_000_100.0)
    calls = [ToolCallPart("count", {"of": "apples"}, tool_call_id="c1"), ToolCallPart("pay", {"eur": 5}, tool_call_id="c2")]
    returns = [
        ToolReturnPart("count", "3", tool_call_id="c1"),
        ToolReturnPart("pay", "unclear", tool_call_id="c2", outcome="failed"),
    ]
    done = replace(
        opened.turns[0],
        state="done",
        outcome="answered",
        steps=(
            ModelResponse(parts=[TextPart("Let me count."), *calls]),
            ModelRequest(parts=returns),
            ModelResponse(parts=[TextPart(reply)]),
        ),
        unknown=("c2",),
        reply=Reply(parts=(reply,)),
        slots=("1715000101.000100",),
        model="offline",
        usage={"input_tokens": 10, "output_tokens": 2},
        cost_usd=0.01,
        finished_at=1_715_000_102.0,
    )
    return opened.with_last(done)


@pytest.fixture(params=["local", "google"])
def somewhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty store of each backend in turn, named by the environment as for a person: the two variables of the stores."""
    if request.param == "local":
        monkeypatch.setenv("SPOOL_STATE_DIR", str(tmp_path / "state"))
        return str(tmp_path / "state")
    place: Place = request.getfixturevalue("place")
    needless = ("SPOOL_LOCATION", "SPOOL_QUEUE")
    for name, value in place.environment.items():
        if name not in needless:
            monkeypatch.setenv(name, value)
    return f"gs://{place.bucket}"


@pytest.fixture
def run(somewhere: str, capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Runs the command line on that store; its exit code, stdout and stderr."""
    del somewhere

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capfdbinary.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), out.decode(), err.decode()

    return run


def store(*transcripts: Transcript) -> None:
    async def commit_all() -> None:
        async with backend.transcripts(backend.read_settings()) as client:
            for t in transcripts:
                path = ConversationKey(team=t.team, channel=t.channel, thread_ts=t.thread_ts).path
                await client.commit(path, t, generation=0)

    asyncio.run(commit_all())


def on_terminal(transcript: Transcript) -> str:
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    show(console, transcript, key=str(key()))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def keys(out: str) -> list[str]:
    return [found["key"] for found in json.loads(out)]


# ---- list


def test_list_json_is_one_array_of_what_other_programs_may_rely_on(run: Run) -> None:
    store(thread(), thread("Grüße\x1b", n=1, user="U2"))
    code, out, err = run("threads", "list", "--json")
    first = {"key": str(key()), "title": "How many?", "turns": 1, "last_ts": "1715000100.000000", "last_user": "U1"}
    second = {"key": str(key(1)), "title": "Grüße\x1b", "turns": 1, "last_ts": "1715000100.000001", "last_user": "U2"}
    assert (code, json.loads(out), err) == (0, [first, second], "")


def test_where_there_is_nothing_json_is_an_empty_array_and_people_are_told_what_to_do(somewhere: str, run: Run) -> None:
    assert run("threads", "list", "--json") == (0, "[]\n", "")
    code, out, err = run("threads", "list")
    assert (code, out) == (0, "")
    assert f"No threads in {somewhere}." in err
    assert "spool ask" in err or "in Slack" in err


def test_a_list_is_read_page_by_page_to_its_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PAGE", 2)
    store(*(thread(n=n, user=f"U{n % 2}") for n in range(7)))
    assert keys(run("threads", "list", "--json")[1]) == [str(key(n)) for n in range(7)]
    assert keys(run("threads", "list", "--json", "--user", "U1")[1]) == [str(key(n)) for n in (1, 3, 5)]
    assert keys(run("threads", "list", "--json", "--limit", "3")[1]) == [str(key(n)) for n in range(3)]


def test_a_list_that_was_cut_says_how_to_go_on(run: Run) -> None:
    store(*(thread(n=n) for n in range(3)))
    _, out, err = run("threads", "list", "--limit", "2")
    assert len(out.splitlines()) == 2
    assert f"--after {key(1)}" in err
    assert keys(run("threads", "list", "--json", "--after", str(key(1)))[1]) == [str(key(2))]
    assert keys(run("threads", "list", "--json", "--after", key(0).path, "--limit", "2")[1]) == [str(key(1)), str(key(2))]
    assert run("threads", "list", "--limit", "3")[2] == ""


def test_a_pipe_gets_one_line_per_thread_with_tabs_and_no_colour(run: Run) -> None:
    store(thread("two\n\twords " + HOSTILE), thread(n=1))
    lines = run("threads", "list")[1].splitlines()
    assert [line.split("\t") for line in lines] == [
        [str(key()), "two words ]0;owned[2J[red]x[/red]evil31m next", "1", "2024-05-06 12:55:00 UTC", "U1"],
        [str(key(1)), "How many?", "1", "2024-05-06 12:55:00 UTC", "U1"],
    ]


def test_in_a_terminal_a_key_stays_in_one_piece_and_a_title_is_no_markup() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=80)
    say_table(console, ("key", "title"), [(str(key()), HOSTILE + " a long title" * 9)])
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert str(key()) in shown
    assert "[red]x[/red]" in shown
    assert "\x1b" not in shown


# ---- show


def test_show_json_is_exactly_what_is_stored(run: Run) -> None:
    transcript = thread("Grüße " + HOSTILE)
    store(transcript)
    assert run("threads", "show", str(key()), "--json") == (0, transcript.dump().decode(), "")


def test_show_tells_who_said_what_which_tools_ran_and_how_it_ended(run: Run) -> None:
    store(thread())
    code, out, _ = run("threads", "show", str(key()))
    assert code == 0
    assert out.splitlines() == [
        "How many?",
        str(key()),
        "",
        "t0 · answered · offline · 12 tokens · $0.0100",
        "",
        "U1 · 2024-05-06 12:55:00 UTC",
        "  How many?",
        "  [file F1]",
        "Let me count.",
        '  → count({"of":"apples"})',
        '  → pay({"eur":5})   UNKNOWN: it may have happened, and it may not',
        "  ← count: 3",
        '  ← pay (failed): {"error":"unclear"}',
        "",
        "the agent · 2024-05-06 12:55:02 UTC",
        "**Three**, says the tool.",
        "  in message 1715000101.000100",
    ]


def test_a_thread_may_be_named_by_its_path_in_the_store(run: Run) -> None:
    store(thread())
    assert run("threads", "show", key().path) == run("threads", "show", str(key()))


def test_a_turn_at_work_is_shown_as_open(run: Run) -> None:
    done = thread()
    store(done.with_last(replace(done.turns[0], state="open", outcome=None, reply=None, slots=None, attempts=1)))
    out = run("threads", "show", str(key()))[1]
    assert "t0 · open, attempt 2" in out
    assert "not answered yet" in out


def test_show_messages_is_what_pydantic_ai_reads_back(run: Run) -> None:
    store(thread())
    messages = ModelMessagesTypeAdapter.validate_json(run("threads", "show", str(key()), "--messages")[1])
    assert [type(m) for m in messages] == [ModelRequest, ModelResponse, ModelRequest, ModelResponse]
    assert isinstance(messages[0].parts[0], UserPromptPart)
    assert isinstance(last := messages[-1], ModelResponse)
    assert last.text == "**Three**, says the tool."


def test_markdown_is_rendered_in_a_terminal_and_a_link_shows_where_it_leads() -> None:
    shown = on_terminal(thread(reply="**Three** [your bank](https://evil.example)"))
    assert "**" not in shown
    assert "https://evil.example" in shown
    assert "\x1b]8" not in shown


@pytest.mark.parametrize("text", [HOSTILE, "&#27;[2J &#x9b;2J &#x202e;live", "```\n\x1b[2J\n```", "`\x1b[2J`", "# \x1b[2J"])
def test_no_text_of_a_stranger_steers_a_terminal(text: str) -> None:
    hostile = thread(text, user="U1\x1b[2J", reply=text)
    turn = hostile.turns[0]
    tool = ModelResponse(parts=[ToolCallPart("t\x1b[2J", {"a": text}, tool_call_id="c9")])
    hostile = replace(hostile, title=text).with_last(replace(turn, steps=(tool, *turn.steps), model="m\x1b[2J"))
    for shown in (on_terminal(hostile), as_markdown(hostile, key=str(key()))):
        assert not any(steering in shown for steering in ("\x1b[2J", "\x1b]", "\x07", "\x9b", "\u202e", "\r"))


def test_what_people_write_in_their_languages_and_emoji_is_kept() -> None:
    text = "Grüße, 你好, مرحبا, 👩‍💻\n\tindented"
    assert neutral(text) == text


# ---- export


def test_a_markdown_export_quotes_people_and_keeps_the_answers_markdown(run: Run, tmp_path: Path) -> None:
    store(thread("# no\nheading *here*"))
    code, out, _ = run("threads", "export", str(key()))
    assert code == 0
    assert out.startswith("# \\# no heading \\*here\\*\n")
    assert "\n> # no\n> heading *here*\n" in out
    assert "\n**Three**, says the tool.\n" in out
    assert '- `→ count({"of":"apples"})`' in out
    file = tmp_path / "thread.md"
    assert run("threads", "export", str(key()), "--out", str(file)) == (0, "", "")
    assert file.read_text(encoding="utf-8") == out


def test_exported_messages_are_those_that_show_prints(run: Run) -> None:
    store(thread())
    assert run("threads", "export", str(key()), "--format", "messages") == run("threads", "show", str(key()), "--messages")


def beside() -> tuple[Transcript, list[Blob], bytes]:
    """A thread whose tool returned a table with a picture in it: too large, and binary."""
    picture = b"\x89PNG" * 100
    table = [{"row": n} for n in range(2_000)]
    returned = ToolReturnPart("look", [*table, BinaryContent(picture, media_type="image/png")], tool_call_id="c1")
    step, kept = lifted(ModelRequest(parts=[returned]))
    turn = thread().turns[0]
    call = ModelResponse(parts=[ToolCallPart("look", {}, tool_call_id="c1")])
    return thread().with_last(replace(turn, steps=(call, step, turn.steps[-1]), unknown=())), kept, picture


def keep(blobs: list[Blob]) -> None:
    async def keep_all() -> None:
        async with backend.transcripts(backend.read_settings()) as client:
            assert [await client.keep(b.data, media_type=b.media_type) for b in blobs] == [b.path for b in blobs]

    asyncio.run(keep_all())


def test_exported_messages_hold_again_what_lies_beside_the_transcript(run: Run) -> None:
    """A picture within a large return is a blob that a blob names."""
    transcript, kept, picture = beside()
    assert len(kept) == 2
    store(transcript)
    keep(kept)
    out = run("threads", "export", str(key()), "--format", "messages")[1]
    (returned,) = ModelMessagesTypeAdapter.validate_json(out)[2].parts
    assert isinstance(returned, ToolReturnPart)
    *table, image = cast("list[Any]", returned.content)
    assert (len(table), table[1999]) == (2_000, {"row": 1999})
    assert isinstance(image, BinaryContent)
    assert image.data == picture
    assert "spool_blob" not in out


def test_exported_messages_say_what_is_no_longer_stored(run: Run) -> None:
    transcript, kept, _ = beside()
    store(transcript)
    code, out, _ = run("threads", "show", str(key()), "--messages")
    assert (code, f"(this content is no longer stored: {kept[-1].path})" in out) == (0, True)


def test_show_says_what_lies_beside_the_transcript_and_how_to_get_it(run: Run) -> None:
    transcript, kept, _ = beside()
    store(transcript)
    for out in (run("threads", "show", str(key()))[1], run("threads", "export", str(key()))[1]):
        assert f"{kept[-1].path}: too large or binary, it lies beside the transcript" in out
        assert "--format messages" in out


# ---- when it goes wrong


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("show", "T1/C1/1715000000.000999"), "spool threads list"),
        (("export", "T1/C1/1715000000.000999"), "spool threads list"),
        (("show", "../../etc/passwd\x1b[2J"), "T012AB3CD/C012AB3CD/1715000000.000100"),
        (("list", "--after", "nothing"), "T012AB3CD/C012AB3CD/1715000000.000100"),
        (("export", "T1/C1/1715000000.000000", "--out", "/no/such/folder/file"), "--out"),
    ],
)
def test_what_goes_wrong_is_one_sentence_that_says_what_to_do(run: Run, arguments: tuple[str, ...], wanted: str) -> None:
    store(thread())
    code, out, err = run("threads", *arguments)
    assert (code, out) == (1, "")
    assert err.startswith("spool: ")
    assert err.count("\n") == 1
    assert wanted in err
    assert "\x1b" not in err


@pytest.mark.parametrize("somewhere", ["local"], indirect=True)
def test_a_broken_transcript_is_named_and_its_bytes_can_still_be_read(somewhere: str, run: Run) -> None:
    store(thread())
    with closing(sqlite3.connect(Path(somewhere) / "transcripts.db", isolation_level=None)) as database:
        database.execute("UPDATE transcripts SET data = ?", (b'{"schema":',))
    code, out, err = run("threads", "show", str(key()))
    assert (code, out) == (1, "")
    assert f"spool threads show {key()} --json" in err
    assert run("threads", "show", str(key()), "--json") == (0, '{"schema":', "")


def test_two_forms_at_once_are_a_wrong_use(run: Run) -> None:
    code, out, err = run("threads", "show", str(key()), "--json", "--messages")
    assert (code, out) == (2, "")
    assert "choose one" in err


def test_a_setting_that_is_wrong_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOOL_BACKEND", "floppy")
    code, _, err = run("threads", "list")
    assert (code, err.count("\n")) == (1, 1)
    assert "SPOOL_BACKEND" in err


def test_help_waits_for_no_model_library() -> None:
    light = "import sys, spool.cli; sys.exit(bool({'pydantic', 'pydantic_ai', 'aiohttp', 'starlette'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", light], check=True, timeout=30)  # noqa: S603 - our own text
