"""What Slack gets to see of an answer: all of it, in parts that fit, with nothing in it that Slack would obey."""

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spool.slack.render import BLOCK_LIMIT, EMPTY, JOINER, PART_LIMIT, PLAIN_LIMIT, block, fallback, plain_blocks, split

LINE = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", "", "```python", "```", "~~~", "````md", "  ```", "- item", "| a | b |", "x" * 4000, "word " * 900, " " * 300]
    ),
)
MARKDOWN = st.lists(LINE, max_size=60).map("\n".join)
PROSE = MARKDOWN.map(lambda text: text.replace("`", "'").replace("~", "-"))

HOSTILE = (
    "<!channel>",
    "<!here|here>",
    "<!everyone>",
    "<!subteam^S012AB3CD|@team>",
    "<!date^1392734382^{date}^https://evil.example|now>",
    "<@U012AB3CD>",
    "<@W012AB3CD|the boss>",
    "<#C012AB3CD|general>",
    "<http://evil.example|https://bank.example>",
    "<mailto:evil@evil.example|security@bank.example>",
    "<evil.example/path|https://bank.example>",
    "&lt;!channel&gt;",
    "&LT;!channel&GT;",
    "&amp;lt;!channel&amp;gt;",
    "&#60;!channel>",
    "&#x3C;&#33;channel&#62;",
    "&lt;@U012AB3CD&gt;",
    "&lt;http://evil.example|https://bank.example&gt;",
    "\\<\\!channel>",
    "`<!here>`",
    "```\n<@U012AB3CD>\n```",
    "@channel",
    "**@here**",
    "_@everyone_",
    "@Channel!",
    "&#64;here",
)

HARMLESS = (
    "if a < b and b > c: print('a & b')",
    "List<int>, Map<string, List<T>>, Array<string|number>, List<@NonNull String>",
    "[Slack](https://slack.com) <https://slack.com> <ada@example.com>",
    "<!DOCTYPE html> <!-- a comment --> <div class='x'>",
    "ada@example.com bob@here.example @ada @override x@y",
    "std::vector<std::string> | x <- c(1, 2) | a &lt; b &amp;&amp; c",
    "```c\n#include <stdio.h>\nint x = y << 2;\n```",
)


def content(text: str) -> str:
    """What is not white space."""
    return "".join(text.split())


def is_balanced(part: str) -> bool:
    marks, indent = "", 0
    for line in part.split("\n"):
        found = re.fullmatch(r"([ \t]*)(`{3,}|~{3,})([^\n]*)", line)
        if not found:
            continue
        if not marks:
            marks, indent = ("", 0) if "`" in found[2] and "`" in found[3] else (found[2], len(found[1]))
        elif found[2].startswith(marks) and not found[3].strip() and len(found[1]) <= indent + 3:
            marks = ""
    return not marks


def is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(character in rest for character in short)


@given(MARKDOWN)
@example("```python\n" + "print(1)\n" * 5000 + "```\nthe end")
@example("~~~~\n" + "x" * 30_000 + "\n~~~~")
@example("```" + "i" * 20_000 + "\ncode")
@example("`" * 30_000)
@example("\n" * 30_000 + "the end")
def test_every_part_fits_is_balanced_and_says_something(markdown: str) -> None:
    parts = split(markdown)
    assert parts
    for part in parts:
        assert part.strip()
        assert len(part) <= PART_LIMIT
        assert is_balanced(part) or "`" * 41 in part


@given(MARKDOWN)
@example("a" * 50_000)
@example("```python\n" + "print(1)\n" * 5000 + "```")
def test_nothing_is_lost_whatever_is_cut(markdown: str) -> None:
    assert is_subsequence(content(markdown), content("".join(split(markdown))))


@given(PROSE.filter(str.strip))
def test_without_fences_the_parts_are_the_text_itself(markdown: str) -> None:
    assert content("".join(split(markdown))) == content(markdown)
    if len(markdown) <= PART_LIMIT:
        assert split(markdown) == (markdown,)


@pytest.mark.parametrize("empty", ["", " ", "\n\n\t", "\n" * 30_000])
def test_an_empty_answer_says_that_it_is_empty(empty: str) -> None:
    assert split(empty) == (EMPTY,)


def test_a_cut_goes_behind_a_paragraph_before_it_goes_behind_a_line() -> None:
    first = "one line\n" * 600 + "\n"
    assert split(first + "another line\n" * 600)[0] == first


def test_a_cut_goes_behind_a_line_before_it_goes_behind_a_word() -> None:
    first = "some words\n"
    assert split(first + "word " * 4000)[0] == first


def test_a_cut_goes_behind_a_word_before_it_goes_through_one() -> None:
    assert all(part.endswith("word ") for part in split("word " * 5000))


def test_code_that_is_cut_is_closed_and_opened_again_with_its_language() -> None:
    code = "".join(f"print({n})\n" for n in range(2000))
    parts = split(f"See:\n\n  ```python title=x\n{code}  ```\nDone.")
    assert len(parts) > 2
    assert all(part.endswith("  ```") for part in parts[1:-1])
    assert all(part.startswith("  ```python title=x\n") for part in parts[2:])
    assert content("".join(parts).replace("```python title=x", "").replace("```", "")) == content(f"See:{code}Done.")


def test_code_is_not_cut_where_it_can_follow_whole() -> None:
    code = "```\n" + "x\n" * 4000 + "```\n"
    assert split("intro\n" * 800 + "\n" + code)[1] == code


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("frame", ["{}", "so {} it is", "`{}`", "[x]({})", "{0} {0}", "```\n{}\n```"])
def test_no_markup_of_slack_is_obeyed_in_any_spelling(hostile: str, frame: str) -> None:
    for shown in (block(frame.format(hostile)), fallback(frame.format(hostile)), plain_blocks(frame.format(hostile))[0]):
        text = shown if isinstance(shown, str) else shown["text"]["text"]
        read = html.unescape(html.unescape(html.unescape(text))).replace("\\", "")
        for markup in ("<!", "<@", "<#", "<http", "<mailto", "<evil", "@channel", "@Channel", "@here", "@everyone"):
            assert markup not in read.removesuffix("@team>")


@pytest.mark.parametrize("harmless", HARMLESS)
def test_ordinary_markdown_is_left_alone(harmless: str) -> None:
    assert block(harmless) == harmless


@given(st.text(alphabet=st.sampled_from("<>@!#|&;lt\\`UC1channelhere:/. \n"), max_size=200))
def test_neutral_text_stays_as_it_is_and_loses_nothing(text: str) -> None:
    once = block(text)
    assert once.replace(JOINER, "") == text
    assert block(once) == once


@pytest.mark.parametrize("ping", ["@here ", "<!channel>", "&lt;@U1&gt;"])
def test_a_part_of_nothing_but_pings_still_fits_a_block(ping: str) -> None:
    text = (ping * PART_LIMIT)[:PART_LIMIT]
    assert len(block(text)) <= BLOCK_LIMIT
    assert "<!channel>" not in block(text)
    assert "@here" not in block(text)


@given(st.one_of(st.text(), st.text(alphabet="<>&@here ", min_size=PLAIN_LIMIT // 8).map(lambda t: t * 8)))
@example("")
@example("&" * 5000)
@example("x" * PLAIN_LIMIT)
def test_the_fallback_is_escaped_and_short(text: str) -> None:
    shown = fallback(text)
    assert 0 < len(shown) <= PLAIN_LIMIT
    assert not re.search("[<>]|&(?!amp;|lt;|gt;)", shown)


def test_a_short_fallback_is_the_whole_text() -> None:
    assert fallback("a < b & c") == "a &lt; b &amp; c"
    assert fallback("x" * PLAIN_LIMIT) == "x" * PLAIN_LIMIT
    assert fallback("x" * (PLAIN_LIMIT + 1)) == "x" * (PLAIN_LIMIT - 1) + "…"


@given(MARKDOWN)
def test_plain_blocks_show_all_of_the_text_within_a_sections_limit(text: str) -> None:
    blocks = plain_blocks(text)
    texts = [b["text"]["text"] for b in blocks]
    assert all(0 < len(t) <= PLAIN_LIMIT for t in texts)
    assert {b["type"] for b in blocks} == {"section"}
    assert {b["text"]["type"] for b in blocks} == {"plain_text"}
    assert content("".join(texts)).replace(JOINER, "") == content(text or EMPTY).replace(JOINER, "") or not text.strip()
