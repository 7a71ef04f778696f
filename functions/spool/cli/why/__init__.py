"""`spool why`: the whole story of one message in one screen, for whoever is on call. It reads, and changes nothing."""

import asyncio
import json
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from spool.cli import backend
from spool.errors import Misconfigured
from spool.settings import Settings

if TYPE_CHECKING:  # see threads.py
    from collections.abc import Callable

    from spool.cli.why.found import Found


def command(
    message: Annotated[str, typer.Argument(metavar="PERMALINK", help="What Slack's 'Copy link' gives; channel:ts; or a KEY.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One object, times in epoch seconds.")] = False,
    content: Annotated[bool, typer.Option("--content", help="What people and the agent said as well.")] = False,
) -> None:
    """Tell the story of one message: where it is, what was done for it, and what will happen next."""
    from rich.console import Console

    from spool.cli.why.printing import print_story
    from spool.cli.why.story import story

    whole = story(asyncio.run(_found(message, settings=backend.read_settings())), content=content)
    if as_json:
        typer.echo(json.dumps(asdict(whole)))  # in ASCII: what people said may steer a terminal
    else:
        print_story(Console(), whole)


async def _found(asked: str, *, settings: Settings) -> "Found":
    """Raises `BadInput` for what names no message, and what reading the bucket raises."""
    from spool.cli.why.search import Search
    from spool.slack.permalink import parse

    link, now = parse(asked), time.time()  # noqa: TID251 - a command's clock, where the server's does not tell
    async with backend.transcripts(settings) as transcripts, backend.conversations(settings) as conversations:
        search = Search(
            transcripts=transcripts,
            conversations=conversations,
            evidence=backend.evidence(settings),
            place=backend.place(settings),
        )
        found = await search.of(link, asked=asked, now=now)
    return replace(found, semantics=_declared(settings, found), serving=_serving(settings))


def _declared(settings: Settings, found: "Found") -> "Callable[[str], str] | None":
    """How each tool bears a crash, as this checkout declares it; loaded only where a tool was called."""
    from spool.agents import load

    if not (found.turn and any(len(step.parts) for step in found.turn.steps)):
        return None
    try:
        return load(settings.agent, model="test").semantics
    except Misconfigured:
        return None


def _serving(settings: Settings) -> bool | None:
    """Whether somebody works here; in the cloud there is always a worker."""
    from spool.cli.dev import found

    return None if settings.google else found(settings) is not None
