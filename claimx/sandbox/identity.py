"""A managed identity's endpoint in App Service's form, whose tokens end as soon as one likes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import ClassVar

import orjson

from claimx.sandbox.exchange import Answer, Exchange
from claimx.sandbox.faults import FaultPlan
from claimx.sandbox.http import Service

PATH = "/msi/token"
MAX_TOKENS = 100_000  # remembered: those that ended are refused for being unknown


class Identity(Service):
    """
    Hands out bearer tokens that live *lifetime* seconds, and knows whether one is good.

    azure-identity finds it by the two variables of `environment`.
    """

    name: ClassVar[str] = "identity"

    def __init__(
        self,
        lifetime: float,
        faults: FaultPlan | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(faults)
        self.lifetime = lifetime
        self._now = now
        self._header = secrets.token_hex(16)
        self._ends: dict[str, float] = {}

    @property
    def handed_out(self) -> int:
        """How many tokens there were."""
        return len(self._ends)

    def environment(self) -> dict[str, str]:
        """Return what azure-identity looks for."""
        return {"IDENTITY_ENDPOINT": f"{self.url}{PATH}", "IDENTITY_HEADER": self._header}

    async def answer(self, exchange: Exchange) -> Answer | None:
        """Give a token for the asked resource."""
        if exchange.path != PATH:
            return Answer(404, b"{}")
        if exchange.headers.get("X-IDENTITY-HEADER") != self._header:
            return Answer(401, b'{"message":"the identity header is another"}')
        resource = exchange.query.get("resource", "")
        if not resource or len(self._ends) >= MAX_TOKENS:
            return Answer(400, b'{"message":"no resource, or too many tokens"}')
        token = secrets.token_urlsafe(24)
        # whole seconds, as in the field: a token never lives longer than it says
        ends = self._ends[token] = float(int(self._now() + self.lifetime))
        body = {
            "access_token": token,
            "expires_on": f"{ends:.0f}",
            "resource": resource,
            "token_type": "Bearer",
        }
        return Answer(200, orjson.dumps(body))

    def end_all(self) -> None:
        """Let every token that was handed out so far have ended."""
        self._ends = dict.fromkeys(self._ends, 0.0)

    def accepts(self, authorization: str) -> bool:
        """Say whether the header names a token that has not ended."""
        kind, _, token = authorization.partition(" ")
        return kind == "Bearer" and self._ends.get(token, 0.0) > self._now()
