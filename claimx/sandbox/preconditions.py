"""What a request demands of a path, or of its own body, before it is carried out."""

from __future__ import annotations

import base64
import hashlib

from claimx.sandbox.exchange import Exchange
from claimx.sandbox.store import FolderStore, StoreError


def check_conditions(
    store: FolderStore,
    exchange: Exchange,
    container: str,
    name: str,
    conflict: str = "ConditionNotMet",
) -> None:
    """Raise StoreError for a path that If-Match or If-None-Match is not met by."""
    none_match, match = exchange.headers.get("If-None-Match"), exchange.headers.get("If-Match")
    if none_match is None and match is None:
        return
    try:
        etag: str | None = store.stat(container, name).etag
    except StoreError as error:
        if error.status != 404:
            raise
        etag = None
    if none_match == "*" and etag is not None:
        raise StoreError(409, conflict, "The specified path already exists.")
    if none_match not in (None, "*") and none_match == etag:
        raise StoreError(412, "ConditionNotMet")
    if match is not None and (etag is None or match not in ("*", etag)):
        raise StoreError(412, "ConditionNotMet", "The condition specified is not met.")


def check_md5(exchange: Exchange) -> None:
    """Raise StoreError for a body that is not what its Content-MD5 says, as the service does."""
    told = exchange.headers.get("Content-MD5")
    if told and "x-ms-copy-source" not in exchange.headers:
        found = base64.b64encode(hashlib.md5(exchange.body, usedforsecurity=False).digest())
        if found.decode() != told:
            raise StoreError(400, "Md5Mismatch", "The MD5 value did not match the data.")
