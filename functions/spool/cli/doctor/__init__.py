"""`spool doctor`: what keeps an agent from answering, found by looking only.

Nothing is written and no secret is shown. Every problem comes with its fix; what cannot be known from here is said to be so.
"""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from spool.cli.terminal import one_line, say
from spool.errors import BadInput, SpoolError
from spool.finding import Check, Finding, unknown
from spool.settings import inherited

if TYPE_CHECKING:
    from rich.console import Console

MARKS = {"ok": "ok", "problem": "PROBLEM", "unknown": "cannot tell"}
_STYLES = {"ok": "green", "problem": "bold red", "unknown": "yellow"}
Found = tuple[str, Finding]


def command(
    *,
    project: Annotated[str, typer.Option(help="A deployment on Google Cloud, by its project. Without: this environment.")] = "",
    region: Annotated[str, typer.Option(help="Where it is deployed.")] = "europe-west1",
    url: Annotated[
        str, typer.Option(help="Without --project: the ingress' public URL, to be tried with a signed request.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One array of {check, state, text, fix}.")] = False,
) -> None:
    """Look for what keeps the agent from answering, and say how to mend it."""
    found = examine(project=project, region=region, url=url)
    if as_json:
        typer.echo(json.dumps([{"check": name, "state": f.state, "text": f.text, "fix": f.fix} for name, f in found]))
    else:
        print_findings(found)
    if any(finding.state == "problem" for _, finding in found):
        raise typer.Exit(1)


def examine(*, project: str, region: str, url: str = "") -> list[Found]:
    """Everything that can be found out from here. Raises `BadInput`."""
    environ = inherited({})
    if project and url:
        msg = "--url is for a place that is no deployment on Google Cloud: with --project the ingress says where it is"
        raise BadInput(msg)
    if project:
        from spool.cli.doctor.deployment import there
        from spool.google.rest import Apis, Rest

        return asyncio.run(look(there(environ, project=project, region=region, apis=Apis(), rest=Rest(project=project))))
    from spool.cli.doctor.here import here

    return asyncio.run(look(here(environ, url=url)))


async def look(checks: Sequence[Check]) -> list[Found]:
    """What each check finds, in their order; they look at the same time."""
    found = await asyncio.gather(*map(_look, checks))
    return [(check.name, finding) for check, findings in zip(checks, found, strict=True) for finding in findings]


async def _look(check: Check) -> Sequence[Finding]:
    """An error is a finding too: whoever calls the doctor has trouble enough."""
    try:
        return await asyncio.to_thread(check.look)
    except SpoolError as e:
        return [unknown(str(e))]
    except Exception as e:  # noqa: BLE001 - of whatever kind: the other checks must still be told
        return [
            unknown(f"the check itself failed: {type(e).__name__}", fix="this is a fault of spool doctor: please report it")
        ]


def print_findings(found: Sequence[Found]) -> None:
    """One line per finding, its fix below it, and how many there are of each."""
    from rich.console import Console

    console = Console()
    for name, finding in found:
        _print(console, name, finding)
    counts = {state: sum(f.state == state for _, f in found) for state in MARKS}
    problems = f"{counts['problem']} problem{'s' * (counts['problem'] != 1)}" if counts["problem"] else "All clear"
    rest = f", {counts['unknown']} that cannot be told from here" if counts["unknown"] else ""
    say(console, f"{problems}: {counts['ok']} ok{rest}.")


def _print(console: "Console", name: str, finding: Finding) -> None:
    say(console, f"{MARKS[finding.state]:<12} {name}: {one_line(finding.text)}", style=_STYLES[finding.state])
    if finding.fix:
        say(console, f"{'':<12} fix: {one_line(finding.fix)}")
