"""The forms in which Azure storage tells of files, listings and refusals."""

from __future__ import annotations

import base64
from email.utils import formatdate
from functools import lru_cache
from xml.sax.saxutils import escape

import orjson

from claimx.sandbox.exchange import Answer, Exchange
from claimx.sandbox.store import Entry, StoreError

_MAX_LIST = 5000
XML = "application/xml"


def split(path: str) -> tuple[str, str]:
    """Return container and name of ``container/name``."""
    container, _, name = path.partition("/")
    return container, name


def page_of(entries: list[Entry], marker: str, limit: str | None) -> tuple[list[Entry], str]:
    """Cut a listing; the marker is the first name of the next page."""
    most = min(int(limit), _MAX_LIST) if limit and limit.isdigit() else _MAX_LIST
    if marker:
        first = base64.urlsafe_b64decode(marker.encode()).decode()
        entries = [entry for entry in entries if entry.name >= first]
    page = entries[:most]
    if len(entries) <= most:
        return page, ""
    return page, base64.urlsafe_b64encode(entries[most].name.encode()).decode()


@lru_cache(maxsize=1024)
def moment(second: int) -> str:
    """Return a time as headers tell it."""
    return formatdate(second, usegmt=True)


def tags(entry: Entry) -> dict[str, str]:
    """Return the headers that every write answers with."""
    return {
        "ETag": entry.etag,
        "Last-Modified": moment(int(entry.modified)),
        "x-ms-request-server-encrypted": "true",
    }


def described(entry: Entry) -> dict[str, str]:
    """Return the headers that describe a file or folder."""
    folder = {"x-ms-meta-hdi_isfolder": "true"} if entry.folder else {}
    return {
        **tags(entry),
        **folder,
        "Accept-Ranges": "bytes",
        "x-ms-blob-type": "BlockBlob",
        "x-ms-resource-type": "directory" if entry.folder else "file",
        "x-ms-creation-time": moment(int(entry.modified)),
        "x-ms-lease-state": "available",
        "x-ms-lease-status": "unlocked",
        "x-ms-owner": "$superuser",
        "x-ms-group": "$superuser",
        "x-ms-permissions": "rw-r-----",
    }


def blob_xml(entry: Entry) -> str:
    """Return a file as an element of a blob listing."""
    modified = moment(int(entry.modified))
    return (
        f"<Blob><Name>{escape(entry.name)}</Name><Properties>"
        f"<Creation-Time>{modified}</Creation-Time><Last-Modified>{modified}</Last-Modified>"
        f"<Etag>{escape(entry.etag)}</Etag><Content-Length>{entry.size}</Content-Length>"
        "<Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob</BlobType>"
        "<ResourceType>file</ResourceType></Properties></Blob>"
    )


def xml(body: str) -> bytes:
    """Return a document of *body*."""
    return b'<?xml version="1.0" encoding="utf-8"?>' + body.encode()


def refusal(exchange: Exchange, error: StoreError) -> Answer:
    """Return the refusal in the form of the interface that was asked."""
    headers = {"x-ms-error-code": error.code}
    if "resource" in exchange.query or exchange.method == "PATCH":
        body = orjson.dumps({"error": {"code": error.code, "message": error.message}})
        return Answer(error.status, body, headers=headers)
    text = f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message></Error>"
    return Answer(error.status, xml(text), XML, headers)
