"""
Short HTTP calls over libcurl, many side by side in one event loop (ADR 0013).

For answers that fit in memory. libcurl keeps the connections and has the time-out of a call; pycurl
drives it from the loop.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import certifi
import pycurl

from claimx.adapters.compressed import TooLong, decompressed
from claimx.adapters.curl_answer import Answer, Reply, header_in, is_wanted, kind_of
from claimx.domain.errors import ClaimXError, Unavailable, Unreadable

IDLE_SECONDS = 15
"""How long a connection that nobody uses may be used again."""

DRAIN_SECONDS = 1.0
"""How long the body of a refusal may take, which nobody wants."""

_GRACE_SECONDS = 1.0  # beyond its time-out a call is past libcurl's help
_OURS = ("User-Agent: claimx", "Accept-Encoding: gzip, deflate")
_Meaning: TypeAlias = tuple[type[ClaimXError], str]

_CUT_SHORT: _Meaning = (Unreadable, "the body was cut short or does not decode")
_NO_URL: _Meaning = (Unavailable, "its address is no URL: look at CLAIMX_API_URL")
_TOO_LATE: _Meaning = (Unavailable, "no answer in time")
_NOBODY: _Meaning = (Unavailable, "no connection")
_NO_ANSWER: _Meaning = (Unavailable, "the connection was closed before the answer")
_NO_TRUST: _Meaning = (Unavailable, "no trusted TLS connection (curl {code})")
_OTHERWISE: _Meaning = (Unavailable, "the connection failed (curl {code})")
_MEANINGS: dict[int, _Meaning] = {
    pycurl.E_PARTIAL_FILE: _CUT_SHORT,
    pycurl.E_URL_MALFORMAT: _NO_URL,
    pycurl.E_UNSUPPORTED_PROTOCOL: (Unavailable, "the host speaks no HTTP"),
    pycurl.E_OPERATION_TIMEDOUT: _TOO_LATE,
    pycurl.E_COULDNT_CONNECT: _NOBODY,
    pycurl.E_COULDNT_RESOLVE_HOST: _NOBODY,
    pycurl.E_GOT_NOTHING: _NO_ANSWER,
    pycurl.E_SEND_ERROR: _NO_ANSWER,
    pycurl.E_SSL_CONNECT_ERROR: _NO_TRUST,
    pycurl.E_SSL_CERTPROBLEM: _NO_TRUST,
    pycurl.E_SSL_CACERT_BADFILE: _NO_TRUST,
    pycurl.E_PEER_FAILED_VERIFICATION: _NO_TRUST,
}


class CurlCalls:
    """
    Calls of one host over HTTP/1.1, for one event loop; errors name it as *host*.

    *timeout* is a call's in seconds, from its beginning to the last byte of its answer; a body
    longer than *max_body_bytes* is not read, and at most *connections* are kept. No redirect is
    followed, and no proxy, cookie or password of the environment is used.
    """

    def __init__(self, host: str, *, timeout: float, max_body_bytes: int, connections: int) -> None:
        self._host = host
        self._timeout = timeout
        self._limit = max_body_bytes
        self._connections = connections
        self._multi = self._begun()
        self._idle: list[pycurl.Curl] = []  # as many as calls were ever under way

    async def call(self, url: str, headers: Sequence[str], body: bytes | None = None) -> Reply:
        """
        Make one call, a GET or with a *body* a POST; *headers* are whole lines.

        Raises Unavailable without a whole head of an answer, a URL that cannot be asked included,
        and Unreadable when the body of a 2xx is too long, cut short or does not decode. None quotes
        what libcurl says, whose texts may hold the URL.
        """
        curl = self._idle.pop() if self._idle else self._new_handle()
        answer = Answer(self._limit)
        try:
            curl.setopt(pycurl.URL, url)
        except UnicodeError:
            raise self._meaning(_NO_URL) from None
        curl.setopt(pycurl.HTTPHEADER, [*_OURS, *headers])  # an empty list would keep the last
        curl.setopt(pycurl.HEADERFUNCTION, answer.head)
        curl.setopt(pycurl.WRITEFUNCTION, answer.write)
        if body is None:
            curl.setopt(pycurl.HTTPGET, 1)
        else:
            curl.setopt(pycurl.POSTFIELDS, body)
        error = await self._perform(curl, answer)
        found = answer.taken()  # the handle knows its answer until it has another
        if error is None:
            self._idle.append(curl)  # others are left to libcurl: it may have them still
        status = answer.status
        if not status:
            raise self._meaning(
                _NO_ANSWER if error is None else _MEANINGS.get(error, _OTHERWISE), error
            )
        lines = answer.lines
        if is_wanted(status):
            if answer.too_long or error == pycurl.E_FILESIZE_EXCEEDED:
                raise self._too_long()
            if error is not None:
                cut = error == pycurl.E_RECV_ERROR
                raise self._meaning(_CUT_SHORT if cut else _MEANINGS.get(error, _OTHERWISE), error)
            found = self._decompressed(found, lines)
        media_type, charset = kind_of(header_in(lines, "Content-Type") or "")
        return Reply(status, lines, media_type, charset, found)

    async def close(self) -> None:
        """
        End what runs and close the connections; may be called twice.

        A look-up of the host's name that is under way is waited for: libcurl cannot end it.
        """
        await self._multi.aclose()
        while self._idle:
            self._idle.pop().close()

    async def _perform(self, curl: pycurl.Curl, answer: Answer) -> int | None:
        """Let libcurl make the call; returns its code for what went wrong, None for nothing."""
        loop, multi = asyncio.get_running_loop(), self._multi
        try:
            done = multi.add_handle(curl)
        except pycurl.error as error:
            self._give_up_on(multi)
            return int(error.args[0])
        give_up = partial(_give_up, done, answer)
        answer.on_refusal = lambda: loop.call_later(DRAIN_SECONDS, give_up)
        # a signal's exception in one of its callbacks leaves libcurl without word of a socket
        guard = loop.call_later(self._timeout + _GRACE_SECONDS, give_up)
        try:
            await done
        except pycurl.error as error:
            return int(error.args[0])
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not answer.given_up or (task is not None and task.cancelling()):
                raise
            if answer.draining is None:
                self._give_up_on(multi)
            return int(pycurl.E_OPERATION_TIMEDOUT)
        finally:
            guard.cancel()
            answer.on_refusal = None  # or the two would keep each other
            if answer.draining is not None:
                answer.draining.cancel()
        return None

    def _give_up_on(self, multi: pycurl.AsyncCurlMulti) -> None:
        """Begin anew, once for all of its calls; those that are well end in it."""
        if multi is self._multi:
            self._multi = self._begun()
            self._idle.clear()

    def _begun(self) -> pycurl.AsyncCurlMulti:
        multi = pycurl.AsyncCurlMulti()
        multi.setopt(pycurl.M_MAXCONNECTS, self._connections)
        return multi

    def _decompressed(self, body: bytes, lines: Sequence[bytes]) -> bytes:
        encoding = header_in(lines, "Content-Encoding")
        if encoding is None:
            return body
        try:
            return decompressed(body, encoding, self._limit)
        except TooLong:
            raise self._too_long() from None
        except ValueError:
            raise self._meaning(_CUT_SHORT) from None

    def _new_handle(self) -> pycurl.Curl:
        curl = pycurl.Curl()
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
        curl.setopt(pycurl.PATH_AS_IS, 1)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.TIMEOUT_MS, max(1, round(self._timeout * 1000)))
        curl.setopt(pycurl.MAXFILESIZE, self._limit)
        curl.setopt(pycurl.MAXAGE_CONN, IDLE_SECONDS)
        _trust(curl)
        return curl

    def _meaning(self, meaning: _Meaning, code: int | None = None) -> ClaimXError:
        kind, text = meaning
        return kind(text.format(code=code), host=self._host)

    def _too_long(self) -> Unreadable:
        return Unreadable(f"the body is longer than {self._limit} bytes", host=self._host)


def _give_up(call: asyncio.Future[pycurl.Curl], answer: Answer) -> None:
    answer.given_up = True
    call.cancel()


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
