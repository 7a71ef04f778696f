"""The environment, read once: what is wrong is one sentence that says what to write there."""

from pathlib import Path

import pytest

from spool.errors import Misconfigured
from spool.settings import Settings

SECRETS = {"SLACK_SIGNING_SECRET": "one", "SLACK_BOT_TOKEN": "xoxb-1"}


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


def test_two_signing_secrets_hold_while_slacks_is_rotated() -> None:
    assert Settings.read({"SLACK_SIGNING_SECRET": " old , new,"}).signing_secrets == ("old", "new")


def test_this_machines_disk_is_refused_where_it_is_thrown_away() -> None:
    for environ in ({"K_SERVICE": "worker"}, {"K_SERVICE": "worker", "SPOOL_BACKEND": "local"}):
        with pytest.raises(Misconfigured, match="disk"):
            Settings.read(environ)


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
