"""The workspace: who is in it, what is said in it, and the events that this makes.

workspace = Workspace(state_dir, terms=Terms(ingress="http://127.0.0.1:3001/slack/events", secret=secret))
async with serve(workspace, port=3000) as port:
    ts = await workspace.say("C0GENERAL", "U0ADA", "<@U0SPOOL> how are you?")
    await workspace.until(lambda: len(workspace.messages("C0GENERAL", ts)) == 2)
"""

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spool.console.deliveries import Deliveries, Terms
from spool.console.faults import Faults
from spool.console.state import Delivery, Json, State

_NAMES = uuid.UUID("3c5a9f04-9d5c-5d3b-8d52-0c7a3b0c9f11")
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """The app in this workspace."""

    team: str = "T0SPOOL"
    app: str = "A0SPOOL"
    bot: str = "B0SPOOL"
    user: str = "U0SPOOL"
    token: str = "xoxb-spool-local"  # noqa: S105 - of no value outside of this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request to the Web API, as it came; `client`: the address and port of the connection."""

    method: str
    arguments: Json
    client: tuple[str, int] = ("", 0)


class Workspace:
    """One Slack workspace with one app. What people do are methods here; what the app does comes in by the Web API."""

    def __init__(
        self,
        state_dir: Path,
        *,
        terms: Terms | None = None,
        installation: Installation | None = None,
        now: Callable[[], float] = time.time,  # noqa: TID251 - here is Slack, and Slack has a clock of its own
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.state = State(state_dir / "slack.db")
        self.installation = installation or Installation()
        self.faults = Faults()
        self.calls: deque[Call] = deque(maxlen=10_000)
        self.now, self.sleep = now, sleep
        self._last = self.state.last_ts()
        self._change = asyncio.Event()
        self._later = set[asyncio.Task[None]]()
        self._deliveries = Deliveries(
            self.state, terms=terms or Terms(), faults=self.faults, now=now, sleep=sleep, changed=self._changed
        )
        self._furnish()

    def start(self) -> None:
        """Begin to deliver events, those of before a restart first. Needs the running loop."""
        self._deliveries.start()

    async def close(self) -> None:
        """Stop delivering; what is not acked stays remembered."""
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        await self._deliveries.close()
        self.state.close()

    def connect(self, ingress: str) -> None:
        """Send events to this URL from now on, those that wait too."""
        self._deliveries.terms = replace(self._deliveries.terms, ingress=ingress)
        self._deliveries.wake()

    # What people do

    async def say(
        self, channel: str, user: str, text: str, *, thread_ts: str | None = None, files: Sequence[Json] = (), **fields: Any
    ) -> str:
        """A person's message, in Slack's own markup (`<@U0SPOOL> a &lt; b`); its ts. `fields`: further ones of the message."""
        ts = self.next_ts()
        message: Json = {"type": "message", "user": user, "text": text, "team": self.installation.team, "ts": ts}
        message["client_msg_id"] = str(uuid.uuid5(_NAMES, f"{channel}:{ts}"))
        if files:
            message |= {"subtype": "file_share", "files": list(files), "upload": True}
        self.post(channel, {**message, **fields}, thread_ts=thread_ts)
        return ts

    async def edit(self, channel: str, ts: str, text: str) -> None:
        """A person edits a message."""
        message = self.state.message(channel, ts) or {}
        edited = {"user": message.get("user", ""), "ts": self.next_ts()}
        self.change(channel, {**message, "text": text, "edited": edited})

    async def remove(self, channel: str, ts: str) -> None:
        """Somebody deletes a message, the app's own too."""
        self.forget(channel, ts)

    def settle_channel(self, channel: str, **fields: Any) -> None:
        """Make a channel or change it: `name`, `is_im`, `user`, `is_archived`, `is_member` (the app)."""
        kind = {"is_im": True} if channel.startswith("D") else {"is_channel": True, "name": channel.lower()}
        fresh = {"id": channel, "is_archived": False, "is_member": True, **kind}
        self.state.put("channel", (self.state.get("channel", channel) or fresh) | fields)
        self._changed()

    # What is to be seen

    def messages(self, channel: str, thread_ts: str | None = None) -> list[Json]:
        """The messages of a channel, or of a thread, that are visible now, in order."""
        return self.state.messages(channel, thread_ts)

    def deliveries(self) -> list[Delivery]:
        """Every event so far."""
        return self.state.deliveries()

    async def until(self, condition: Callable[[], bool], *, within: float = 10.0) -> None:
        """Wait until something changes so that `condition` holds. Raises `TimeoutError` after `within` seconds."""
        async with asyncio.timeout(within):
            while not condition():
                await self._change.wait()

    async def settled(self, *, within: float = 10.0) -> None:
        """Wait until every event is acked, or given up."""
        await self.until(lambda: not self.state.deliveries("pending"), within=within)

    # What the Web API is made of

    def next_ts(self) -> str:
        """Later than every ts so far."""
        last = int(self._last.replace(".", "") or 0)
        now = max(int(self.now() * _MICRO), last + 1)
        self._last = f"{now // _MICRO:010d}.{now % _MICRO:06d}"
        return self._last

    def post(self, channel: str, message: Json, *, thread_ts: str | None) -> Json:
        """Show a message, and tell the app of it."""
        root = self.state.message(channel, thread_ts) if thread_ts else None
        if root:
            message |= {"thread_ts": root.get("thread_ts", root["ts"]), "parent_user_id": root.get("user")}
        elif thread_ts:
            message |= {"thread_ts": thread_ts}
        with self.state.transaction():
            self.state.write(channel, message)
            self._raise(channel, message)
            self._mention(channel, message)
        self._changed()
        return message

    def change(self, channel: str, message: Json) -> None:
        """Show a message anew, and tell the app of it."""
        before = self.state.message(channel, message["ts"])
        with self.state.transaction():
            self.state.write(channel, message)
            self._raise(channel, {"subtype": "message_changed", "hidden": True, "message": message, "previous_message": before})
            if before and not self._names_app(before):
                self._mention(channel, message)
        self._changed()

    def forget(self, channel: str, ts: str) -> None:
        """Show a message no longer, and tell the app of it."""
        before = self.state.message(channel, ts)
        with self.state.transaction():
            self.state.hide(channel, ts)
            self._raise(channel, {"subtype": "message_deleted", "hidden": True, "deleted_ts": ts, "previous_message": before})
        self._changed()

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something when nobody waits for it any more."""

        async def wait_and_act() -> None:
            await self.sleep(seconds)
            act()

        task = asyncio.create_task(wait_and_act())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _raise(self, channel: str, message: Json) -> None:
        """Remember a message event, for where the app is a member."""
        place = self.state.get("channel", channel) or {}
        kind = "im" if place.get("is_im") else "channel"
        ts = message.get("ts") or self.next_ts()
        event = {"type": "message", "ts": ts, **message, "channel": channel, "channel_type": kind, "event_ts": ts}
        if place.get("is_member"):
            self._remember(event)

    def _mention(self, channel: str, message: Json) -> None:
        """The second event of a message that names the app: another event id, the same ts, and less in it."""
        place = self.state.get("channel", channel) or {}
        own = message.get("app_id") == self.installation.app
        if own or not self._names_app(message) or not place.get("is_member") or place.get("is_im"):
            return
        kept = ("user", "text", "ts", "thread_ts", "parent_user_id", "blocks", "edited", "team")
        fields = {name: message[name] for name in kept if name in message}
        self._remember({"type": "app_mention", **fields, "channel": channel, "event_ts": message["ts"]})

    def _names_app(self, message: Json) -> bool:
        return f"<@{self.installation.user}" in message.get("text", "")

    def _remember(self, event: Json) -> None:
        me, now = self.installation, self.now()
        authorization = {"team_id": me.team, "enterprise_id": None, "user_id": me.user, "is_bot": True}
        envelope = {
            "type": "event_callback",
            "team_id": me.team,
            "api_app_id": me.app,
            "event": event,
            "event_time": int(now),
            "authorizations": [{**authorization, "is_enterprise_install": False}],
            "is_ext_shared_channel": False,
        }
        self.state.remember(envelope, due=now)

    def _changed(self) -> None:
        self._deliveries.wake()
        change, self._change = self._change, asyncio.Event()
        change.set()

    def _furnish(self) -> None:
        """Two channels, two people, a DM each; what is there already stays as it is."""
        people = {"U0ADA": "ada", "U0GRACE": "grace", self.installation.user: "spool"}
        for user, name in people.items():
            self.state.put("user", {"id": user, "name": name, "is_bot": user == self.installation.user}, replace=False)
        for channel, name in {"C0GENERAL": "general", "C0RANDOM": "random"}.items():
            value = {"id": channel, "name": name, "is_channel": True, "is_archived": False, "is_member": True}
            self.state.put("channel", value, replace=False)
        for channel, user in {"D0ADA": "U0ADA", "D0GRACE": "U0GRACE"}.items():
            value = {"id": channel, "user": user, "is_im": True, "is_archived": False, "is_member": True}
            self.state.put("channel", value, replace=False)
