"""An OpenID issuer on this machine that speaks the wire: its configuration, its keys, and tokens that it signs."""

import contextlib
import json
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "spool-worker"


def new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Issuer:
    """keys: by kid, those that it publishes; the last one signs. asked: paths that were asked for. down: it answers 500.
    garbled: what it says is no HTTP. answers: cleared, it keeps whoever asks waiting."""

    url: str = ""
    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=lambda: {"one": new_key()})
    asked: list[str] = field(default_factory=list[str])
    down: bool = False
    garbled: bool = False
    answers: threading.Event = field(default_factory=threading.Event)
    calls_itself: str = ""

    def answer(self, path: str) -> dict[str, Any] | None:
        self.asked.append(path)
        if self.down:
            return None
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.calls_itself or self.url, "jwks_uri": f"{self.url}/jwks"}
        return {"keys": [RSAAlgorithm.to_jwk(k.public_key(), as_dict=True) | self._named(kid) for kid, k in self.keys.items()]}

    @staticmethod
    def _named(kid: str) -> dict[str, str]:
        return {"kid": kid, "use": "sig", "alg": "RS256"}

    @property
    def public(self) -> bytes:
        """The signing key's public half, as PEM."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return list(self.keys.values())[-1].public_key().public_bytes(serialization.Encoding.PEM, form)

    def claims(self, account: str, **changes: Any) -> dict[str, Any]:
        """What Cloud Tasks says of itself, as `account`; a claim that is None is left out."""
        now = int(time.time())  # noqa: TID251 - here is the issuer
        stated = {"iss": self.url, "aud": AUDIENCE, "email": account, "email_verified": True, "iat": now, "exp": now + 3600}
        return {name: value for name, value in {**stated, **changes}.items() if value is not None}

    def token(self, account: str, *, kid: str = "", key: Any = None, **changes: Any) -> str:
        """A token as the queue sends it, signed by the newest key."""
        name, newest = list(self.keys.items())[-1]
        return jwt.encode(self.claims(account, **changes), key or newest, algorithm="RS256", headers={"kid": kid or name})


@contextlib.contextmanager
def issuing() -> Generator[Issuer]:
    issuer = Issuer()
    issuer.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = issuer.answer(self.path)
            issuer.answers.wait(30)
            if issuer.garbled:
                self.wfile.write(b"nonsense\r\n\r\n")
                return
            body = json.dumps(found).encode()
            self.send_response(200 if found else 500)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
