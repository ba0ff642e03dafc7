"""
The one place credentials come from (design page, section 6).

azure-identity's default chain in production; invented static ones where every endpoint is
loopback, so a development switch can never send nothing-credentials to a real service, nor a real
token to a stand-in.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from claimx.adapters.identity import LentCredential, StaticToken, TokenCredential
from claimx.adapters.tokens import Tokens
from claimx.domain.addresses import on_loopback
from claimx.domain.errors import TokenRejected

STORAGE_SCOPE = "https://storage.azure.com/.default"
_ACCOUNT = "onelake"
_LOCAL_KEY = base64.b64encode(b"claimx-loopback-only").decode()


@dataclass(frozen=True, slots=True)
class StorageAccess:
    """
    What signs requests of tables and files, and for how long from now they may be begun with it.

    *options* have deltalake's names. A token in them is not renewed, so after those *seconds*
    whoever has them asks anew: a table is opened once more. Whoever is refused with 401 calls
    *refuse* before that.
    """

    options: Mapping[str, str]
    seconds: float = math.inf
    refuse: Callable[[], None] = lambda: None


def no_access() -> StorageAccess:
    """Return what folders need: nothing."""
    return StorageAccess({})


class Credentials:
    """
    The credentials of one process, built on first use.

    *endpoints* are all addresses the process talks to (Kusto, OneLake, the API); static
    credentials are given out only when every one of them is loopback.
    """

    def __init__(
        self,
        endpoints: Iterable[str],
        *,
        now: Callable[[], float] = time.time,
        make: Callable[[], TokenCredential] | None = None,
    ) -> None:
        set_ones = [url for url in endpoints if url]
        self.all_loopback = bool(set_ones) and all(on_loopback(url) for url in set_ones)
        self._now = now
        self._tokens = Tokens(make or (self._static if self.all_loopback else _default), now)

    def token_credential(self) -> TokenCredential:
        """Return a credential for clients to keep; tokens are cached for the whole process."""
        return LentCredential(self._tokens.identity)

    def token(self, scope: str = STORAGE_SCOPE) -> str:
        """Return a bearer token; see `Tokens.fresh`."""
        return self._tokens.fresh(scope).text

    def storage_access(self, endpoint: str) -> StorageAccess:
        """
        Return what opens ``abfss://`` tables and files reached at *endpoint*, a token included.

        Plain http to loopback is sent an invented key and no token. Half of what is left of a token
        is for requests under way. Raises TokenRejected.
        """
        if on_loopback(endpoint):
            plain = endpoint.startswith("http:")
            return StorageAccess(
                {
                    "azure_storage_account_name": _ACCOUNT,
                    "azure_storage_account_key": _LOCAL_KEY,
                    "azure_storage_endpoint": endpoint.rstrip("/"),
                    **({"allow_http": "true"} if plain else {}),
                }
            )
        if self.all_loopback:
            raise TokenRejected(f"no static credential is sent to {endpoint}")
        held = self._tokens.fresh(STORAGE_SCOPE)
        host = urlsplit(endpoint).hostname or ""
        options = {
            "azure_storage_account_name": host.partition(".")[0],
            "bearer_token": held.text,
        }
        if host.endswith(".fabric.microsoft.com"):
            options["use_fabric_endpoint"] = "true"
        return StorageAccess(
            options,
            held.left(self._now()) / 2,
            lambda: self._tokens.refuse(STORAGE_SCOPE, held.text),
        )

    def close(self) -> None:
        """Release the identity's connections."""
        self._tokens.close()

    def _static(self) -> TokenCredential:
        return StaticToken(now=self._now)


def _default(connect_seconds: float = 5.0, answer_seconds: float = 15.0) -> TokenCredential:
    from azure.identity import DefaultAzureCredential

    from claimx.adapters.own_authorization import transport

    # by itself it waits for an answer of the sign-in service for five minutes, four times over
    credential: TokenCredential = DefaultAzureCredential(
        exclude_interactive_browser_credential=True,
        transport=transport(connect_seconds, answer_seconds),
        connection_timeout=connect_seconds,
        read_timeout=answer_seconds,
        retry_total=1,
    )
    return credential
