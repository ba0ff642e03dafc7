"""Kusto's client, made to see an answer's end and to wait for none for ever."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import requests
from azure.kusto.data import KustoClient, KustoConnectionStringBuilder
from azure.kusto.data.client import HTTPAdapterWithSocketOptions
from azure.kusto.data.exceptions import KustoMultiApiError, KustoServiceError
from urllib3.connection import HTTPConnection

ANSWER_SECONDS = 50.0
"""
Beyond the time that Kusto has for a query, until its answer is read.

The client itself adds 30 s to what it waits for each read.
"""

_PIECE_BYTES = 1024 * 1024


class CompleteClient(KustoClient):
    """
    A client that sees the last frame of an answer, and whose requests end after *total_seconds*.

    Kusto may say only in the last frame that the rows before it are not all of them, and the stock
    client drops it: a page cut short in silence would move the checkpoint past rows never seen. The
    stock client also waits without end for the cluster's metadata, its first question to each, and
    for an answer that comes drop by drop. With *proxies* those of the environment are used.
    """

    def __init__(
        self, target: KustoConnectionStringBuilder, total_seconds: float, *, proxies: bool
    ) -> None:
        super().__init__(target)
        session: Any = self._session  # typed as one of two
        session.trust_env = proxies
        session.auth = _as_it_is
        for scheme in ("http://", "https://"):
            session.mount(scheme, _BoundedAdapter(total_seconds))

    @staticmethod
    def _kusto_parse_by_endpoint(endpoint: str, response_json: Any) -> Any:
        if isinstance(response_json, list):
            for frame in response_json:
                _name_errors(frame, *frame.get("Rows", ()))
            end = response_json[-1] if response_json else {}
            if end.get("FrameType") != "DataSetCompletion":
                raise KustoServiceError("the answer has no last frame")
            if end.get("HasErrors") or end.get("Cancelled") or end.get("OneApiErrors"):
                raise KustoMultiApiError([end])
        return KustoClient._kusto_parse_by_endpoint(endpoint, response_json)  # noqa: SLF001 - the hook the class leaves


class _BoundedAdapter(HTTPAdapterWithSocketOptions):
    """Reads each answer whole, within *seconds* from its request on."""

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
        answer = super().send(request, stream, timeout or self._seconds, verify, cert, proxies)
        late = threading.Timer(max(0.0, until - time.monotonic()), _cut, (answer.raw,))
        late.daemon = True
        late.start()
        try:
            # what its own `content` does by 10 kB, each of which a thread that reads ahead beside
            # another at work may wait 5 ms for
            answer._content = b"".join(answer.iter_content(_PIECE_BYTES))  # noqa: SLF001 - as requests does
        except (requests.RequestException, OSError, ValueError) as error:
            if time.monotonic() >= until:
                raise requests.ReadTimeout(f"no whole answer in {self._seconds:g} s") from error
            raise
        finally:
            late.cancel()
        return answer


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request its token: an entry of ``.netrc``, its default too, would take its place."""
    return request


def _cut(body: Any) -> None:
    """End the reading of *body*, in whichever thread that is."""
    connection = getattr(body, "connection", None)
    sock = getattr(connection, "sock", None)
    if isinstance(sock, socket.socket):
        with suppress(OSError):
            # of TLS, the connection below: its own shutdown is not for a second thread
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _name_errors(*holders: Any) -> None:
    """Give errors without ``@message`` their message or code: the client stumbles over none."""
    for holder in holders:
        if not isinstance(holder, dict):
            continue
        for entry in holder.get("OneApiErrors") or ():
            error = entry.get("error")
            if isinstance(error, dict) and not error.get("@message"):
                error["@message"] = error.get("message") or error.get("code") or "no words"
