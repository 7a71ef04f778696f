"""What `spool doctor` looks at, and what it found: values for people and for programs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "problem", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found; it never holds a secret.

    state: "unknown" where the answer cannot be had from here, which is no problem by itself.
    fix: what a person does about it: a command where there is one; empty where nothing is to be done.
    """

    state: State
    text: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Something to look at, read-only. `look` may block, and may raise any error: it is then told as a finding."""

    name: str
    look: Callable[[], Sequence[Finding]]


def ok(text: str) -> Finding:
    return Finding(state="ok", text=text)


def problem(text: str, *, fix: str) -> Finding:
    return Finding(state="problem", text=text, fix=fix)


def unknown(text: str, *, fix: str = "") -> Finding:
    return Finding(state="unknown", text=text, fix=fix)
