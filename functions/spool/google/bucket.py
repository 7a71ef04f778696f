"""A bucket of Cloud Storage over the official client, which waits: one request per function, made in a thread.

Everything is made at its first use in a process, which functions-framework forks before. The library's own retries are off.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import google.auth
import urllib3
from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession
from google.cloud.storage import Client  # pyright: ignore[reportMissingTypeStubs] - it is typed in part only
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse  # pyright: ignore[reportMissingTypeStubs]
from requests.adapters import HTTPAdapter

from spool.errors import Ambiguous
from spool.google import trouble

T = TypeVar("T")
CALL = (*trouble.CALL, DataCorruption, InvalidResponse, urllib3.exceptions.HTTPError)
"""Everything that a request may raise."""

TIMEOUT = (3.0, 10.0)
"""Seconds to connect, and to wait for the next bytes."""

_THREADS = 32
"""Requests at once; each has its connection."""

_SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
_NO_OBJECT = "No such object"
"""What Cloud Storage says of an object that is missing in a bucket that is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """What an object is to become, if it still has `generation` (0: if it is not there)."""

    data: bytes
    media_type: str
    generation: int
    metadata: Mapping[str, str]


class Bucket:
    """The bucket `name`; its functions are given to `run`. emulator: the storage emulator's URL."""

    def __init__(self, *, project: str, name: str, emulator: str, timeout: tuple[float, float]) -> None:
        self._project, self._name, self._emulator, self._timeout = project, name, emulator, timeout
        self._lock = threading.Lock()
        self._pid = 0
        self._pool: ThreadPoolExecutor | None = None
        self._client: Any = None

    async def run(self, request: Callable[[], T]) -> T:
        """`request()`, in a thread. Raises `CALL`."""
        return await asyncio.get_running_loop().run_in_executor(self._mine(), request)

    def download(self, path: str) -> tuple[bytes, int] | None:
        """An object and its generation; None where there is none."""
        blob = self._bucket().blob(path)
        try:
            data: bytes = blob.download_as_bytes(retry=None, timeout=self._timeout)
        except NotFound as e:
            if _NO_OBJECT not in str(e):
                self.names(prefix=path, after="", limit=1)  # a missing bucket is a 404 too, and this finds it out
            return None
        return data, int(blob.generation)

    def upload(self, path: str, upload: Upload) -> int:
        """The new generation. Raises `PreconditionFailed`, too, when an answer that got lost was made anew below us."""
        blob = self._bucket().blob(path)
        blob.metadata = dict(upload.metadata)
        blob.delete = _leave_it  # the library deletes what an answer makes it take for damaged, and it may be another's by then
        blob.upload_from_string(
            upload.data,
            content_type=upload.media_type,
            if_generation_match=upload.generation,
            retry=None,
            timeout=self._timeout,
        )
        return int(blob.generation)

    def written_by(self, path: str, writer: str) -> int | None:
        """The generation of the object if its metadata names `writer`."""
        blob = self._bucket().get_blob(path, retry=None, timeout=self._timeout)
        return int(blob.generation) if blob and blob.metadata and blob.metadata.get("writer") == writer else None

    def names(self, *, prefix: str, after: str, limit: int) -> list[tuple[str, Mapping[str, str]]]:
        """At most `limit` names after `after`, and their metadata."""
        blobs: Any = self._bucket().list_blobs(
            prefix=prefix,
            start_offset=after or None,
            max_results=limit + 1,  # the offset itself is among them
            fields="items(name,metadata),nextPageToken",
            retry=None,
            timeout=self._timeout,
        )
        return [(str(blob.name), _words(blob.metadata)) for blob in blobs if blob.name != after][:limit]

    def meaning(self, error: Exception) -> Ambiguous:
        """What a failed request means."""
        return trouble.meaning(
            error,
            what=f"the bucket {self._name}",
            missing="make it with infra/, or mend SPOOL_BUCKET",
            denied="grant roles/storage.objectUser on it to the worker's service account",
        )

    def close(self) -> None:
        """The next use opens it again."""
        if self._pool and self._pid == os.getpid():
            self._pool.shutdown()
            if self._client:
                self._client.close()
        self._pool = self._client = None

    def _mine(self) -> ThreadPoolExecutor:
        if self._pool is None or self._pid != os.getpid():
            self._pool, self._client, self._pid = ThreadPoolExecutor(_THREADS, "bucket"), None, os.getpid()
        return self._pool

    def _bucket(self) -> Any:
        with self._lock:
            self._client = self._client or self._connected()
        return self._client.bucket(self._name)

    def _connected(self) -> Any:
        """Here in a thread, because it asks the disk and the metadata server for credentials."""
        ask: Any = google.auth.default  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - untyped
        credentials: Any = AnonymousCredentials() if self._emulator else ask(scopes=_SCOPES)[0]
        session: Any = AuthorizedSession(credentials)
        session.trust_env = not self._emulator  # no proxy stands between us and an emulator
        for scheme in ("https://", "http://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=_THREADS))
        at = {"api_endpoint": self._emulator} if self._emulator else None
        client: Any = Client(project=self._project, credentials=credentials, client_options=at, _http=session)
        client._bucket_metadata_cache = None  # noqa: SLF001 - else it asks for the bucket, unasked, which our role does not allow
        return client


def _leave_it(*_: Any, **__: Any) -> None:
    """No object of ours is ever deleted."""


def _words(metadata: Any) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in metadata.items()} if metadata else {}
