"""
HTTP calls over libcurl, many side by side in one event loop (ADR 0013, ADR 0015).

For bodies and answers that fit in memory. libcurl keeps the connections and has the time-out of a
call; pycurl drives it from the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TypeAlias

import pycurl

from claimx.adapters.compressed import TooLong, decompressed
from claimx.adapters.curl_answer import Answer, Reply, header_in, is_wanted, kind_of
from claimx.adapters.curl_handle import CallLimits, Request, clear, new_handle, prepare
from claimx.domain.errors import ClaimXError, Unavailable, Unreadable

DRAIN_SECONDS = 1.0
"""How long the body of a refusal may take, which nobody wants."""

_GRACE_SECONDS = 1.0  # beyond its time-out a call is past libcurl's help
_Meaning: TypeAlias = tuple[type[ClaimXError], str]

_CUT_SHORT: _Meaning = (Unreadable, "the body was cut short or does not decode")
_NO_URL: _Meaning = (Unavailable, "its address is no URL: look at {setting}")
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

    Each keeps to *limits*, and at most *connections* are kept. No redirect is followed, and no
    cookie or password of the environment is used. *setting* is where the host's address is from.
    """

    def __init__(
        self, host: str, limits: CallLimits, *, connections: int, setting: str = "CLAIMX_API_URL"
    ) -> None:
        self._host = host
        self._limits = limits
        self._connections = connections
        self._setting = setting
        self._multi = self._begun()
        self._pattern = new_handle(limits)  # a copy takes a hundredth of another
        self._idle: list[pycurl.Curl] = []  # as many as calls were ever under way

    async def call(self, request: Request) -> Reply:
        """
        Make one call.

        What met a kept connection that had been closed meanwhile is sent once more over a new one,
        by libcurl. Raises Unavailable without a whole head of an answer, a URL that cannot be asked
        included, and Unreadable when the body of a 2xx is too long, cut short or does not decode.
        None quotes what libcurl says, whose texts may hold the URL.
        """
        curl = self._idle.pop() if self._idle else self._pattern.duphandle()
        answer = Answer(self._limits.body_bytes)
        try:
            prepare(curl, request)
        except UnicodeError:
            raise self._meaning(_NO_URL) from None
        curl.setopt(pycurl.HEADERFUNCTION, answer.head)
        curl.setopt(pycurl.WRITEFUNCTION, answer.write)
        error = await self._perform(curl, answer, request.seconds or self._limits.seconds)
        found = answer.taken()  # the handle knows its answer until it has another
        if error is None:
            clear(curl, request, self._limits)
            self._idle.append(curl)  # others are left to libcurl: it may have them still
        status = answer.status
        if not status:
            raise self._meaning(
                _NO_ANSWER if error is None else _MEANINGS.get(error, _OTHERWISE), error
            )
        lines = answer.lines
        if is_wanted(status):
            found = self._whole(found, answer, error)
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

    def _whole(self, found: bytes, answer: Answer, error: int | None) -> bytes:
        """Return the body of a success, decompressed; raises what is wrong with it."""
        if answer.too_long or error == pycurl.E_FILESIZE_EXCEEDED:
            raise self._too_long()
        if error is not None:
            cut = error == pycurl.E_RECV_ERROR
            raise self._meaning(_CUT_SHORT if cut else _MEANINGS.get(error, _OTHERWISE), error)
        return self._decompressed(found, answer.lines)

    async def _perform(self, curl: pycurl.Curl, answer: Answer, seconds: float) -> int | None:
        """Let libcurl make the call; returns its code for what went wrong, None for nothing."""
        loop, multi = asyncio.get_running_loop(), self._multi
        try:
            done = multi.add_handle(curl)
        except pycurl.error as error:
            self._give_up_on(multi)
            return int(error.args[0])
        give_up = partial(_give_up, done, answer)
        answer.on_refusal = partial(loop.call_later, DRAIN_SECONDS, give_up)
        # a signal's exception in one of its callbacks leaves libcurl without word of a socket
        guard = loop.call_later(seconds + _GRACE_SECONDS, give_up)
        try:
            await done
        except pycurl.error as error:
            return int(error.args[0])
        except asyncio.CancelledError:
            if not answer.given_up or _is_cancelled():
                raise
            if answer.draining is None:
                self._give_up_on(multi)
            return int(pycurl.E_OPERATION_TIMEDOUT)
        finally:
            guard.cancel()
            answer.on_refusal = None  # or the two would keep each other
            if answer.draining is not None:
                answer.draining.cancel()
            del done, give_up  # a future, its error and this frame would keep one another
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
            return decompressed(body, encoding, self._limits.body_bytes)
        except TooLong:
            raise self._too_long() from None
        except ValueError:
            raise self._meaning(_CUT_SHORT) from None

    def _meaning(self, meaning: _Meaning, code: int | None = None) -> ClaimXError:
        kind, text = meaning
        return kind(text.format(code=code, setting=self._setting), host=self._host)

    def _too_long(self) -> Unreadable:
        limits = self._limits
        where = f" ({limits.body_setting})" if limits.body_setting else ""
        return Unreadable(
            f"the body is longer than {limits.body_bytes} bytes{where}", host=self._host
        )


def _is_cancelled() -> bool:
    """Say whether the running task is: a frame that knows it would keep its end, which keeps it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _give_up(call: asyncio.Future[pycurl.Curl], answer: Answer) -> None:
    answer.given_up = True
    call.cancel()
