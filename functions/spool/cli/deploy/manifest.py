"""`spool manifest`: the Slack app as a file that Slack's own page takes."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from spool.errors import BadInput
from spool.slack.manifest import PLACEHOLDER, manifest

_HEAD = """\
# The Slack app, for https://api.slack.com/apps?new_app=1 ("From a manifest").
# Made by `spool manifest`: change functions/spool/slack/manifest.py, not this file.
"""
_MARK = """\
# NOT READY: {placeholder} is a placeholder for the URL of your ingress. For the real one run
#     spool manifest --url "$(terraform -chdir=infra output -raw events_api_url)"
"""


def command(
    *,
    url: Annotated[str, typer.Option(help="The ingress: https://HOST, or the whole Request URL.")] = PLACEHOLDER,
    name: Annotated[str, typer.Option(help="What the app and its bot are called in Slack.")] = "Spool",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write there instead of to the terminal.")] = None,
    link: Annotated[bool, typer.Option("--link", help="Print the link that opens Slack's page with it.")] = False,
) -> None:
    """Print the manifest of the Slack app: exactly the scopes and events that are used."""
    text = create_link(url, name=name) + "\n" if link else as_yaml(url, name=name)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as e:
        msg = f"{out} cannot be written ({e.strerror}): choose another file with --out"
        raise BadInput(msg) from e


def as_yaml(url: str = PLACEHOLDER, *, name: str = "Spool") -> str:
    """The file, with a head that says where it comes from. Raises `BadInput`."""
    import yaml

    body = yaml.safe_dump(manifest(url, name=name), sort_keys=False, allow_unicode=True, width=120)
    mark = _MARK.format(placeholder=PLACEHOLDER) if url == PLACEHOLDER else ""
    return _HEAD + mark + body


def create_link(url: str, *, name: str = "Spool") -> str:
    """Slack's page for a new app, filled in. Raises `BadInput`."""
    import yaml

    body = yaml.safe_dump(manifest(url, name=name), sort_keys=False, allow_unicode=True, width=120)
    return f"https://api.slack.com/apps?new_app=1&manifest_yaml={quote(body, safe='')}"
