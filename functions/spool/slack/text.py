"""What a Slack message says: its text, its blocks and its attachments, each thing once.

Slack gives a message several times over. `text` is Slack's own rendering of a person's rich text, while an app writes
`text` as a short fallback and the message itself into blocks or attachments. So every piece of a block is looked up in
`text`, word by word, without markup, and joins it only if it is not there. Forms: https://docs.slack.dev/reference/block-kit.

Nothing here raises, whatever the message holds: what is not as Slack writes it says nothing.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from spool.envelope import TEXT_LIMIT, File

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Object: TypeAlias = dict[str, Json]

DEPTH = 16
"""Levels of nesting that are read; Slack's own messages need nine (a cell's section within a table of an attachment)."""

FILES = 100
"""Files of one message that an envelope names; Slack's own limit is lower."""

_CHILDREN: Mapping[str, tuple[str, ...]] = {
    "section": ("text", "fields"),
    "header": ("text",),
    "context": ("elements",),
    "image": ("title",),
    "video": ("title", "description"),
    "table": ("rows",),
    "rich_text": ("elements",),
    "rich_text_list": ("elements",),
}
"""Where the text of a block stands. Buttons and inputs ask, they say nothing: they are not here."""

_SAYS = ("mrkdwn", "plain_text", "raw_text", "markdown")
_LINES = ("rich_text_section", "rich_text_quote", "rich_text_preformatted")
_WRAP: Mapping[str, tuple[str, str]] = {
    "rich_text_list": ("• ", ""),
    "rich_text_quote": ("> ", ""),
    "rich_text_preformatted": ("```\n", "\n```"),
}
_STYLE: Mapping[str, str] = {"bold": "*", "italic": "_", "strike": "~", "code": "`"}
_INLINE: Mapping[str, Callable[[Object], str]] = {
    "link": lambda e: _link(_str(e, "url"), _str(e, "text")),
    "user": lambda e: f"<@{_str(e, 'user_id')}>",
    "channel": lambda e: f"<#{_str(e, 'channel_id')}>",
    "usergroup": lambda e: f"<!subteam^{_str(e, 'usergroup_id')}>",
    "broadcast": lambda e: f"<!{_str(e, 'range')}>",
    "emoji": lambda e: f":{_str(e, 'name')}:" + (f":skin-tone-{tone}:" if (tone := e.get("skin_tone")) else ""),
    "date": lambda e: _str(e, "fallback"),
    "color": lambda e: _str(e, "value"),
}

_MARKUP = str.maketrans(dict.fromkeys("*_~`<>|•◦▪", " "))
_LABEL = re.compile(r"<(?:!date\^[^|>]*\|([^>]*)|([@#!][^|>]*)\|[^>]*)>")


def gather(message: Mapping[str, Any], *, limit: int = TEXT_LIMIT) -> tuple[str, bool]:
    """All that the message says, in reading order, in at most `limit` characters, and whether it had to be cut.

    Slack's markup stays (`*bold*`, `<@U012AB3CD>`, `<https://…|label>`), its escapes (`&amp;`) do not.
    """
    text = _unescape(_str(message, "text"))
    pieces: list[str] = []
    _read(message.get("blocks"), DEPTH, pieces)
    if "attachments" in message:
        _read_attachments(message["attachments"], pieces)
    if pieces and pieces != [text]:
        text = "\n".join(filter(None, (text, *_unsaid(text[:limit], pieces, limit))))
    return _encodable(text[:limit]), len(text) > limit


def files(message: Mapping[str, Any]) -> tuple[File, ...]:
    """The files that came with the message; those that were deleted meanwhile ("tombstone") are none."""
    if "files" not in message:
        return ()
    found = [f for f in _dicts(message["files"]) if _str(f, "id") and f.get("mode") != "tombstone"]
    return tuple([File(id=_str(f, "id"), name=_str(f, "name"), url=_str(f, "url_private")) for f in found[:FILES]])


def _unsaid(text: str, pieces: list[str], limit: int) -> Iterator[str]:
    """The pieces whose words do not stand in `text`, until it is certain that they must be cut."""
    said, room = _words(text), limit - len(text)
    for piece in pieces:
        if room >= 0 and _words(piece) not in said:
            room -= len(piece) + 1
            yield piece


def _read(nodes: Json, depth: int, pieces: list[str]) -> None:
    """Collect the pieces of blocks: one per section, list item, quote, listing, field or cell."""
    if not isinstance(nodes, list) or not depth:
        return
    for node in nodes:
        if isinstance(node, dict):
            _read_block(node, _str(node, "type"), depth, pieces)
        else:
            _read(node, depth - 1, pieces)


def _read_block(block: Object, kind: str, depth: int, pieces: list[str]) -> None:
    first = len(pieces)
    if kind in _LINES:
        pieces.append("".join([_inline(element) for element in _dicts(block.get("elements"))]).rstrip("\n"))
    elif kind in _CHILDREN:
        for name in _CHILDREN[kind]:
            child = block.get(name)
            _read([child] if isinstance(child, dict) else child, depth - 1, pieces)
    elif kind in _SAYS:
        pieces.append(_unescape(_str(block, "text")) if kind == "mrkdwn" else _str(block, "text"))
    if kind in _WRAP:
        before, after = _WRAP[kind]
        pieces[first:] = [f"{before}{piece}{after}" for piece in pieces[first:]]


def _inline(element: Object) -> str:
    """One element of a line, in the markup that Slack's own `text` has for it."""
    say = _INLINE.get(_str(element, "type"))
    text = say(element) if say else _str(element, "text")
    if "style" in element and isinstance(style := element["style"], dict):
        marks = "".join([mark for name, mark in _STYLE.items() if style.get(name)])
        text = f"{marks}{text}{marks[::-1]}"
    return text


def _read_attachments(node: Json, pieces: list[str]) -> None:
    """Collect the pieces of attachments, in the order in which Slack shows them; the fallback only where nothing else is.

    https://docs.slack.dev/legacy/legacy-messaging
    """
    for attachment in _dicts(node):
        own = [
            _unescape(_str(attachment, "pretext")),
            _link(_str(attachment, "title_link"), _unescape(_str(attachment, "title"))),
            _unescape(_str(attachment, "text")),
            *[
                _unescape(": ".join(filter(None, (_str(f, "title"), _str(f, "value")))))
                for f in _dicts(attachment.get("fields"))
            ],
        ]
        _read(attachment.get("blocks"), DEPTH, own)
        pieces += list(filter(None, own)) or [_unescape(_str(attachment, "fallback"))]


def _link(url: str, label: str) -> str:
    if not url:
        return label
    return f"<{url}|{label}>" if label and label != url else f"<{url}>"


def _words(text: str) -> str:
    """The words without markup, one space around each, so that `in` compares whole words."""
    if "|" in text:
        text = _LABEL.sub(r"\1\2", text)
    words = text.translate(_MARKUP).split()
    return f" {' '.join(words)} " if words else " "


def _encodable(text: str) -> str:
    """Half a surrogate pair, which JSON can carry and no other encoding, becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _unescape(text: str) -> str:
    if "&" not in text:
        return text
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _str(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name)
    return found if isinstance(found, str) else ""


def _dicts(node: Json) -> list[Object]:
    """The objects of a list; everything else is none."""
    return [child for child in node if isinstance(child, dict)] if isinstance(node, list) else []
