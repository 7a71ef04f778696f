"""Whatever a person pastes to ask about a message is understood, or refused in one sentence that says what to give."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool.errors import BadInput
from spool.slack.permalink import Link, parse, permalink

TS, ROOT = "1715000000.000200", "1715000000.000100"
MESSAGE = Link(channel="C012AB3CD", ts=TS)
IN_THREAD = Link(channel="C012AB3CD", ts=TS, thread_ts=ROOT)
ACME = "acme.slack.com"


def at(link: Link, site: str) -> Link:
    return Link(channel=link.channel, ts=link.ts, thread_ts=link.thread_ts, site=site)


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        ("https://acme.slack.com/archives/C012AB3CD/p1715000000000200", at(MESSAGE, ACME)),
        (f"https://acme.slack.com/archives/C012AB3CD/p1715000000000200?thread_ts={ROOT}&cid=C012AB3CD", at(IN_THREAD, ACME)),
        (f"https://acme.slack.com/archives/C012AB3CD/p1715000000000200?cid=C012AB3CD&thread_ts={ROOT}", at(IN_THREAD, ACME)),
        (
            f"https://acme.slack.com/archives/C012AB3CD/p1715000000000200?thread_ts={ROOT}&amp;cid=C012AB3CD",
            at(IN_THREAD, ACME),
        ),
        ("https://acme.enterprise.slack.com/archives/C012AB3CD/p1715000000000200", at(MESSAGE, "acme.enterprise.slack.com")),
        ("https://acme.slack-gov.com/archives/C012AB3CD/p1715000000000200/", at(MESSAGE, "acme.slack-gov.com")),
        ("https://acme.slack.com/messages/C012AB3CD/p1715000000000200", at(MESSAGE, ACME)),
        ("https://app.slack.com/archives/C012AB3CD/p1715000000000200", MESSAGE),
        ("https://slack.com/archives/C012AB3CD/p1715000000000200", MESSAGE),
        ("  <https://acme.slack.com/archives/C012AB3CD/p1715000000000200|this one>\n", at(MESSAGE, ACME)),
        (
            f"https://app.slack.com/client/T012AB3CD/C012AB3CD/thread/C012AB3CD-{ROOT}",
            Link(channel="C012AB3CD", ts=ROOT, thread_ts=ROOT, team="T012AB3CD"),
        ),
        (
            f"https://app.slack.com/client/E012AB3CD/D012AB3CD/thread/D012AB3CD-{ROOT}?cdn_fallback=1",
            Link(channel="D012AB3CD", ts=ROOT, thread_ts=ROOT, team="E012AB3CD"),
        ),
        (
            "https://app.slack.com/client/T012AB3CD/C012AB3CD/p1715000000000200",
            Link(channel="C012AB3CD", ts=TS, team="T012AB3CD"),
        ),
        (
            f"slack://channel?team=T012AB3CD&id=C012AB3CD&message={TS}&thread_ts={ROOT}",
            Link(channel="C012AB3CD", ts=TS, thread_ts=ROOT, team="T012AB3CD"),
        ),
        (
            "slack://channel?team=T012AB3CD&id=C012AB3CD&message=1715000000000200",
            Link(channel="C012AB3CD", ts=TS, team="T012AB3CD"),
        ),
        (
            f"https://slack.com/app_redirect?team=T012AB3CD&channel=C012AB3CD&message_ts={TS}",
            Link(channel="C012AB3CD", ts=TS, team="T012AB3CD"),
        ),
        (f"C012AB3CD:{TS}", MESSAGE),
        (f"t7:C012AB3CD:{TS}", MESSAGE),
        (f"C012AB3CD:{TS}@1715000009.000100", MESSAGE),
    ],
)
def test_a_message_is_found_in_every_form_that_people_paste(pasted: str, meant: Link) -> None:
    assert parse(pasted) == meant


@pytest.mark.parametrize(
    "pasted",
    [
        f"T012AB3CD/C012AB3CD/{ROOT}",
        f"threads/T012AB3CD/C012AB3CD/{ROOT}.json",
        f"gs://acme-spool/threads/T012AB3CD/C012AB3CD/{ROOT}.json",
        f"gs://acme-spool/dead/T012AB3CD/C012AB3CD/{ROOT}/t3.json",
        f"dead/T012AB3CD/C012AB3CD/{ROOT}/unreadable.json",
    ],
)
def test_a_conversation_is_found_by_its_key_and_by_its_objects(pasted: str) -> None:
    assert parse(pasted) == Link(team="T012AB3CD", channel="C012AB3CD", thread_ts=ROOT)
    assert parse(pasted).key == ""


def test_a_link_says_which_message_in_our_words() -> None:
    assert parse("https://acme.slack.com/archives/C012AB3CD/p1715000000000200").key == f"C012AB3CD:{TS}"


@pytest.mark.parametrize(
    "pasted",
    [
        "",
        "hello",
        "https://acme.slack.com/archives/C012AB3CD",
        "https://acme.slack.com/archives/general/p1715000000000200",
        "https://acme.slack.com/archives/C012AB3CD/p17150000000002",
        "https://acme.slack.com/team/U012AB3CD",
        "https://app.slack.com/client/T012AB3CD/C012AB3CD",
        "https://app.slack.com/client/../C012AB3CD/p1715000000000200",
        "slack://channel?team=T012AB3CD&id=C012AB3CD",
        f"slack://channel?team=../..&id=C012AB3CD&message={TS}",
        "https://[oops/archives/C012AB3CD/p1715000000000200",
        "T1/C1",
        "gs://bucket/threads/../../x.json",
        "C012AB3CD:1715000000",
    ],
)
def test_what_names_no_message_is_refused_with_an_example(pasted: str) -> None:
    with pytest.raises(BadInput, match=r"names no message: .*https://acme\.slack\.com/archives/"):
        parse(pasted)


@given(st.text(max_size=80))
def test_nothing_that_is_pasted_gets_past_but_a_link(pasted: str) -> None:
    try:
        link = parse(pasted)
    except BadInput:
        return
    assert "/" not in link.channel + link.ts + link.thread_ts + link.team


def test_a_permalink_is_read_as_what_it_was_made_of() -> None:
    for made in (
        permalink("C012AB3CD", TS, site=ACME),
        permalink("C012AB3CD", TS, thread_ts=TS, site=ACME),
    ):
        assert parse(made) == at(MESSAGE, ACME)
    assert parse(permalink("C012AB3CD", TS, thread_ts=ROOT)) == IN_THREAD
    assert permalink("C1", ROOT) == "https://slack.com/archives/C1/p1715000000000100"
