"""Azure's listings: containers, the paths of a folder, the blobs below a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from xml.sax.saxutils import escape

import orjson

from claimx.sandbox.azure_wire import XML, blob_xml, page_of, xml
from claimx.sandbox.exchange import Answer
from claimx.sandbox.store import FolderStore


def containers(store: FolderStore) -> Answer:
    """Answer the account's listing."""
    items = "".join(
        f"<Container><Name>{escape(name)}</Name><Properties/></Container>"
        for name in store.containers()
    )
    body = f"<EnumerationResults><Containers>{items}</Containers></EnumerationResults>"
    return Answer(200, xml(body), XML)


def paths(store: FolderStore, container: str, query: Mapping[str, str]) -> Answer:
    """Answer the DFS listing of a folder."""
    folder = query.get("directory", "").strip("/")
    if folder:
        store.stat(container, folder)
    entries = store.walk(container, folder, recursive=query.get("recursive") == "true")
    page, following = page_of(entries, query.get("continuation", ""), query.get("maxResults"))
    paths = [
        {
            "name": entry.name,
            **({"isDirectory": "true"} if entry.folder else {}),
            "contentLength": str(entry.size),
            "lastModified": formatdate(entry.modified, usegmt=True),
            "etag": entry.etag.strip('"'),
            "owner": "$superuser",
            "group": "$superuser",
            "permissions": "rw-r-----",
        }
        for entry in page
    ]
    headers = {"x-ms-continuation": following} if following else {}
    return Answer(200, orjson.dumps({"paths": paths}), headers=headers)


def blobs(store: FolderStore, container: str, query: Mapping[str, str]) -> Answer:
    """Answer the Blob listing below a prefix, from ``startFrom`` on."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    below = prefix.rpartition("/")[0]
    entries = [
        entry
        for entry in store.walk(container, below)
        if not entry.folder
        and entry.name.startswith(prefix)
        and entry.name >= query.get("startFrom", "")
    ]
    prefixes: list[str] = []
    if delimiter:
        flat = []
        for entry in entries:
            head, mark, _ = entry.name[len(prefix) :].partition(delimiter)
            if mark:
                folder = prefix + head + delimiter
                if folder not in prefixes:
                    prefixes.append(folder)
            else:
                flat.append(entry)
        entries = flat
    page, following = page_of(entries, query.get("marker", ""), query.get("maxresults"))
    files = "".join(blob_xml(entry) for entry in page)
    folders = "".join(f"<BlobPrefix><Name>{escape(one)}</Name></BlobPrefix>" for one in prefixes)
    if query.get("marker"):
        folders = ""
    body = (
        f'<EnumerationResults ContainerName="{escape(container)}">'
        f"<Prefix>{escape(prefix)}</Prefix>"
        f"<Blobs>{files}{folders}</Blobs><NextMarker>{escape(following)}</NextMarker>"
        "</EnumerationResults>"
    )
    return Answer(200, xml(body), XML)
