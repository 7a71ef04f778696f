"""Who is calling: the OpenID Connect token that Cloud Tasks and Cloud Scheduler send, verified by ourselves.

    Authorization: Bearer header.claims.signature
    signature   RS256 by a key of the issuer, found by OpenID discovery and kept
    claims      iss, aud, exp and iat, and email: the service account that may call this path

Cloud Run's own check (IAM) comes before this one. Where it has verified a token it hands it on without its signature, so that
nobody can use it again elsewhere (https://docs.cloud.google.com/run/docs/troubleshooting#signature-removed): there the claims
are checked, and nowhere else is such a token taken. Sources: https://docs.cloud.google.com/tasks/docs/creating-http-target-tasks,
https://openid.net/specs/openid-connect-discovery-1_0.html.
"""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any

import jwt
from jwt.types import Options

from spool.errors import Ambiguous

LIFESPAN = 3600.0
"""Seconds after which the keys are asked for anew; while the issuer does not answer, the old ones stay good."""

PAUSE = 10.0
"""Seconds between two questions to the issuer at least: a stranger's token must not make us hammer it."""

TIMEOUT = 5.0
LEEWAY = 30.0
"""Seconds that the issuer's clock and ours may differ."""

TOKEN_LIMIT = 8192
"""Characters of an Authorization header; Google's tokens have about a thousand."""

REMOVED = ".SIGNATURE_REMOVED_BY_GOOGLE"
"""What stands in a token for the signature that Cloud Run has verified."""

_DOCUMENT_LIMIT = 1 << 20
_CLAIMS: Options = {"require": ["iss", "aud", "exp", "iat", "email"], "strict_aud": True}
_CLAIMS_ALONE: Options = {
    **_CLAIMS,
    "verify_signature": False,
    "verify_iss": True,
    "verify_aud": True,
    "verify_exp": True,
    "verify_iat": True,
    "verify_nbf": True,
}


class Keys:
    """The public keys of `issuer`, fetched when one is first needed, in a thread, one fetch at a time."""

    def __init__(self, issuer: str, *, now: Callable[[], float] = time.monotonic) -> None:  # noqa: TID251 - this adapter owns the clock
        self._issuer, self._now = issuer.rstrip("/"), now
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched = self._tried = float("-inf")
        self._trouble = ""
        self._lock = asyncio.Lock()

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """The key of that name; None where the issuer has none. Raises `Ambiguous` when the issuer cannot be asked."""
        if not kid:
            return None
        if kid not in self._keys or self._is_due(kid):  # else nobody waits: a stranger may have made us ask for a key just now
            async with self._lock:
                if self._is_due(kid):
                    await self._fetch()
        if kid not in self._keys and self._trouble:
            msg = f"the keys of {self._issuer} cannot be fetched: {self._trouble}"
            raise Ambiguous(msg)
        return self._keys.get(kid)

    def _is_due(self, kid: str) -> bool:
        now = self._now()
        return now - self._tried >= PAUSE and (kid not in self._keys or now - self._fetched >= LIFESPAN)

    async def _fetch(self) -> None:
        self._tried = self._now()
        try:
            self._keys = await asyncio.to_thread(_published, self._issuer)
        except (jwt.PyJWTError, HTTPException, OSError, ValueError) as e:
            self._trouble = f"{type(e).__name__}: {e}"
        else:
            self._fetched, self._trouble = self._now(), ""


def _published(issuer: str) -> dict[str, jwt.PyJWK]:
    """The issuer's keys as it publishes them now. Raises `OSError`, `HTTPException`, `ValueError`, `jwt.PyJWTError`."""
    with urllib.request.urlopen(f"{issuer}/.well-known/openid-configuration", timeout=TIMEOUT) as response:  # noqa: S310 - a setting
        document: Any = json.loads(response.read(_DOCUMENT_LIMIT))
    if not isinstance(document, dict) or document.get("issuer") != issuer:  # pyright: ignore[reportUnknownMemberType] - JSON
        msg = "its OpenID configuration is not its own: SPOOL_OIDC_ISSUER must be written as there"
        raise ValueError(msg)
    uri = str(document.get("jwks_uri", ""))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - JSON
    if issuer.startswith("https:") and not uri.startswith("https:"):
        msg = "its keys are not behind https"
        raise ValueError(msg)
    keys = jwt.PyJWKClient(uri, cache_jwk_set=False, timeout=TIMEOUT).get_signing_keys()
    return {str(key.key_id): key for key in keys}


class Identity:
    """The worker's doorkeeper.

    accounts: by path, the only service account that may call it.
    behind_iam: this process runs where Cloud Run has verified the token before.
    """

    def __init__(
        self, *, keys: Keys, issuer: str, audience: str, accounts: Mapping[str, str], behind_iam: bool = False
    ) -> None:
        self._keys, self._issuer, self._audience, self._accounts = keys, issuer.rstrip("/"), audience, accounts
        self._behind_iam = behind_iam

    async def refusal(self, authorization: str, path: str) -> str:
        """Why a request with this Authorization header may not call `path`, quoting nothing of it; empty when it may.

        Raises `Ambiguous` when nobody can say because the issuer's keys cannot be had.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or len(token) > TOKEN_LIMIT:
            return "no bearer token"
        verified = self._behind_iam and token.endswith(REMOVED)
        key = None if verified else await self._keys.find(_kid(token))
        if not verified and key is None:
            return "not signed by a key of the issuer"
        try:
            claims = self._claims(token, key)
        except Exception as e:  # noqa: BLE001 - a stranger wrote it: whatever cannot be read is no token
            return f"its token is not valid: {type(e).__name__}"
        account = self._accounts.get(path)
        if not account or claims.get("email") != account or claims.get("email_verified") is not True:
            return "its token is of another account"
        return ""

    def _claims(self, token: str, key: jwt.PyJWK | None) -> dict[str, Any]:
        """What the token says, all of it verified; the signature too, where there is a key."""
        return jwt.decode(
            token,
            key or "",
            algorithms=["RS256"],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY,
            options=_CLAIMS if key else _CLAIMS_ALONE,
        )


def _kid(token: str) -> str:
    """Which key a token says that it is signed by; empty where that cannot be read."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except Exception:  # noqa: BLE001 - as above
        return ""
    return kid if isinstance(kid, str) else ""
