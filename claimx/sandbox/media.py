"""The hosts that media lie on: signed links of both kinds, redirects, ranges, log-in pages."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar

from claimx.sandbox.entities import MediaFile
from claimx.sandbox.exchange import Answer, Exchange, log_in_page
from claimx.sandbox.faults import FaultPlan
from claimx.sandbox.files import KINDS
from claimx.sandbox.http import Service
from claimx.sandbox.world import World

LIFETIME_SECONDS = 3600
CACHE_BYTES = 128 * 1024 * 1024
ELSEWHERE = "https://files.not-allowed.example/"
_PATH = re.compile(r"^/(claimx/download|s3|open|moved)/(\d+)(?:\.\w+)?$")
_RANGE = re.compile(r"^bytes=(\d*)-(\d*)$")
_DIGITS = re.compile(r"\d+")
_S3_QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=SANDBOX%2F20260101%2Fus-east-1%2Fs3%2Faws4_request"
)
_DENIED = (
    b'<?xml version="1.0"?>'
    b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
)


class MediaHost(Service):
    """
    Signs links and serves what they name; a link that is over, or was taken back, is refused.

    ClaimX's own answer 302 to the log-in page then, S3's 403.
    """

    name: ClassVar[str] = "media"

    def __init__(
        self,
        world: World,
        faults: FaultPlan | None = None,
        latency: tuple[float, float] = (0.0, 0.0),
        lifetime: float = LIFETIME_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(faults, latency)
        self.world = world
        self.lifetime = lifetime
        self._now = now
        self._secret = f"sandbox-{world.seed}"
        self._files: OrderedDict[int, bytes] = OrderedDict()
        self._held = 0

    # Links.

    def link(self, item: MediaFile, *, spoilt: bool = False) -> str:
        """Return a fresh link; a *spoilt* one is expired or was taken back."""
        spec, key = item.link, item.key
        if spec is None:
            msg = f"media {key} has no link"
            raise ValueError(msg)
        signed = self._now() - (2 * self.lifetime if spoilt and spec.how == "expired" else 1.0)
        state = "revoked" if spoilt and spec.how == "revoked" else ""
        host = spec.host or self.url
        match spec.style:
            case "s3":
                stamp, span = _amazon_time(int(signed)), str(int(self.lifetime))
                return (
                    f"{host}/s3/{key}.{KINDS[item.kind].extension}?{_S3_QUERY}&X-Amz-Date={stamp}"
                    f"&X-Amz-Expires={span}&X-Amz-SignedHeaders=host"
                    f"&X-Amz-Signature={self._sign(key, stamp, span, state)}"
                )
            case "open":
                return f"{host}/open/{key}.{KINDS[item.kind].extension}"
            case style:
                stamp, span = str(int(signed * 1000)), str(int(self.lifetime * 1000))
                path = "moved" if style == "moved" else "claimx/download"
                sign = self._sign(key, stamp, span, state)
                return f"{host}/{path}/{key}?systemDate={stamp}&expires={span}&sign={sign}"

    def _sign(self, *parts: str) -> str:
        return hashlib.sha256("|".join((self._secret, *parts)).encode()).hexdigest()[:40]

    def _valid(self, key: str, style: str, query: dict[str, str]) -> bool:
        if style == "s3":
            stamp, span = query.get("X-Amz-Date", ""), query.get("X-Amz-Expires", "")
            if query.get("X-Amz-Signature") != self._sign(key, stamp, span, ""):
                return False
            signed = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
            return self._now() < signed + int(span)
        stamp, span = query.get("systemDate", ""), query.get("expires", "")
        if query.get("sign") != self._sign(key, stamp, span, ""):
            return False
        return self._now() * 1000 < int(stamp) + int(span)

    # Serving.

    def pattern(self, exchange: Exchange) -> str:
        """Fold the ids of the path."""
        return f"{exchange.method} {_DIGITS.sub('{id}', exchange.path)}"

    async def answer(  # noqa: C901, PLR0911 - one a way in which a host answers
        self, exchange: Exchange
    ) -> Answer | None:
        """Check the link and serve the file, whole or in part."""
        if exchange.headers.get("Authorization"):
            return Answer(400, b"a media host must never be sent the token", "text/plain")
        if exchange.path == "/login":
            return log_in_page()
        found = _PATH.match(exchange.path)
        item = self.world.media.get(int(found[2])) if found else None
        if found is None or item is None or item.link is None:
            return Answer(404, b"no such file", "text/plain")
        if exchange.method not in ("GET", "HEAD"):
            return Answer(405, b"", "text/plain")
        style = found[1].split("/")[0]
        if style != "open" and not self._valid(item.key, style, exchange.query):
            if style == "s3":
                return Answer(403, _DENIED, "application/xml")
            return Answer(302, b"", "text/html", {"Location": f"{self.url}/login"})
        match item.link.serves:
            case "login":
                page = log_in_page()
                page.content_type = "image/jpeg"
                return page
            case "missing":
                return Answer(404, b"gone", "text/plain")
            case "elsewhere":
                return Answer(302, b"", "text/html", {"Location": ELSEWHERE + item.key})
        if style == "moved":
            target = f"{self.url}/open/{item.key}.{KINDS[item.kind].extension}"
            return Answer(302, b"", "text/html", {"Location": target})
        return self._file(item, exchange)

    def _file(self, item: MediaFile, exchange: Exchange) -> Answer:
        content = self._content(item)
        types = KINDS[item.kind].content_types
        kind = types[0] if types else "application/octet-stream"
        headers = {"Accept-Ranges": "bytes", "ETag": f'"{item.key}-{len(content)}"'}
        asked = _RANGE.match(exchange.headers.get("Range", ""))
        if asked is None or asked[0] == "bytes=-":
            head = exchange.method == "HEAD"
            return Answer(200, b"" if head else content, kind, headers, length=len(content))
        size = len(content)
        if asked[1]:
            first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
        else:
            first, last = max(0, size - int(asked[2])), size - 1
        if first > last:
            return Answer(416, b"", kind, {**headers, "Content-Range": f"bytes */{size}"})
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return Answer(206, content[first : last + 1], kind, headers)

    def _content(self, item: MediaFile) -> bytes:
        content = self._files.get(item.media_id)
        if content is not None:
            self._files.move_to_end(item.media_id)
            return content
        content = item.content()
        self._files[item.media_id] = content
        self._held += len(content)
        while self._held > CACHE_BYTES and self._files:
            self._held -= len(self._files.popitem(last=False)[1])
        return content


@lru_cache(maxsize=64)
def _amazon_time(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y%m%dT%H%M%SZ")
