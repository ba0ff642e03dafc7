"""How requests of storage are signed in an event loop: an identity may take seconds to answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from claimx.adapters.credentials import StorageAccess
from claimx.adapters.identity import AGAIN_SECONDS
from claimx.adapters.storage_key import AccountKey
from claimx.domain.errors import TokenRejected


class StorageLogin:
    """
    Signs requests with what *ask* gives, for as long as that may be used.

    *ask* is called in a thread of its own. In the loop's, a sign-in service that hangs would take
    the place of the ledger's steps, and leases would run out. Requests wait for it one after
    another: those who wait while it fails hear of that for `AGAIN_SECONDS`, or their own time would
    be up, and they would blame OneLake. *now* is a monotonic clock.
    """

    def __init__(
        self, ask: Callable[[], StorageAccess], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._now = now
        self._access: StorageAccess | None = None
        self._ends = 0.0
        self._key: AccountKey | None = None
        self._failed: tuple[float, str] | None = None  # when, and of what
        self._thread: ThreadPoolExecutor | None = None

    async def authorization(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> str:
        """Return the header's value (`AccountKey.authorization`); raises TokenRejected."""
        access = self._held()
        if access is None:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="token")
            loop = asyncio.get_running_loop()
            access = await loop.run_in_executor(self._thread, self._renewed)
        if self._key is not None:
            return self._key.authorization(method, path, query, headers)
        return f"Bearer {access.options['bearer_token']}"

    def refused(self, authorization: str) -> None:
        """Ask anew: OneLake does not take this one, whatever its end says."""
        access = self._access
        if access is not None and authorization.endswith(access.options.get("bearer_token", "\n")):
            self._access = None
            access.refuse()

    def close(self) -> None:
        """End the thread; it may be used again."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)
            self._thread = None

    def _held(self) -> StorageAccess | None:
        return self._access if self._now() < self._ends else None

    def _renewed(self) -> StorageAccess:
        """Return what is held by now, or ask; in the one thread, so that one asks for all."""
        held = self._held()
        if held is not None:
            return held
        if self._failed and self._now() - self._failed[0] < AGAIN_SECONDS:
            raise TokenRejected(self._failed[1])
        begun = self._now()
        try:
            access = self._ask()
        except TokenRejected as error:
            self._failed = self._now(), str(error)
            raise
        self._failed = None
        options = access.options
        key = options.get("azure_storage_account_key")
        self._key = AccountKey(options["azure_storage_account_name"], key) if key else None
        self._access, self._ends = access, begun + access.seconds
        return access
