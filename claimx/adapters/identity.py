"""The process's identity as Azure's clients are given it: lent, and with one kind of failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from claimx.domain.errors import ClaimXError, TokenRejected

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

AGAIN_SECONDS = 10.0  # an identity that fails is left alone for so long
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


class LentCredential:
    """What clients keep: it asks whichever identity the process has, and closes none."""

    def __init__(self, current: Callable[[], TokenCredential]) -> None:
        self._current = current

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return the current identity's token; raises AzureError or TokenRejected."""
        return _asked(self._current, *scopes, **options)

    def close(self) -> None:
        """Leave the process's identity to the others that have it."""


def _asked(current: Callable[[], TokenCredential], *scopes: str, **options: Any) -> AccessToken:
    """
    Return a token of the identity that *current* builds or has.

    Raises AzureError, and TokenRejected for all else that a wrong set-up leads to (a certificate's
    file that is not there, a tenant's id that is none): it waits until somebody sets it right.
    """
    from azure.core.exceptions import AzureError

    try:
        return current().get_token(*scopes, **options)
    except (AzureError, ClaimXError):
        raise
    except Exception as error:
        raise TokenRejected(_told(scopes, error)) from error


def token_of(current: Callable[[], TokenCredential], *scopes: str, **options: Any) -> AccessToken:
    """Return the same; raises TokenRejected alone."""
    from azure.core.exceptions import AzureError

    try:
        return _asked(current, *scopes, **options)
    except AzureError as error:
        raise TokenRejected(_told(scopes, error)) from error


def _told(scopes: Sequence[str], error: Exception) -> str:
    """Say which error it was, not its words, which may quote what was sent."""
    return (
        f"no token for {' '.join(scopes)} ({type(error).__name__}): check AZURE_TENANT_ID,"
        " AZURE_CLIENT_ID and what goes with them, or the managed identity"
    )
