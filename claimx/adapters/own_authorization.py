"""
Requests that keep the authorization they were given.

Where `requests` asks the environment for a proxy, it also reads a ``.netrc``. What that has for a
host, or by default for every host, takes the place of a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests


def as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Change nothing; as the ``auth`` of a session, it is what is asked instead of the file."""
    return request


def transport(connect_seconds: float, answer_seconds: float) -> Any:
    """Return what a client of Azure's asks by; all parts of an identity may share it."""
    from azure.core.pipeline.transport import RequestsTransport

    class Transport(RequestsTransport):  # type: ignore[misc]  # of a module that types nothing
        def open(self) -> None:
            super().open()
            assert self.session is not None  # noqa: S101 - it was opened
            self.session.auth = as_it_is

    return Transport(connection_timeout=connect_seconds, read_timeout=answer_seconds)
