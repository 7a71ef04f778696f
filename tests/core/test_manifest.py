"""The Slack app's manifest: exactly what is used, in the form that Slack takes."""

import ast
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from spool.cli import main
from spool.cli.deploy.manifest import as_yaml, create_link
from spool.envelope import Envelope
from spool.errors import BadInput
from spool.policy import Policy
from spool.slack import events
from spool.slack.manifest import EVENTS, METHODS, PATH, PLACEHOLDER, events_url, manifest, scopes

ROOT = Path(__file__).parents[2]
SLACK = ROOT / "functions" / "spool" / "slack"
COMMITTED = ROOT / "infra" / "slack-manifest.yaml"
URL = "https://spool-ingress-123456789012.europe-west1.run.app"

OTHERS = """
    agent_session_stopped agent_session_title_changed app_context_changed app_home_opened app_uninstalled
    assistant_thread_started channel_created channel_id_changed file_shared link_shared member_joined_channel pin_added
    reaction_added reaction_removed team_join tokens_revoked user_change
"""
"""Events of Slack's that nobody here reads."""

PLACES = {
    "message.channels": ("C012AB3CD", "channel"),
    "message.groups": ("G012AB3CD", "group"),
    "message.im": ("D012AB3CD", "im"),
    "message.mpim": ("G012AB3CE", "mpim"),
    "app_mention": ("C012AB3CD", None),
}


def calls() -> set[str]:
    """The Web API's methods that the room calls by `_call("…")`."""
    found = set[str]()
    for path in SLACK.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).endswith("_call")
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add(str(node.args[0].value))
    return found


def classified(kind: str, place: tuple[str, str | None] = ("C012AB3CD", None)) -> object:
    channel, channel_type = place
    event = {
        "type": kind,
        "user": "U012AB3CD",
        "text": "<@U0SPOOL> hello",
        "ts": "1715000000.000100",
        "channel": channel,
        **({"channel_type": channel_type} if channel_type else {}),
    }
    authorizations: Any = [{"team_id": "T012AB3CD", "user_id": "U0SPOOL", "is_bot": True}]
    payload: Any = {"type": "event_callback", "team_id": "T012AB3CD", "event": event, "authorizations": authorizations}
    return events.classify(payload, policy=Policy())


def test_every_method_that_is_called_has_its_scopes_and_no_other() -> None:
    assert calls() - {"apps.manifest.export"} == set(METHODS)  # that one is called with a token of another kind, by the doctor


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_that_is_subscribed_is_read(event: str) -> None:
    assert isinstance(classified(event.partition(".")[0], PLACES[event]), Envelope)


@pytest.mark.parametrize("event", OTHERS.split())
def test_no_event_that_is_read_is_missing(event: str) -> None:
    found = classified(event)
    assert isinstance(found, events.Ignored)
    assert "is no message" in found.reason


def test_the_scopes_are_those_of_the_methods_and_the_events() -> None:
    assert scopes() == (
        "app_mentions:read",
        "channels:history",
        "chat:write",
        "groups:history",
        "im:history",
        "mpim:history",
    )


def test_the_request_url_is_a_path_that_the_ingress_answers() -> None:
    assert f'"{PATH}": ("POST",)' in (ROOT / "functions" / "ingress.py").read_text()
    assert manifest(URL)["settings"]["event_subscriptions"]["request_url"] == URL + PATH


def test_nothing_is_switched_on_that_nobody_answers() -> None:
    settings = manifest(URL)["settings"]
    assert settings["interactivity"] == {"is_enabled": False}
    assert not any(settings[f"{name}_enabled"] for name in ("socket_mode", "token_rotation", "org_deploy"))
    assert set(manifest(URL)["features"]) == {"app_home", "bot_user"}
    assert manifest(URL)["features"]["app_home"]["messages_tab_enabled"]


def test_it_keeps_slacks_limits() -> None:
    """Those of Slack's own schema, version 2, of what is used: names of fields, lengths, numbers."""
    value = manifest(URL, name="x" * 35)
    assert set(value) == {"_metadata", "display_information", "features", "oauth_config", "settings"}
    assert set(value["_metadata"]) <= {"major_version", "minor_version"}
    assert set(value["display_information"]) <= {"name", "description", "background_color", "long_description"}
    assert len(value["display_information"]["description"]) <= 140
    assert len(value["features"]["bot_user"]["display_name"]) <= 80
    assert len(value["oauth_config"]["scopes"]["bot"]) <= 255
    assert len(value["settings"]["event_subscriptions"]["bot_events"]) <= 100


def test_the_committed_file_is_the_generated_one_and_says_that_its_url_is_none() -> None:
    text = COMMITTED.read_text()
    assert text == as_yaml(), "write it anew: spool manifest --out infra/slack-manifest.yaml"
    assert f"NOT READY: {PLACEHOLDER}" in text
    assert yaml.safe_load(text)["settings"]["event_subscriptions"]["request_url"] == PLACEHOLDER + PATH


@pytest.mark.parametrize("name", ["Spool", "Répète: #1", "yes", "0x1F", "- a", "ﬁn 'x' \"y\""])
def test_whatever_the_app_is_called_the_yaml_means_the_manifest(name: str) -> None:
    assert yaml.safe_load(as_yaml(URL, name=name)) == manifest(URL, name=name)


def test_with_a_real_url_nothing_is_marked_as_a_placeholder() -> None:
    assert "NOT READY" not in as_yaml(URL)


def test_the_link_opens_slacks_page_with_the_whole_manifest() -> None:
    parts = urlsplit(create_link(URL))
    query = parse_qs(parts.query)
    assert (parts.scheme, parts.netloc, parts.path, query["new_app"]) == ("https", "api.slack.com", "/apps", ["1"])
    assert yaml.safe_load(query["manifest_yaml"][0]) == manifest(URL)


@pytest.mark.parametrize("url", [URL, URL + "/", URL + PATH])
def test_an_ingress_is_named_by_its_base_or_by_its_request_url(url: str) -> None:
    assert events_url(url) == URL + PATH


@pytest.mark.parametrize("url", ["", "http://a.run.app", "a.run.app", "https://", URL + "/slack", URL + "?x=1", URL + "/#x"])
def test_what_slack_would_not_take_as_a_url_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="https://HOST"):
        events_url(url)


@pytest.mark.parametrize("name", ["", "x" * 36])
def test_a_name_that_slack_would_not_take_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="35 characters"):
        manifest(URL, name=name)


def test_the_command_writes_it_or_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "manifest.yaml"
    for arguments in (("--out", str(out)), ()):
        with pytest.raises(SystemExit, match="0"):
            main(["manifest", "--url", URL, *arguments])
    assert out.read_text() == capsys.readouterr().out == as_yaml(URL)


def test_a_file_that_cannot_be_written_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["manifest", "--out", str(tmp_path / "none" / "x")])
    assert "choose another file with --out" in capsys.readouterr().err
