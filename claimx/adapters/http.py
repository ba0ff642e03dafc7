"""Errors of aiohttp and of sockets as ours."""

from __future__ import annotations

import asyncio

import aiohttp

from claimx.domain.errors import ClaimXError, Malformed, Unavailable, Unreadable


def translated(  # noqa: PLR0911 - one return for each kind of failure
    error: Exception, host: str | None
) -> ClaimXError:
    """
    Return our error for one of aiohttp's, a time-out or a socket's.

    The foreign message is left out, because it may quote a signed link; its class says enough.
    """
    name = type(error).__name__
    match error:
        case ClaimXError():
            return error
        case aiohttp.InvalidURL():
            return Malformed("not a URL that can be asked", host=host)
        case aiohttp.ClientPayloadError():
            return Unreadable("the body was cut short or does not decode", host=host)
        case asyncio.TimeoutError():
            return Unavailable("no answer in time", host=host)
        case aiohttp.ServerDisconnectedError():
            return Unavailable("the connection was closed before the answer", host=host)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Unavailable(f"no trusted TLS connection ({name})", host=host)
        case aiohttp.ClientConnectorError():
            return Unavailable("no connection", host=host)
        case _:
            return Unavailable(f"the connection failed ({name})", host=host)
