"""Google Cloud's JSON APIs, read: what Spool's own client libraries do not reach, and a machine without any of Google's
tools can still ask. Only calls that change nothing.

https://cloud.google.com/apis/docs/overview; errors: https://cloud.google.com/apis/design/errors.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import google.auth
import requests
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from spool.errors import Ambiguous, Misconfigured, Missing, Refused

TIMEOUT = 15.0
LOGIN = "gcloud auth application-default login"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_DENIED = (401, 403)
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Apis:
    """Where each service listens; emulators and tests put their own."""

    firestore: str = "https://firestore.googleapis.com"
    iam: str = "https://iam.googleapis.com"
    run: str = "https://run.googleapis.com"
    scheduler: str = "https://cloudscheduler.googleapis.com"
    secrets: str = "https://secretmanager.googleapis.com"
    storage: str = "https://storage.googleapis.com"
    tasks: str = "https://cloudtasks.googleapis.com"


class Rest:
    """Reads as whoever is logged in on this machine. Made at its first use, which raises `Misconfigured` without a login."""

    def __init__(self, *, project: str, anonymous: bool = False) -> None:
        self._project = project
        self._anonymous = anonymous
        self._session: Any = None

    def get(self, url: str, **query: str | Sequence[str]) -> Json:
        """The resource. Raises `Missing`, `Refused` (not allowed, or the API is off), `Ambiguous`, `Misconfigured`."""
        return self._call("GET", url, query)

    def ask(self, url: str, body: Json) -> Json:
        """A question that needs a body, such as :testIamPermissions. Raises as `get` does."""
        return self._call("POST", url, {}, body)

    def login(self) -> None:
        """Find out whether anybody is logged in. Raises `Misconfigured`."""
        self._opened()

    def _call(self, method: str, url: str, query: Mapping[str, str | Sequence[str]], body: Json | None = None) -> Json:
        try:
            answer: Any = self._opened().request(method, url, params=query, json=body, timeout=TIMEOUT)
        except GoogleAuthError as e:
            msg = f"the login to Google Cloud is not valid any more ({type(e).__name__})"
            raise Misconfigured(msg) from None
        except (requests.RequestException, OSError) as e:
            msg = f"{_host(url)} cannot be reached ({type(e).__name__})"
            raise Ambiguous(msg) from None
        if answer.ok:
            return _object(answer)
        raise _translated(answer.status_code, _object(answer), url)

    def _opened(self) -> Any:
        if self._session is None:
            self._session = cast("Any", AuthorizedSession)(self._credentials())
            self._session.trust_env = not self._anonymous  # no proxy stands between us and an emulator
        return self._session

    def _credentials(self) -> Any:
        if self._anonymous:
            return AnonymousCredentials()
        try:
            found: Any = cast("Any", google.auth).default(scopes=[_SCOPE], quota_project_id=self._project)
        except DefaultCredentialsError:
            msg = "nobody is logged in to Google Cloud on this machine"
            raise Misconfigured(msg) from None
        return found[0]


def _object(answer: Any) -> Json:
    try:
        return as_object(answer.json())
    except (ValueError, RecursionError):
        return {}


def _translated(status: int, body: Json, url: str) -> Missing | Refused | Ambiguous:
    """What an answer that is no success means; Google's own words are cut to one line."""
    said = " ".join(str(as_object(body.get("error")).get("message") or f"status {status}").split())[:200]
    if api := disabled_api(body):
        msg = f"the API {api} is not enabled"
        return Refused(msg, reason=f"disabled:{api}")
    if status == 404:  # noqa: PLR2004 - Not Found
        return Missing(said)
    if status in _DENIED:
        return Refused(f"not allowed: {said}", reason="denied")
    if status < 500:  # noqa: PLR2004 - ours, not the server's trouble
        return Refused(said, reason=str(status))
    return Ambiguous(f"{_host(url)}: {said}")


def disabled_api(body: Json) -> str:
    """The API that a refusal names as not enabled, or empty."""
    for detail in as_objects(as_object(body.get("error")).get("details")):
        if detail.get("reason") == "SERVICE_DISABLED":
            name = str(as_object(detail.get("metadata")).get("service", ""))
            return name if re.fullmatch(r"[a-z0-9.]+", name) else "of this service"
    return ""


def _host(url: str) -> str:
    return url.split("/")[2]


def as_object(value: Any) -> Json:
    """The value where it is a JSON object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else cast("Json", {})


def as_objects(value: Any) -> list[Json]:
    """The objects of a JSON list, else none."""
    found = cast("list[Any]", value) if isinstance(value, list) else []
    return [cast("Json", one) for one in found if isinstance(one, dict)]
