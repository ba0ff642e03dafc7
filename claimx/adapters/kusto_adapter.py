"""Kusto's answers over HTTP: read whole, and within a time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import requests
from azure.kusto.data import KustoClient
from azure.kusto.data.client import HTTPAdapterWithSocketOptions
from urllib3.connection import HTTPConnection, HTTPSConnection

from claimx.adapters.kusto_json import DeepAnswer

_PIECE_BYTES = 1024 * 1024


class BoundedAdapter(HTTPAdapterWithSocketOptions):
    """
    Reads each answer whole, within *seconds* from its request on.

    A time-out of `requests` is for each read: an answer that comes drop by drop never meets it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # as the stock client has them: without the first, a request waits for an acknowledgement
        options = HTTPConnection.default_socket_options + KustoClient.compose_socket_options()
        super().__init__(socket_options=options)  # type: ignore[no-untyped-call]  # theirs

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """See `requests.adapters.HTTPAdapter.send`; raises ReadTimeout when the time is up."""
        until = time.monotonic() + self._seconds
        each = min(timeout or self._seconds, self._seconds)
        answer = super().send(request, stream, each, verify, cert, proxies)
        try:
            with _ended(until, getattr(answer.raw, "connection", None)):
                # what its own `content` does by 10 kB, each of which a thread that reads ahead
                # beside another at work may wait 5 ms for
                answer._content = b"".join(answer.iter_content(_PIECE_BYTES))  # noqa: SLF001 - as requests does
        except (requests.RequestException, OSError, ValueError) as error:
            if time.monotonic() >= until:
                raise requests.ReadTimeout(f"no whole answer in {self._seconds:g} s") from error
            raise
        return answer

    def build_response(self, req: Any, resp: Any) -> requests.Response:
        """See `requests.adapters.HTTPAdapter.build_response`."""
        answer = super().build_response(req, resp)
        answer.__class__ = DeepAnswer  # they leave no hook for it
        return answer

    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        """See `requests.adapters.HTTPAdapter`; connections to a SOCKS proxy are as they come."""
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        stock = pool.ConnectionCls
        pool.ConnectionCls = _WITH_WHOLE_HEADS.get(stock, stock)
        return pool


class _WholeHead:
    """A connection whose answer's head is there within the time that a read of it may take."""

    timeout: Any
    sock: Any
    read_from: Any = None  # of an answer that closes its connection the connection knows no more

    def getresponse(self) -> Any:
        until = time.monotonic() + self.timeout
        self.read_from = self.sock
        try:
            with _ended(until, self):
                answer = super().getresponse()  # type: ignore[misc]  # the class beside it
        except Exception as error:
            if time.monotonic() >= until:
                raise TimeoutError from error
            raise
        if time.monotonic() >= until:  # what was cut may look like a whole head
            raise TimeoutError
        return answer


class _Connection(_WholeHead, HTTPConnection):
    """For ``http://``."""


class _TLSConnection(_WholeHead, HTTPSConnection):
    """For ``https://``."""


_WITH_WHOLE_HEADS = {HTTPConnection: _Connection, HTTPSConnection: _TLSConnection}


@contextmanager
def _ended(until: float, connection: Any) -> Iterator[None]:
    """End what is read of *connection* inside when it is *until*, on the monotonic clock."""
    late = threading.Timer(max(0.0, until - time.monotonic()), _cut, (connection,))
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()


def _cut(connection: Any) -> None:
    """End the reading of an answer, in whichever thread that is."""
    sock = getattr(connection, "read_from", None)
    if isinstance(sock, socket.socket):
        with suppress(OSError):
            # of TLS, the connection below: its own shutdown is not for a second thread
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
