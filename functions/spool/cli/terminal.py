"""What the commands print: nothing that a stranger wrote may steer a terminal, and a pipe gets plain text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import Markdown
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # escapes of terminals begin with one of these
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"  # text that runs backwards; halves of characters
)


def neutral(text: str) -> str:
    """The text without the characters that steer a terminal or turn the direction of reading; lines and tabs are kept."""
    return _STEERING.sub("", text.replace("\r\n", "\n"))


def one_line(text: str, *, limit: int = 0) -> str:
    """The neutral text in one line, of at most `limit` characters (0: any)."""
    line = " ".join(neutral(text).split())
    return line if not limit or len(line) <= limit else line[: limit - 1] + "…"


def when(ts: str | float | None) -> str:
    """Epoch seconds, or a Slack ts, for people; empty where there is none, as it is where it is no time."""
    try:
        return f"{datetime.fromtimestamp(float(ts or ''), UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return one_line(str(ts or ""))


def say(console: Console, text: str, *, style: str = "", indent: int = 0) -> None:
    """Print text as it is; a terminal wraps it, a pipe gets its lines."""
    lines = (" " * indent + line if line else "" for line in neutral(text).split("\n"))
    whole = "\n".join(lines)
    if console.is_terminal:
        console.print(Text(whole, style=style))
    else:
        console.file.write(whole + "\n")  # rich would make spaces of tabs


def say_markdown(console: Console, text: str) -> None:
    """Print Markdown, rendered where somebody looks at it."""
    if console.is_terminal:
        console.print(_Rendered(Markdown(neutral(text), hyperlinks=False)))  # a link's address must be seen
    else:
        say(console, text)


def say_table(console: Console, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, its first column in one piece, to be copied; a pipe gets the rows alone, their cells between tabs."""
    if not console.is_terminal:
        for row in rows:
            say(console, "\t".join(map(one_line, row)))
        return
    table = Table(*head, box=None, header_style="bold", pad_edge=False)
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*(Text(one_line(cell), overflow="fold") for cell in row))
    console.print(table)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """Markdown whose entities cannot bring back what `neutral` took out."""

    markdown: Markdown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.markdown, options):
            yield Segment(neutral(segment.text), segment.style, segment.control)
