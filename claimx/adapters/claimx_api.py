"""The ClaimX REST API over HTTP (domain page, section 2)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from claimx.adapters import claimx_answers as answers
from claimx.adapters.api_gate import APIGate
from claimx.adapters.api_token import TokenSource
from claimx.adapters.curl import CurlCalls
from claimx.adapters.curl_handle import CallLimits, Request
from claimx.adapters.rate import RateLimit
from claimx.adapters.slots import SlotPool
from claimx.domain import times
from claimx.domain.errors import ClaimXError, Malformed, category_of
from claimx.domain.ports.api import Answer
from claimx.domain.ports.gates import Gates
from claimx.domain.ports.telemetry import Metrics

API = "api"
"""Name of the API's circuit, slots and tokens."""

FILTERED_IDS = 5  # domain page, section 2: more ids than this fetch the whole project
_LONGEST_ID = 200


class HTTPClaimXApi:
    """
    `claimx.domain.ports.api.ClaimXApi` over HTTP, for one event loop at a time.

    *concurrency* bounds the calls in flight and *rate* (calls a second, 0 is off) their pace over
    all processes, through *gates*; *holder* names this process there. A body longer than
    *max_body_bytes* is not read. No redirect is followed, and no body or token is ever logged.
    """

    def __init__(
        self,
        base_url: str,
        token: TokenSource,
        gates: Gates,
        metrics: Metrics,
        *,
        holder: str,
        concurrency: int = 20,
        rate: float = 0.0,
        timeout: float = 30.0,
        media_filter: str = "mediaIds",
        sender_username: str = "",
        max_body_bytes: int = 20 * 1024 * 1024,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._host = urlsplit(base_url).hostname or ""
        self._gate = APIGate(gates, API, token, self._host)
        self._metrics = metrics
        self._slots = SlotPool(gates, API, concurrency, holder)
        self._rate = RateLimit(gates, API, rate)
        self._timeout = timeout
        self._media_filter = media_filter
        self._sender = sender_username
        self._max_body = max_body_bytes
        self._now = now
        self._connections = concurrency
        self._calls: CurlCalls | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    # the calls of the pipeline
    async def project(self, project_id: str) -> Answer:
        """Return the project's object; Refused when it is another project's."""
        path = f"/export/project/{segment(project_id)}"
        return await self._get("project", path, lambda data: answers.project_of(data, project_id))

    async def media(self, project_id: str, media_ids: Sequence[str] = ()) -> Answer:
        """Return media items; up to five ids are sent as a filter, more fetch the project's."""
        query = {}
        if 0 < len(media_ids) <= FILTERED_IDS:
            query[self._media_filter] = ",".join(media_ids)
        path = f"/export/project/{segment(project_id)}/media"
        return await self._get(
            "media", path, lambda data: answers.list_of(data, "data", "media"), query
        )

    async def task_assignment(self, assignment_id: str) -> Answer:
        """Return the assignment's object."""
        path = f"/customTasks/assignment/{segment(assignment_id)}"
        return await self._get("task_assignment", path, answers.task_of, {"full": "true"})

    async def video_report(self, project_id: str) -> Answer:
        """Return the project's video collaborations, often none."""
        segment(project_id)  # what is no id elsewhere is none here
        body = {
            "reportType": "VIDEO_COLLABORATION",
            "projectId": int(project_id) if _is_number(project_id) else project_id,
            "senderUsername": self._sender,
        }
        return await self._call("video_report", "/data", answers.videos_of, body)

    # the contract's other calls, which no handler makes
    async def project_id_of_claim(self, number: str) -> Answer:
        """Return the project id (text) of a claim's number."""
        path = "/export/project/projectId"
        query = {"projectNumber": number}
        return await self._get("project_id", path, answers.project_id_of, query)

    async def contacts(self, project_id: str) -> Answer:
        """Return the project's contacts as a list of objects."""
        path = f"/export/project/{segment(project_id)}/contacts"
        return await self._get(
            "contacts", path, lambda data: answers.list_of(data, "data", "contacts")
        )

    async def conversations(self, project_id: str) -> Answer:
        """Return the project's conversations as a list of objects."""
        path = f"/export/project/{segment(project_id)}/conversations"
        return await self._get(
            "conversations", path, lambda data: answers.list_of(data, "data", "conversations")
        )

    async def close(self) -> None:
        """Close the connections of the running loop."""
        if self._calls is not None and self._loop is asyncio.get_running_loop():
            await self._calls.close()
        self._calls = None

    # inside
    async def _get(
        self,
        name: str,
        path: str,
        unwrap: Callable[[Any], Any],
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        if query:
            path = f"{path}?{urlencode(query, safe=',', quote_via=quote)}"
        return await self._call(name, path, unwrap)

    async def _call(
        self,
        name: str,
        path: str,
        unwrap: Callable[[Any], Any],
        body: Any = None,
    ) -> Answer:
        """Make one call through the gates and report how it went."""
        self._gate.pass_through(0)  # whoever need not queue for a slot does not
        async with self._slots.slot():
            await self._rate.take()
            self._gate.pass_through(1)
            token, accepted = "", self._gate.accepted
            try:
                token = self._gate.token()
                asked_at = times.from_seconds(self._now())
                answer = await self._exchange(path, token, body)
            except ClaimXError as error:
                self._gate.failed(error, token, _subject(path, body), accepted)
                self._failed(name, error)
                raise
            except BaseException:  # cancelled: the call says nothing about the API
                self._gate.said_nothing()
                raise
            self._gate.succeeded(token)  # JSON, whatever is in it (domain page, section 2)
            try:
                data = unwrap(answer)
            except ClaimXError as error:
                self._failed(name, error)
                raise
            self._metrics.add("api_calls", call=name, outcome="success")
            return Answer(data, asked_at)

    def _failed(self, name: str, error: ClaimXError) -> None:
        error.host = error.host or self._host
        self._metrics.add("api_calls", call=name, outcome=category_of(error).value)

    async def _exchange(self, path: str, token: str, body: Any) -> Any:
        """Send one request and return its parsed JSON, or raise what its answer means."""
        headers = [f"Authorization: Basic {token}", "Accept: application/json"]
        data = None
        if body is not None:
            headers.append("Content-Type: application/json")
            data = json.dumps(body).encode()
        reply = await self._client().call(Request(self._base + path, headers, data))
        if not reply.is_success:
            asked = reply.header("Retry-After")
            raise answers.refusal(reply.status, asked, self._now(), self._host)
        return answers.parsed(reply.body, reply.content_type, reply.charset)

    def _client(self) -> CurlCalls:
        """Return the running loop's client; connections are kept alive between chunks."""
        loop = asyncio.get_running_loop()
        if self._calls is None or self._loop is not loop:
            self._loop = loop
            self._calls = CurlCalls(
                self._host,
                CallLimits(
                    self._timeout, self._max_body, body_setting="CLAIMX_API_MAX_ANSWER_BYTES"
                ),
                connections=self._connections,
            )
        return self._calls


def segment(text: str) -> str:
    """Return an id as one path segment; raises Malformed for one that could leave it."""
    if not text or len(text) > _LONGEST_ID or text in {".", ".."}:
        raise Malformed(f"{text[:20]!r} cannot be an id of the ClaimX API")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise Malformed("an id of the ClaimX API must be valid Unicode") from None


def _subject(path: str, body: Any) -> str:
    """Return what a call asks for, whichever part of it."""
    return path.partition("?")[0] if body is None else f"{path} {body}"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
