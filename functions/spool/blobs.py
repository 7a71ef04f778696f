"""What is too large for a transcript: it lies beside it under its own hash, and a reference stands in its place.

    steps as the agent made them ──lifted──► steps with references, and the blobs to keep
    steps with references ──whole, given the blobs' bytes──► what the model reads

Binary content keeps its place and form, without its data; a tool's large return becomes an object that names where it is.
A tool's return that looks like such an object is lifted itself, whatever its size: no reference is ever a stranger's.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from pydantic_ai.messages import (
    BaseToolReturnPart,
    BinaryContent,
    FilePart,
    ModelMessage,
    TextPart,
    UserPromptPart,
    tool_return_content_ta,
)
from pydantic_core import PydanticSerializationError, ValidationError

LARGE = 16_384
"""Bytes of JSON of one tool return; what is larger is lifted."""

_KEY = "spool_blob"
_PATH = re.compile(r"blobs/[0-9a-f]{64}")
_JSON = "application/json"
M = TypeVar("M", bound=ModelMessage)
Contents = Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Bytes that are stored once, under their hash."""

    data: bytes
    media_type: str

    @property
    def path(self) -> str:
        return f"blobs/{hashlib.sha256(self.data).hexdigest()}"


def lifted(message: M) -> tuple[M, list[Blob]]:
    """The message with references in place of what is large, and what they refer to; itself where nothing is."""
    blobs: list[Blob] = []

    def lift(content: BinaryContent) -> BinaryContent:
        return _without_data(content, blobs)

    parts = [_part(p, lift, lambda c: _return(c, lift, blobs)) for p in message.parts]
    return (cast("M", replace(cast("Any", message), parts=parts)) if parts != list(message.parts) else message), blobs


def references(messages: Iterable[ModelMessage]) -> set[str]:
    """The paths of all blobs that the messages refer to."""
    found: set[str] = set()

    def note(content: BinaryContent) -> BinaryContent:
        found.update(p for p in [_named(content)] if p)
        return content

    def note_return(content: Any) -> Any:
        if path := _named_by(content):
            found.add(path)
            return content
        return _binaries(content, note)

    for message in messages:
        for part in message.parts:
            _part(part, note, note_return)
    return found


def nested(contents: Contents) -> set[str]:
    """The paths that the blobs themselves refer to: a large return may hold a picture."""
    found: set[str] = set()

    def note(content: BinaryContent) -> BinaryContent:
        found.update(p for p in [_named(content)] if p)
        return content

    for data in contents.values():
        if data and _KEY.encode() in data:
            _binaries(_loaded(data), note)
    return found - contents.keys()


def whole(messages: Sequence[ModelMessage], contents: Contents) -> list[ModelMessage]:
    """The messages as the agent made them; what is no longer stored is said to be so."""

    def fill(content: BinaryContent) -> BinaryContent | str:
        path = _named(content)
        if not path:
            return content
        data = contents.get(path)
        return _gone(path) if data is None else _with_data(content, data)

    def fill_return(content: Any) -> Any:
        path = _named_by(content)
        if not path:
            return _binaries(content, fill)
        data = contents.get(path)
        return _gone(path) if data is None else _binaries(_loaded(data), fill)

    def filled(message: ModelMessage) -> ModelMessage:
        parts = [_part(p, fill, fill_return) for p in message.parts]
        return cast("ModelMessage", replace(cast("Any", message), parts=parts)) if parts != list(message.parts) else message

    return [filled(m) for m in messages]


# ---- where content is


def _part(part: Any, binary: Callable[[BinaryContent], Any], returned: Callable[[Any], Any]) -> Any:
    """The part with its contents changed; itself where nothing did."""
    if isinstance(part, BaseToolReturnPart):
        made: Any = cast("Any", part)
        new = returned(made.content)
        return made if new is made.content else replace(made, content=new)
    if isinstance(part, UserPromptPart) and not isinstance(part.content, str):
        items = _binaries(list(part.content), binary)
        return part if items == list(part.content) else replace(part, content=items)
    if isinstance(part, FilePart):
        new = binary(part.content)
        if isinstance(new, str):
            return TextPart(new)
        return part if new is part.content else replace(part, content=new)
    return part


def _binaries(content: Any, change: Callable[[BinaryContent], Any]) -> Any:
    """The value with every binary content in it changed; itself where there is none."""
    if isinstance(content, BinaryContent):
        return change(content)
    if isinstance(content, dict):
        fields = {k: _binaries(v, change) for k, v in cast("dict[str, Any]", content).items()}
        return fields if any(fields[k] is not v for k, v in cast("dict[str, Any]", content).items()) else cast("Any", content)
    if isinstance(content, list | tuple):
        old = cast("Sequence[Any]", content)
        items = [_binaries(v, change) for v in old]
        return items if any(new is not v for new, v in zip(items, old, strict=True)) else cast("Any", content)
    return content


# ---- references


def _return(content: Any, lift: Callable[[BinaryContent], BinaryContent], blobs: list[Blob]) -> Any:
    try:
        content = _binaries(_as_read(content), lift)
        data = tool_return_content_ta.dump_json(content, fallback=repr)
    except PydanticSerializationError:  # half a surrogate pair: the transcript knows what to do with it
        return content
    if len(data) <= LARGE and not _named_by(content):
        return content
    blobs.append(blob := Blob(data=data, media_type=_JSON))
    return {_KEY: blob.path, "media_type": _JSON, "bytes": len(data)}


def _as_read(content: Any) -> Any:
    """The value as a reader of the transcript would get it: a plain object may become binary content that names a blob."""
    if isinstance(content, str | int | float | None):
        return content
    data = tool_return_content_ta.dump_json(content, fallback=repr)
    return _loaded(data) if _KEY.encode() in data else content


def _without_data(content: BinaryContent, blobs: list[Blob]) -> BinaryContent:
    metadata = {k: v for k, v in (content.vendor_metadata or {}).items() if k != _KEY}
    if not content.data:
        return content if metadata == (content.vendor_metadata or {}) else _bare(content, b"", metadata)
    blobs.append(blob := Blob(data=content.data, media_type=content.media_type))
    return _bare(content, b"", metadata | {_KEY: blob.path})


def _with_data(content: BinaryContent, data: bytes) -> BinaryContent:
    metadata = {k: v for k, v in (content.vendor_metadata or {}).items() if k != _KEY}
    return _bare(content, data, metadata)


def _bare(content: BinaryContent, data: bytes, metadata: dict[str, Any]) -> BinaryContent:
    made = type(content)(
        data=data, media_type=content.media_type, identifier=content.identifier, vendor_metadata=metadata or None
    )
    return BinaryContent.narrow_type(made)


def _named(content: BinaryContent) -> str | None:
    path = (content.vendor_metadata or {}).get(_KEY)
    return path if not content.data and isinstance(path, str) and _PATH.fullmatch(path) else None


def _named_by(content: Any) -> str | None:
    path = cast("dict[str, Any]", content).get(_KEY) if isinstance(content, dict) else None
    return path if isinstance(path, str) and _PATH.fullmatch(path) else None


def _loaded(data: bytes) -> Any:
    try:
        return tool_return_content_ta.validate_json(data)
    except ValidationError:
        return "(this content was damaged where it is stored)"


def _gone(path: str) -> str:
    return f"(this content is no longer stored: {path})"
