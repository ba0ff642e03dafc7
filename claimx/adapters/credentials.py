"""
The one place credentials come from (design page, section 6).

azure-identity's default chain in production; invented static ones where every endpoint is
loopback, so a development switch can never send nothing-credentials to a real service, nor a real
token to a stand-in.
"""

from __future__ import annotations

import base64
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from claimx.domain.addresses import on_loopback
from claimx.domain.errors import TokenRejected

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

STORAGE_SCOPE = "https://storage.azure.com/.default"
FRESH_SECONDS = 600.0  # a token handed out lives at least this long, if its identity lets it
FRESH_SHARE = 0.5  # and of a shorter life at least this much is left
_ACCOUNT = "onelake"
_LOCAL_KEY = base64.b64encode(b"claimx-loopback-only").decode()
_STATIC_SECONDS = 86_400


class TokenCredential(Protocol):
    """What the Azure clients ask tokens of."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token for *scopes*."""

    def close(self) -> None:
        """Release its connections."""


@dataclass(frozen=True, slots=True)
class StorageAccess:
    """
    deltalake's *options* for a table, and for how long from now requests may be begun with them.

    A token in them is not renewed, so after those *seconds* the table is opened anew.
    """

    options: Mapping[str, str]
    seconds: float = math.inf


def no_access() -> StorageAccess:
    """Return what folders need: nothing."""
    return StorageAccess({})


@dataclass(frozen=True, slots=True)
class _Held:
    """A token, and what was left of its life when it came."""

    token: AccessToken
    life: float

    def left(self, now: float) -> float:
        return self.token.expires_on - now

    @property
    def wanted(self) -> float:
        """How much must be left when it is handed out."""
        return min(FRESH_SECONDS, FRESH_SHARE * self.life)


class StaticToken:
    """A token credential for stand-ins on loopback: always the same invented token."""

    def __init__(self, token: str = "loopback", now: Callable[[], float] = time.time) -> None:  # noqa: S107 - invented, for stand-ins
        self._token = token
        self._now = now

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Return the token, good for a day."""
        from azure.core.credentials import AccessToken

        return AccessToken(self._token, int(self._now()) + _STATIC_SECONDS)

    def close(self) -> None:
        """Nothing to release."""


class _Current:
    """What clients keep: it asks whichever credential the process has at the time."""

    def __init__(self, current: Callable[[], TokenCredential], close: Callable[[], None]) -> None:
        self._current = current
        self._close = close

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return the current credential's token."""
        return self._current().get_token(*scopes, **options)

    def close(self) -> None:
        """Close the process's credential; it is made anew when it is asked again."""
        self._close()


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
        self._make = make or (self._static if self.all_loopback else _default)
        self._lock = threading.Lock()
        self._credential: TokenCredential | None = None
        self._replaced: TokenCredential | None = None
        self._tokens: dict[str, _Held] = {}

    def token_credential(self) -> TokenCredential:
        """Return a credential for clients to keep; tokens are cached for the whole process."""
        return _Current(self._made, self.close)

    def token(self, scope: str = STORAGE_SCOPE) -> str:
        """
        Return a bearer token with at least ten minutes left, or half its life if that is shorter.

        Raises TokenRejected when the identity gives none.
        """
        return self._fresh(scope).token.token

    def storage_credential(self, endpoint: str) -> Any:
        """Return what the DataLake client of *endpoint* takes; http takes no token."""
        if on_loopback(endpoint):
            from azure.core.credentials import AzureNamedKeyCredential

            return AzureNamedKeyCredential(_ACCOUNT, _LOCAL_KEY)
        if self.all_loopback:
            raise TokenRejected(f"no static credential is sent to {endpoint}")
        return self.token_credential()

    def storage_access(self, endpoint: str) -> StorageAccess:
        """
        Return what opens ``abfss://`` tables reached at *endpoint*, a token included.

        Half of what is left of the token is for requests under way. Raises TokenRejected.
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
        held = self._fresh(STORAGE_SCOPE)
        host = urlsplit(endpoint).hostname or ""
        options = {
            "azure_storage_account_name": host.partition(".")[0],
            "bearer_token": held.token.token,
        }
        if host.endswith(".fabric.microsoft.com"):
            options["use_fabric_endpoint"] = "true"
        return StorageAccess(options, held.left(self._now()) / 2)

    def close(self) -> None:
        """Release the credential's connections."""
        with self._lock:
            for one in (self._credential, self._replaced):
                if one is not None:
                    one.close()
            self._credential = self._replaced = None
            self._tokens = {}

    def _made(self) -> TokenCredential:
        with self._lock:
            if self._credential is None:
                self._credential = self._make()
            return self._credential

    def _replace(self) -> TokenCredential:
        """Begin with an empty cache; what clients still ask of the old one is answered first."""
        if self._replaced is not None:
            self._replaced.close()
        self._replaced, self._credential = self._credential, self._make()
        return self._credential

    def _fresh(self, scope: str) -> _Held:
        with self._lock:
            held = self._tokens.get(scope)
            if held is None or held.left(self._now()) < held.wanted:
                held = self._tokens[scope] = self._asked(scope)
            return held

    def _asked(self, scope: str) -> _Held:
        from azure.core.exceptions import AzureError

        try:
            if self._credential is None:
                self._credential = self._make()
            token = self._credential.get_token(scope)
            if token.expires_on - self._now() < FRESH_SECONDS:
                # its cache keeps tokens until five minutes before their end: begin without one
                token = self._replace().get_token(scope)
        except AzureError as error:
            raise TokenRejected(f"no token for {scope} ({type(error).__name__})") from error
        return _Held(token, token.expires_on - self._now())

    def _static(self) -> TokenCredential:
        return StaticToken(now=self._now)


def _default() -> TokenCredential:
    from azure.identity import DefaultAzureCredential

    credential: TokenCredential = DefaultAzureCredential(
        exclude_interactive_browser_credential=True
    )
    return credential
