"""
The one place credentials come from (design page, section 6).

azure-identity's default chain in production; invented static ones where every endpoint is
loopback, so a development switch can never send nothing-credentials to a real service, nor a real
token to a stand-in.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from claimx.domain.addresses import address_of
from claimx.domain.errors import TokenRejected

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

STORAGE_SCOPE = "https://storage.azure.com/.default"
FRESH_SECONDS = 600.0  # a token handed out lives at least this long
_ACCOUNT = "onelake"
_LOCAL_KEY = base64.b64encode(b"claimx-loopback-only").decode()
_STATIC_SECONDS = 86_400


class TokenCredential(Protocol):
    """What the Azure clients ask tokens of."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token for *scopes*."""

    def close(self) -> None:
        """Release its connections."""


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
        self._tokens: dict[str, AccessToken] = {}

    def token_credential(self) -> TokenCredential:
        """Return the process's token credential: one, because it caches tokens."""
        with self._lock:
            if self._credential is None:
                self._credential = self._make()
            return self._credential

    def token(self, scope: str = STORAGE_SCOPE) -> str:
        """
        Return a bearer token with at least ten minutes left, if one can be had.

        Raises TokenRejected when the identity gives none.
        """
        with self._lock:
            held = self._tokens.get(scope)
            if held is None or held.expires_on - self._now() < FRESH_SECONDS:
                held = self._tokens[scope] = self._asked(scope)
            return held.token

    def storage_credential(self, endpoint: str) -> Any:
        """Return what the DataLake client of *endpoint* takes; http takes no token."""
        if on_loopback(endpoint):
            from azure.core.credentials import AzureNamedKeyCredential

            return AzureNamedKeyCredential(_ACCOUNT, _LOCAL_KEY)
        if self.all_loopback:
            raise TokenRejected(f"no static credential is sent to {endpoint}")
        return self.token_credential()

    def storage_options(self, endpoint: str) -> dict[str, str]:
        """
        Return deltalake's options for ``abfss://`` tables reached at *endpoint*, token included.

        Ask anew for each opening of a table: the token in them is not renewed.
        """
        if on_loopback(endpoint):
            plain = endpoint.startswith("http:")
            return {
                "azure_storage_account_name": _ACCOUNT,
                "azure_storage_account_key": _LOCAL_KEY,
                "azure_storage_endpoint": endpoint.rstrip("/"),
                **({"allow_http": "true"} if plain else {}),
            }
        host = urlsplit(endpoint).hostname or ""
        options = {
            "azure_storage_account_name": host.partition(".")[0],
            "bearer_token": self.token(),
        }
        if host.endswith(".fabric.microsoft.com"):
            options["use_fabric_endpoint"] = "true"
        return options

    def close(self) -> None:
        """Release the credential's connections."""
        with self._lock:
            if self._credential is not None:
                self._credential.close()
            self._credential = None
            self._tokens = {}

    def _asked(self, scope: str) -> AccessToken:
        from azure.core.exceptions import AzureError

        try:
            if self._credential is None:
                self._credential = self._make()
            token = self._credential.get_token(scope)
            if token.expires_on - self._now() < FRESH_SECONDS:
                # its cache keeps tokens until five minutes before their end: begin without one
                self._credential.close()
                self._credential = self._make()
                token = self._credential.get_token(scope)
        except AzureError as error:
            raise TokenRejected(f"no token for {scope} ({type(error).__name__})") from error
        return token

    def _static(self) -> TokenCredential:
        return StaticToken(now=self._now)


def on_loopback(url: str) -> bool:
    """Say whether the URL's host is this machine by name or literal address, without a look-up."""
    try:
        host = (urlsplit(url).hostname or "").lower()
    except ValueError:
        return False
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback


def _default() -> TokenCredential:
    from azure.identity import DefaultAzureCredential

    credential: TokenCredential = DefaultAzureCredential(
        exclude_interactive_browser_credential=True
    )
    return credential
