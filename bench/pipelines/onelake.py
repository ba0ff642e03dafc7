"""A file to the stand-in of OneLake, by the three requests that its client makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote, urlsplit

import requests


class Request(NamedTuple):
    """What is to be sent."""

    method: str
    url: str
    body: bytes = b""


def prepare(environment: Mapping[str, str]) -> None:
    """Make the stand-in's file system, unless it is there."""
    root = urlsplit(environment["ONELAKE_CLAIMX_PATH"])
    url = f"{environment['ONELAKE_ENDPOINT']}/{root.username}?resource=filesystem"
    answer = requests.put(url, timeout=30)
    if answer.status_code != HTTPStatus.CONFLICT:
        answer.raise_for_status()


def requests_for(environment: Mapping[str, str], path: str, body: bytes) -> Iterator[Request]:
    """Create the file, append its bytes, flush them."""
    root = urlsplit(environment["ONELAKE_CLAIMX_PATH"])
    name = quote(f"{root.path.strip('/')}/{path}")
    url = f"{environment['ONELAKE_ENDPOINT']}/{root.username}/{name}"
    yield Request("PUT", f"{url}?resource=file")
    yield Request("PATCH", f"{url}?action=append&position=0", body)
    yield Request("PATCH", f"{url}?action=flush&position={len(body)}")
