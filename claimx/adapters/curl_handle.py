"""A handle of libcurl: what holds for every call of a client, and what one call is."""

from __future__ import annotations

import math
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import certifi
import pycurl

from claimx.domain.value import value

IDLE_SECONDS = 15
"""How long a connection that nobody uses may be used again."""

_TRUSTED = (
    (pycurl.CAINFO, pycurl.CAPATH),
    (pycurl.PROXY_CAINFO, pycurl.PROXY_CAPATH),  # of a proxy that speaks TLS itself
)
_SUPPRESS_CONNECT_HEADERS = 265  # libcurl's number: pycurl 7.49 has no name for it
_AGENT = "User-Agent: claimx"
_COMPRESSED, _PLAIN = "Accept-Encoding: gzip, deflate", "Accept-Encoding: identity"


@dataclass(frozen=True, slots=True)
class CallLimits:
    """
    What holds for each call of a client.

    It takes up to *seconds*, from its beginning to the last byte of its answer, of which up to
    *connect_seconds* are for connecting (none: as many). No more than *silent_seconds* may pass
    without a byte in either direction (whole ones, none: no bound of its own). A body longer than
    *body_bytes* is not read; *body_setting* is where that bound is set, if anywhere. A proxy of the
    environment is used only *by_proxy*.
    """

    seconds: float
    body_bytes: int
    connect_seconds: float | None = None
    silent_seconds: float | None = None
    by_proxy: bool = False
    body_setting: str = ""


@value
class Request:
    """
    One call: a GET or with a *body* a POST, unless it says *method*; *headers* are whole lines.

    *seconds* stand in for those of all calls. The answer may come *compressed*, which its length
    and ranges are then of.
    """

    url: str
    headers: Sequence[str]
    body: bytes | None = None
    method: str | None = None
    seconds: float | None = None
    compressed: bool = True


def new_handle(limits: CallLimits) -> pycurl.Curl:
    """Return a handle that keeps to *limits*, and follows, remembers and sends nothing else."""
    curl = pycurl.Curl()
    curl.setopt(pycurl.NOSIGNAL, 1)
    curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
    curl.setopt(pycurl.PATH_AS_IS, 1)
    if not limits.by_proxy:
        curl.setopt(pycurl.PROXY, "")
    curl.setopt(_SUPPRESS_CONNECT_HEADERS, 1)  # or a proxy's word would stand for the host's answer
    curl.setopt(pycurl.TIMEOUT_MS, _milliseconds(limits.seconds))
    if limits.connect_seconds is not None:
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, _milliseconds(limits.connect_seconds))
    if limits.silent_seconds is not None:
        curl.setopt(pycurl.LOW_SPEED_LIMIT, 1)
        curl.setopt(pycurl.LOW_SPEED_TIME, math.ceil(limits.silent_seconds))
    curl.setopt(pycurl.MAXFILESIZE, limits.body_bytes)
    curl.setopt(pycurl.MAXAGE_CONN, IDLE_SECONDS)
    _trust(curl)
    return curl


def prepare(curl: pycurl.Curl, request: Request) -> None:
    """Set a handle to make *request*; raises UnicodeError for a URL that cannot be asked."""
    curl.setopt(pycurl.URL, request.url)
    coding = _COMPRESSED if request.compressed else _PLAIN
    curl.setopt(pycurl.HTTPHEADER, [_AGENT, coding, *request.headers])  # all: it keeps the last
    if request.body is None:
        curl.setopt(pycurl.HTTPGET, 1)
    else:
        curl.setopt(pycurl.POSTFIELDS, request.body)
    if request.method is not None:
        curl.setopt(pycurl.CUSTOMREQUEST, request.method)
    if request.method == "HEAD":
        curl.setopt(pycurl.NOBODY, 1)
        curl.setopt(pycurl.MAXFILESIZE, 0)  # libcurl compares it with what a GET would bring
    if request.seconds is not None:
        curl.setopt(pycurl.TIMEOUT_MS, _milliseconds(request.seconds))


def clear(curl: pycurl.Curl, request: Request, limits: CallLimits) -> None:
    """Leave nothing of *request* on a handle that the next one does not set."""
    if request.body:
        curl.setopt(pycurl.POSTFIELDS, b"")  # or the handle would hold a chunk while it is idle
    if request.method is not None:
        curl.unsetopt(pycurl.CUSTOMREQUEST)
    if request.method == "HEAD":
        curl.setopt(pycurl.NOBODY, 0)
        curl.setopt(pycurl.MAXFILESIZE, limits.body_bytes)
    if request.seconds is not None:
        curl.setopt(pycurl.TIMEOUT_MS, _milliseconds(limits.seconds))


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))  # none at all would be no limit


def _trust(curl: pycurl.Curl) -> None:
    """
    Trust whom Python trusts here, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` included.

    The wheel's libcurl looks where the system keeps it on which the wheel was built
    (pycurl issue 835). Where Python would trust nobody, it is certifi's list.
    """
    found = ssl.get_default_verify_paths()
    folder = found.capath if _holds_files(found.capath) else None
    for in_file, in_folder in _TRUSTED:
        curl.unsetopt(in_file)
        curl.unsetopt(in_folder)
        if folder:
            curl.setopt(in_folder, folder)
        if found.cafile or not folder:
            curl.setopt(in_file, found.cafile or certifi.where())


def _holds_files(folder: str | None) -> bool:
    try:
        return folder is not None and any(Path(folder).iterdir())
    except OSError:
        return False
