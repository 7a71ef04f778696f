"""`spool setup`: the first deploy, step by step. Each command is shown before it runs, and runs only if you say so.

It may be stopped anywhere and begun again: each step first looks whether it is done already. What only a person can have done
is remembered in SPOOL_STATE_DIR/setup.json; no secret ever is.
"""

import getpass
import json
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from spool.cli import doctor
from spool.cli.deploy import shell
from spool.cli.deploy.manifest import create_link
from spool.cli.deploy.site import Site, read_site
from spool.cli.deploy.stage import TFVARS, read_policy, secrets_of
from spool.cli.deploy.steps import Argv, Change, Step, events_url, head, needs_a_trigger, steps, submit, substitutions, trigger
from spool.cli.terminal import one_line
from spool.errors import Misconfigured, SpoolError
from spool.settings import Settings

TOOLS: Mapping[str, str] = {
    "gcloud": "https://cloud.google.com/sdk/docs/install",
    "terraform": "https://developer.hashicorp.com/terraform/install",
    "git": "https://git-scm.com/downloads",
}
FORMS: Mapping[str, tuple[str, str]] = {
    "SLACK_BOT_TOKEN": (r"xoxb-\S+", "the Bot User OAuth Token of OAuth & Permissions, xoxb-…"),
    "SLACK_SIGNING_SECRET": (r"[0-9a-f]{32}", "the Signing Secret of Basic Information, 32 characters of 0-9 and a-f"),
}
_INTERRUPTED = 130
"""The exit code of what Ctrl-C ended."""


def command(
    *,
    environment: Annotated[Literal["staging", "production"], typer.Option(help="Which infra/….tfvars.")] = "staging",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print every command, and run none.")] = False,
) -> None:
    """Walk through the first deploy; stop anywhere, and run it again to go on."""
    root = Path.cwd()
    secrets = secrets_of(read_policy(root / "functions"))
    _made_by_infra(root, secrets)
    site = read_site(root, environment, policy_secrets=secrets)
    if dry_run:
        _print_all(site)
        return
    missing = [f"{tool} ({where})" for tool, where in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        msg = f"install {', '.join(missing)}, then run spool setup again"
        raise Misconfigured(msg)
    try:
        _walk(site, Notes(Settings.read().state_dir / "setup.json", site))
    except (KeyboardInterrupt, EOFError, typer.Abort):
        typer.echo("\nStopped. Run spool setup again: it goes on from here.", err=True)
        raise typer.Exit(_INTERRUPTED) from None


def _made_by_infra(root: Path, secrets: Mapping[str, str]) -> None:
    """Raises `Misconfigured` where Terraform does not know yet of a secret of the policy, which it must make."""
    try:
        known: Any = json.loads((root / TFVARS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    missing = sorted(set(secrets) - set(known.get("secrets", {})))
    if missing:
        msg = f"{TFVARS} lacks {', '.join(missing)} of policy.secrets: run spool stage --infra, then spool setup again"
        raise Misconfigured(msg)


class Notes:
    """What a person has done by hand, for one project, on disk; never a secret."""

    def __init__(self, path: Path, site: Site) -> None:
        self._path, self._project = path, site.project

    def has(self, step: Step) -> bool:
        return step.name in self._all().get(self._project, [])

    def add(self, step: Step) -> None:
        notes = self._all()
        notes[self._project] = [*notes.get(self._project, []), step.name]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(notes), encoding="utf-8")

    def _all(self) -> dict[str, list[str]]:
        """Nothing where the file is missing or is none of ours: a step done twice by hand costs a look."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return cast("dict[str, list[str]]", found) if isinstance(found, dict) else {}


def _walk(site: Site, notes: Notes) -> None:
    every = steps(site)
    for number, step in enumerate(every, start=1):
        typer.echo(f"\n[{number}/{len(every)}] {step.title}")
        if notes.has(step) or _is_done(step):
            typer.echo("    done already")
        else:
            _do(step, site, notes)
    typer.echo("\nEverything has been done. What spool doctor says of it:\n")
    found = doctor.examine(project=site.project, region=site.region)
    doctor.print_findings(found)
    if any(finding.state == "problem" for _, finding in found):
        raise typer.Exit(1)


def _is_done(step: Step) -> bool:
    """Whether the world says so. A look that fails says no."""
    if step.probe is None:
        return False
    code, out = shell.looked(step.probe.argv)
    return code == 0 and step.probe.done(out)


def _do(step: Step, site: Site, notes: Notes) -> None:
    if step.why:
        typer.echo(f"    {step.why}")
    if step.by_hand:
        _by_hand(step, notes)
        return
    ran = [_change(change) for change in step.changes or (Change(argv=_build(site)),)]
    while any(ran) and not _is_done(step):
        if _answer("Google does not see it yet. Enter looks again, s goes on without it, q stops") == "s":
            return


def _by_hand(step: Step, notes: Notes) -> None:
    typer.echo(f"    {step.by_hand}")
    if step.name == "slack-app":
        typer.echo(f"\n{create_link(_printed(events_url()), name='Spool')}\n")
    if step.name == "request-url":
        typer.echo(f"    The URL: {_printed(events_url())}")
    while _answer("Enter when it is done, s to go on without it, q to stop") != "s":
        if step.probe is None:
            notes.add(step)
            return
        if _is_done(step):
            return
        typer.echo("    Google does not see it yet.")


def _change(change: Change) -> bool:
    """Show it, ask, and run it unless it is skipped. Raises `SpoolError` where it fails."""
    typer.echo(f"\n$ {shlex.join(change.argv)}")
    if _answer("Enter runs it, s skips it, q stops") == "s":
        return False
    code = shell.run(change.argv, stdin=_secret(change.secret) if change.secret else None)
    if code:
        msg = f"{change.argv[0]} ended with {code}: mend what it says above, then run spool setup again, it goes on from here"
        raise SpoolError(msg)
    return True


def _answer(question: str) -> str:
    """Empty, or "s". Raises KeyboardInterrupt for "q"."""
    while True:
        typer.echo(f"  {question}: ", nl=False)
        answer = input().strip().lower()
        if answer == "q":
            raise KeyboardInterrupt
        if answer in ("", "y", "s"):
            return "s" if answer == "s" else ""


def _secret(variable: str) -> str:
    """Asked for until it looks like one; never shown, and never part of a command line."""
    form, where = FORMS.get(variable, (r"\S.*", f"the value of {variable}, in one line"))
    while True:
        value = getpass.getpass(f"  {where} (nothing is shown): ").strip()
        if re.fullmatch(form, value):
            return value
        typer.echo(f"  That is not {where}.", err=True)


def _build(site: Site) -> Argv:
    """Through the trigger where a repository is connected; else this folder, with what the trigger would say.

    Raises `SpoolError`.
    """
    if why := needs_a_trigger(site):
        raise Misconfigured(why)
    if site.repository:
        return trigger(site, _printed(head()))
    values: Any = json.loads(_printed(substitutions()))
    return submit(site, {str(name): str(value) for name, value in values.items()})


def _printed(argv: Argv) -> str:
    """What a command prints, in one line. Raises `SpoolError`."""
    code, out = shell.looked(argv)
    if code or not out.strip():
        msg = f"`{shlex.join(argv)}` prints nothing to go on with: run spool setup again, and let it apply infra/"
        raise SpoolError(msg)
    return one_line(out)


def _print_all(site: Site) -> None:
    """Every command in its order; those that only look are marked."""
    for step in steps(site):
        typer.echo(f"# {step.title}")
        if step.probe:
            typer.echo(f"{shlex.join(step.probe.argv)}  # looks whether it is done")
        for change in step.changes:
            typer.echo(shlex.join(change.argv) + (f"  # {change.secret} through stdin" if change.secret else ""))
        if step.by_hand:
            typer.echo(f"# {step.by_hand}")
        if step.name == "slack-app":
            typer.echo('spool manifest --link --url "$(terraform -chdir=infra output -raw events_api_url)"')
        if step.name == "build":
            by_hand = submit(site, {"_ENVIRONMENT": site.environment})
            why = needs_a_trigger(site)
            typer.echo(f"# {why}" if why else shlex.join(trigger(site, "COMMIT") if site.repository else by_hand))
    typer.echo(f"# what keeps it from answering\nspool doctor --project {site.project} --region {site.region}")
