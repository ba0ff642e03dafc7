"""The API's contract, held by the client (against a server) and by the vendor in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from claimx.adapters.api_token import TokenSource
from claimx.adapters.claimx_api import HTTPClaimXApi
from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.adapters.memory.gates import MemoryGates
from claimx.domain import times
from claimx.domain.errors import ClaimXError, NotFound
from claimx.domain.ports.api import Answer, ClaimXApi
from claimx.telemetry.metrics import RecordedMetrics

PROJECT = {"project": {"projectId": 7}, "teamMembers": []}
MEDIA = [{"mediaID": 1}, {"mediaID": 2}]
TASK = {"assignmentId": 5, "projectId": 7}
VIDEOS = [{"id": 9, "claimId": 7}]

Call = Callable[[ClaimXApi], Awaitable[Answer]]


async def _vendor(request: web.Request) -> web.Response:
    known: dict[str, Any] = {
        "/export/project/7": {"data": PROJECT},
        "/export/project/7/media": {"media": MEDIA},
        "/customTasks/assignment/5": TASK,
    }
    if request.path == "/data":
        asked = await request.json()
        return web.json_response(VIDEOS if asked["projectId"] == 7 else {})
    if request.path not in known:
        return web.json_response({"message": "unknown"}, status=404)
    return web.json_response(known[request.path])


async def _over_http(call: Call) -> Answer:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", _vendor)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    api = HTTPClaimXApi(
        f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}",
        TokenSource("t"),
        MemoryGates(time.monotonic),
        RecordedMetrics(),
        holder="test",
    )
    try:
        return await call(api)
    finally:
        await api.close()
        await runner.cleanup()


async def _in_memory(call: Call) -> Answer:
    api = MemoryClaimXApi(time.time)
    api.projects["7"] = PROJECT
    api.media_items["7"] = MEDIA
    api.tasks["5"] = TASK
    api.videos["7"] = VIDEOS
    return await call(api)


@pytest.fixture(params=[_in_memory, _over_http])
def ask(request: pytest.FixtureRequest) -> Callable[[Call], Answer]:
    return lambda call: asyncio.run(request.param(call))


@pytest.mark.parametrize(
    ("call", "data"),
    [
        (lambda api: api.project("7"), PROJECT),
        (lambda api: api.media("7"), MEDIA),
        (lambda api: api.media("7", ["2"]), MEDIA),  # the filter may be ignored
        (lambda api: api.task_assignment("5"), TASK),
        (lambda api: api.video_report("7"), VIDEOS),
        (lambda api: api.video_report("8"), []),
    ],
)
def test_an_answer_is_the_data_itself_and_when_it_was_asked_for(ask, call, data):
    before = times.from_seconds(time.time())

    answer = ask(call)

    assert answer.data == data
    assert before <= answer.asked_at <= times.from_seconds(time.time())


@pytest.mark.parametrize(
    "call",
    [
        lambda api: api.project("8"),
        lambda api: api.media("8"),
        lambda api: api.task_assignment("8"),
    ],
)
def test_what_the_vendor_does_not_know_is_not_found(ask, call):
    with pytest.raises(ClaimXError) as caught:
        ask(call)

    assert type(caught.value) is NotFound
    assert caught.value.status == 404
