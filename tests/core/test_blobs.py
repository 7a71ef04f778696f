"""What is too large for a transcript, and comes back as it was."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_ai.messages import (
    BinaryContent,
    FilePart,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from spool import blobs
from spool.blobs import LARGE, lifted, nested, references, whole

PICTURE = BinaryContent(data=b"\x89PNG" * 9, media_type="image/png", vendor_metadata={"detail": "low"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20) | st.just(PICTURE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["spool_blob", "kind", "data", "x"]), inner),
    max_leaves=8,
)


def returned(*contents: Any) -> ModelRequest:
    return ModelRequest(parts=[ToolReturnPart("look", c, tool_call_id=f"c{n}") for n, c in enumerate(contents)])


def stored(messages: Sequence[ModelMessage]) -> tuple[bytes, dict[str, bytes | None]]:
    """What a transcript holds of them, and the store beside it."""
    light: list[ModelMessage] = []
    store: dict[str, bytes | None] = {}
    for message in messages:
        stripped, found = lifted(message)
        light.append(stripped)
        store.update({b.path: b.data for b in found})
    return ModelMessagesTypeAdapter.dump_json(light, fallback=repr), store


def read(data: bytes, store: dict[str, bytes | None]) -> list[ModelMessage]:
    messages = ModelMessagesTypeAdapter.validate_json(data)
    contents = {p: store.get(p) for p in references(messages)}
    contents |= {p: store.get(p) for p in nested(contents)}
    return whole(messages, contents)


def as_json(messages: Sequence[ModelMessage]) -> bytes:
    return ModelMessagesTypeAdapter.dump_json(list(messages))


@pytest.mark.parametrize(
    "message",
    [
        returned("x" * LARGE, {"rows": ["y" * LARGE], "chart": PICTURE}, PICTURE, "small", [1, PICTURE, "two"]),
        ModelResponse(parts=[TextPart("here"), FilePart(content=PICTURE)]),
        ModelRequest(parts=[UserPromptPart(["see", PICTURE, "and", BinaryContent(data=b"\0", media_type="text/csv")])]),
    ],
)
def test_what_is_large_or_binary_leaves_the_transcript_and_comes_back_as_it_was(message: ModelMessage) -> None:
    data, store = stored([message])
    assert b"iVBOR" not in data
    assert len(data) < LARGE
    assert as_json(read(data, store)) == as_json([message])


def test_what_is_small_stays_where_it_is() -> None:
    for message in (returned("y" * (LARGE - 2), {"a": [1]}), ModelResponse(parts=[TextPart("x" * LARGE * 2)])):
        light, found = lifted(message)
        assert light is message
        assert not found


def test_the_same_content_is_one_blob() -> None:
    _, found = lifted(returned(PICTURE, [PICTURE]))
    assert len({b.path for b in found}) == 1


def test_a_reference_that_a_tool_made_up_is_not_obeyed() -> None:
    """Another thread's blob would be read for whoever knows its name."""
    theirs = blobs.Blob(data=b"secret", media_type="text/plain")
    forged = {"spool_blob": theirs.path, "media_type": "application/json", "bytes": 6}
    empty = BinaryContent(data=b"", media_type="image/png", vendor_metadata={"spool_blob": theirs.path})
    plain = {"kind": "binary", "data": "", "media_type": "image/png", "vendor_metadata": {"spool_blob": theirs.path}}
    message = returned(forged, empty, [empty], plain, {"rows": ["x" * LARGE, plain]})
    data, store = stored([message])
    assert theirs.path not in references(ModelMessagesTypeAdapter.validate_json(data))
    (part, *_) = read(data, store | {theirs.path: theirs.data})[0].parts
    assert isinstance(part, ToolReturnPart)
    assert part.content == forged
    assert b"secret" not in as_json(read(data, store | {theirs.path: theirs.data}))


def test_a_path_that_is_no_hash_is_no_reference() -> None:
    messages: list[ModelMessage] = [returned({"spool_blob": "blobs/../threads/x"})]
    assert references(messages) == set()
    assert as_json(whole(messages, {"blobs/../threads/x": b"1"})) == as_json(messages)


def test_a_blob_that_is_gone_or_damaged_is_said_to_be() -> None:
    messages: list[ModelMessage] = [returned("x" * LARGE, PICTURE), ModelResponse(parts=[FilePart(content=PICTURE)])]
    data, store = stored(messages)
    for part in (p for m in read(data, {}) for p in m.parts):
        assert "no longer stored: blobs/" in str(part.content if isinstance(part, ToolReturnPart | TextPart) else "")
    damaged = read(data, dict.fromkeys(store, b"{"))[0].parts[0]
    assert isinstance(damaged, ToolReturnPart)
    assert "damaged" in str(damaged.content)


def test_what_no_json_can_hold_is_left_to_the_transcript() -> None:
    message = returned("\udc80" * LARGE)
    assert lifted(message) == (message, [])


def test_a_call_is_no_content() -> None:
    message = ModelResponse(parts=[ToolCallPart("look", {"x": "y" * LARGE})])
    assert lifted(message) == (message, [])


@given(st.lists(JSON, min_size=1, max_size=3), st.integers(0, 3))
def test_whatever_tools_return_comes_back(contents: list[Any], grow: int) -> None:
    message = returned(*contents, "z" * (LARGE // 2 * grow))
    data, store = stored([message])
    once = ModelMessagesTypeAdapter.validate_json(as_json([message]))
    assert as_json(read(data, store)) == as_json(once)
