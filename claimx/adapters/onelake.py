"""Media in OneLake, through its DataLake file endpoint (domain page, section 3)."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from claimx.adapters.blob_errors import translated
from claimx.adapters.blob_folder import FolderStore
from claimx.domain.addresses import on_loopback
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
    *credential* as the DataLake client takes it. Nothing is retried in here: the ledger does that.
    Safe for many threads. Raises ValueError for a root that is not such a URI.
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
        self._connections = connections
        self._lock = threading.Lock()
        self._client: Any = None

    def put(self, path: str, source: str, length: int, sha256: str, content_type: str) -> None:
        """Upload and verify; see the port."""
        from azure.core.exceptions import AzureError

        below = self._below(path)
        circuit = self._gates.circuit(CIRCUIT)
        with Path(source).open("rb") as file:  # FileNotFoundError: it must be downloaded again
            granted, wait = circuit.permit(1)
            if not granted:
                raise CircuitOpen(
                    "the circuit of OneLake is open", retry_after=wait or 1.0, host=self._host
                )
            try:
                self._put(below, file, length, sha256, content_type)
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

    def close(self) -> None:
        """Close the client's connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _put(self, path: str, file: BinaryIO, length: int, sha256: str, content_type: str) -> None:
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
        tag = self._create(target, kept, length, sha256)
        if tag is None:
            return
        seen = hashlib.sha256()
        offset = 0
        while chunk := file.read(self._chunk):
            seen.update(chunk)
            # the service compares each chunk with its MD5: what it takes is what was read
            target.append_data(chunk, offset=offset, length=len(chunk), validate_content=True)
            offset += len(chunk)
        if offset != length or seen.hexdigest() != sha256:
            raise FileNotFoundError(f"{Path(file.name).name} is no longer what was downloaded")
        if length:  # an empty file is complete once it is created
            unchanged = {"etag": tag, "match_condition": MatchConditions.IfNotModified}
            target.flush_data(length, content_settings=kept, **(unchanged if tag else {}))
        self._verify(target, length, sha256)

    def _create(self, target: Any, kept: Any, length: int, sha256: str) -> str | None:
        """Create the file, empty, and return its tag; None when it is there already, complete."""
        from azure.core import MatchConditions
        from azure.core.exceptions import (
            ResourceExistsError,
            ResourceModifiedError,
            ResourceNotFoundError,
        )

        def create(**condition: Any) -> str:
            metadata = {_HASH: sha256}
            created = target.create_file(content_settings=kept, metadata=metadata, **condition)
            return str(created.get("etag") or "")  # a stand-in may give none

        try:
            return create(match_condition=MatchConditions.IfMissing)
        except ResourceNotFoundError:
            if not on_loopback(self._endpoint):
                raise
            self._create_file_system()
            return create(match_condition=MatchConditions.IfMissing)
        except (ResourceExistsError, ResourceModifiedError):
            there = target.get_file_properties()
            if there.size == length and (there.metadata or {}).get(_HASH) == sha256:
                return None  # an earlier try got this far
            if not there.etag:
                return create()
            return create(etag=there.etag, match_condition=MatchConditions.IfNotModified)

    def _create_file_system(self) -> None:
        """Make the file system of a stand-in; in production it is the workspace, and must exist."""
        from azure.core.exceptions import ResourceExistsError

        with suppress(ResourceExistsError):  # a process beside this one was faster
            self._service().create_file_system(self._file_system)

    def _verify(self, target: Any, length: int, sha256: str) -> None:
        stored = target.get_file_properties()
        if stored.size != length:
            raise Unavailable(
                f"OneLake holds {stored.size} of {length} bytes after the upload", host=self._host
            )
        named = (stored.metadata or {}).get(_HASH)
        if named is None:  # the service keeps no metadata: read back what it has
            found = hashlib.sha256()
            for chunk in target.download_file().chunks():
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
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Any:
        import requests
        from azure.core.pipeline.transport import RequestsTransport
        from azure.storage.filedatalake import DataLakeServiceClient
        from requests.adapters import HTTPAdapter

        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=self._connections))
        loopback = on_loopback(self._endpoint)
        session.trust_env = not loopback  # no proxy between us and a stand-in
        return DataLakeServiceClient(
            self._endpoint,
            credential=self._make_credential(),
            retry_total=0,
            transport=RequestsTransport(session=session, session_owner=False, **self._timeouts),
        )


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
        return FolderStore(root)
    return DataLakeStore(endpoint, root, make_credential, gates, metrics, connections=connections)


def split_root(root: str) -> tuple[str, str]:
    """Return (file system, folder) of an abfss:// URI; raises ValueError for another one."""
    parts = urlsplit(root)
    if parts.scheme not in ("abfss", "abfs") or not parts.username or not parts.hostname:
        msg = (
            f"{root!r} is not abfss://<workspace>@<host>/<lakehouse>/Files/...;"
            " give such a URI or a folder"
        )
        raise ValueError(msg)
    return unquote(parts.netloc.rsplit("@", 1)[0]), unquote(parts.path.strip("/"))
