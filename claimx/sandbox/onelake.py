"""OneLake: the DFS interface for media, and the Blob interface for delta tables."""

from __future__ import annotations

import re
from email.utils import formatdate
from pathlib import Path
from typing import ClassVar
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree as ET

from claimx.sandbox import listing
from claimx.sandbox.azure_wire import described, refusal, split, tags
from claimx.sandbox.bulk_delete import delete_all
from claimx.sandbox.exchange import Answer, Exchange
from claimx.sandbox.faults import FaultPlan
from claimx.sandbox.http import Service
from claimx.sandbox.identity import Identity
from claimx.sandbox.notes import Notes
from claimx.sandbox.preconditions import check_conditions, check_md5
from claimx.sandbox.store import FolderStore, StoreError, bytes_of

_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")
_VERSION = {"x-ms-version": "2025-01-05", "x-ms-request-id": "sandbox"}


class OneLake(Service):
    """
    An account named ``onelake`` below *root*.

    Any key or token is accepted, or only the tokens of *identity* when there is one.

    Containers are workspaces: the first path element. Names and answers are those of
    azure-storage-file-datalake and of the object store below deltalake.
    """

    name: ClassVar[str] = "onelake"

    def __init__(
        self,
        root: Path,
        faults: FaultPlan | None = None,
        latency: tuple[float, float] = (0.0, 0.0),
        identity: Identity | None = None,
    ) -> None:
        super().__init__(faults, latency)
        self.store = FolderStore(root)
        self._identity = identity
        self.notes = Notes()
        self._blocks: dict[tuple[str, str], dict[str, bytes]] = {}

    def pattern(self, exchange: Exchange) -> str:
        """Name the operation; paths are many."""
        query = exchange.query
        what = query.get("comp") or query.get("action") or query.get("resource") or ""
        if "x-ms-rename-source" in exchange.headers:
            what = "rename"
        return f"{exchange.method} {query.get('restype', 'path')} {what}".strip()

    async def answer(self, exchange: Exchange) -> Answer | None:
        """Route by method and query; refusals in Azure's form."""
        try:
            self._admit(exchange)
            answer = self._route(exchange)
        except StoreError as error:
            answer = refusal(exchange, error)
        except OSError as error:
            answer = refusal(exchange, StoreError(500, "InternalError", str(error)))
        answer.headers = {**_VERSION, **answer.headers}
        return answer

    def _admit(self, exchange: Exchange) -> None:
        if self._identity is None:
            return
        if not self._identity.accepts(exchange.headers.get("Authorization") or ""):
            raise StoreError(401, "InvalidAuthenticationInfo", "The token has ended, or is none.")

    def _route(self, exchange: Exchange) -> Answer:  # noqa: C901, PLR0911 - one a route
        container, _, name = exchange.path.lstrip("/").partition("/")
        name = name.rstrip("/")
        query = exchange.query
        if query.get("comp") == "batch":
            return delete_all(self.store, exchange)
        if not container:
            if query.get("comp") == "list":
                return listing.containers(self.store)
            return Answer(200, headers={"x-ms-is-hns-enabled": "true"})
        if not name:
            return self._container(exchange, container)
        match exchange.method:
            case "PUT":
                return self._put(exchange, container, name)
            case "PATCH":
                return self._patch(exchange, container, name)
            case "HEAD":
                if query.get("action") == "checkAccess":
                    return Answer(200)
                entry = self.store.stat(container, name)
                kind, named = self.notes.of((container, name))
                return Answer(200, b"", kind, {**described(entry), **named}, entry.size)
            case "GET":
                return self._get(exchange, container, name)
            case "DELETE":
                check_conditions(self.store, exchange, container, name)
                recursive = query.get("recursive", "true") != "false"
                self.store.delete(container, name, recursive=recursive)
                self.notes.forget((container, name))
                return Answer(202)
            case _:
                raise StoreError(400, "InvalidUri", "no such operation here")

    # Containers.

    def _container(self, exchange: Exchange, container: str) -> Answer:
        query = exchange.query
        match exchange.method:
            case "PUT" if "container" in (query.get("restype"), query.get("resource")) or (
                query.get("resource") == "filesystem"
            ):
                self.store.create_container(container)
                return Answer(
                    201, headers={"ETag": '"0x1"', "Last-Modified": formatdate(usegmt=True)}
                )
            case "DELETE":
                self.store.delete_container(container)
                return Answer(202)
            case "GET" if query.get("resource") == "filesystem":
                return listing.paths(self.store, container, query)
            case "GET" if query.get("comp") == "list":
                return listing.blobs(self.store, container, query)
            case "GET" | "HEAD":
                self.store.container(container)
                return Answer(
                    200, headers={"ETag": '"0x1"', "Last-Modified": formatdate(usegmt=True)}
                )
            case _:
                raise StoreError(400, "InvalidUri", "no such operation here")

    # Paths.

    def _put(self, exchange: Exchange, container: str, name: str) -> Answer:
        query, headers = exchange.query, exchange.headers
        if "x-ms-rename-source" in headers:
            check_conditions(self.store, exchange, container, name, conflict="PathAlreadyExists")
            source = unquote(urlsplit(headers["x-ms-rename-source"]).path).lstrip("/")
            entry = self.store.rename(split(source), (container, name))
            self.notes.move(split(source), (container, name))
            return Answer(201, headers=tags(entry))
        if query.get("comp") in {"metadata", "properties"}:
            self.notes.write((container, name), headers)
            return Answer(200, headers=tags(self.store.stat(container, name)))
        if query.get("comp", "blocklist") not in {"block", "blocklist"}:
            raise StoreError(400, "InvalidQueryParameterValue", "no such operation here")
        check_md5(exchange)
        if query.get("comp") == "block":
            blocks = self._blocks.setdefault((container, name), {})
            self.store.place(container, name)
            blocks[query.get("blockid", "")] = exchange.body
            return Answer(201)
        if query.get("resource") == "directory":
            check_conditions(self.store, exchange, container, name, conflict="PathAlreadyExists")
            return Answer(201, headers=tags(self.store.make_folder(container, name)))
        if query.get("resource") == "file":
            check_conditions(self.store, exchange, container, name, conflict="PathAlreadyExists")
            self.notes.write((container, name), headers)
            return Answer(201, headers=tags(self.store.put(container, name, b"")))
        check_conditions(self.store, exchange, container, name, conflict="BlobAlreadyExists")
        content = exchange.body
        if query.get("comp") == "blocklist":
            content = self._joined(exchange, container, name)
        elif "x-ms-copy-source" in headers:
            source = unquote(urlsplit(headers["x-ms-copy-source"]).path).lstrip("/")
            content = self.store.read(*split(source)).read_bytes()
        self.notes.write((container, name), headers)
        entry = self.store.put(container, name, content)
        status = {"x-ms-copy-status": "success"} if "x-ms-copy-source" in headers else {}
        return Answer(201, headers={**tags(entry), **status})

    def _joined(self, exchange: Exchange, container: str, name: str) -> bytes:
        blocks = self._blocks.pop((container, name), {})
        try:
            # The list is ours or a test client's; entities cannot be declared inside a BlockList.
            listed = [node.text or "" for node in ET.fromstring(exchange.body)]  # noqa: S314 - from our own client, on loopback
            return b"".join(blocks[one] for one in listed)
        except (ET.ParseError, KeyError) as error:
            raise StoreError(400, "InvalidBlockList", f"{error!r}") from None

    def _patch(self, exchange: Exchange, container: str, name: str) -> Answer:
        query = exchange.query
        try:
            position = int(query.get("position", "0"))
        except ValueError:
            raise StoreError(400, "InvalidQueryParameterValue", "position") from None
        match query.get("action"):
            case "append":
                check_md5(exchange)
                self.store.append(container, name, position, exchange.body)
                if query.get("flush") == "true":
                    entry = self.store.flush(container, name, position + len(exchange.body))
                    return Answer(202, headers=tags(entry))
                return Answer(202)
            case "flush":
                check_conditions(self.store, exchange, container, name)
                return Answer(200, headers=tags(self.store.flush(container, name, position)))
            case "setProperties" | "setAccessControl":
                if query.get("action") == "setProperties":
                    self.notes.write((container, name), exchange.headers)
                return Answer(200, headers=tags(self.store.stat(container, name)))
            case action:
                raise StoreError(400, "InvalidQueryParameterValue", f"action {action!r}")

    def _get(self, exchange: Exchange, container: str, name: str) -> Answer:
        path = self.store.read(container, name)
        with path.open("rb") as file:
            entry = self.store.stat(container, name)
            asked = _RANGE.match(
                exchange.headers.get("x-ms-range") or exchange.headers.get("Range") or ""
            )
            kind, named = self.notes.of((container, name))
            if asked is None or not (asked[1] or asked[2]):
                content = bytes_of(file, 0, entry.size)
                return Answer(200, content, kind, {**described(entry), **named})
            size = entry.size
            if asked[1]:
                first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
            else:
                first, last = max(0, size - int(asked[2])), size - 1
            if first > last:
                raise StoreError(416, "InvalidRange", "The range specified is invalid.")
            headers = {**described(entry), **named, "Content-Range": f"bytes {first}-{last}/{size}"}
            return Answer(206, bytes_of(file, first, last + 1), kind, headers)
