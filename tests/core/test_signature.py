"""The v0 signature: Slack's own example, and everything that is not it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.slack.signature import WINDOW, sign, verify

# The example of https://docs.slack.dev/authentication/verifying-requests-from-slack
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
STAMP = "1531420618"
NOW = 1531420618.0
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14"
    b"d10d2c447fce8b6703c"
)
SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"


def test_slacks_own_example_is_signed_as_slack_signs_it() -> None:
    assert sign(SECRET, BODY, STAMP) == sign(SECRET, BODY, int(STAMP)) == SIGNATURE


def test_slacks_own_example_is_accepted() -> None:
    assert verify([SECRET], BODY, timestamp=STAMP, signature=SIGNATURE, now=NOW)


def test_while_rotating_either_secret_is_accepted() -> None:
    for secrets in (["new", SECRET], [SECRET, "new"]):
        assert verify(secrets, BODY, timestamp=STAMP, signature=SIGNATURE, now=NOW)


@pytest.mark.parametrize("secrets", [[], [""], ["", "other"]])
def test_without_the_secret_nothing_is_accepted(secrets: list[str]) -> None:
    assert not verify(secrets, BODY, timestamp=STAMP, signature=SIGNATURE, now=NOW)


def test_an_empty_secret_opens_nothing() -> None:
    assert not verify([""], BODY, timestamp=STAMP, signature=sign("", BODY, STAMP), now=NOW)


def test_a_changed_byte_is_refused() -> None:
    assert not verify([SECRET], BODY + b" ", timestamp=STAMP, signature=SIGNATURE, now=NOW)


@pytest.mark.parametrize(("late", "accepted"), [(WINDOW, True), (WINDOW + 1, False), (-WINDOW, True), (-WINDOW - 1, False)])
def test_a_timestamp_is_good_for_five_minutes_either_way(late: float, *, accepted: bool) -> None:
    assert verify([SECRET], BODY, timestamp=STAMP, signature=SIGNATURE, now=NOW + late) is accepted


@pytest.mark.parametrize(
    "stamp",
    [
        None,
        "",
        "abc",
        "-1",
        "1e9",
        "1531420618.0",
        " 1531420618",
        "\uff11\uff15\uff13\uff11",
        "9" * 5000,
    ],
)
def test_a_garbage_timestamp_is_refused_though_it_be_signed(stamp: str | None) -> None:
    assert not verify([SECRET], BODY, timestamp=stamp, signature=sign(SECRET, BODY, stamp or ""), now=NOW)


@pytest.mark.parametrize("signature", [None, "", "v0=", SIGNATURE[3:], SIGNATURE.upper(), "v1" + SIGNATURE[2:], "é", "\ud800"])
def test_a_garbage_signature_is_refused(signature: str | None) -> None:
    assert not verify([SECRET], BODY, timestamp=STAMP, signature=signature, now=NOW)


@given(st.binary(), st.none() | st.text(), st.none() | st.text())
def test_whatever_the_headers_hold_the_answer_is_no(body: bytes, timestamp: str | None, signature: str | None) -> None:
    assert verify([SECRET], body, timestamp=timestamp, signature=signature, now=NOW) is False
