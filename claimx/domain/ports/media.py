"""Media files: the cache, the download, and where they end up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from claimx.domain.changes import MediaItem
from claimx.domain.times import Micros


@dataclass(frozen=True, slots=True)
class CachedFile:
    """
    A media file on a worker's own disk.

    *name* is relative to the cache, *node* the cache's identity (one a cache folder),
    *content_type* is by its bytes, *extension* without dot.
    """

    node: str
    name: str
    bytes: int
    sha256: str
    content_type: str
    extension: str
    downloaded_at: Micros


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A file in the cache; *media_id* is None when its name does not tell (a very long id)."""

    name: str
    media_id: str | None
    age_seconds: float


class MediaCache(Protocol):
    """The folder between a download and its upload, as the stages see it."""

    @property
    def node(self) -> str:
        """The cache's identity: what `CachedFile.node` and `Advance.affinity` name."""

    def path(self, name: str) -> str:
        """Return where a cached file lies; raises ValueError for a foreign name."""

    def remove(self, name: str) -> None:
        """Remove a cached file; one that is gone already is fine."""

    def entries(self, limit: int, older_than_seconds: float = 0.0) -> list[CacheEntry]:
        """Return up to *limit* files not touched for that long, the oldest first."""

    def sweep(self, older_than_seconds: float) -> int:
        """Remove files not touched for that long, half-written ones too; returns how many."""


class MediaFetcher(Protocol):
    """Downloads over HTTP into the cache, by the rules of the domain page, section 3."""

    async def fetch(self, item: MediaItem) -> CachedFile:
        """
        Download, check and cache one file; idempotent.

        What a try that ended early has received of a large file, the next may go on with.
        Raises LinkExpired (ask for a new link), TargetUnavailable (so, but later), NotAllowed,
        NotFound, Throttled, Unavailable, Unreadable, DiskFull, CircuitOpen.
        """


class BlobStore(Protocol):
    """Where media end up: OneLake, or a folder; for one event loop at a time."""

    async def put(
        self, path: str, source: str, length: int, sha256: str, content_type: str
    ) -> None:
        """
        Upload the local file *source* to *path* (relative to the media root), replacing it.

        Nobody may write into *source* any more, only remove it or put the same in its place: a
        store may keep the very file.

        Returns only when the stored length and hash are verified. Raises Unavailable, Throttled,
        Refused, TryLater, TokenRejected, CircuitOpen, or FileNotFoundError when *source* is gone
        or nobody can read it.
        """

    async def close(self) -> None:
        """Close the running loop's connections; what is still sent comes again by the ledger."""
