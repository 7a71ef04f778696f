"""An answer in Markdown, as Slack can show it: cut into parts, with nothing in it that Slack would obey.

    reply ──split──► parts, one message each ──block──► the text of a markdown block
                                             ├─fallback► `text`: notifications, clients without blocks
                                             └─plain_blocks► when Slack refuses the markdown block

A model writes what strangers told it to write. So its text never pings, never forges a mention and never hides where a
link leads, in whichever spelling and inside code too: Slack reads its own markup before it reads Markdown.
"""

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

PART_LIMIT = 11_000
"""Characters of one part."""

BLOCK_LIMIT = 12_000
"""Slack: characters of all markdown blocks of one message (docs.slack.dev/reference/block-kit/blocks/markdown-block)."""

PLAIN_LIMIT = 3_000
"""Slack: characters of a section's text; and of our fallback, for chat.update refuses a `text` of more than 4,000."""

EMPTY = "(The answer is empty.)"
JOINER = "\u2060"
"""WORD JOINER: has no width and breaks no line, but behind a `<` or `@` it makes Slack's markup plain characters. Escapes
will not do: a backslash or an entity inside code would be shown as such."""

_ROOM_TO_CLOSE = 80
_LONGEST_REOPENING = 200
_FENCE = re.compile(r"(?P<indent>[ \t]{0,24})(?P<marks>`{3,40}(?!`)|~{3,40}(?!~))(?P<info>[^\n]*)\n?")
_CHARACTER = re.compile(r"&(?:amp;)*(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z]\w{1,31});?|.", re.IGNORECASE | re.DOTALL)
_HIDDEN = r"[\\\x00-\x1f\xad\u200b-\u200f\ufeff]*"  # what a reader skips between two characters
_MARKUP = re.compile(
    rf"<(?={_HIDDEN}(?:"
    rf"!{_HIDDEN}(?i:channel|here|everyone|group|subteam|date)"  # pings, and dates with a text of their own
    r"|[@#](?:[A-Z0-9]++(?![a-z])|[A-Za-z0-9]++[|>])"  # mentions; but not List<@NonNull String>
    r"|(?i:[a-z][a-z0-9+.-]*://|mailto:|tel:)[^<>\n|]*+\|"  # links with a text that hides their address
    r"|(?=[^\s<>|]*+\|)[\w-]++(?:\.[\w-]++)*\.[A-Za-z]{2}"
    r"))"
    r"|(?<![A-Za-z0-9])@(?=(?i:channel|here|everyone)(?![A-Za-z0-9]))"
)


@dataclass(frozen=True, slots=True)
class _Fence:
    """A code fence that stands open: how to close it, and how to open it again."""

    indent: str
    marks: str
    info: str

    @property
    def opening(self) -> str:
        line = self.indent + self.marks + self.info
        return (line if len(line) <= _LONGEST_REOPENING else self.indent + self.marks) + "\n"

    @property
    def closing(self) -> str:
        return self.indent + self.marks

    def is_closed_by(self, other: "_Fence") -> bool:
        return other.marks.startswith(self.marks) and not other.info.strip() and len(other.indent) <= len(self.indent) + 3


def split(markdown: str) -> tuple[str, ...]:
    """The parts of an answer, one message each: at least one, each of at most `PART_LIMIT` characters, nothing lost.

    Cut at paragraphs, else at lines, else at words, else anywhere. A code fence that a cut goes through is closed, and
    opened again by the next part.
    """
    parts: list[str] = []
    opening, rest = "", markdown
    while rest:
        rest = opening + rest
        cut = _cut_at(rest, PART_LIMIT - _ROOM_TO_CLOSE, start=len(opening))
        if len(rest) <= PART_LIMIT and len(_closed(rest)[0]) <= PART_LIMIT:
            cut = len(rest)
        part, opening = _closed(rest[:cut])
        parts.append(part)
        rest = rest[cut:]
    return tuple(p for p in parts if p.strip()) or (EMPTY,)


def block(text: str) -> str:
    """The text of a markdown block: at most `BLOCK_LIMIT` characters for a part, its Markdown kept, no markup obeyed."""
    safe = _neutral(text)
    if len(safe) <= BLOCK_LIMIT:
        return safe
    return _neutral(text, _lookalike)  # a part of nothing but pings: this spelling is never longer than what it replaces


def fallback(text: str) -> str:
    """At most `PLAIN_LIMIT` characters for a message's `text`, escaped (docs.slack.dev/messaging/formatting-message-text)."""
    kept = text[:PLAIN_LIMIT]
    while len(shown := _escaped(kept) + ("…" if kept != text else "")) > PLAIN_LIMIT:
        too_many = len(shown) - PLAIN_LIMIT
        kept = kept[: -(too_many // 5 + 1)]  # a character is at most five when escaped
    return shown if text.strip() else EMPTY


def plain_blocks(text: str) -> list[dict[str, Any]]:
    """The same text without Markdown: sections of plain text, of at most `PLAIN_LIMIT` characters each."""
    return [
        {"type": "section", "text": {"type": "plain_text", "text": piece, "emoji": False}}
        for piece in _pieces(_neutral(text), PLAIN_LIMIT)
    ]


def _pieces(text: str, limit: int) -> list[str]:
    pieces: list[str] = []
    while text:
        cut = _cut_at(text, limit)
        pieces.append(text[:cut])
        text = text[cut:]
    return [p for p in pieces if p.strip()] or [EMPTY]


def _closed(text: str) -> tuple[str, str]:
    """The text with its open code fence closed, and the line that opens it again ("" when none is open)."""
    fence = next((fence for _, fence in reversed(list(_lines(text)))), None)
    if fence is None:
        return text, ""
    return text + ("" if text.endswith("\n") else "\n") + fence.closing, fence.opening


def _lines(text: str) -> Iterator[tuple[str, _Fence | None]]:
    """Each line with its end, and the code fence that stands open behind it."""
    fence: _Fence | None = None
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        if found := _FENCE.fullmatch(line):
            other = _Fence(**found.groupdict())
            if fence is None:
                fence = None if "`" in other.marks and "`" in other.info else other
            elif fence.is_closed_by(other):
                fence = None
        yield line, fence


def _cut_at(text: str, room: int, *, start: int = 0) -> int:
    """Where to cut `text`, behind `start` and at most `room` characters in: after a paragraph, else a line, else a word."""
    if len(text) <= room:
        return len(text)
    at, paragraph, end = 0, 0, 0
    for line, fence in _lines(text[:room]):
        at += len(line)
        if not line.endswith("\n"):
            break
        if fence is None and not line.strip():
            paragraph = at
        if fence is None or not _FENCE.fullmatch(line):  # no part ends with a fence just opened
            end = at
    word = max(text.rfind(space, 0, room) for space in " \t\n") + 1
    return next((cut for cut in (paragraph, end, word) if text[start:cut].strip()), room)


def _escaped(text: str) -> str:
    return html.escape(_neutral(text), quote=False)


def _joined(character: str) -> str:
    return character + JOINER


def _neutral(text: str, harmless: Callable[[str], str] = _joined) -> str:
    """The text with the first character of each piece of Slack markup made `harmless`."""
    if not re.search("[<&@]", text):
        return text
    spelled = _CHARACTER.findall(text)
    for found in _MARKUP.finditer("".join(_read(s) for s in spelled)):
        spelled[found.start()] = harmless(spelled[found.start()])
    return "".join(spelled)


def _read(spelled: str) -> str:
    """One character for one spelling of it: `&lt;`, `&amp;lt;` and `&#60;` are all `<`."""
    if len(spelled) == 1:
        return spelled
    name = re.sub("^&(?:amp;)+", "&", spelled, flags=re.IGNORECASE)
    character = html.unescape(name.rstrip(";") + ";")
    return character if len(character) == 1 else "\ufffd"


def _lookalike(character: str) -> str:
    return "＠" if _read(character) == "@" else "‹"  # noqa: RUF001 - they look alike on purpose
