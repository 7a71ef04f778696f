"""What a team decides: a channel's own word goes before the policy's."""

import dataclasses

import pytest

from policy import policy
from spool.policy import Channel, Limits, Policy


@pytest.mark.parametrize(
    ("general", "own", "answers_all"),
    [
        ("mentions", None, False),
        ("all", None, True),
        ("mentions", Channel(listen="all"), True),
        ("all", Channel(listen="mentions"), False),
        ("all", Channel(follow_ups=False), True),
    ],
)
def test_a_channel_listens_by_its_own_rule_or_by_the_policys(general: str, own: Channel | None, answers_all: bool) -> None:  # noqa: FBT001
    listen = "all" if general == "all" else "mentions"
    rules = Policy(listen=listen, channels={"C1": own} if own else {})
    assert rules.listens_to_all("C1") is answers_all
    assert rules.listens_to_all("C2") is (general == "all")


@pytest.mark.parametrize("general", [True, False])
@pytest.mark.parametrize("own", [None, True, False])
def test_a_channel_follows_up_by_its_own_rule_or_by_the_policys(general: bool, own: bool | None) -> None:  # noqa: FBT001
    rules = Policy(follow_ups=general, channels={"C1": Channel(follow_ups=own)})
    assert rules.follows_up("C1") is (general if own is None else own)
    assert rules.follows_up("C2") is general


def test_as_shipped_it_answers_mentions_and_its_own_threads_and_no_bots() -> None:
    assert policy == Policy(listen="mentions", follow_ups=True, bots=frozenset(), bot_turns=3, unfurl=False)


def test_as_shipped_every_kind_of_cost_has_a_limit() -> None:
    assert None not in dataclasses.astuple(Limits())
