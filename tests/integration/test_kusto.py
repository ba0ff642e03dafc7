"""What the Eventhouse adapter makes of each answer, against a server that says what it is told."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
import requests
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.identity import CredentialUnavailableError
from azure.kusto.data import KustoConnectionStringBuilder
from azure.kusto.data.exceptions import KustoAuthenticationError, KustoNetworkError
from certificates import self_signed

from claimx.adapters.identity import LentCredential
from claimx.adapters.kusto import MAX_EXCLUDED, KustoSource
from claimx.adapters.kusto_client import CompleteClient
from claimx.adapters.kusto_errors import translated
from claimx.adapters.memory.gates import MemoryGates
from claimx.domain.circuit import CircuitSettings
from claimx.domain.errors import (
    CircuitOpen,
    Permanent,
    Refused,
    Throttled,
    TokenRejected,
    TryLater,
    Unavailable,
    Unreadable,
)

pytestmark = pytest.mark.integration

BASE = 1_767_225_600_000_000  # 2026-01-01
COLUMNS = {
    "event_id": "string",
    "project_id": "long",
    "media_ids": "dynamic",
    "ingested_at": "datetime",
}
ONE = "2026-01-01T00:00:01Z"
TIMED = {**COLUMNS, "claimx_source_time": "datetime"}


@dataclass(frozen=True)
class Reply:
    """One answer: a status with a body, or a connection that ends before or within it."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    reset: bool = False


def frames(columns: dict[str, str], *rows: Any, level: int = 4, **completion: Any) -> Reply:
    """A whole v2 answer."""
    table = [{"ColumnName": name, "ColumnType": kind} for name, kind in columns.items()]
    status = [
        {"ColumnName": name, "ColumnType": "string"} for name in ("ClientRequestId", "Payload")
    ] + [{"ColumnName": "Level", "ColumnType": "int"}]
    return Reply(
        body=[
            {"FrameType": "DataSetHeader", "IsProgressive": False, "Version": "v2.0"},
            {
                "FrameType": "DataTable",
                "TableId": 1,
                "TableKind": "PrimaryResult",
                "TableName": "PrimaryResult",
                "Columns": table,
                "Rows": list(rows),
            },
            {
                "FrameType": "DataTable",
                "TableId": 2,
                "TableKind": "QueryCompletionInformation",
                "TableName": "QueryCompletionInformation",
                "Columns": status,
                "Rows": [["id", json.dumps({"Text": "the words of the service"}), level]],
            },
            {"FrameType": "DataSetCompletion", "HasErrors": False, "Cancelled": False} | completion,
        ]
    )


def refusal(status: int, message: str = "no such thing", code: str = "General_BadRequest") -> Reply:
    error = {"code": code, "message": "short", "@message": message, "@permanent": status < 500}
    return Reply(status, {"error": error})


def one_api(code: str, **more: str) -> dict[str, Any]:
    return {"OneApiErrors": [{"error": {"code": code, "message": code} | more}]}


def without_its_end(reply: Reply) -> Reply:
    return Reply(body=reply.body[:-1])


class Kusto(ThreadingHTTPServer):
    """Hands out the replies in order; *asked* keeps the queries."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: deque[Reply] = deque()
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def queries(self) -> list[str]:
        return [request["csl"] for request in self.asked]


class _Handler(BaseHTTPRequestHandler):
    server: Kusto
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        reply = self.server.replies.popleft()
        if reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
            return
        body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if reply.cut else body)
        if reply.cut:
            self.close_connection = True


@pytest.fixture
def kusto() -> Iterator[Kusto]:
    server = Kusto()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def gates() -> MemoryGates:
    return MemoryGates(lambda: 0.0, CircuitSettings(failures=2))


@pytest.fixture
def source(kusto, gates) -> Iterator[KustoSource]:
    """A source that knows its columns already."""
    source = KustoSource(kusto.url, "db", "ClaimXEvents", None, 5.0, gates, now=lambda: 0.0)
    kusto.replies.append(frames(COLUMNS))
    source.columns()
    kusto.asked.clear()
    yield source
    source.close()


def row(number: int, at: str) -> list[Any]:
    return [f"e{number}", number, None, None, at]


@pytest.mark.parametrize(
    ("reply", "failure", "words"),
    [
        (Reply(429, {"error": {}}, {"Retry-After": "7"}), Throttled, "throttles"),
        (Reply(429, b"", {"Retry-After": "7"}), Throttled, "throttles"),
        (Reply(503, b"busy", {"Retry-After": "7"}), Throttled, "later"),
        (refusal(400), Refused, "ClaimXEvents.*db.*CLAIMX_EVENTHOUSE_SOURCE_TABLE.*no such thing"),
        (refusal(403), Refused, "Viewer"),
        (Reply(404, b"<html>lost</html>"), Refused, "EVENTHOUSE_CLUSTER_URL"),
        (Reply(401, b"who?"), TokenRejected, "AZURE_CLIENT_ID"),
        (refusal(408), TryLater, "408"),
        (refusal(500), Unavailable, "500"),
        (Reply(502, b"<html><body>hunter2</body></html>"), Unavailable, "an HTML page"),
        (Reply(500, {"oops": 1}), Unavailable, "500"),
        (Reply(302, b"", {"Location": "https://example.org/"}), Refused, "302"),
        (Reply(reset=True), Unavailable, "cannot be reached"),
        (Reply(200, b""), Unreadable, "cannot be read"),
        (Reply(200, b"<html>log in</html>"), Unreadable, "cannot be read"),
        (Reply(200, {"Tables": []}), Unreadable, "cannot be read"),
        (Reply(200, b"[1, 2"), Unreadable, "cannot be read"),
        (
            Reply(200, frames(TIMED, row(1, ONE)).body, cut=True),
            Unreadable,
            "cut",
        ),
        (without_its_end(frames(TIMED, row(1, ONE))), Unreadable, "cannot be read"),
        (Reply(200, []), Unreadable, "cannot be read"),
        (frames(TIMED, row(1, ONE), one_api("E_OTHER")), Unreadable, "E_OTHER"),
        (
            frames(TIMED, row(1, ONE), one_api("E_OTHER", **{"@message": "in words"})),
            Unreadable,
            "in words",
        ),
        (frames(TIMED, row(1, ONE), level=2), Unreadable, "words of the serv"),
        (
            frames(TIMED, row(1, ONE), HasErrors=True, **one_api("E_LOST")),
            Unreadable,
            "E_LOST",
        ),
        (frames(TIMED, row(1, ONE), Cancelled=True), Unreadable, "midway"),
        (frames(TIMED, ["too", "short"]), Unreadable, "do not fit"),
        (frames(TIMED, row(1, "yesterday")), Unreadable, "cannot be read"),
        (frames(TIMED, row(1, None)), Unreadable, "cannot be read"),
    ],
)
def test_every_bad_answer_is_one_of_our_failures_and_never_a_short_page(
    kusto, source, reply, failure, words
):
    """A page that is short without anyone saying so would move the checkpoint past unread rows."""
    kusto.replies.append(reply)

    with pytest.raises(failure, match=words) as caught:
        source.page(BASE, BASE + 10_000_000, 100)

    assert type(caught.value) is failure
    assert "hunter2" not in str(caught.value)
    if failure is Throttled:
        assert caught.value.retry_after == 7.0


def test_kusto_is_waited_for_as_any_other_service_that_asks_for_it(kusto, source):
    """For an hour at most: a mistaken header must not hold a backfill up for a day."""
    kusto.replies.append(Reply(429, b"", {"Retry-After": "86400"}))

    with pytest.raises(Throttled) as caught:
        source.page(BASE, BASE + 10_000_000, 100)

    assert caught.value.retry_after == 3600


def test_a_cluster_that_does_not_listen_is_unavailable(gates):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    source = KustoSource(f"http://127.0.0.1:{port}", "db", "T", None, 5.0, gates)

    with pytest.raises(Unavailable, match="cannot be reached"):
        source.page(0, 1, 1)


@pytest.mark.parametrize("text", ["[" * 100_000, "[" + "9" * 5000 + "]", '"\\ud800"', "[1"])
def test_a_value_that_nobody_can_read_is_left_as_it_is(kusto, source, text):
    """It is one bad row; raised here it would end every poll at the same page."""
    kusto.replies.append(frames(TIMED, ["a", 7, text, None, ONE], row(2, ONE)))

    rows = source.page(BASE, BASE + 10_000_000, 100)

    assert [found["event_id"] for found in rows] == ["a", "e2"]


@pytest.mark.parametrize("levels", [60, 61, 900, 5000, 100_000])
def test_a_value_that_is_nested_however_deep_stops_no_other_row(kusto, source, levels):
    """Its whole answer was unreadable, and so each poll at the same page; it is one bad row."""
    deep = "[" * levels + '"]\\"[",{}' + "]" * levels
    reply = frames(TIMED, ["a", 7, "deep", None, ONE], row(2, ONE))
    kusto.replies.append(Reply(body=json.dumps(reply.body).replace('"deep"', deep).encode()))

    rows = source.page(BASE, BASE + 10_000_000, 100)

    assert [found["event_id"] for found in rows] == ["a", "e2"]
    media_ids = rows[0]["media_ids"]
    text = media_ids if isinstance(media_ids, str) else json.dumps(media_ids, separators=(",", ":"))
    assert text == deep


def test_an_answer_that_is_nothing_but_deep_is_unreadable(kusto, source):
    kusto.replies.append(Reply(body=b"[" * 100_000 + b"]" * 100_000))

    with pytest.raises(Unreadable, match="cannot be read"):
        source.page(BASE, BASE + 10_000_000, 100)


def test_rows_keep_json_values_and_ticks_are_cut_to_microseconds(kusto, source):
    kusto.replies.append(
        frames(
            TIMED,
            ["a", 7, '[1,"x"]', "2026-01-01T00:00:00.1234567Z", "2026-01-01T00:00:01.9999999Z"],
            ["b", None, [1], None, "2026-01-01T00:00:01.9999991Z"],
            ["c", 9, "plain", None, "2026-01-01T00:00:02Z"],
        )
    )

    rows = source.page(BASE, BASE + 10_000_000, 100)

    assert [found["_ingestion_time"] - BASE for found in rows] == [1_999_999, 1_999_999, 2_000_000]
    assert rows[0]["media_ids"] == [1, "x"]
    assert rows[0]["project_id"] == 7
    assert rows[0]["ingested_at"] == "2026-01-01T00:00:00.1234567Z"
    assert [found["media_ids"] for found in rows[1:]] == [[1], "plain"]


def test_bounds_are_half_open_microseconds_in_declared_parameters(kusto, source):
    """So a tick between two microseconds belongs to exactly one of two pages that meet there."""
    kusto.replies.append(frames(TIMED, row(1, ONE)))

    source.page(BASE, BASE + 10_000_000, 3, ['e9"]) | project secret //', "é"])

    properties = json.loads(kusto.asked[0]["properties"])
    assert properties["Parameters"]["_from"] == "datetime(2026-01-01T00:00:00.000001Z)"
    assert properties["Parameters"]["_to"] == "datetime(2026-01-01T00:00:10.000001Z)"
    assert json.loads(properties["Parameters"]["_exclude"][len("dynamic(") : -1]) == [
        'e9"]) | project secret //',
        "é",
    ]
    assert "secret" not in kusto.queries[0]
    assert properties["Options"] == {"servertimeout": "0:00:05"}
    assert kusto.asked[0]["db"] == "db"


def test_a_time_that_is_cut_is_left_for_the_next_page(kusto, source):
    kusto.replies.append(
        frames(TIMED, *(row(n, f"2026-01-01T00:00:0{1 + n // 2}Z") for n in range(4)))
    )

    rows = source.page(BASE, BASE + 10_000_000, 3)

    assert [found["event_id"] for found in rows] == ["e0", "e1"]
    assert "| take 4" in kusto.queries[0]


def test_a_time_larger_than_the_page_is_read_whole(kusto, source):
    many = [row(n, "2026-01-01T00:00:01.5000003Z") for n in range(5)]
    kusto.replies += [frames(TIMED, *many[:3]), frames(TIMED, *many)]

    rows = source.page(BASE, BASE + 10_000_000, 2)

    assert len(rows) == 5
    assert "take" not in kusto.queries[1]
    bounds = json.loads(kusto.asked[1]["properties"])["Parameters"]
    assert bounds["_from"] == "datetime(2026-01-01T00:00:01.500000Z)"
    assert bounds["_to"] == "datetime(2026-01-01T00:00:01.500001Z)"


TOO_LARGE = frames(TIMED, one_api("E_QUERY_RESULT_SET_TOO_LARGE"))


@pytest.mark.parametrize(
    "too_large",
    [
        TOO_LARGE,
        frames(TIMED, one_api("80DA0003", **{"@message": "more than was expected"})),
        frames(TIMED, row(1, ONE), HasErrors=True, **one_api("E_QUERY_RESULT_SET_TOO_LARGE")),
    ],
    ids=["among the rows", "by its number", "at the end"],
)
def test_an_answer_too_large_is_asked_for_in_smaller_pages(kusto, source, too_large):
    """Kusto need not put it into words: without any the client stumbled, and nothing was split."""
    kusto.replies += [too_large, too_large, frames(TIMED, row(1, ONE))]

    rows = source.page(BASE, BASE + 10_000_000, 40)

    assert len(rows) == 1
    assert [query.rpartition("take ")[2].strip() for query in kusto.queries] == ["41", "21", "11"]


def test_one_time_too_large_for_an_answer_is_read_in_parts(kusto, source):
    many = [row(n, "2026-01-01T00:00:01Z") for n in range(8)]
    kusto.replies += [frames(TIMED, *many[:3]), TOO_LARGE]
    kusto.replies += [frames(TIMED, one) for one in many]

    rows = source.page(BASE, BASE + 10_000_000, 2)

    assert sorted(found["event_id"] for found in rows) == [f"e{n}" for n in range(8)]
    assert "| where hash(tostring(['project_id']), 8) == 7" in kusto.queries[-1]


def test_one_time_that_no_split_makes_small_enough_is_refused_with_what_to_do(kusto, source):
    kusto.replies.append(frames(TIMED, *(row(n, "2026-01-01T00:00:01Z") for n in range(3))))
    kusto.replies += [TOO_LARGE] * 4

    with pytest.raises(Refused, match=r"2026-01-01T00:00:01\.000000Z.*truncationmaxsize"):
        source.page(BASE, BASE + 10_000_000, 2)

    assert len(kusto.asked) == 5


def test_rows_without_an_ingestion_time_are_a_missing_policy(kusto, source):
    count = {"Count": "long"}
    kusto.replies += [frames(TIMED), frames(count, [0]), frames(count, [1])]

    with pytest.raises(Refused, match=r"ClaimXEvents.*policy ingestiontime true"):
        source.page(BASE, BASE + 10_000_000, 2)


def test_an_empty_table_is_no_failure_and_is_not_looked_at_again_for_a_while(kusto, source):
    count = {"Count": "long"}
    kusto.replies += [frames(TIMED), frames(count, [0]), frames(count, [0]), frames(TIMED)]

    first = source.page(BASE, BASE + 10_000_000, 2)
    second = source.page(BASE, BASE + 10_000_000, 2)

    assert (first, second) == ([], [])
    assert len(kusto.asked) == 4


def test_columns_are_learnt_anew_after_a_failure(kusto, source):
    """The failure may be that the table was altered."""
    kusto.replies += [refusal(400), frames({"eventId": "string"}), frames(TIMED)]
    kusto.replies += [frames({"Count": "long"}, [1])]

    with pytest.raises(Refused):
        source.page(BASE, BASE + 10_000_000, 2, ["x"])
    source.page(BASE, BASE + 10_000_000, 2, ["x"])

    assert "tostring(['event_id']) !in (_exclude)" in kusto.queries[0]
    assert "take 0" in kusto.queries[1]
    assert "tostring(['eventId']) !in (_exclude)" in kusto.queries[2]


def test_no_id_column_no_exclusion(kusto, gates):
    source = KustoSource(kusto.url, "db", "ClaimXEvents", None, 5.0, gates)
    kusto.replies += [
        frames({"event_type": "string"}),
        frames(TIMED, row(1, ONE)),
    ]

    source.page(BASE, BASE + 10_000_000, 2, ["x"])

    assert "_exclude" not in kusto.queries[1]
    source.close()


def test_the_circuit_opens_after_failures_and_then_nothing_is_asked(kusto, source):
    kusto.replies += [refusal(500), refusal(500)]

    for _ in range(2):
        with pytest.raises(Unavailable):
            source.columns() and source.page(BASE, BASE + 1, 1)
    with pytest.raises(CircuitOpen) as caught:
        source.page(BASE, BASE + 1, 1)

    assert len(kusto.asked) == 2
    assert caught.value.retry_after > 0


def test_refusals_leave_the_circuit_closed(kusto, source, gates):
    for _ in range(4):
        kusto.replies.append(refusal(400))
        with pytest.raises(Refused):
            source.page(BASE, BASE + 1, 1)

    assert gates.circuits() == {}


class Silent:
    """A server that takes connections, sends *head* to each, and then a byte now and then."""

    def __init__(
        self, head: bytes = b"", pause: float = 60.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._head, self._pause, self._tls = head, pause, tls
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5)
        self._listening.close()

    def _serve(self) -> None:
        connection, _ = self._listening.accept()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True)
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(self._head)
            while not self._over.wait(self._pause):
                connection.sendall(b" ")


def client_of(url: str, total_seconds: float) -> CompleteClient:
    target = KustoConnectionStringBuilder.with_no_authentication(url)
    return CompleteClient(target, total_seconds, proxies=False)


DRIPPING = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n["


CLOSING = DRIPPING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
HEADS = (b"", b"HTTP/1.1 2", DRIPPING[:40], b"HTTP/1.1 100 Continue\r\nX:")


@pytest.mark.timeout(20)
@pytest.mark.parametrize("head", [DRIPPING, CLOSING, *HEADS])
def test_an_answer_that_comes_drop_by_drop_is_given_up_on(head):
    """The time-out of each read never ran out; only a worker's time limit ended such a poll."""
    with Silent(head, 0.1) as server, client_of(server.url, 1.0) as client:
        with pytest.raises(KustoNetworkError) as caught:
            client.execute_query("db", "T")
        found = translated(caught.value, what="T", host="h")

    assert type(found) is Unavailable
    assert "in time" in str(found)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("head", [DRIPPING, CLOSING, DRIPPING[:40]])
def test_so_is_one_that_comes_so_under_tls(tmp_path, head):
    """It is ended by another thread than the one that reads it."""
    certificate = self_signed(tmp_path / "kusto.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    with (
        Silent(head, 0.1, tls) as server,
        client_of("http://127.0.0.1:1", 1.0) as client,
        pytest.raises(requests.ReadTimeout),
    ):
        client._session.get(server.url, verify=str(certificate))


@pytest.mark.timeout(20)
def test_no_request_of_the_client_waits_without_end():
    """It names no time-out where it asks a cluster for its metadata, before its first query."""
    with (
        Silent() as server,
        client_of(server.url, 0.5) as client,
        pytest.raises(requests.Timeout),
    ):
        client._session.get(f"{server.url}/v1/rest/auth/metadata")


def test_requests_go_out_at_once():
    """Without TCP_NODELAY each query's body waited for an acknowledgement, some 40 ms."""
    with client_of("http://127.0.0.1:1", 1.0) as client:
        options = client._session.get_adapter("http://127.0.0.1:1").socket_options

    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in options
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in options


def test_a_stand_in_is_asked_without_a_proxy(kusto, gates, monkeypatch):
    """A proxy of the company knows no loopback; the API and OneLake are asked directly, too."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    kusto.replies.append(frames(COLUMNS))

    assert KustoSource(kusto.url, "db", "T", None, 5.0, gates).columns() == COLUMNS


def test_a_netrc_takes_no_tokens_place(kusto, monkeypatch, tmp_path):
    """Where the environment is asked for a proxy, so is this file: 401, whatever the token."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login anonymous password guest")
    monkeypatch.setenv("NETRC", str(netrc))
    target = KustoConnectionStringBuilder.with_no_authentication(kusto.url)

    with CompleteClient(target, 5.0, proxies=True) as client:
        session = client._session
        asked = session.prepare_request(
            requests.Request("POST", kusto.url, headers={"Authorization": "Bearer token"})
        )

    assert asked.headers["Authorization"] == "Bearer token"


class Credential:
    """A credential that notes whether somebody closed it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.closed = False

    def get_token(self, *_scopes: str, **_: Any) -> Any:
        if self.error:
            raise self.error
        return None

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("", "db", "T"), "EVENTHOUSE_CLUSTER_URL"),
        (("http://127.0.0.1:1", "", "T"), "CLAIMX_EVENTHOUSE_DATABASE"),
        (("http://127.0.0.1:1", "db", "T'] | take 1 //"), "CLAIMX_EVENTHOUSE_SOURCE_TABLE"),
        (("http://kusto.example.org", "db", "T"), "https"),
        (("https://help.kusto.windows.net", "db", "T"), "credential"),
    ],
)
def test_settings_that_cannot_work_are_told_at_once(gates, settings, words):
    with pytest.raises(Permanent, match=words):
        KustoSource(*settings, None, 5.0, gates)


def test_a_shared_credential_stays_open_when_the_client_is_made_anew(gates):
    credential = Credential()
    lent = LentCredential(lambda: credential)
    source = KustoSource("https://help.kusto.windows.net", "db", "T", lent, 5.0, gates)
    source._queries._connected()

    source.close()

    assert not credential.closed


def test_more_ids_than_a_query_may_carry_are_refused(source):
    with pytest.raises(ValueError, match="20000"):
        source.page(BASE, BASE + 1, 1, ["x"] * (MAX_EXCLUDED + 1))


@pytest.mark.parametrize(
    ("inner", "failure"),
    [
        (ClientAuthenticationError("AADSTS7000215"), TokenRejected),
        (CredentialUnavailableError("no identity here"), TokenRejected),
        (ServiceRequestError("no route"), Unavailable),
        (requests.ConnectionError("refused"), Unavailable),
        (FileNotFoundError("a certificate"), TokenRejected),
        (ValueError("a tenant's id"), TokenRejected),
    ],
)
def test_no_token_means_wait_for_one_unless_nobody_was_there_to_ask(inner, failure):
    error = KustoAuthenticationError("method", inner, authority="tenant")

    found = translated(error, what="table T in database db", host="h")

    assert type(found) is failure
    assert "AADSTS" not in str(found)
