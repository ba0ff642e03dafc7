"""Blobs deleted in bulk, as the object store below deltalake asks for it."""

from __future__ import annotations

import re
import uuid
from urllib.parse import unquote, urlsplit

from claimx.sandbox.azure_wire import split
from claimx.sandbox.exchange import Answer, Exchange
from claimx.sandbox.store import FolderStore, StoreError

_PART_REQUEST = re.compile(rb"DELETE\s+(\S+)\s+HTTP/1\.1")
_CONTENT_ID = re.compile(rb"content-id:\s*(\S+)", re.IGNORECASE)


def delete_all(store: FolderStore, exchange: Exchange) -> Answer:
    """
    Carry out a multipart body of DELETE requests, each with an answer of its own.

    Raises StoreError for a body without a boundary.
    """
    found = re.search(r'boundary="?([^";]+)', exchange.headers.get("Content-Type", ""))
    if found is None:
        raise StoreError(400, "InvalidInput", "the batch has no boundary")
    mark = b"--" + found[1].encode()
    boundary = f"batchresponse_{uuid.uuid4()}"
    answers: list[bytes] = []
    for part in exchange.body.split(mark)[1:]:
        request, number = _PART_REQUEST.search(part), _CONTENT_ID.search(part)
        if request is None:
            continue
        path = unquote(urlsplit(request[1].decode()).path).lstrip("/")
        try:
            store.delete(*split(path))
            line, error = "202 Accepted", ""
        except StoreError as refused:
            line, error = f"{refused.status} Failed", f"x-ms-error-code: {refused.code}\r\n"
        identity = f"Content-ID: {number[1].decode()}\r\n" if number else ""
        answers.append(
            f"--{boundary}\r\nContent-Type: application/http\r\n{identity}\r\n"
            f"HTTP/1.1 {line}\r\n{error}x-ms-request-id: sandbox\r\n"
            f"x-ms-version: 2025-01-05\r\n\r\n".encode()
        )
    body = b"".join(answers) + f"--{boundary}--\r\n".encode()
    return Answer(202, body, f"multipart/mixed; boundary={boundary}")
