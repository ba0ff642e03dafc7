"""
Short HTTP calls over libcurl, many side by side in one event loop (ADR 0004).

For answers that fit in memory. libcurl keeps the connections, takes compressed bodies apart and
has the time-out of a call; pycurl drives it from the loop.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import certifi
import pycurl

from claimx.domain.errors import ClaimXError, Malformed, Unavailable, Unreadable

IDLE_SECONDS = 15
"""How long a connection that nobody uses is kept."""

SMALL_BODY = 64 * 1024
"""Bytes of a body that is not wanted: shorter ones are read away to keep the connection."""

_AGENT = "User-Agent: claimx"
_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w.:-]{1,40})""", re.IGNORECASE)
_Meaning: TypeAlias = tuple[type[ClaimXError], str]

_TOO_LONG: _Meaning = (Unreadable, "the body is longer than {limit} bytes")
_CUT_SHORT: _Meaning = (Unreadable, "the body was cut short or does not decode")
_NOBODY: _Meaning = (Unavailable, "no connection")
_NO_ANSWER: _Meaning = (Unavailable, "the connection was closed before the answer")
_NO_TRUST: _Meaning = (Unavailable, "no trusted TLS connection (curl {code})")
_OTHERWISE: _Meaning = (Unavailable, "the connection failed (curl {code})")
_MEANINGS: dict[int, _Meaning] = {
    pycurl.E_WRITE_ERROR: _TOO_LONG,
    pycurl.E_FILESIZE_EXCEEDED: _TOO_LONG,
    pycurl.E_PARTIAL_FILE: _CUT_SHORT,
    pycurl.E_BAD_CONTENT_ENCODING: _CUT_SHORT,
    pycurl.E_URL_MALFORMAT: (Malformed, "not a URL that can be asked"),
    pycurl.E_UNSUPPORTED_PROTOCOL: (Unavailable, "the host speaks no HTTP"),
    pycurl.E_OPERATION_TIMEDOUT: (Unavailable, "no answer in time"),
    pycurl.E_COULDNT_CONNECT: _NOBODY,
    pycurl.E_COULDNT_RESOLVE_HOST: _NOBODY,
    pycurl.E_GOT_NOTHING: _NO_ANSWER,
    pycurl.E_SEND_ERROR: _NO_ANSWER,
    pycurl.E_SSL_CONNECT_ERROR: _NO_TRUST,
    pycurl.E_SSL_CERTPROBLEM: _NO_TRUST,
    pycurl.E_SSL_CACERT_BADFILE: _NO_TRUST,
    pycurl.E_PEER_FAILED_VERIFICATION: _NO_TRUST,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """
    What a host answered: *header_lines* as they came, the *body* decompressed.

    Of a status other than 2xx the body may be cut off or missing.
    """

    status: int
    header_lines: Sequence[bytes]
    content_type: str
    charset: str | None
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is any 2xx."""
        return _is_wanted(self.status)

    def header(self, name: str) -> str | None:
        """Return a header of the answer, the last of several; None without one."""
        wanted = name.lower().encode() + b":"
        for line in reversed(self.header_lines):
            if line[: len(wanted)].lower() == wanted:
                return line[len(wanted) :].strip().decode("latin-1")
        return None


class CurlCalls:
    """
    Calls of one host over HTTP/1.1, for one event loop; errors name it as *host*.

    *timeout* is a call's in seconds, from its beginning to the last byte of its answer; a body
    longer than *max_body_bytes* is not read, and at most *connections* are kept. No redirect is
    followed, and no proxy, cookie or password of the environment is used.
    """

    def __init__(self, host: str, *, timeout: float, max_body_bytes: int, connections: int) -> None:
        self._host = host
        self._timeout_ms = max(1, round(timeout * 1000))
        self._limit = max_body_bytes
        self._multi = pycurl.AsyncCurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections)
        self._idle: list[pycurl.Curl] = []  # as many as calls were ever under way

    async def call(self, url: str, headers: Sequence[str], body: bytes | None = None) -> Reply:
        """
        Make one call, a GET or with a *body* a POST; *headers* are whole lines.

        Raises Unavailable without an answer, Unreadable when it is too long or cut short, and
        Malformed for a URL that cannot be asked; none quotes what libcurl says, whose texts may
        hold the URL.
        """
        curl = self._idle.pop() if self._idle else self._new_handle()
        answer = _Answer(self._limit)
        try:
            curl.setopt(pycurl.URL, url)
        except UnicodeError:
            raise Malformed("not a URL that can be asked", host=self._host) from None
        curl.setopt(pycurl.HTTPHEADER, [_AGENT, *headers])  # an empty list would keep the last
        curl.setopt(pycurl.HEADERFUNCTION, answer.lines.append)
        curl.setopt(pycurl.WRITEFUNCTION, answer.write)
        if body is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POSTFIELDS, body)
        error = None
        try:
            await self._multi.perform(curl)
        except pycurl.error as failed:
            error = failed
        found = answer.taken()  # the handle knows its answer until it has another
        # not after a cancellation: then it is still libcurl's for a moment, and left to it
        status = curl.getinfo(pycurl.RESPONSE_CODE)
        media_type, charset = _kind_of(curl.getinfo_raw(pycurl.CONTENT_TYPE) or b"")
        self._idle.append(curl)
        if error is not None and status < 300:  # noqa: PLR2004 - an interim one included
            raise self._meaning(error, status) from None
        return Reply(status, answer.lines, media_type, charset, found)

    async def close(self) -> None:
        """End what runs and close the connections; may be called twice."""
        await self._multi.aclose()
        while self._idle:
            self._idle.pop().close()

    def _new_handle(self) -> pycurl.Curl:
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PATH_AS_IS, 1)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.ACCEPT_ENCODING, "gzip, deflate")
        curl.setopt(pycurl.TIMEOUT_MS, self._timeout_ms)
        curl.setopt(pycurl.MAXFILESIZE, self._limit)
        curl.setopt(pycurl.MAXAGE_CONN, IDLE_SECONDS)
        _trust(curl)
        return curl

    def _meaning(self, error: pycurl.error, status: int) -> ClaimXError:
        """Return our error for one of libcurl's, before or after it saw a *status*."""
        code = error.args[0]
        begun = status and code == pycurl.E_RECV_ERROR
        kind, text = _CUT_SHORT if begun else _MEANINGS.get(code, _OTHERWISE)
        return kind(text.format(code=code, limit=self._limit), host=self._host)


class _Answer:
    """What comes of an answer, as far as it is kept."""

    __slots__ = ("_parts", "_room", "lines")

    def __init__(self, limit: int) -> None:
        self.lines: list[bytes] = []
        self._parts: list[bytes] = []
        self._room = limit

    def taken(self) -> bytes:
        """Return the body, and let go of it."""
        body = b"".join(self._parts)
        self._parts.clear()
        return body

    def write(self, part: bytes) -> int | None:
        """Keep a part of the body; returns 0, which ends the call, when it is too long."""
        if not self._parts and not _is_wanted(_status_in(self.lines)):
            self._room = min(self._room, SMALL_BODY)
        self._room -= len(part)
        if self._room < 0:
            return 0
        self._parts.append(part)
        return None


def _is_wanted(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - HTTP; its enumeration costs ten times as much


def _status_in(lines: Sequence[bytes]) -> int:
    """Return the last status among header lines, 0 without one: others come before it (100)."""
    for line in reversed(lines):
        if line.startswith(b"HTTP/"):
            with suppress(ValueError, IndexError):
                return int(line.split(None, 2)[1])
    return 0


@lru_cache(maxsize=64)
def _kind_of(content_type: bytes) -> tuple[str, str | None]:
    """Return the type, empty without one, and the charset that a ``Content-Type`` names."""
    text = content_type.decode("latin-1")
    charset = _CHARSET.search(text)
    return text.partition(";")[0].strip().lower(), charset[1] if charset else None


def _trust(curl: pycurl.Curl) -> None:
    """
    Trust whom Python trusts here, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` included.

    The wheel's libcurl looks where the system keeps it on which the wheel was built
    (pycurl issue 835). Where Python would trust nobody, it is certifi's list.
    """
    curl.unsetopt(pycurl.CAINFO)
    curl.unsetopt(pycurl.CAPATH)
    found = ssl.get_default_verify_paths()
    folder = found.capath if _holds_files(found.capath) else None
    if folder:
        curl.setopt(pycurl.CAPATH, folder)
    if found.cafile or not folder:
        curl.setopt(pycurl.CAINFO, found.cafile or certifi.where())


def _holds_files(folder: str | None) -> bool:
    try:
        return folder is not None and any(Path(folder).iterdir())
    except OSError:
        return False
