"""The documents of conversations on Firestore: `spool.ports.Conversations`.

`conversations/{key.id}`, one document per conversation, read and written by single calls with preconditions; no transaction.
The token is the document's update time. Every write carries a claim of its own: after an answer that got lost, one read tells
whether the write is there. team, channel and thread_ts are for people and for `expired`.

`expire_at` feeds the TTL policy, which deletes within a day or so after it: never a lease, and only on idle documents.
"""

import json
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import grpc.aio
from google.api_core import exceptions
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.auth.credentials import Credentials
from google.cloud.firestore_v1 import DELETE_FIELD, SERVER_TIMESTAMP, AsyncClient, LastUpdateOption
from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient
from google.cloud.firestore_v1.services.firestore.transports import FirestoreGrpcAsyncIOTransport

from spool.conversation import Document, Seen
from spool.envelope import ConversationKey
from spool.errors import Ambiguous, BadInput, Conflict
from spool.google import trouble
from spool.google.connection import Connection

T = TypeVar("T")
COLLECTION = "conversations"
TIMEOUT = 2.0
"""Seconds of one call, credentials and connection within it; a turn goes on without the document after 5."""

IDLE = timedelta(days=90)
"""Until an idle document may be deleted: well over the 31 days that Cloud Tasks keeps a task, whose duplicate it answers."""

_HOST = "firestore.googleapis.com"
_REFUSED = (exceptions.AlreadyExists, exceptions.FailedPrecondition, exceptions.NotFound, exceptions.Aborted)
_log = logging.getLogger(__name__)


class GoogleConversations:
    """Documents in Firestore; the clock is its own, but for `expire_at`."""

    def __init__(
        self,
        *,
        project: str,
        database: str,
        emulator: str = "",
        timeout: float = TIMEOUT,
        now: Callable[[], float] = time.time,  # noqa: TID251 - this adapter owns the clock
    ) -> None:
        self._database, self._timeout, self._now = f"projects/{project}/databases/{database}", timeout, now

        def client(channel: grpc.aio.Channel, credentials: Credentials) -> Any:
            return _client(channel, credentials, project=project, database=database)

        self._connection = Connection[Any](_HOST, emulator=emulator, make=client)

    async def read(self, key: ConversationKey) -> Seen | None:
        snapshot = await self._get(key)
        if not snapshot.exists:
            return None
        document = _document(snapshot, key) or Document()
        return Seen(document=document, token=_token(snapshot.update_time), read_at=snapshot.read_time.timestamp())

    async def write(self, key: ConversationKey, document: Document, *, token: str | None) -> str:
        claim = uuid.uuid4().hex  # noqa: TID251 - names nothing outside this write
        fields = {**_fields(key, document), "claim": claim}
        expires = None if document.lease or document.inbox else datetime.fromtimestamp(self._now(), UTC) + IDLE
        try:
            result: Any = await self._call(lambda client: self._put(_at(client, key), fields, expires=expires, token=token))
            return _token(result.update_time)
        except trouble.CALL as e:
            try:
                written = await self._find(key, claim)
            except Ambiguous:  # `Throttled` too, which would say of the write what is true of the look alone
                raise self._meaning(e) from e
            if written:
                return written
            if isinstance(e, _REFUSED):
                msg = f"the document of {key} is no longer the one that was read: read it again"
                raise Conflict(msg) from e
            raise self._meaning(e) from e

    async def expired(self, *, seconds: float, limit: int) -> Sequence[tuple[ConversationKey, Document]]:
        """A page of leases at a time, those first whose holders were heard of longest ago."""
        found: list[tuple[ConversationKey, Document]] = []
        last: Any = None
        while len(found) < limit:
            page = await self._page(last, limit)
            found += [leased for snapshot in page if (leased := _ran_out(snapshot, seconds))]
            if len(page) < limit or _age(last := page[-1]) <= seconds:
                break
        return found[:limit]

    async def close(self) -> None:
        await self._connection.close()

    async def _put(self, at: Any, fields: Mapping[str, Any], *, expires: datetime | None, token: str | None) -> Any:
        """One commit. A field that is named is replaced as a whole: what left the inbox is gone from the document."""
        if token is None:
            new = fields if expires is None else {**fields, "expire_at": expires}
            return await at.create(new, retry=None, timeout=self._timeout)
        parse: Any = DatetimeWithNanoseconds.from_rfc3339  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped
        option = LastUpdateOption(parse(token).timestamp_pb())
        whole = {**fields, "expire_at": expires or DELETE_FIELD}
        return await at.update(whole, option=option, retry=None, timeout=self._timeout)

    async def _find(self, key: ConversationKey, claim: str) -> str | None:
        """The token of the write that carried `claim`, if it is what the document holds."""
        snapshot = await self._get(key)
        fields: Mapping[str, Any] = snapshot.to_dict() or {}
        return _token(snapshot.update_time) if fields.get("claim") == claim else None

    async def _get(self, key: ConversationKey) -> Any:
        try:
            return await self._call(lambda client: _at(client, key).get(retry=None, timeout=self._timeout))
        except trouble.CALL as e:
            raise self._meaning(e) from e

    async def _page(self, last: Any, limit: int) -> list[Any]:
        def ask(client: Any) -> Awaitable[list[Any]]:
            query = client.collection(COLLECTION).order_by("lease.at").limit(limit)
            return (query.start_after(last) if last else query).get(retry=None, timeout=self._timeout)

        try:
            return list(await self._call(ask))
        except trouble.CALL as e:
            raise self._meaning(e) from e

    async def _call(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        return await self._connection.call(ask, timeout=self._timeout)

    def _meaning(self, error: Exception) -> Ambiguous:
        return trouble.meaning(
            error,
            what=f"the Firestore database {self._database}",
            missing="make it with infra/, or mend GOOGLE_CLOUD_PROJECT or SPOOL_DATABASE",
            denied="grant roles/datastore.user to the worker's service account",
        )


def _client(channel: grpc.aio.Channel, credentials: Credentials, *, project: str, database: str) -> Any:
    """The official client over our channel: the one it makes itself can neither be told an emulator nor how to reconnect."""
    client: Any = AsyncClient(project=project, database=database, credentials=credentials)
    transport = FirestoreGrpcAsyncIOTransport(channel=channel)
    client._firestore_api_internal = FirestoreAsyncClient(transport=transport)  # noqa: SLF001 - the only way in
    return client


def _at(client: Any, key: ConversationKey) -> Any:
    return client.collection(COLLECTION).document(key.id)


def _token(update_time: Any) -> str:
    """With its nanoseconds, all of them."""
    return str(update_time.rfc3339())


def _fields(key: ConversationKey, document: Document) -> dict[str, Any]:
    """Half a surrogate pair, which JSON can carry and Firestore cannot, becomes a question mark."""
    text = json.dumps(document.to_json(), ensure_ascii=False).encode(errors="replace")
    fields: dict[str, Any] = json.loads(text)
    if document.lease:
        at = document.lease.at
        fields["lease"]["at"] = SERVER_TIMESTAMP if at is None else datetime.fromtimestamp(at, UTC)
    return {"team": key.team, "channel": key.channel, "thread_ts": key.thread_ts, **fields}


def _document(snapshot: Any, key: ConversationKey) -> Document | None:
    """It is a hint: what cannot be read tells nothing, and is written anew."""
    fields: dict[str, Any] = snapshot.to_dict()
    lease = fields.get("lease")
    try:
        if lease:
            fields["lease"] = {**lease, "at": lease["at"].timestamp()}
        return Document.from_json(fields, conversation=key)
    except (BadInput, AttributeError, KeyError, TypeError) as e:
        _log.warning("%s: the conversation's document cannot be read and is made anew: %s", key, type(e).__name__)
        return None


def _age(snapshot: Any) -> float:
    """Seconds since the lease's holder was heard of."""
    at: Any = snapshot.to_dict()["lease"]["at"]
    return snapshot.read_time.timestamp() - at.timestamp() if isinstance(at, datetime) else math.inf


def _ran_out(snapshot: Any, seconds: float) -> tuple[ConversationKey, Document] | None:
    """The conversation, if its lease ran out more than `seconds` before it was read."""
    fields: dict[str, Any] = snapshot.to_dict()
    try:
        key = ConversationKey(
            team=fields.get("team", ""), channel=fields.get("channel", ""), thread_ts=fields.get("thread_ts", "")
        )
    except BadInput:
        _log.warning("conversations/%s names no conversation: delete it", snapshot.id)
        return None
    seen = Seen(document=_document(snapshot, key) or Document(), token="", read_at=snapshot.read_time.timestamp())
    return (key, seen.document) if seen.ran_out(seconds) else None
