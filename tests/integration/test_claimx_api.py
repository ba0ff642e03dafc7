"""The API client against a real server on loopback: every row of the outcome table."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from claimx.adapters.api_token import TokenSource
from claimx.adapters.claimx_api import HTTPClaimXApi
from claimx.adapters.memory.gates import MemoryGates
from claimx.cli.stack import free_port
from claimx.domain.circuit import CircuitSettings
from claimx.domain.errors import (
    CircuitOpen,
    ClaimXError,
    Malformed,
    NotFound,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
    Unreadable,
)
from claimx.domain.ports.api import Answer
from claimx.handlers.media import media_items
from claimx.telemetry.metrics import RecordedMetrics

pytestmark = pytest.mark.integration

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TOKEN = "dXNlcjpwYXNz"


class Vendor:
    """A server that answers as it is told and remembers what it was asked."""

    def __init__(self, answer: Handler | None = None, **options: Any) -> None:
        self.answer = answer or json_of({})
        self.options = options
        self.requests: list[dict[str, Any]] = []
        self.running = 0
        self.most = 0
        self.later = 0.0  # how much more time than the machine's has passed for the gates
        self.gates = MemoryGates(
            lambda: time.monotonic() + self.later, CircuitSettings(open_seconds=600.0)
        )
        self.metrics = RecordedMetrics()
        self.base = ""

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(
            {
                "method": request.method,
                "path": request.raw_path,
                "authorization": request.headers.get("Authorization"),
                "body": await request.json() if request.can_read_body else None,
            }
        )
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return await self.answer(request)
        finally:
            self.running -= 1

    def client(self, **options: Any) -> HTTPClaimXApi:
        """Another process's client of this server."""
        given = {"timeout": 5.0, "holder": "test", "token": TokenSource(TOKEN), **self.options}
        given.update(options)
        return HTTPClaimXApi(self.base, given.pop("token"), self.gates, self.metrics, **given)

    async def __aenter__(self) -> HTTPClaimXApi:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._serve)
        self.runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        self.base = f"http://127.0.0.1:{port}/rest"
        self.api = self.client()
        return self.api

    async def __aexit__(self, *_: object) -> None:
        await self.api.close()
        await self.runner.cleanup()


def json_of(data: Any, status: int = 200) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(data, status=status)

    return answer


def text_of(text: str | bytes, status: int = 200, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        body = text.encode() if isinstance(text, str) else text
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return answer


def ask(vendor: Vendor, call: Callable[[HTTPClaimXApi], Awaitable[Any]]) -> Any:
    """Run one call against the server and return its data."""

    async def run() -> Any:
        async with vendor as api:
            return (await call(api)).data

    return asyncio.run(run())


def refused(vendor: Vendor, call: Callable[[HTTPClaimXApi], Awaitable[Any]]) -> ClaimXError:
    with pytest.raises(ClaimXError) as caught:
        ask(vendor, call)
    return caught.value


PROJECT = {"project": {"projectId": 7, "projectNumber": "A"}, "teamMembers": []}


@pytest.mark.parametrize(
    ("status", "error", "counted"),
    [
        (400, Refused, False),
        (403, Refused, False),
        (404, NotFound, False),
        (410, NotFound, False),
        (422, Refused, False),
        (408, TryLater, False),
        (425, TryLater, False),
        (429, Throttled, True),
        (500, Unavailable, True),
        (503, Unavailable, True),
        (302, Unavailable, True),
    ],
)
def test_a_status_means_one_error_and_counts_or_not(status, error, counted):
    vendor = Vendor(json_of({"message": "no"}, status))

    found = refused(vendor, lambda api: api.task_assignment("5"))

    assert type(found) is error
    assert (found.status, found.host) == (status, "127.0.0.1")
    assert ("api" in vendor.gates.circuits()) is counted
    assert len(vendor.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 503])
def test_retry_after_is_handed_on_in_seconds_and_as_a_date(status):
    in_seconds = refused(Vendor(text_of("", status, Retry_After="17")), lambda a: a.project("7"))
    header = formatdate(time.time() + 40, usegmt=True)
    as_date = refused(Vendor(text_of("", status, Retry_After=header)), lambda a: a.project("7"))
    past = refused(Vendor(text_of("", status, Retry_After="-3")), lambda a: a.project("7"))

    assert in_seconds.retry_after == 17
    assert 30 < as_date.retry_after <= 41
    assert past.retry_after is None


@pytest.mark.parametrize(
    "body",
    [
        "",
        "  ",
        '{"project": {"projectId": 7',
        "<html><body>Please log in</body></html>",
        b"\xff\xfe\x00",
        "[" * 100_000,
    ],
)
def test_a_200_that_is_no_json_is_unreadable_and_counts(body):
    vendor = Vendor(text_of(body))

    found = refused(vendor, lambda api: api.project("7"))

    assert type(found) is Unreadable
    assert vendor.gates.circuits()["api"]["failures"] == 1


@pytest.mark.parametrize("body", ["[]", "null", "{}", '"text"', '{"error": "x"}'])
def test_json_that_is_no_project_is_unreadable_and_resets_the_circuit(body):
    """The API answers: others must not wait because one project's answer is odd (section 2)."""
    vendor = Vendor(text_of("", 503))
    refused(vendor, lambda api: api.project("7"))
    before = vendor.gates.circuits()["api"]["failures"]
    vendor.answer = text_of(body)

    found = refused(vendor, lambda api: api.project("7"))

    assert type(found) is Unreadable
    assert found.host == "127.0.0.1"
    assert before == 1
    assert "api" not in vendor.gates.circuits()


def test_a_body_that_is_cut_short_is_unreadable():
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"project": ')
        request.transport.abort()
        return response

    assert isinstance(refused(Vendor(cut), lambda a: a.project("7")), Unreadable | Unavailable)


def test_a_body_beyond_the_bound_is_not_read():
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                await response.write(b" " * 10_000)
        return response

    found = refused(Vendor(endless, max_body_bytes=50_000), lambda a: a.project("7"))
    declared = refused(
        Vendor(text_of("x" * 60_000), max_body_bytes=50_000), lambda a: a.project("7")
    )

    assert type(found) is type(declared) is Unreadable
    assert found.message == declared.message  # and the operator is told what to do
    assert found.message == "the body is longer than 50000 bytes (CLAIMX_API_MAX_ANSWER_BYTES)"


def test_a_short_announced_length_of_a_chunked_body_is_no_way_around_the_bound():
    """Whatever the parser makes of both headers together, no more than the bound is held."""

    async def lying(request: web.Request) -> web.StreamResponse:
        writer = request.transport
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            writer.write(b"2710\r\n" + b" " * 10_000 + b"\r\n")
        writer.write(b"2\r\n{}\r\n0\r\n\r\n")
        await asyncio.sleep(0.2)
        writer.abort()
        return web.StreamResponse()

    found = refused(Vendor(lying, max_body_bytes=50_000), lambda a: a.project("7"))

    assert isinstance(found, Unreadable | Unavailable)


def test_no_answer_in_time_a_reset_and_nobody_there_are_unavailable():
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async def reset(request: web.Request) -> web.Response:
        request.transport.abort()
        return web.Response()

    late = refused(Vendor(slow, timeout=0.1), lambda a: a.project("7"))
    torn = refused(Vendor(reset), lambda a: a.project("7"))

    async def nobody() -> None:
        gates = MemoryGates(time.monotonic)
        url = f"http://127.0.0.1:{free_port()}"
        api = HTTPClaimXApi(url, TokenSource("t"), gates, RecordedMetrics(), holder="x")
        try:
            await api.project("7")
        finally:
            await api.close()

    with pytest.raises(Unavailable):
        asyncio.run(nobody())
    assert type(late) is type(torn) is Unavailable


def test_another_projects_answer_is_refused_naming_both():
    found = refused(Vendor(json_of(PROJECT)), lambda api: api.project("8"))

    assert type(found) is Refused
    assert "8" in found.message
    assert "7" in found.message


@pytest.mark.parametrize(
    "answer",
    [
        PROJECT,
        {"data": PROJECT},
        {"project": None, "data": PROJECT},
        {"project": {"projectId": "7"}},
    ],
)
def test_a_project_comes_bare_or_wrapped(answer):
    data = ask(Vendor(json_of(answer)), lambda api: api.project("7"))

    assert str(data["project"]["projectId"]) == "7"


def test_what_stands_beside_a_project_is_not_taken_for_it():
    answer = {**PROJECT, "data": {"project": {"projectId": 8}}}

    assert ask(Vendor(json_of(answer)), lambda api: api.project("7")) == answer


@pytest.mark.parametrize("field", ["assignmentId", "taskName", "customTask"])
def test_a_task_comes_bare_or_wrapped(field):
    task = {field: 5, "data": {"x": 1}}

    for answer in (task, {"data": task}):
        assert ask(Vendor(json_of(answer)), lambda api: api.task_assignment("5")) == task


@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": {"x": 1}}, {"error": "x"}, [], 5])
def test_what_is_no_task_is_unreadable(answer):
    found = refused(Vendor(json_of(answer)), lambda api: api.task_assignment("5"))

    assert type(found) is Unreadable


@pytest.mark.parametrize(
    "answer", [None, {}, {"id": None}, {"data": {"data": {"data": {"data": 5}}}}, [], True]
)
def test_what_is_no_project_id_is_unreadable(answer):
    found = refused(Vendor(json_of(answer)), lambda api: api.project_id_of_claim("A"))

    assert type(found) is Unreadable


@pytest.mark.parametrize(
    "answer",
    [
        [{"mediaID": 1}],
        {"data": [{"mediaID": 1}]},
        {"media": [{"mediaID": 1}]},
        {"data": {"media": [{"mediaID": 1}]}},
        {"data": None, "media": [{"mediaID": 1}]},
    ],
)
def test_media_come_bare_or_wrapped(answer):
    assert ask(Vendor(json_of(answer)), lambda api: api.media("7")) == [{"mediaID": 1}]


@pytest.mark.parametrize("answer", [[], {"data": None}, {"media": None}, {"data": {"media": []}}])
def test_no_media_are_an_empty_list(answer):
    assert ask(Vendor(json_of(answer)), lambda api: api.media("7")) == []


def test_a_list_of_nulls_has_no_media():
    """An event of all media of its project died of it; the report of videos was none all along."""
    for answer in ([None], {"data": [None, None]}):
        found = ask(Vendor(json_of(answer)), lambda api: api.media("7"))

        assert media_items(Answer(found, 0), Counter()) == {}


@pytest.mark.parametrize("answer", [{"x": 1}, 5, None, ["a", 1], [None, 1], [[]]])
def test_what_is_no_list_of_media_is_unreadable(answer):
    assert type(refused(Vendor(json_of(answer)), lambda api: api.media("7"))) is Unreadable


@pytest.mark.parametrize("answer", [None, {}, [], {"data": None}, {"collaborations": []}, [{}]])
def test_no_video_is_an_empty_list(answer):
    assert ask(Vendor(json_of(answer)), lambda api: api.video_report("7")) == []


@pytest.mark.parametrize(
    "answer",
    [
        {"id": 1},
        [{"id": 1}],
        {"data": [{"id": 1}]},
        {"data": {"collaborations": [{"id": 1}]}},
        {"data": None, "collaborations": [{"id": 1}]},
        {"videoCollaboration": {"id": 1}},
    ],
)
def test_videos_come_bare_or_wrapped(answer):
    assert ask(Vendor(json_of(answer)), lambda api: api.video_report("7")) == [{"id": 1}]


@pytest.mark.parametrize(
    "answer", [42, "42", {"projectId": 42}, {"id": "42"}, {"data": {"id": 42}}]
)
def test_a_claims_project_id_comes_bare_or_in_an_object(answer):
    vendor = Vendor(json_of(answer))

    assert ask(vendor, lambda api: api.project_id_of_claim("A/1 &b")) == "42"
    assert vendor.requests[0]["path"].endswith("projectId?projectNumber=A%2F1%20%26b")


def test_requests_are_as_the_vendor_wants_them():
    vendor = Vendor(json_of([]), sender_username="robot")

    async def run() -> None:
        async with vendor as api:
            await api.media("7", ["1", "2"])
            await api.media("7", list("123456"))
            await api.contacts("7")
            await api.conversations("7")
            await api.video_report("7")
            await api.video_report("P-7")
            vendor.answer = json_of({"assignmentId": 5})
            await api.task_assignment("5")

    asyncio.run(run())

    assert [(r["method"], r["path"]) for r in vendor.requests] == [
        ("GET", "/rest/export/project/7/media?mediaIds=1,2"),
        ("GET", "/rest/export/project/7/media"),
        ("GET", "/rest/export/project/7/contacts"),
        ("GET", "/rest/export/project/7/conversations"),
        ("POST", "/rest/data"),
        ("POST", "/rest/data"),
        ("GET", "/rest/customTasks/assignment/5?full=true"),
    ]
    assert vendor.requests[4]["body"] == {
        "reportType": "VIDEO_COLLABORATION",
        "projectId": 7,
        "senderUsername": "robot",
    }
    assert vendor.requests[5]["body"]["projectId"] == "P-7"
    assert {r["authorization"] for r in vendor.requests} == {f"Basic {TOKEN}"}


def test_the_media_filters_name_is_a_setting():
    vendor = Vendor(json_of([]), media_filter="mediaId")

    ask(vendor, lambda api: api.media("7", ["1"]))

    assert vendor.requests[0]["path"].endswith("/media?mediaId=1")


@pytest.mark.parametrize(
    "hostile", ["../admin", "a/b", "7?x=1", "7#x", "%2e%2e", "ü", "7;8", "a b"]
)
def test_an_id_never_leaves_its_path_segment(hostile):
    vendor = Vendor(json_of([]))

    ask(vendor, lambda api: api.media(hostile))

    path = vendor.requests[0]["path"]
    assert path.startswith("/rest/export/project/")
    assert path.endswith("/media")
    assert path.count("/") == 5
    assert "?" not in path


@pytest.mark.parametrize("hostile", ["", ".", "..", "x" * 500, "\ud800"])
def test_an_id_that_cannot_be_a_segment_is_malformed_and_never_sent(hostile):
    vendor = Vendor()

    assert type(refused(vendor, lambda api: api.task_assignment(hostile))) is Malformed
    assert vendor.requests == []


@pytest.mark.parametrize("hostile", ["9" * 5000, "x" * 500, "\ud800", ""])
def test_nor_is_one_in_a_body(hostile):
    vendor = Vendor()

    assert type(refused(vendor, lambda api: api.video_report(hostile))) is Malformed
    assert vendor.requests == []


def test_a_redirect_is_never_followed():
    async def away(_: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    vendor = Vendor(away)
    refused(vendor, lambda api: api.project("7"))

    assert len(vendor.requests) == 1


def test_numbers_with_a_fraction_keep_their_text():
    data = ask(
        Vendor(text_of('{"project": {"projectId": 7.0, "customAttribute1": 12.50}}')),
        lambda api: api.project("7"),
    )

    assert str(data["project"]["customAttribute1"]) == "12.50"
    assert data["project"]["customAttribute1"] == 12.5


def test_five_failures_in_a_row_open_the_circuit_and_no_call_is_made_while_it_is_open():
    vendor = Vendor(json_of({}, 500))

    async def run() -> list[str]:
        seen = []
        async with vendor as api:
            for _ in range(8):
                try:
                    await api.project("7")
                except ClaimXError as error:
                    seen.append(type(error).__name__)
            vendor.later = 601.0
            results = await asyncio.gather(
                *(api.project("7") for _ in range(20)), return_exceptions=True
            )
            seen.append(sum(isinstance(r, Unavailable) for r in results))
        return seen

    seen = asyncio.run(run())

    assert seen[:5] == ["Unavailable"] * 5
    assert seen[5:8] == ["CircuitOpen"] * 3
    assert 1 <= seen[8] <= 3  # the trials
    assert len(vendor.requests) == 5 + seen[8]


def test_two_successful_trials_close_the_circuit_again():
    vendor = Vendor(json_of({}, 500))

    async def run() -> CircuitOpen:
        async with vendor as api:
            for _ in range(5):
                with contextlib.suppress(Unavailable):
                    await api.project("7")
            with pytest.raises(CircuitOpen) as caught:
                await api.project("7")
            vendor.later = 601.0
            vendor.answer = json_of(PROJECT)
            await api.project("7")
            await api.project("7")
            await asyncio.gather(*(api.project("7") for _ in range(10)))
        return caught.value

    error = asyncio.run(run())

    assert 0 < error.retry_after <= 600.0
    assert vendor.gates.circuits() == {}


def test_a_trial_that_says_nothing_makes_room_for_the_next():
    vendor = Vendor(json_of({}, 500))

    async def run() -> None:
        async with vendor as api:
            for _ in range(5):
                with contextlib.suppress(Unavailable):
                    await api.project("7")
            vendor.later = 601.0
            vendor.answer = json_of({}, 404)
            for _ in range(6):
                with pytest.raises(NotFound):
                    await api.project("7")

    asyncio.run(run())

    assert vendor.gates.circuits()["api"]["state"] == "half-open"


def test_a_401_shuts_the_door_and_one_probe_at_a_time_asks():
    vendor = Vendor(json_of({}, 401), timeout=3.0)

    async def run() -> list[Any]:
        async with vendor as api:
            with pytest.raises(TokenRejected) as first:
                await api.project("7")
            shut = await asyncio.gather(
                *(api.project("7") for _ in range(10)), return_exceptions=True
            )
            asked_while_shut = len(vendor.requests)
            await asyncio.sleep(first.value.retry_after + 0.02)

            async def accept(_: web.Request) -> web.Response:
                await asyncio.sleep(0.1)
                return web.json_response(PROJECT)

            vendor.answer = accept
            probing = await asyncio.gather(
                *(api.project("7") for _ in range(10)), return_exceptions=True
            )
            asked_by_probes = len(vendor.requests) - asked_while_shut
            await asyncio.gather(*(api.project("7") for _ in range(3)))
        return [first.value, shut, asked_while_shut, probing, asked_by_probes]

    first, shut, asked_while_shut, probing, asked_by_probes = asyncio.run(run())

    assert (first.status, first.counts_against_circuit) == (401, False)
    assert 0 < first.retry_after <= 1
    assert all(isinstance(error, TokenRejected) and error.status is None for error in shut)
    assert asked_while_shut == 1
    assert asked_by_probes == 1
    assert sum(isinstance(result, TokenRejected) for result in probing) == 9
    assert vendor.gates.circuits() == {}


def test_a_401_for_one_project_alone_keeps_others_waiting_only_the_first_time():
    """Its events come again for three days; each time the door was shut to all calls."""

    async def answer(request: web.Request) -> web.Response:
        if request.match_info["path"].endswith("/9"):
            return web.json_response({}, status=401)
        return web.json_response(PROJECT)

    vendor = Vendor(answer)

    async def run() -> list[Any]:
        async with vendor as api:
            await api.project("7")
            with pytest.raises(TokenRejected) as first:
                await api.project("9")
            await asyncio.sleep(first.value.retry_after + 0.02)
            asked = [api.project(one) for one in ["7", "9", "7", "7", "9", "7"]]
            return [await asyncio.gather(one, return_exceptions=True) for one in asked]

    kinds = [type(one) for [one] in asyncio.run(run())]

    assert kinds.count(TokenRejected) == 2
    assert kinds.count(Answer) == 4
    assert len(vendor.requests) == 8
    assert vendor.gates.circuits() == {}


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfnew\r\n", b" new\n\n", b"new"])
def test_a_token_is_what_its_file_holds_without_what_editors_put_around_it(tmp_path, text):
    file = tmp_path / "token"
    file.write_bytes(text)

    assert TokenSource(file=str(file)).current() == "new"


def test_the_token_file_is_read_again_after_a_401(tmp_path):
    file = tmp_path / "token"
    file.write_text("old\n")

    async def check(request: web.Request) -> web.Response:
        good = request.headers["Authorization"] == "Basic new"
        return web.json_response(PROJECT if good else {}, status=200 if good else 401)

    vendor = Vendor(check, token=TokenSource(file=str(file)))

    async def run() -> Any:
        async with vendor as api:
            with pytest.raises(TokenRejected):
                await api.project("7")
            file.write_text("new")
            await asyncio.sleep(1.02)
            return (await api.project("7")).data

    assert asyncio.run(run()) == PROJECT
    assert len(vendor.requests) == 2


def test_a_new_token_in_the_file_keeps_the_door_open(tmp_path):
    file = tmp_path / "token"
    file.write_text("old")

    async def check(request: web.Request) -> web.Response:
        good = request.headers["Authorization"] == "Basic new"
        return web.json_response(PROJECT if good else {}, status=200 if good else 401)

    token = TokenSource(file=str(file))
    token.current()
    file.write_text("new")
    vendor = Vendor(check, token=token)

    async def run() -> Any:
        async with vendor as api:
            with pytest.raises(TokenRejected) as caught:
                await api.project("7")
            return caught.value.retry_after, (await api.project("7")).data

    delay, data = asyncio.run(run())

    assert delay < 1
    assert data == PROJECT


@pytest.mark.parametrize("token", ["", "a\r\nX-Evil: 1", "ü"])
def test_a_token_that_no_header_can_carry_is_an_auth_failure_without_a_call(token):
    vendor = Vendor(token=TokenSource(token))

    assert type(refused(vendor, lambda api: api.project("7"))) is TokenRejected
    assert vendor.requests == []
    assert vendor.gates.circuits() == {}


def test_calls_in_flight_are_bounded_over_all_processes():
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.02)
        return web.json_response(PROJECT)

    vendor = Vendor(slow, concurrency=5)

    async def run() -> None:
        async with vendor as first:
            second = vendor.client(holder="second")
            await asyncio.gather(*(api.project("7") for api in (first, second) for _ in range(40)))
            await second.close()

    asyncio.run(run())

    assert len(vendor.requests) == 80
    assert vendor.most <= 5
    assert vendor.gates.take_slots("api", 99, 5, "x") != []  # all were given back
    assert len(vendor.gates.take_slots("api", 99, 5, "x")) == 0


def test_a_second_process_gets_its_share_while_the_first_is_busy():
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(0.03)
        return web.json_response(PROJECT)

    vendor = Vendor(slow, concurrency=4)

    async def run() -> int:
        async with vendor as first:
            flood = asyncio.gather(*(first.project("7") for _ in range(120)))
            await asyncio.sleep(0.05)
            second = vendor.client(holder="second")
            await asyncio.gather(*(second.project("7") for _ in range(4)))
            left = sum(1 for _ in vendor.requests)
            await flood
            await second.close()
            return left

    assert asyncio.run(run()) < 110  # it did not wait for the first to be done


def test_the_rate_is_shared_and_bounded():
    vendor = Vendor(json_of(PROJECT), rate=50.0)
    started = time.monotonic()

    async def run() -> None:
        async with vendor as api:
            await asyncio.gather(*(api.project("7") for _ in range(15)))

    asyncio.run(run())

    assert time.monotonic() - started >= 9 / 50  # five at once, the rest at the rate


def test_a_cancelled_call_gives_everything_back():
    async def slow(_: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    vendor = Vendor(slow, concurrency=1)

    async def run() -> None:
        async with vendor as api:
            calls = [asyncio.ensure_future(api.project("7")) for _ in range(3)]
            await asyncio.sleep(0.05)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            vendor.answer = json_of(PROJECT)
            await api.project("7")

    asyncio.run(run())

    assert vendor.gates.circuits() == {}
    assert len(vendor.gates.take_slots("api", 1, 1, "x")) == 1


def test_calls_are_counted_by_name_and_outcome():
    vendor = Vendor(json_of(PROJECT))

    async def run() -> None:
        async with vendor as api:
            await api.project("7")
            vendor.answer = json_of({}, 404)
            with pytest.raises(NotFound):
                await api.media("7")

    asyncio.run(run())

    assert vendor.metrics.values == {
        ("api_calls", ("project", "success")): 1,
        ("api_calls", ("media", "PERMANENT")): 1,
    }


def test_a_client_goes_on_in_another_loop():
    """A worker has one loop for its life, an operator's command one for each thing that it does."""
    found = []

    async def one(api: HTTPClaimXApi) -> None:
        found.append((await api.project("7")).data)

    async def serve() -> None:
        async with Vendor(json_of(PROJECT)) as api:
            await one(api)
            await asyncio.to_thread(lambda: asyncio.run(one(api)))
            await one(api)

    asyncio.run(serve())

    assert found == [PROJECT] * 3


def raw(body: bytes) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return answer


def test_a_number_of_more_digits_than_python_reads_spoils_no_answer():
    """A value that fits no column is null and counted, and never fails the row."""
    body = b'{"projectId": 7, "squareFootage": ' + b"9" * 5000 + b', "yearBuilt": 1990}'

    data = ask(Vendor(raw(body)), lambda api: api.project("7"))

    assert data["yearBuilt"] == 1990
    assert data["squareFootage"] == "9" * 5000


def test_a_video_with_an_empty_wrapping_is_itself_the_video():
    answer = {"videoCollaborationId": 5, "claimId": 7, "data": None}

    assert ask(Vendor(json_of(answer)), lambda api: api.video_report("7")) == [answer]
