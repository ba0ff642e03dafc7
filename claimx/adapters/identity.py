"""The process's identity as Azure's clients are given it: lent, and with one kind of failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

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


class AwaitedCredential:
    """
    The same for the vendor's asynchronous clients: an identity may take seconds to answer.

    It is asked in a thread of its own. In the loop's, a sign-in service that hangs would take the
    place of the ledger's steps, and leases would run out. The clients ask one after another: those
    who wait while it fails hear of that for `AGAIN_SECONDS`, or their own time would be up, and
    they would blame OneLake. *now* is a monotonic clock.
    """

    def __init__(
        self, credential: TokenCredential, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._credential = credential
        self._now = now
        self._failed: tuple[float, str] | None = None  # when, and of what
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="token")

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return its token; raises TokenRejected, since the clients stumble over Entra's words."""
        if self._failed and self._now() - self._failed[0] < AGAIN_SECONDS:
            raise TokenRejected(self._failed[1])
        loop = asyncio.get_running_loop()
        ask = partial(token_of, lambda: self._credential, *scopes, **options)
        try:
            token = await loop.run_in_executor(self._thread, ask)
        except TokenRejected as error:
            self._failed = self._now(), str(error)
            raise
        self._failed = None
        return token

    async def close(self) -> None:
        """End the thread, and leave the credential to whoever lent it."""
        self._thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        """Return itself; the clients open and close what they are given."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()


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
