"""Media in memory: a cache, a fetcher of given files, and a blob store; for tests and dry runs."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from claimx.adapters.cache import DiskCache
from claimx.adapters.file_calls import unread
from claimx.domain.changes import MediaItem
from claimx.domain.errors import ClaimXError, LinkExpired, NotFound
from claimx.domain.link_life import is_ending
from claimx.domain.links import is_signed
from claimx.domain.media import Rules
from claimx.domain.ports.media import CachedFile
from claimx.domain.times import from_seconds


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored file."""

    content: bytes
    content_type: str


class MemoryBlobStore:
    """`claimx.domain.ports.media.BlobStore` in *blobs*; *failures* are raised first, one a call."""

    def __init__(self) -> None:
        self.blobs: dict[str, Blob] = {}
        self.failures: list[Exception] = []
        self.puts = 0

    async def close(self) -> None:
        """Nothing is open."""

    async def put(
        self, path: str, source: str, length: int, sha256: str, content_type: str
    ) -> None:
        """Keep the file; see the port."""
        if ".." in path.split("/") or path.startswith("/"):
            msg = f"{path!r} leaves the media folder"
            raise ValueError(msg)
        try:
            content = Path(source).read_bytes()  # noqa: ASYNC240 - a test's small file
        except OSError as error:
            raise unread(error) from error
        self.puts += 1
        if self.failures:
            raise self.failures.pop(0)
        if len(content) != length or hashlib.sha256(content).hexdigest() != sha256:
            raise FileNotFoundError(source)
        self.blobs[path] = Blob(content, content_type)


class MemoryMediaFetcher:
    """
    `claimx.domain.ports.media.MediaFetcher` of the files in *files*, by link; by the same rules.

    An error in place of a file is raised. *fetched* are the links asked for, in order.
    """

    def __init__(
        self,
        cache: DiskCache,
        files: Mapping[str, bytes | ClaimXError],
        rules: Rules,
        now: Callable[[], float],
    ) -> None:
        self.cache = cache
        self.files = dict(files)
        self.fetched: list[str] = []
        self._rules = rules
        self._now = now

    async def fetch(self, item: MediaItem) -> CachedFile:
        """Cache what is known for the item's link; see the port."""
        declared = self._rules.declared(item.file_name, item.link)
        if is_ending(item, self._now()):
            raise LinkExpired("the link is over, or about to be")
        self.fetched.append(item.link)
        found = self.files.get(item.link)
        if found is None:
            if is_signed(item.link):
                raise LinkExpired("the link is not known")
            raise NotFound("no such file", status=404)
        if isinstance(found, ClaimXError):
            raise found
        content = self._rules.check(found, declared, None)
        incoming = self.cache.begin(len(found))
        try:
            incoming.write(found)
            name = incoming.keep(item.media_id)
        finally:
            incoming.discard()
        return CachedFile(
            node=self.cache.node,
            name=name,
            bytes=len(found),
            sha256=hashlib.sha256(found).hexdigest(),
            content_type=content.content_type,
            extension=content.extension,
            downloaded_at=from_seconds(self._now()),
        )


def temporary_cache(max_bytes: int = 1 << 30) -> DiskCache:
    """Return a cache in a new folder below the system's temporary one."""
    return DiskCache(tempfile.mkdtemp(prefix="claimx-cache-"), max_bytes, spare_bytes=0)
