"""What Google's clients raise, and what it means to us. Light: part of the ingress' cold start."""

import grpc
from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError

from spool.errors import Ambiguous, Throttled

CALL: tuple[type[Exception], ...] = (exceptions.GoogleAPIError, GoogleAuthError, grpc.RpcError, grpc.aio.UsageError, OSError)
"""Everything that a call may raise; `OSError` is also `TimeoutError` and what `requests` raises."""

PAUSE = 1.0
"""Seconds to wait after a quota or a rate was exceeded; Cloud Storage takes one write a second per object."""

_LENGTH = 300


def meaning(error: Exception, *, missing: str, denied: str, what: str) -> Ambiguous:
    """The error to raise for a failed call to `what`; all of them let a message wait until it is mended.

    missing, denied: what a person should do when Google does not find what was named, or says no.
    """
    if isinstance(error, exceptions.TooManyRequests):
        return Throttled(f"{what} asks us to slow down: {said(error)}", after=PAUSE)
    if isinstance(error, exceptions.NotFound):
        return Ambiguous(f"{what} is not there: {missing} ({said(error)})")
    if isinstance(error, exceptions.Forbidden | exceptions.Unauthorized):
        return Ambiguous(f"{what} is denied to this service: {denied} ({said(error)})")
    if isinstance(error, GoogleAuthError):
        return Ambiguous(
            f"{what} needs credentials: run as a service account, or `gcloud auth application-default login` ({said(error)})"
        )
    return Ambiguous(f"{what} gave no clear answer: {said(error)}")


def said(error: Exception) -> str:
    """The error's kind and its own words, on one line and cut: no call of ours brings back what people said."""
    words = getattr(error, "message", None) or str(error)
    return f"{type(error).__name__}: {' '.join(str(words).split())[:_LENGTH]}"
