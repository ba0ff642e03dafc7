"""Media in OneLake, through its DataLake file endpoint (domain page, section 3)."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import aiohttp

from claimx.adapters.blob_errors import translated
from claimx.adapters.blob_folder import FolderStore
from claimx.adapters.file_calls import SMALL_BYTES, FileCalls
from claimx.adapters.identity import AwaitedCredential
from claimx.domain.addresses import on_loopback, split_root
from claimx.domain.errors import CircuitOpen, ClaimXError, Unavailable
from claimx.domain.ports.gates import Gates
from claimx.domain.ports.media import BlobStore
from claimx.domain.ports.telemetry import Metrics

CIRCUIT = "onelake"
CHUNK_BYTES = 8 * 1024 * 1024
_HASH = "sha256"


class DataLakeStore:
    """
    The port `BlobStore` in a file system of OneLake (or a stand-in of its endpoint).

    *root* is ``abfss://<file system>@<host>/<folder>``; it is reached at *endpoint*, with
    *credential* as the DataLake client takes it. The ledger retries; in here only what is
    idempotent and met a kept connection that had been closed. For one event loop at a time.
    Raises ValueError for a root that is not such a URI.

    The vendor's asynchronous client: its other one takes more than twice the CPU for a file, and
    ten threads of it stand in each other's way (``make bench-media``).
    """

    def __init__(
        self,
        endpoint: str,
        root: str,
        make_credential: Callable[[], Any],
        gates: Gates,
        metrics: Metrics,
        *,
        chunk_bytes: int = CHUNK_BYTES,
        connect_seconds: float = 10.0,
        read_seconds: float = 60.0,
        total_seconds: float = 230.0,
        connections: int = 16,
    ) -> None:
        self._file_system, self._folder = split_root(root)
        self._endpoint = endpoint
        self._host = urlsplit(endpoint).hostname or ""
        self._make_credential = make_credential
        self._gates = gates
        self._metrics = metrics
        self._chunk = chunk_bytes
        self._timeouts: dict[str, Any] = {
            "connection_timeout": connect_seconds,
            "read_timeout": read_seconds,
        }
        self._total_seconds = total_seconds  # a chunk gives back what takes longer, again and again
        self._connections = connections
        self._calls = FileCalls(connections)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any = None
        self._session: aiohttp.ClientSession | None = None

    async def put(
        self, path: str, source: str, length: int, sha256: str, content_type: str
    ) -> None:
        """Upload and verify; see the port."""
        from azure.core.exceptions import AzureError

        below = self._below(path)
        circuit = self._gates.circuit(CIRCUIT)
        # FileNotFoundError: it must be downloaded again
        with Path(source).open("rb") as file:  # noqa: ASYNC230 - an inode of our own disk
            granted, wait = circuit.permit(1)
            if not granted:
                raise CircuitOpen(
                    "the circuit of OneLake is open", retry_after=wait or 1.0, host=self._host
                )
            try:
                await self._bounded(self._put(below, file, length, sha256, content_type))
            except FileNotFoundError:
                circuit.give_back(1)
                raise
            except (ClaimXError, AzureError, OSError) as error:
                known = translated(error, self._host)
                if known.counts_against_circuit:
                    circuit.report(0, 1)
                else:
                    circuit.give_back(1)
                raise known from error
            except BaseException:
                circuit.give_back(1)
                raise
            circuit.report(1, 0)
        self._metrics.add("media_bytes", length, direction="upload")

    async def close(self) -> None:
        """Close the running loop's connections."""
        if self._loop is asyncio.get_running_loop() and self._session is not None:
            await self._session.close()
        self._abandon()
        self._calls.close()

    async def _bounded(self, upload: Coroutine[Any, Any, None]) -> None:
        """Give up on an upload in time, so that it counts as a try."""
        try:
            async with asyncio.timeout(self._total_seconds) as bound:
                await upload
        except TimeoutError:
            if not bound.expired():
                raise
            told = f"the upload took more than {self._total_seconds:g} s"
            raise Unavailable(told, host=self._host) from None

    async def _put(
        self, path: str, file: BinaryIO, length: int, sha256: str, content_type: str
    ) -> None:
        """
        Create, append, flush, verify; each step conditional on nobody else's between.

        An upload that was overtaken (its lease was lost) therefore fails, instead of emptying a
        file that its successor has completed and recorded.
        """
        from azure.core import MatchConditions
        from azure.storage.filedatalake import ContentSettings

        if os.fstat(file.fileno()).st_size != length:
            raise FileNotFoundError(f"{Path(file.name).name} is no longer what was downloaded")
        target = self._service().get_file_client(self._file_system, path)
        kept = ContentSettings(content_type=content_type)
        tag = await self._create(target, kept, length, sha256)
        if tag is None:
            return
        seen = hashlib.sha256()
        offset = 0
        read = self._calls.run if length <= SMALL_BYTES else self._calls.run_apart
        while offset < length and (chunk := await read(_piece, file, self._chunk, seen)):
            # the service compares each chunk with its MD5: what it takes is what was read
            await target.append_data(chunk, offset=offset, length=len(chunk), validate_content=True)
            offset += len(chunk)
        if offset != length or seen.hexdigest() != sha256:
            raise FileNotFoundError(f"{Path(file.name).name} is no longer what was downloaded")
        if length:  # an empty file is complete once it is created
            unchanged = {"etag": tag, "match_condition": MatchConditions.IfNotModified}
            await target.flush_data(length, content_settings=kept, **(unchanged if tag else {}))
        await self._verify(target, length, sha256)

    async def _create(self, target: Any, kept: Any, length: int, sha256: str) -> str | None:
        """Create the file, empty, and return its tag; None when it is there already, complete."""
        from azure.core import MatchConditions
        from azure.core.exceptions import (
            ResourceExistsError,
            ResourceModifiedError,
            ResourceNotFoundError,
        )

        async def create(**condition: Any) -> str:
            metadata = {_HASH: sha256}
            created = await target.create_file(
                content_settings=kept, metadata=metadata, **condition
            )
            return str(created.get("etag") or "")  # a stand-in may give none

        try:
            return await create(match_condition=MatchConditions.IfMissing)
        except ResourceNotFoundError:
            if not on_loopback(self._endpoint):
                raise
            await self._create_file_system()
            return await create(match_condition=MatchConditions.IfMissing)
        except (ResourceExistsError, ResourceModifiedError):
            there = await target.get_file_properties()
            if there.size == length and (there.metadata or {}).get(_HASH) == sha256:
                return None  # an earlier try got this far
            if not there.etag:
                return await create()
            return await create(etag=there.etag, match_condition=MatchConditions.IfNotModified)

    async def _create_file_system(self) -> None:
        """Make the file system of a stand-in; in production it is the workspace, and must exist."""
        from azure.core.exceptions import ResourceExistsError

        with suppress(ResourceExistsError):  # a process beside this one was faster
            await self._service().create_file_system(self._file_system)

    async def _verify(self, target: Any, length: int, sha256: str) -> None:
        stored = await target.get_file_properties()
        if stored.size != length:
            raise Unavailable(
                f"OneLake holds {stored.size} of {length} bytes after the upload", host=self._host
            )
        named = (stored.metadata or {}).get(_HASH)
        if named is None:  # the service keeps no metadata: read back what it has
            found = hashlib.sha256()
            async for chunk in (await target.download_file()).chunks():
                found.update(chunk)
            named = found.hexdigest()
        if named != sha256:
            raise Unavailable("OneLake holds another file after the upload", host=self._host)

    def _below(self, path: str) -> str:
        if ".." in path.split("/") or path.startswith("/"):
            msg = f"{path!r} leaves the media folder"
            raise ValueError(msg)
        return f"{self._folder}/{path}" if self._folder else path

    def _service(self) -> Any:
        """Return the running loop's client."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._abandon()
            self._loop = loop
            self._client = self._connect()
        return self._client

    def _connect(self) -> Any:
        from azure.core.pipeline.transport import AioHttpTransport
        from azure.storage.filedatalake.aio import DataLakeServiceClient

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # the transport's own affair
            trust_env=not on_loopback(self._endpoint),  # no proxy between us and a stand-in
        )
        credential = self._make_credential()
        if hasattr(credential, "get_token"):
            credential = AwaitedCredential(credential)
        return DataLakeServiceClient(
            self._endpoint,
            credential=credential,
            retry_total=0,
            transport=AioHttpTransport(
                session=self._session, session_owner=False, **self._timeouts
            ),
        )

    def _abandon(self) -> None:
        """Drop the connections of a loop that is over; nobody can close them properly any more."""
        if self._session is not None:
            self._session.detach()
        self._loop = self._client = self._session = None


def _piece(file: BinaryIO, length: int, seen: Any) -> bytes:
    """Read a piece and add it to the hash."""
    piece = file.read(length)
    seen.update(piece)
    return piece


def make_store(
    root: str,
    endpoint: str,
    make_credential: Callable[[], Any],
    gates: Gates,
    metrics: Metrics,
    *,
    connections: int = 16,
) -> BlobStore:
    """Return the store that ``ONELAKE_CLAIMX_PATH`` names: an abfss:// URI, else a folder."""
    if "://" not in root:
        return FolderStore(root, side_by_side=connections)
    return DataLakeStore(endpoint, root, make_credential, gates, metrics, connections=connections)
