"""What Slack refuses of a message, and by which word: https://docs.slack.dev/reference/methods/chat.postMessage#errors."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn, cast

from spool.console.state import Json

POST_TEXT = 40_000
UPDATE_TEXT = 4_000
MARKDOWN = 12_000
BLOCKS = 50
SECTION_TEXT = 3_000
HEADER_TEXT = 150
METADATA_BYTES = 8_000

KINDS = (
    "actions alert card carousel container context context_actions data_table data_visualization divider file header image "
    "input markdown plan rich_text section table task_card video"
)


class Refusal(Exception):
    """Slack's `ok: false`; its text is Slack's `error`."""


def refuse(error: str) -> NoReturn:
    raise Refusal(error)


def content(arguments: Mapping[str, Any], *, update: bool) -> Json:
    """The text and the blocks of a message to be shown. Raises `Refusal`."""
    text, markdown = arguments.get("text"), arguments.get("markdown_text")
    blocks = _blocks(parsed(arguments.get("blocks"), error="invalid_blocks_format"))
    if markdown is not None:
        _refuse_if(text is not None or bool(blocks), "markdown_text_conflict")
        _refuse_if(len(str(markdown)) > MARKDOWN, "msg_too_long")
        return {"text": str(markdown)[:UPDATE_TEXT], "blocks": [{"type": "markdown", "text": markdown}]}
    said = str(text or "")
    _refuse_if(not said.strip() and not blocks, "no_text")
    _refuse_if(update and len(said) > UPDATE_TEXT, "msg_too_long")
    return {"text": said[:POST_TEXT], **({"blocks": blocks} if blocks else {})}


def metadata(value: Any) -> Json:
    """A message's metadata; empty removes it. Raises `Refusal`."""
    found = parsed(value, error="invalid_metadata_format")
    if found in (None, {}):
        return {}
    known = cast("Json", found) if isinstance(found, dict) else {}
    shaped = isinstance(known.get("event_type"), str) and isinstance(known.get("event_payload"), dict)
    _refuse_if(not shaped or set(known) != {"event_type", "event_payload"}, "invalid_metadata_format")
    _refuse_if(len(json.dumps(known)) > METADATA_BYTES, "metadata_too_large")
    return known


def parsed(value: Any, *, error: str) -> Any:
    """An argument that a form carries as JSON. Raises `Refusal`."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        refuse(error)


def _blocks(value: Any) -> list[Json]:
    found = cast("list[Any]", [] if value is None else value)
    _refuse_if(not isinstance(value, list | None), "invalid_blocks_format")
    _refuse_if(len(found) > BLOCKS, "msg_blocks_too_many")
    for block in found:
        _check(cast("Json", block) if isinstance(block, dict) else {})
    markdown = sum(len(b["text"]) for b in found if b["type"] == "markdown")
    _refuse_if(markdown > MARKDOWN, "msg_blocks_too_long")
    return found


def _check(block: Json) -> None:
    kind = block.get("type")
    _refuse_if(kind not in KINDS.split(), "invalid_blocks")
    if kind == "markdown":
        _refuse_if(not isinstance(block.get("text"), str) or not block["text"].strip(), "invalid_blocks")
    if kind == "header" or (kind == "section" and "fields" not in block):
        text = block.get("text")
        said = cast("Json", text).get("text") if isinstance(text, dict) else None
        longest = SECTION_TEXT if kind == "section" else HEADER_TEXT
        _refuse_if(not isinstance(said, str) or not 0 < len(said) <= longest, "invalid_blocks")


def _refuse_if(wrong: bool, error: str) -> None:  # noqa: FBT001 - reads as a sentence
    if wrong:
        refuse(error)
