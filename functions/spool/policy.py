"""What a team decides about behaviour: data that both doors read. The values stand in `functions/policy.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Listen = Literal["mentions", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel's rules; what is None is as in the policy."""

    listen: Listen | None = None
    follow_ups: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one turn may cost before it is ended with a sentence that says so; None: no limit of this kind.

    tool_seconds: how long one tool call may take before the model is told that it timed out.
    """

    rounds: int | None = 40
    tokens: int | None = 1_000_000
    dollars: float | None = 5.0
    tool_seconds: float | None = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Who is answered, where, and how far a turn may go.

    Mentions and direct messages are always answered.

    listen: "all" answers every top-level message of a channel, "mentions" only those that name the agent.
    follow_ups: a reply in a thread in which the agent takes part is answered without a mention, unless it mentions
        somebody else and not the agent.
    channels: exceptions by channel id, such as {"C012AB3CD": Channel(listen="all")}.
    bots: ids of bots, apps or webhooks (B…, A…, U…) that are answered like people; the agent itself never is.
    bot_turns: after so many turns in a row that only bots asked for, a thread waits for a person.
    unfurl: show previews of the links in an answer (a preview fetches the link: it can carry a secret out).
    limits: what one turn may cost.
    secrets: names of the secrets that the agent's tools need, beside Spool's own.
    """

    listen: Listen = "mentions"
    follow_ups: bool = True
    channels: Mapping[str, Channel] = field(default_factory=dict[str, Channel])
    bots: frozenset[str] = frozenset()
    bot_turns: int = 3
    unfurl: bool = False
    limits: Limits = field(default_factory=Limits)
    secrets: tuple[str, ...] = ()

    def listens_to_all(self, channel: str) -> bool:
        own = self.channels.get(channel, Channel()).listen
        return (own or self.listen) == "all"

    def follows_up(self, channel: str) -> bool:
        own = self.channels.get(channel, Channel()).follow_ups
        return self.follow_ups if own is None else own
