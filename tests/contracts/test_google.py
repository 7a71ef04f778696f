"""What all of Google's adapters promise alike, without an emulator: where there is no login, or nothing was asked yet."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from backends import envelope

from spool.errors import Ambiguous
from spool.google.conversations import GoogleConversations
from spool.google.tasks import GoogleTasks
from spool.google.transcripts import GoogleTranscripts
from spool.task import Task

KEY = envelope().conversation
MADE_ONLY = """
import threading
from spool.google.tasks import GoogleTasks
from spool.google.conversations import GoogleConversations
from spool.google.transcripts import GoogleTranscripts
GoogleTasks(project="p", location="l", queue="q", worker_url="https://w", audience="a", service_account="s")
GoogleConversations(project="p", database="(default)")
GoogleTranscripts(project="p", bucket="b")
assert threading.active_count() == 1, threading.enumerate()
"""


def test_a_client_that_was_only_made_has_no_thread_and_asked_nobody() -> None:
    """functions-framework forks after it was made."""
    subprocess.run([sys.executable, "-c", MADE_ONLY], check=True, timeout=60)  # noqa: S603 - our own text


async def test_without_credentials_every_adapter_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    tasks = GoogleTasks(project="p", location="l", queue="q", worker_url="https://w", audience="a", service_account="s")
    with pytest.raises(Ambiguous, match=r"queues/q needs credentials: .*gcloud auth application-default login"):
        await tasks.create(Task.of(envelope(), first_seen=1.5))
    with pytest.raises(Ambiguous, match=r"databases/\(default\) needs credentials"):
        await GoogleConversations(project="p", database="(default)").read(KEY)
    with (
        closing(GoogleTranscripts(project="p", bucket="my-bucket")) as transcripts,
        pytest.raises(Ambiguous, match="the bucket my-bucket needs credentials"),
    ):
        await transcripts.load(KEY.path, key=KEY)
