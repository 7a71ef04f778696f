"""Log lines as Cloud Logging and Error Reporting read them: one JSON object per line of stdout.

A line says what happened and to which message, never what was said. Spool's own sentences are written so. Of everybody
else's lines (libraries', and errors' own words, which may quote a message, a model or a tool) only what is constant in their
source is shown, unless SPOOL_LOG_CONTENT=true. Secrets are never shown.

Sources: https://docs.cloud.google.com/logging/docs/structured-logging,
https://docs.cloud.google.com/error-reporting/docs/formatting-error-messages. Light: part of the ingress' cold start.
"""

import json
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from spool import logs
from spool.errors import SpoolError

REPORTED = "type.googleapis.com/google.devtools.clouderrorreporting.v1beta1.ReportedErrorEvent"
HIDDEN = "[secret]"
OWN = ("spool", "gunicorn")
"""Loggers whose sentences quote nobody; gunicorn's tell of processes and signals."""

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_CLOUD_TRACE = re.compile(r"([0-9a-f]{32})(?:/([0-9]{1,20}))?(?:;o=([0-9]))?", re.IGNORECASE)
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)S?$")
_SECRET_LOOK = re.compile(
    r"xox[a-z]-[\w-]{6,}|xapp-[\w-]{6,}|\bya29\.[\w.-]{6,}"  # Slack's tokens, Google's
    r"|\bsk-[\w-]{12,}|\bAIza[\w-]{30,}|\beyJ[\w-]+\.[\w-]+\.[\w-]*|(?<=Bearer )\S+"
)
_LED_TO = "\nThe above exception was the direct cause of the following exception:\n\n"  # in Python's words, which Google parses
_SHORTEST_SECRET = 8
_FRAMES = 40
_CHAIN = 8


def traceparent(headers: Mapping[str, str]) -> str:
    """The trace that a request belongs to, as W3C writes it, whichever of its two headers Google's frontend sent; or empty."""
    if given := headers.get("traceparent"):
        return given
    found = _CLOUD_TRACE.fullmatch(headers.get("x-cloud-trace-context", ""))
    if not found:
        return ""
    span = int(found[2] or 0) & 0xFFFF_FFFF_FFFF_FFFF
    return f"00-{found[1].lower()}-{span or 1:016x}-{'01' if found[3] == '1' else '00'}"


def secrets_in(environ: Mapping[str, str], names: Sequence[str] = ()) -> tuple[str, ...]:
    """The values that no line may show: of `names` and of what is named like a secret; of a list each part."""
    named = [value for name, value in environ.items() if name in names or _SECRET_NAME.search(name.upper())]
    parts = {part.strip() for value in named for part in (value, *value.split(","))}
    return tuple(sorted((p for p in parts if len(p) >= _SHORTEST_SECRET), key=len, reverse=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What every line of this process says.

    own: loggers whose words may be shown: Spool's, and the user's own, who answers for what he logs.
    content: whether words of others may be shown.
    """

    project: str
    service: str = "spool"
    version: str = ""
    own: tuple[str, ...] = OWN
    content: bool = False
    secrets: tuple[str, ...] = ()


class Json(logging.Formatter):
    """One line per record."""

    def __init__(self, place: Place) -> None:
        super().__init__()
        self._place = place

    def format(self, record: logging.LogRecord) -> str:
        mine = self._is_own(record.name)
        fields = {**logs.current(), **{n: record.__dict__[n] for n in logs.FIELDS if mine and n in record.__dict__}}
        entry: dict[str, Any] = {
            "severity": record.levelname,
            "message": self._hide(self._message(record, mine=mine)),
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "logger": record.name,
            **{name: fields[name] for name in logs.FIELDS if fields.get(name) not in (None, "")},
            **self._trace(str(fields.get("trace", ""))),
        }
        if record.levelno >= logging.ERROR:
            entry |= self._report(record)
        elif error := _error(record):
            entry["stack_trace"] = self._hide(stack(error, content=self._place.content))
        return json.dumps(entry, separators=(",", ":"), default=str)

    def _is_own(self, logger: str) -> bool:
        return any(logger == name or logger.startswith(name + ".") for name in self._place.own)

    def _message(self, record: logging.LogRecord, *, mine: bool) -> str:
        if not mine and not self._place.content:
            return _constant(record)
        given = record.args if isinstance(record.args, tuple) else (record.args,) if record.args else ()
        text, *args = (record.msg, *given) if self._place.content else _safe(record.msg, *given)
        try:
            return str(text) % (args[0] if isinstance(record.args, Mapping) else tuple(args)) if args else str(text)
        except Exception:  # noqa: BLE001 - arguments that do not fit: a log line must not become an error
            return str(text)

    def _trace(self, trace: str) -> dict[str, Any]:
        found = _TRACEPARENT.fullmatch(trace)
        if not found:
            return {}
        return {
            "logging.googleapis.com/trace": f"projects/{self._place.project}/traces/{found[1]}",
            "logging.googleapis.com/spanId": found[2],
            "logging.googleapis.com/trace_sampled": found[3] == "01",
        }

    def _report(self, record: logging.LogRecord) -> dict[str, Any]:
        """What Error Reporting groups by: the stack, or else the line that logged."""
        report: dict[str, Any] = {
            "@type": REPORTED,
            "serviceContext": {"service": self._place.service, "version": self._place.version},
        }
        if error := _error(record):
            return {**report, "stack_trace": self._hide(stack(error, content=self._place.content))}
        where = {"filePath": record.pathname, "lineNumber": record.lineno, "functionName": record.funcName}
        return {**report, "context": {"reportLocation": where}}

    def _hide(self, text: str) -> str:
        for secret in self._place.secrets:
            text = text.replace(secret, HIDDEN)
        return _SECRET_LOOK.sub(HIDDEN, text)


def stack(error: BaseException, *, content: bool) -> str:
    """An error and what led to it, as Python prints it. Without `content`: frames and kinds, and words of Spool's own alone."""
    return _LED_TO.join(_one(e, content=content) for e in _chain(error))


def _one(error: BaseException, *, content: bool) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__, limit=-_FRAMES))
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    words = f": {error}" if content or isinstance(error, SpoolError) else ""
    return f"Traceback (most recent call last):\n{frames}{kind}{words}\n"


def _chain(error: BaseException) -> list[BaseException]:
    """The error last; before it, as far as they are told, its cause and the members of a group."""
    found: list[BaseException] = []
    for e in _causes(error):
        if len(found) == _CHAIN or any(e is f for f in found):
            break
        found.append(e)
    return found[::-1]


def _causes(error: BaseException) -> Iterator[BaseException]:
    yield error
    if isinstance(error, BaseExceptionGroup):
        yield from error.exceptions  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - of any kind
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before:
        yield from _causes(before)


def _error(record: logging.LogRecord) -> BaseException | None:
    """The error that a line is about: logged with it, or named as its `cause`."""
    found = record.exc_info[1] if record.exc_info else record.__dict__.get("cause")
    return found if isinstance(found, BaseException) else None


def _constant(record: logging.LogRecord) -> str:
    """What a line of somebody else says in its source: its template, or only where it stands."""
    where = f"{record.name}, {record.filename}:{record.lineno}"
    if isinstance(record.msg, str) and record.args:
        return f"{record.msg} ({where}; its arguments are hidden)"
    return f"{where} (its words are hidden: SPOOL_LOG_CONTENT)"


def _safe(*words: Any) -> list[Any]:
    """What our own sentences are made of: of a foreign error only its kind."""
    return [type(w).__name__ if isinstance(w, BaseException) and not isinstance(w, SpoolError) else w for w in words]


class _Shared(logging.Filter):
    """Takes a logger's lines to the root's handlers, whatever handlers its owner gives it."""

    def filter(self, record: logging.LogRecord) -> bool:
        logging.getLogger().handle(record)
        return False


def configure(place: Place) -> None:
    """Everything that this process logs, warns of or dies of goes to stdout as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Json(place))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for server in ("gunicorn.error", "uvicorn.error"):
        logging.getLogger(server).addFilter(_Shared())
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it says every request at INFO

    def warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
        words = f": {message}" if place.content else ""
        logging.getLogger("spool").warning("%s at %s:%s%s", category.__name__, filename, lineno, words)

    def die(kind: type[BaseException], error: BaseException, tb: object) -> None:
        del kind, tb
        logging.getLogger("spool").critical("the process ends: %s", error, exc_info=error, extra={"event": "crashed"})

    warnings.showwarning = warn
    sys.excepthook = die
