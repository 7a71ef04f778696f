"""Hands in the emulators that the product does not have: what the queue owes, bytes and documents spoiled; and a worker."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client  # pyright: ignore[reportMissingTypeStubs] - it is typed in part only

from emulated import Place
from spool.envelope import ConversationKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One request of the queue; `headers` are named in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Admin:
    """Whoever may do anything in one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._http: Any = requests.Session()
        self._http.trust_env = False
        storage: Any = Client
        self._client = storage(
            project=place.project, credentials=AnonymousCredentials(), client_options={"api_endpoint": place.emulators.storage}
        )
        self._client._bucket_metadata_cache = None
        self._queue = (
            f"http://{place.emulators.tasks}/v2/projects/{place.project}/locations/{place.location}/queues/{place.queue}"
        )

    def hurry(self) -> None:
        """Have the queue try again at once: tests wait for it."""
        retries = {"maxAttempts": -1, "minBackoff": "0.1s", "maxBackoff": "0.1s"}
        self._http.patch(self._queue, json={"retryConfig": retries}, params={"updateMask": "retryConfig"}).raise_for_status()

    def due(self) -> list[str]:
        """The names of the tasks that were dispatched, or should have been by now, in the order of their creation."""
        tasks = self.tasks()
        now = datetime.now(UTC)
        due = [t for t in tasks if t.get("dispatchCount") or datetime.fromisoformat(t["scheduleTime"]) <= now]
        return [t["name"].rpartition("/")[2] for t in sorted(due, key=lambda t: (t["createTime"], t["name"]))]

    def tasks(self) -> list[dict[str, Any]]:
        """All that the queue holds, in full."""
        found = self._http.get(f"{self._queue}/tasks", params={"responseView": "FULL", "pageSize": 1000})
        found.raise_for_status()
        return found.json().get("tasks", [])

    def remove_queue(self) -> None:
        self._http.delete(self._queue)

    def metadata(self, path: str) -> Mapping[str, str]:
        return self._blob(path).metadata or {}

    def content_type(self, path: str) -> str:
        return self._blob(path).content_type

    def put(self, path: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None:
        """An object from nowhere."""
        blob = self._client.bucket(self._place.bucket).blob(path)
        blob.metadata = metadata
        blob.upload_from_string(data)

    def overwrite(self, path: str, data: bytes) -> None:
        """Other bytes, the metadata as they were."""
        self.put(path, data, metadata=self.metadata(path))

    def remove(self, path: str) -> None:
        self._blob(path).delete()

    def remove_bucket(self) -> None:
        self._client.bucket(self._place.bucket).delete(force=True)

    def make_bucket(self) -> None:
        self._client.create_bucket(self._place.bucket)

    def forget(self, key: ConversationKey) -> None:
        self._http.delete(self._document(key)).raise_for_status()

    def document(self, key: ConversationKey) -> dict[str, Any]:
        """Firestore's own JSON of a document."""
        found = self._http.get(self._document(key))
        found.raise_for_status()
        return found.json()

    def spoil(self, key: ConversationKey, fields: Mapping[str, Any], *, only: str = "") -> None:
        """Firestore's own JSON into a document: in place of all that it has, or of one field."""
        mask = {"updateMask.fieldPaths": only} if only else {}
        self._http.patch(self._document(key), json={"fields": fields}, params=mask).raise_for_status()

    def close(self) -> None:
        self._client.close()
        self._http.close()

    def _blob(self, path: str) -> Any:
        return self._client.bucket(self._place.bucket).get_blob(path)

    def _document(self, key: ConversationKey) -> str:
        at = self._place
        documents = f"projects/{at.project}/databases/(default)/documents"
        return f"http://{at.emulators.firestore}/v1/{documents}/conversations/{key.id}"


class Worker:
    """An HTTP server that notes each delivery and acks none."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self._news = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def wait_for(self, names: Collection[str], *, after: int, timeout: float) -> dict[str, bytes]:
        """The bodies of the deliveries after the first `after`, by the task's name, once all of `names` are among them."""

        def found() -> dict[str, bytes]:
            return {d.headers["x-cloudtasks-taskname"]: d.body for d in self.deliveries[after:]}

        with self._news:
            assert self._news.wait_for(lambda: set(names) <= found().keys(), timeout), f"{names} not delivered again"
            return found()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        def note(delivery: Delivery) -> None:
            with self._news:
                self.deliveries.append(delivery)
                self._news.notify_all()

        class Note(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                note(Delivery(path=self.path, headers={k.lower(): v for k, v in self.headers.items()}, body=body))
                self.send_response(500)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
                """Not to stderr."""

        return Note
