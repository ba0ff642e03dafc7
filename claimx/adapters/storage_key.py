"""
Azure storage's signature with an account's key, which stand-ins on loopback are sent.

By "Authorize with Shared Key" of the storage services' REST reference, for the requests that
`claimx.adapters.datalake` makes. OneLake itself knows tokens alone.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping

_SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


class AccountKey:
    """The *key* of *account*, in base64 as Azure gives it."""

    def __init__(self, account: str, key: str) -> None:
        self._account = account
        self._key = base64.b64decode(key)

    def authorization(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]
    ) -> str:
        """
        Return the value of ``Authorization`` for a request.

        *path* is quoted as it is sent, the values of *query* are not; *headers* are all that count,
        among them ``x-ms-date`` and, for a body, its length.
        """
        known = {name.lower(): value for name, value in headers.items()}
        if known.get("content-length") == "0":
            del known["content-length"]
        lines = [method, *(known.get(name, "") for name in _SIGNED)]
        lines += (f"{name}:{known[name]}" for name in sorted(known) if name.startswith("x-ms-"))
        lines.append(f"/{self._account}{path}")
        lines += (f"{name.lower()}:{query[name]}" for name in sorted(query))
        digest = hmac.digest(self._key, "\n".join(lines).encode(), "sha256")
        return f"SharedKey {self._account}:{base64.b64encode(digest).decode()}"
