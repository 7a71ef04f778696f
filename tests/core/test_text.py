"""Gathering what a message says: everything, in order, once."""

import html
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.envelope import File
from spool.slack import text

Json = dict[str, Any]


def section(*elements: Json) -> Json:
    return {"type": "rich_text_section", "elements": list(elements)}


def said(words: str, **style: bool) -> Json:
    return {"type": "text", "text": words} | ({"style": style} if style else {})


def rich(*elements: Json) -> list[Json]:
    return [{"type": "rich_text", "block_id": "b1", "elements": list(elements)}]


def items(style: str, *lines: str) -> Json:
    return {"type": "rich_text_list", "style": style, "indent": 0, "elements": [section(said(line)) for line in lines]}


# What a person typed: (Slack's text, the same as rich text).
TWICE: dict[str, tuple[str, list[Json]]] = {
    "plain": ("How are the numbers?", rich(section(said("How are the numbers?")))),
    "mention": (
        "<@U0BOT> how are the numbers?",
        rich(section({"type": "user", "user_id": "U0BOT"}, said(" how are the numbers?"))),
    ),
    "mention with a label": (
        "ask <@U0BOB|bob> in <#C012AB3CD|general>",
        rich(
            section(
                said("ask "),
                {"type": "user", "user_id": "U0BOB"},
                said(" in "),
                {"type": "channel", "channel_id": "C012AB3CD"},
            )
        ),
    ),
    "escaped": ("a &lt; b &amp;&amp; c &gt; d", rich(section(said("a < b && c > d")))),
    "styles": (
        "*bold*, _italic_, ~gone~ and `code`",
        rich(
            section(
                said("bold", bold=True),
                said(", "),
                said("italic", italic=True),
                said(", "),
                said("gone", strike=True),
                said(" and "),
                said("code", code=True),
            )
        ),
    ),
    "links": (
        "see <https://example.com/a_b|the page> or <https://example.com>",
        rich(
            section(
                said("see "),
                {"type": "link", "url": "https://example.com/a_b", "text": "the page"},
                said(" or "),
                {"type": "link", "url": "https://example.com"},
            )
        ),
    ),
    "bullets": ("todo:\n• one\n• two", rich(section(said("todo:\n")), items("bullet", "one", "two"))),
    "numbers": ("1. one\n2. two", rich(items("ordered", "one", "two"))),
    "quote": ("&gt; first\n&gt; second", rich({"type": "rich_text_quote", "elements": [said("first\nsecond")]})),
    "listing": (
        "look:\n```if a &lt; b:\n    stop()```",
        rich(section(said("look:\n")), {"type": "rich_text_preformatted", "elements": [said("if a < b:\n    stop()")]}),
    ),
    "emoji, group and date": (
        ":wave::skin-tone-2: <!subteam^S012|@ops> <!here> <!date^1715000000^{date}|6 May>",
        rich(
            section(
                {"type": "emoji", "name": "wave", "skin_tone": 2},
                said(" "),
                {"type": "usergroup", "usergroup_id": "S012"},
                said(" "),
                {"type": "broadcast", "range": "here"},
                said(" "),
                {"type": "date", "timestamp": 1715000000, "fallback": "6 May"},
            )
        ),
    ),
}


@pytest.mark.parametrize("name", TWICE)
def test_what_text_says_already_is_not_said_twice(name: str) -> None:
    words, blocks = TWICE[name]
    assert text.gather({"text": words, "blocks": blocks}) == text.gather({"text": words})


@pytest.mark.parametrize("name", ["plain", "mention", "escaped", "styles", "links", "bullets"])
def test_blocks_alone_are_told_as_slack_tells_them(name: str) -> None:
    words, blocks = TWICE[name]
    assert text.gather({"blocks": blocks}) == (html.unescape(words), False)


# What an app said: (the message, its text gathered).
ONCE: dict[str, tuple[Json, str]] = {
    "nothing": ({}, ""),
    "escapes are Slack's, not the message's": ({"text": "&amp;lt; &lt;b&gt;"}, "&lt; <b>"),
    "a fallback and more": (
        {
            "text": "Alert",
            "blocks": [
                {"type": "header", "text": {"type": "plain_text", "text": "Alert"}},
                {"type": "divider"},
                {
                    "type": "section",
                    "text": {"type": "mrkdwn", "text": "*db-1* is &gt; 90 %"},
                    "fields": [{"type": "mrkdwn", "text": "since 10:00"}, {"type": "plain_text", "text": "by &amp;"}],
                    "accessory": {"type": "button", "text": {"type": "plain_text", "text": "Silence"}},
                },
                {"type": "context", "elements": [{"type": "image", "alt_text": "x"}, {"type": "mrkdwn", "text": "runbook"}]},
                {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "Silence"}}]},
            ],
        },
        "Alert\n*db-1* is > 90 %\nsince 10:00\nby &amp;\nrunbook",
    ),
    "whole words only": ({"text": "Nothing", "blocks": rich(section(said("No")))}, "Nothing\nNo"),
    "an attachment": (
        {
            "text": "",
            "attachments": [
                {
                    "fallback": "[no preview available]",
                    "pretext": "New issue",
                    "title": "Crash &amp; burn",
                    "title_link": "https://example.com/1",
                    "text": "It crashed",
                    "fields": [{"title": "Severity", "value": "high"}, {"value": "prod"}],
                    "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "seen 3 times"}}],
                }
            ],
        },
        "New issue\n<https://example.com/1|Crash & burn>\nIt crashed\nSeverity: high\nprod\nseen 3 times",
    ),
    "an attachment that only has a fallback": ({"text": "look", "attachments": [{"fallback": "a chart"}]}, "look\na chart"),
    "lists, quotes and listings": (
        {
            "blocks": rich(
                items("bullet", "one", "two"),
                {"type": "rich_text_quote", "elements": [said("well")]},
                {"type": "rich_text_preformatted", "elements": [said("x = 1")]},
            )
        },
        "• one\n• two\n> well\n```\nx = 1\n```",
    ),
    "a table, and Markdown": (
        {
            "blocks": [
                {"type": "table", "rows": [[{"type": "raw_text", "text": "a"}, *rich(section(said("b")))]]},
                {"type": "markdown", "text": "**c** &amp;"},
            ]
        },
        "a\nb\n**c** &amp;",
    ),
}


@pytest.mark.parametrize("name", ONCE)
def test_everything_is_said_in_reading_order(name: str) -> None:
    message, expected = ONCE[name]
    assert text.gather(message) == (expected, False)


@pytest.mark.parametrize(("length", "cut"), [(10, False), (11, True)])
def test_what_is_too_long_is_cut_and_marked(length: int, *, cut: bool) -> None:
    assert text.gather({"text": "x" * length}, limit=10) == ("x" * 10, cut)


def test_blocks_are_cut_and_marked_too() -> None:
    blocks = rich(*(section(said(f"line {n}")) for n in range(1000)))
    assert text.gather({"text": "a lot", "blocks": blocks}, limit=20) == ("a lot\nline 0\nline 1\n", True)


def test_nesting_is_read_to_a_bounded_depth() -> None:
    node: Any = section(said("deep"))
    for _ in range(900):
        node = {"type": "rich_text", "elements": [node]}
    assert text.gather({"text": "top", "blocks": [node]}) == ("top", False)


def test_files_are_named_and_deleted_ones_are_not() -> None:
    message = {
        "files": [
            {"id": "F1", "name": "a.png", "url_private": "https://files.slack.com/a.png"},
            {"id": "F2", "mode": "tombstone"},
            {"id": "F3", "file_access": "check_file_info"},
            {"name": "no id"},
            "F4",
        ]
    }
    assert text.files(message) == (File(id="F1", name="a.png", url="https://files.slack.com/a.png"), File(id="F3"))


KINDS = st.sampled_from(["section", "context", "table", "rich_text", "rich_text_list", "mrkdwn", "text", "link", "user", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | KINDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "elements", "fields", "rows", "style", "attachments", "blocks", "files", "url"]),
            inner | KINDS,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON, JSON, JSON, JSON)
def test_nothing_that_a_message_holds_raises(words: object, blocks: object, attachments: object, files: object) -> None:
    message = {"text": words, "blocks": blocks, "attachments": attachments, "files": files}
    gathered, cut = text.gather(message, limit=50)
    assert len(gathered) <= 50
    assert cut in (True, False)
    assert all(file.id for file in text.files(message))
