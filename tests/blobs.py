"""Blob stores for tests that are no coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from claimx.domain.ports.media import BlobStore


class Waited:
    """A *store* whose calls are waited for, all in one event loop; it is open until `close`."""

    def __init__(self, store: BlobStore) -> None:
        self.store = store
        self._runner = asyncio.Runner()

    def put(self, *arguments: Any, **named: Any) -> None:
        """Store a file; see the port."""
        self._runner.run(self.store.put(*arguments, **named))

    def put_all(self, files: Iterable[tuple[Any, ...]]) -> None:
        """Store files side by side."""

        async def together() -> None:
            await asyncio.gather(*(self.store.put(*one) for one in files))

        self._runner.run(together())

    def close(self) -> None:
        """Close it, and its loop."""
        self._runner.run(self.store.close())
        self._runner.close()
