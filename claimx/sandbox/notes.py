"""What Azure keeps beside a file's bytes: its content type and its metadata."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TypeAlias

from claimx.sandbox.store import StoreError

Where: TypeAlias = tuple[str, str]
"""Container and name."""

_META = "x-ms-meta-"
_PLAIN = "application/octet-stream"


class Notes:
    """By path, in memory: a restarted sandbox has the files, and has forgotten these."""

    def __init__(self) -> None:
        self._kinds: dict[Where, str] = {}
        self._metadata: dict[Where, dict[str, str]] = {}

    def write(self, where: Where, headers: Mapping[str, str]) -> None:
        """Replace what is known of a file by what a request's *headers* say."""
        self.forget(where)
        kind = headers.get("x-ms-content-type") or headers.get("x-ms-blob-content-type")
        if kind:
            self._kinds[where] = kind
        metadata = {
            name.lower(): value for name, value in headers.items() if name.lower().startswith(_META)
        }
        for pair in filter(None, headers.get("x-ms-properties", "").split(",")):
            name, _, value = pair.strip().partition("=")
            try:
                metadata[_META + name.strip()] = base64.b64decode(value, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError):
                raise StoreError(400, "InvalidInput", f"x-ms-properties: {name}") from None
        if metadata:
            self._metadata[where] = metadata

    def of(self, where: Where) -> tuple[str, dict[str, str]]:
        """Return the content type and the metadata headers of a file."""
        return self._kinds.get(where, _PLAIN), self._metadata.get(where, {})

    def move(self, source: Where, target: Where) -> None:
        """Follow a renamed file."""
        self.forget(target)
        if source in self._kinds:
            self._kinds[target] = self._kinds.pop(source)
        if source in self._metadata:
            self._metadata[target] = self._metadata.pop(source)

    def forget(self, where: Where) -> None:
        """Drop what is known of a file."""
        self._kinds.pop(where, None)
        self._metadata.pop(where, None)
