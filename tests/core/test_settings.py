"""The environment, read once: what is wrong is one sentence that says what to write there."""

from pathlib import Path

import pytest

from spool.errors import Misconfigured
from spool.settings import CALLERS, QUEUE, STORES, TARGET, Google, Settings

SECRETS = {"SLACK_SIGNING_SECRET": "one", "SLACK_BOT_TOKEN": "xoxb-1"}
NAMES = {"GOOGLE_CLOUD_PROJECT": "p", "SPOOL_LOCATION": "europe-west1", "SPOOL_QUEUE": "spool", "SPOOL_BUCKET": "p-spool"}
CLOUD = NAMES | {
    "K_SERVICE": "spool-worker",
    "SPOOL_WORKER_URL": "https://worker.run.app/",
    "SPOOL_TASKS_SERVICE_ACCOUNT": "tasks@p",
    "SPOOL_SCHEDULER_SERVICE_ACCOUNT": "scheduler@p",
}
EMULATED = NAMES | {
    "SPOOL_BACKEND": "google",
    "CLOUD_TASKS_EMULATOR_HOST": "127.0.0.1:8123",
    "FIRESTORE_EMULATOR_HOST": "127.0.0.1:8085",
    "STORAGE_EMULATOR_HOST": "http://127.0.0.1:4443",
}


def test_an_empty_environment_is_a_laptop() -> None:
    assert Settings.read({}) == Settings(
        slack_api_url="https://slack.com/api/", agent="agent:agent", backend="local", state_dir=Path(".spool")
    )


def test_what_is_set_is_read() -> None:
    environ = SECRETS | {
        "SLACK_API_URL": "http://127.0.0.1:3000/api/",
        "SPOOL_AGENT": "mine:bot",
        "SPOOL_MODEL": "test",
        "SPOOL_STATE_DIR": "/srv/state",
        "SPOOL_WORKER_URL": "http://127.0.0.1:3002",
        "K_REVISION": "worker-00007",
    }
    assert Settings.read(environ, need=tuple(SECRETS)) == Settings(
        signing_secrets=("one",),
        bot_token="xoxb-1",
        slack_api_url="http://127.0.0.1:3000/api/",
        agent="mine:bot",
        model="test",
        state_dir=Path("/srv/state"),
        worker_url="http://127.0.0.1:3002",
        revision="worker-00007",
    )


def test_all_that_is_missing_stands_in_one_error() -> None:
    with pytest.raises(Misconfigured, match="SLACK_SIGNING_SECRET, SLACK_BOT_TOKEN") as caught:
        Settings.read({"SLACK_BOT_TOKEN": ""}, need=("SLACK_SIGNING_SECRET", "SLACK_BOT_TOKEN", "PATH_"))
    assert "PATH_" in str(caught.value)


def test_no_error_quotes_a_secret() -> None:
    with pytest.raises(Misconfigured) as caught:
        Settings.read({"SLACK_SIGNING_SECRET": "8f742231"}, need=("SLACK_SIGNING_SECRET", "SLACK_BOT_TOKEN"))
    assert "8f742231" not in str(caught.value)


def test_a_secret_pasted_with_its_line_break_is_the_secret() -> None:
    settings = Settings.read({"SLACK_BOT_TOKEN": "xoxb-1\n", "SLACK_SIGNING_SECRET": "one\n"})
    assert (settings.bot_token, settings.signing_secrets) == ("xoxb-1", ("one",))


def test_two_signing_secrets_hold_while_slacks_is_rotated() -> None:
    assert Settings.read({"SLACK_SIGNING_SECRET": " old , new,"}).signing_secrets == ("old", "new")


def test_this_machines_disk_is_refused_where_it_is_thrown_away() -> None:
    with pytest.raises(Misconfigured, match="disk"):
        Settings.read({"K_SERVICE": "worker", "SPOOL_BACKEND": "local"})


def test_in_the_cloud_the_backend_is_googles_unless_told() -> None:
    assert Settings.read(CLOUD).google == Google(
        project="p",
        location="europe-west1",
        queue="spool",
        bucket="p-spool",
        worker_url="https://worker.run.app",
        audience="spool-worker",
        tasks_account="tasks@p",
        scheduler_account="scheduler@p",
    )


def test_what_google_lacks_stands_in_the_same_error() -> None:
    with pytest.raises(Misconfigured, match="SLACK_BOT_TOKEN, SPOOL_BUCKET, SPOOL_WORKER_URL"):
        Settings.read({**CLOUD, "SPOOL_BUCKET": "", "SPOOL_WORKER_URL": ""}, need=("SLACK_BOT_TOKEN",), google=STORES + TARGET)
    assert Settings.read({}, google=STORES + QUEUE + TARGET + CALLERS).backend == "local"


def test_on_emulators_only_their_addresses_and_four_names_are_needed() -> None:
    google = Settings.read(EMULATED, google=STORES + QUEUE + TARGET + CALLERS).google
    assert google
    assert google.emulated
    assert google.issuer == "http://127.0.0.1:8123"
    assert google.database == "(default)"
    assert google.tasks_account == "spool-tasks@p.iam.gserviceaccount.com"
    assert (google.worker_url, google.audience) == ("http://127.0.0.1:3002", "spool-worker")


def test_some_emulators_and_not_all_are_refused_by_name() -> None:
    """Or a test would write into a real bucket."""
    with pytest.raises(Misconfigured, match="set STORAGE_EMULATOR_HOST as well as CLOUD_TASKS_EMULATOR_HOST, FIRESTORE"):
        Settings.read({**EMULATED, "STORAGE_EMULATOR_HOST": ""})
    with pytest.raises(Misconfigured, match="no emulators on Cloud Run"):
        Settings.read({**EMULATED, "K_SERVICE": "spool-worker"})
    with pytest.raises(Misconfigured, match="it is a URL"):
        Settings.read({**EMULATED, "STORAGE_EMULATOR_HOST": "127.0.0.1:4443"})


def test_content_is_logged_only_where_that_is_said_in_so_many_words() -> None:
    assert not Settings.read({"SPOOL_LOG_CONTENT": "false"}).log_content
    assert Settings.read({"SPOOL_LOG_CONTENT": "true"}).log_content
    with pytest.raises(Misconfigured, match="SPOOL_LOG_CONTENT is '1': write true or false"):
        Settings.read({"SPOOL_LOG_CONTENT": "1"})


def test_an_unknown_backend_is_refused_by_name() -> None:
    with pytest.raises(Misconfigured, match="'paper'"):
        Settings.read({"SPOOL_BACKEND": "paper"})


@pytest.mark.parametrize("url", ["https://slack.com", "https://slack.com/api", "http://127.0.0.1:3000/api/x"])
def test_an_api_url_that_the_client_would_misread_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured, match="must end in /api/"):
        Settings.read({"SLACK_API_URL": url})


def test_a_variable_that_is_set_to_nothing_is_not_set() -> None:
    names = ("SLACK_API_URL", "SPOOL_AGENT", "SPOOL_BACKEND", "SPOOL_STATE_DIR", "K_SERVICE")
    assert Settings.read(dict.fromkeys(names, "")) == Settings()
