"""Media in OneLake, through its DataLake file endpoint (domain page, section 3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from claimx.adapters.blob_errors import translated
from claimx.adapters.blob_folder import FolderStore, is_folder
from claimx.adapters.credentials import StorageAccess
from claimx.adapters.curl import CurlCalls
from claimx.adapters.curl_handle import CallLimits
from claimx.adapters.datalake import DataLakeFiles, StorageRefusal
from claimx.adapters.file_calls import FileCalls, forget_pages, unread
from claimx.adapters.onelake_upload import OneLakeUpload
from claimx.adapters.storage_login import StorageLogin
from claimx.domain.addresses import on_loopback, split_root
from claimx.domain.errors import CircuitOpen, ClaimXError, Unavailable
from claimx.domain.ports.gates import Circuit, Gates
from claimx.domain.ports.media import BlobStore

CIRCUIT = "onelake"
CHUNK_BYTES = 8 * 1024 * 1024
_MISSING, _THERE = 404, 409


class DataLakeStore:
    """
    The port `BlobStore` in a file system of OneLake (or a stand-in of its endpoint).

    *root* is ``abfss://<file system>@<host>/<folder>``; it is reached at *endpoint*, with what
    *access* gives. The ledger retries; in here only what met a kept connection that had been
    closed, which a step bears: its place in the file or its condition is the same. A large file
    goes on where its last try ended (`OneLakeUpload`). For one event loop at a time. Raises
    ValueError for a root that is not such a URI.
    """

    def __init__(
        self,
        endpoint: str,
        root: str,
        access: Callable[[], StorageAccess],
        gates: Gates,
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
        self._login = StorageLogin(access)
        self._gates = gates
        self._chunk = chunk_bytes
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._total_seconds = total_seconds  # a chunk gives back what takes longer, again and again
        self._connections = connections
        self._calls = FileCalls(connections)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: CurlCalls | None = None

    async def put(
        self, path: str, source: str, length: int, sha256: str, content_type: str
    ) -> None:
        """Upload and verify; see the port."""
        below = self._below(path)
        circuit = self._gates.circuit(CIRCUIT)
        with _opened(source) as file:
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
            except ClaimXError as error:
                _reported(error, circuit)
                raise
            except (StorageRefusal, OSError) as error:
                # under no name: in a cycle with its own traceback it would hold a chunk for long
                raise _reported(translated(error, self._host), circuit) from error
            except BaseException:
                circuit.give_back(1)
                raise
            circuit.report(1, 0)

    async def close(self) -> None:
        """Close the running loop's connections."""
        if self._loop is asyncio.get_running_loop() and self._client is not None:
            await self._client.close()
        self._loop = self._client = None
        self._login.close()
        self._calls.close()

    async def _bounded(self, upload: Coroutine[Any, Any, None]) -> None:
        """Give up on an upload in time, so that it counts as a try."""
        bound = asyncio.timeout(self._total_seconds)
        try:
            async with bound:
                await upload
        except TimeoutError:
            if not bound.expired():
                raise
            told = f"the upload took more than {self._total_seconds:g} s"
            raise Unavailable(told, host=self._host) from None
        finally:
            del bound  # it knows the task, which keeps how it was cancelled, and so this frame

    async def _put(
        self, path: str, file: BinaryIO, length: int, sha256: str, content_type: str
    ) -> None:
        files = self._files()
        upload = OneLakeUpload(
            files.file(self._file_system, path),
            self._calls,
            file,
            content_type,
            length,
            sha256,
            chunk_bytes=self._chunk,
        )
        try:
            await upload.run(self._host)
        except StorageRefusal as refusal:
            if refusal.status != _MISSING or not on_loopback(self._endpoint):
                raise
            await self._create_file_system(files)
            await upload.run(self._host)
        forget_pages(file.fileno())

    async def _create_file_system(self, files: DataLakeFiles) -> None:
        """Make the file system of a stand-in; in production it is the workspace, and must exist."""
        try:
            await files.create_file_system(self._file_system)
        except StorageRefusal as refusal:
            if refusal.status != _THERE:  # a process beside this one was faster
                raise

    def _below(self, path: str) -> str:
        if ".." in path.split("/") or path.startswith("/"):
            msg = f"{path!r} leaves the media folder"
            raise ValueError(msg)
        return f"{self._folder}/{path}" if self._folder else path

    def _files(self) -> DataLakeFiles:
        """Return the files as the running loop reaches them."""
        loop = asyncio.get_running_loop()
        if self._client is None or loop is not self._loop:
            # connections of a loop that is over nobody can close properly any more
            self._loop = loop
            limits = CallLimits(
                self._read_seconds,
                self._chunk,
                self._connect_seconds,
                self._read_seconds,
                by_proxy=not on_loopback(self._endpoint),  # none between us and a stand-in
            )
            self._client = CurlCalls(
                self._host, limits, connections=self._connections, setting="ONELAKE_ENDPOINT"
            )
        return DataLakeFiles(self._endpoint, self._login, self._client, self._total_seconds)


def _reported(error: ClaimXError, circuit: Circuit) -> ClaimXError:
    """Tell the circuit of it, and return it."""
    if error.counts_against_circuit:
        circuit.report(0, 1)
    else:
        circuit.give_back(1)
    return error


def _opened(source: str) -> BinaryIO:
    """Open a cached file; FileNotFoundError: it must be downloaded again."""
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise unread(error) from error


def make_store(
    root: str,
    endpoint: str,
    access: Callable[[], StorageAccess],
    gates: Gates,
    *,
    connections: int = 16,
) -> BlobStore:
    """Return the store that ``ONELAKE_CLAIMX_PATH`` names: an abfss:// URI, else a folder."""
    if is_folder(root):
        return FolderStore(root, side_by_side=connections)
    return DataLakeStore(endpoint, root, access, gates, connections=connections)
