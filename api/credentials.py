"""Who asks: once credentials are configured, every request but the health checks carries a bearer secret."""

from collections.abc import Mapping
from hmac import compare_digest

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from ledger.domain.rejection import Code, Rejection

__all__ = ["CredentialsMiddleware"]


class CredentialsMiddleware:
    """Name the principal in the scope, or answer 401. `secrets` maps principals to their secrets."""

    def __init__(self, app: ASGIApp, secrets: Mapping[str, str]) -> None:
        self._app = app
        self._secrets = {name: secret.encode() for name, secret in secrets.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/health"):
            principal = self._principal(scope)
            if principal is None:
                refusal = Rejection(Code.UNAUTHORIZED, "send Authorization: Bearer with a configured secret")
                await (await problem(Request(scope), refusal))(scope, receive, send)
                return
            scope["principal"] = principal
        await self._app(scope, receive, send)

    def _principal(self, scope: Scope) -> str | None:
        headers = dict(scope["headers"])
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        # Every secret is compared, so that the time taken says nothing about which one was near.
        matches = [name for name, secret in self._secrets.items() if compare_digest(secret, given.strip())]
        return matches[0] if matches else None
