"""
Files over the DataLake REST interface of Azure storage, as media need it (ADR 0015).

Requests, headers and conditions are those of "Path - Create", "Path - Update" and "Path - Get
Properties" in its reference, and methods are called as the vendor's client calls them.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote, urlsplit

from claimx.adapters.curl import CurlCalls
from claimx.adapters.curl_answer import Reply
from claimx.adapters.curl_handle import Request
from claimx.adapters.storage_login import StorageLogin
from claimx.domain.addresses import on_loopback
from claimx.domain.errors import Malformed, TokenRejected

API_VERSION = "2023-11-03"

_META = b"x-ms-meta-"
_SIZE = re.compile(r"[0-9]{1,18}")
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_UNAUTHORIZED, _PARTIAL = 401, 206


class StorageRefusal(Exception):
    """Storage answered with a *status* that is no success; *code* is its word for why, or empty."""

    def __init__(self, status: int, code: str, retry_after: str | None) -> None:
        super().__init__(f"{status} {code}".strip())
        self.status = status
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Properties:
    """What storage says of a file; *etag* is empty where a stand-in gives none."""

    size: int
    etag: str
    metadata: Mapping[str, str]


class DataLakeFiles:
    """
    The files of the account at *endpoint*, by *calls* of one event loop.

    Whatever does not come to an answer raises Unavailable or Unreadable, an identity without a
    token TokenRejected, any other status than a success `StorageRefusal`. *body_seconds* are for a
    request that brings or fetches a chunk.
    """

    def __init__(
        self, endpoint: str, login: StorageLogin, calls: CurlCalls, body_seconds: float
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._prefix = urlsplit(self._endpoint).path
        self._login = login
        self._calls = calls
        self._body_seconds = body_seconds
        self._may_send_tokens = urlsplit(endpoint).scheme == "https" or on_loopback(endpoint)

    def file(self, file_system: str, path: str) -> DataLakeFile:
        """Return a file, there or not."""
        return DataLakeFile(self, f"/{quote(file_system)}/{quote(path)}")

    async def create_file_system(self, name: str) -> None:
        """Make a file system."""
        await self.ask("PUT", f"/{quote(name)}", {"resource": "filesystem"}, {})

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> Reply:
        """Make one request for what *path* names (quoted), and return its answer."""
        told = {**headers, "x-ms-version": API_VERSION, "x-ms-date": _moment(int(time.time()))}
        if body:
            told["Content-Length"] = str(len(body))
        login = await self._login.authorization(method, self._prefix + path, query, told)
        if login.startswith("Bearer ") and not self._may_send_tokens:
            raise TokenRejected("no token is sent over plain http: look at ONELAKE_ENDPOINT")
        told.pop("Content-Length", None)  # libcurl says it
        told["Authorization"] = login
        lines = [f"{name}: {value}" for name, value in told.items()]
        if body is not None:
            lines.append("Expect:")  # no question whether a chunk may come
        if "Content-Type" not in told:
            lines.append("Content-Type:")  # nor libcurl's own for a form
        asked = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        url = f"{self._endpoint}{path}?{asked}" if asked else f"{self._endpoint}{path}"
        seconds = self._body_seconds if body or method == "GET" else None
        reply = await self._calls.call(Request(url, lines, body, method, seconds, compressed=False))
        if not reply.is_success:
            if reply.status == _UNAUTHORIZED:
                self._login.refused(login)
            raise StorageRefusal(reply.status, _code_of(reply), reply.header("Retry-After"))
        return reply


class DataLakeFile:
    """One file; what changes it takes the tag that it must still have, empty for any."""

    def __init__(self, files: DataLakeFiles, path: str) -> None:
        self._files = files
        self._path = path

    async def create_file(
        self, content_type: str, metadata: Mapping[str, str], *, if_match: str = "", new: bool
    ) -> str:
        """
        Make it, empty, and return its tag, empty if none is told.

        With *new* it must not be there yet: else refused with 409 (or 412). Raises Malformed for a
        content type that no header can hold.
        """
        if not (content_type.isascii() and content_type.isprintable()):
            raise Malformed("the content type of an upload is none")
        pairs = (f"{name}={_base64(value.encode())}" for name, value in metadata.items())
        headers = {"x-ms-content-type": content_type, "x-ms-properties": ",".join(pairs)}
        if new:
            headers["If-None-Match"] = "*"
        elif if_match:
            headers["If-Match"] = if_match
        reply = await self._files.ask("PUT", self._path, {"resource": "file"}, headers, b"")
        return reply.header("ETag") or ""

    async def append_data(self, chunk: bytes, offset: int, md5: bytes) -> None:
        """Bring a chunk, which storage holds against its *md5*; nobody sees it before the flush."""
        query = {"action": "append", "position": str(offset)}
        headers = {"Content-Type": "application/octet-stream", "Content-MD5": _base64(md5)}
        await self._files.ask("PATCH", self._path, query, headers, chunk)

    async def flush_data(self, length: int, content_type: str, *, if_match: str = "") -> str:
        """Make what was appended its content, *length* bytes in all; returns its new tag."""
        query = {
            "action": "flush",
            "position": str(length),
            "retainUncommittedData": "false",
            "close": "false",
        }
        headers = {"x-ms-content-type": content_type}
        if if_match:
            headers["If-Match"] = if_match
        reply = await self._files.ask("PATCH", self._path, query, headers, b"")
        return reply.header("ETag") or ""

    async def get_file_properties(self) -> Properties:
        """Return what storage says of it; 404 when it is not there."""
        reply = await self._files.ask("HEAD", self._path, {}, {})
        size = reply.header("Content-Length") or ""
        return Properties(
            int(size) if _SIZE.fullmatch(size) else -1,
            reply.header("ETag") or "",
            _metadata_of(reply),
        )

    async def read(self, offset: int, length: int) -> tuple[bytes, bool]:
        """
        Return up to *length* bytes from *offset* on.

        With True where a stand-in knows no ranges and these are the whole file.
        """
        headers = {"Range": f"bytes={offset}-{offset + length - 1}"}
        reply = await self._files.ask("GET", self._path, {}, headers)
        return reply.body, reply.status != _PARTIAL


def _code_of(reply: Reply) -> str:
    """Return storage's word for why it refused: of its header, else of its body in JSON."""
    code = reply.header("x-ms-error-code")
    if code is None:
        try:
            code = json.loads(reply.body)["error"]["code"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""
    return code if isinstance(code, str) and _WORD.fullmatch(code) else ""


def _metadata_of(reply: Reply) -> dict[str, str]:
    """
    Return what is kept beside a file.

    The DataLake interface tells it in one header, the one for blobs each in its own; stand-ins
    answer as either.
    """
    found: dict[str, str] = {}
    for line in reply.header_lines:
        if line[: len(_META)].lower() == _META:
            name, _, value = line[len(_META) :].decode("latin-1").partition(":")
            found[name.strip().lower()] = value.strip()
    for pair in (reply.header("x-ms-properties") or "").split(","):
        name, equals, value = pair.partition("=")
        if equals:
            found[name.strip().lower()] = _from_base64(value)
    return found


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_base64(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        return ""


@lru_cache(maxsize=8)
def _moment(second: int) -> str:
    return formatdate(second, usegmt=True)
