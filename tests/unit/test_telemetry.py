"""How a process is seen: logs without secrets, metrics as declared, health that is true."""

from __future__ import annotations

import contextvars
import json
import logging
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import structlog

from claimx.domain.records import Kind, Record, Stage
from claimx.domain.redaction import mask
from claimx.services.at_work import AT_WORK
from claimx.telemetry import logs
from claimx.telemetry.cycle import CycleLine, changes
from claimx.telemetry.health import HealthServer, Progress
from claimx.telemetry.metrics import (
    METRICS,
    PrometheusMetrics,
    RecordedMetrics,
    exposition,
    totals,
)


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    yield lambda: capsys.readouterr().err
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def test_a_line_is_json_with_the_bound_ids(output):
    logs.configure("INFO", "json", process="worker")

    with structlog.contextvars.bound_contextvars(trace="t1", event_id="e1", stage="enrich"):
        structlog.get_logger("x").info("event enriched", calls=2)

    line = json.loads(output())
    assert line["event"] == "event enriched"
    assert line["process"] == "worker"
    assert (line["trace"], line["event_id"], line["stage"]) == ("t1", "e1", "enrich")
    assert line["level"] == "info"
    assert line["time"].endswith("Z")


def test_a_line_names_the_record_that_is_worked_on(output):
    """Whoever writes it, another library too: an operator looks for all of an event's lines."""
    logs.configure("INFO", "json", process="worker")
    data = {"event_id": "e1", "project_id": "p1", "media_id": None, "link": "secret"}

    def work() -> None:
        AT_WORK.set(Record("e:e1", Kind.EVENT, Stage.ENRICH, data, trace="t1"))
        structlog.get_logger("x").info("asked", project_id="p2")
        logging.getLogger("other").info("asked, too")

    contextvars.copy_context().run(work)
    structlog.get_logger("x").info("afterwards")

    ours, theirs, after = map(json.loads, output().splitlines())
    assert (ours["trace"], ours["event_id"], ours["project_id"]) == ("t1", "e1", "p2")
    assert (theirs["trace"], theirs["event_id"], theirs["project_id"]) == ("t1", "e1", "p1")
    assert not {"media_id", "link"} & ours.keys()
    assert not {"trace", "event_id"} & after.keys()


@pytest.mark.parametrize(("level", "lines"), [("ERROR", 0), ("WARNING", 1), ("INFO", 1)])
def test_nothing_below_the_level_is_logged_of_a_quiet_library_either(level, lines, output):
    logs.configure(level, "json", process="worker")

    logging.getLogger("azure.core").warning("a retry")
    logging.getLogger("azure.core").info("a request")

    assert len(output().splitlines()) == lines


def test_other_libraries_lines_are_json_too(output):
    """Celery logs through the standard library; an aggregator reads one format."""
    logs.configure("INFO", "json", process="worker")

    logging.getLogger("celery.worker").info("received %s", "task")

    assert json.loads(output())["event"] == "received task"


def test_an_exception_is_one_line_and_redacted(output):
    logs.configure("INFO", "json", process="worker")

    try:
        int("GET https://m.example/f?sign=abc123&x=1 for jo@example.com")
    except ValueError:
        logging.getLogger("x").exception("failed")

    (line,) = output().splitlines()
    assert "abc123" not in line
    assert "jo@example.com" not in line


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_form_tells_what_an_exception_or_its_variables_hold(output, form):
    """On a terminal a traceback was made after the redaction, and showed local variables."""
    logs.configure("INFO", form, process="worker")
    link = "https://m.example/f?sig=abc123"

    try:
        int(f"GET {link} for jo@example.com")
    except ValueError:
        structlog.get_logger("x").exception("failed")
        logging.getLogger("y").exception("failed, too")

    told = output()
    assert "ValueError" in told
    assert "abc123" not in told
    assert "jo@example.com" not in told


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_lies_in_a_field_is_redacted_however_deep(output, form):
    logs.configure("INFO", form, process="worker")
    link = "https://m.example/f?sig=abc123"

    structlog.get_logger("x").info(
        "seen", links=[link], more={"one": (link, {"two": link})}, error=ValueError(link), count=3
    )

    told = output()
    assert told.count("m.example") == 4
    assert "abc123" not in told
    assert "3" in told


@pytest.mark.parametrize(
    "text",
    [
        "https://b.example/k?X-Amz-Signature=deadbeef00&X-Amz-Expires=60",
        "https://o.example/f?sv=1&sig=deadbeef00",
        "the answer named X-Amz-Credential=deadbeef00, X-Amz-Date",
        "Authorization: Basic deadbeef00",
        "redis://user:deadbeef00@host/0",
    ],
)
def test_secrets_are_redacted(text):
    assert "deadbeef00" not in mask(text)


def test_every_metric_says_what_it_means():
    for name, declaration in METRICS.items():
        assert declaration.meaning.endswith("."), name


@pytest.mark.parametrize("make", [RecordedMetrics, PrometheusMetrics])
@pytest.mark.parametrize("labels", [{"stagee": "enrich"}, {}, {"stage": "enrich", "more": "x"}])
def test_wrong_labels_are_refused(make, labels):
    """A typo must fail where it is written, not make a second time series."""
    metrics = make()

    with pytest.raises(ValueError, match="has labels"):
        metrics.add("processed", **labels)
    with pytest.raises(ValueError, match="has labels"):
        metrics.set("depth", 1, **labels, kind="event")
    with pytest.raises(ValueError, match="has labels"):
        metrics.observe("stage_seconds", 0.5, **labels, kind="event")


def test_prometheus_exports_what_is_declared():
    metrics = PrometheusMetrics()

    metrics.add("processed", 3, stage="enrich")
    metrics.add("retried", stage="enrich")
    metrics.observe("flush_seconds", 0.2, table="claimx_media")
    metrics.set("poll_lag_seconds", 7, cursor="live")

    text = exposition(metrics).decode()
    assert 'claimx_processed_total{stage="enrich"} 3.0' in text
    assert 'claimx_retried_total{stage="enrich"} 1.0' in text
    assert 'claimx_flush_seconds_count{table="claimx_media"} 1.0' in text
    assert 'claimx_poll_lag_seconds{cursor="live"} 7.0' in text
    assert totals(metrics)["processed"] == 3


def test_a_gauge_that_a_process_does_not_set_is_not_its_to_tell():
    """Every process but the worker told that the source was read up to 1970: a false alarm each."""
    metrics = PrometheusMetrics()
    gauges = [name for name, one in METRICS.items() if one.type == "gauge" and not one.labels]

    before = exposition(metrics).decode()
    for name in gauges * 2:
        metrics.set(name, 7)
    after = exposition(metrics).decode()

    assert "poll_until_seconds" in gauges
    assert not [name for name in gauges if f"claimx_{name}" in before]
    assert [name for name in gauges if f"\nclaimx_{name} 7.0\n" in after] == gauges


@pytest.mark.parametrize("values", [[], [0.0, 0.005, 0.0051, 30.0, 30.0, 3600.0, 4000.0]])
def test_many_values_at_once_are_as_one_after_the_other(values):
    one_by_one, at_once = PrometheusMetrics(), PrometheusMetrics()

    for value in values:
        one_by_one.observe("event_lag_seconds", value)
    at_once.observe_all("event_lag_seconds", values)

    told = [
        [line for line in exposition(metrics).decode().splitlines() if "lag_seconds_" in line]
        for metrics in (one_by_one, at_once)
    ]
    assert told[0][:-1] == told[1][:-1]  # the last one is when it was made
    assert f"claimx_event_lag_seconds_count {len(values):.1f}" in told[1]


def test_a_label_from_outside_cannot_grow_without_bound():
    metrics = PrometheusMetrics()

    for number in range(500):
        metrics.add("unhandled", type=f"TYPE_{number}")

    lines = [
        line for line in exposition(metrics).decode().splitlines() if "unhandled_total{" in line
    ]
    assert len(lines) == 65
    assert sum(float(line.rpartition(" ")[2]) for line in lines) == 500, "none is lost in others"
    assert len(metrics._children) == 64, "nor is a table of labels without bound kept beside"


def test_the_cycle_line_counts_what_was_added():
    assert changes({"processed": 5}, {"processed": 9, "dead": 1}) == {
        "processed": 4,
        "failed": 0,
        "retried": 0,
        "dead": 1,
        "admitted": 0,
        "flush_rows": 0,
        "redriven": 0,
    }


def test_a_count_that_went_back_begins_anew_in_the_cycle_line():
    grown = changes({"processed": 5, "failed": 3}, {"processed": 2})

    assert (grown["processed"], grown["failed"]) == (2, 0)


def test_the_cycle_line_tells_each_time_what_came_since_the_last_until_it_is_stopped(output):
    """A count that fails once, of a file that a child just removed, does not end it."""
    logs.configure("INFO", "json", process="worker")
    counted = iter([{"processed": 5.0}, OSError("gone"), {"processed": 9.0}])
    over = threading.Event()

    def totals_of_now() -> dict[str, float]:
        found = next(counted, None)
        if found is None:
            line.stop()
            over.set()
            return {}
        if isinstance(found, OSError):
            raise found
        return found

    line = CycleLine(totals_of_now, seconds=0.001)
    line.start()
    assert over.wait(10)
    line._thread.join(10)

    told = [json.loads(one) for one in output().splitlines()]
    cycles = [one["processed"] for one in told if one["event"] == "cycle"]
    assert cycles == [5, 4, 0]
    assert [one["event"] for one in told].count("cycle line failed") == 1
    assert not line._thread.is_alive()


def _get(address: str, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_health_tells_live_from_ready():
    """A process that waits for Redis is alive and not ready; restarting it would not help."""
    server = HealthServer(0, dict, lambda: {"redis": "Unavailable"}, lambda: b"m 1\n", "127.0.0.1")
    server.start()
    try:
        live = _get(server.address, "/health/live?by=whom")  # as some probes ask
        ready = _get(server.address, "/health/ready")
        metrics = _get(server.address, "/metrics")
        missing = _get(server.address, "/nothing")
    finally:
        server.stop()

    assert live[0] == 200
    assert ready[0] == 503
    assert b"Unavailable" in ready[1]
    assert metrics == (200, b"m 1\n")
    assert missing[0] == 404


def test_a_probe_that_hangs_up_leaves_nothing_in_the_log(output):
    """Each line of the log is JSON; what the library prints is a traceback over many."""
    logs.configure("INFO", "json", process="worker")
    asked, gone = threading.Event(), threading.Event()

    def slow() -> bytes:
        asked.set()
        gone.wait(5)
        return b"x" * 10_000_000

    def broken() -> bytes:
        raise ValueError("a bug")

    for metrics in (slow, broken):
        server = HealthServer(0, dict, dict, metrics, "127.0.0.1")
        server.start()
        host, _, port = server.address.rpartition(":")
        probe = socket.create_connection((host, int(port)), 5)
        probe.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        if metrics is slow:
            asked.wait(5)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            probe.close()
            gone.set()
        else:
            assert probe.recv(100) == b""
        time.sleep(0.3)
        server.stop()

    (line,) = output().splitlines()
    assert json.loads(line)["event"] == "a probe got no answer"
    assert json.loads(line)["error"] == "ValueError"


def test_a_port_that_is_taken_becomes_a_free_one():
    first = HealthServer(0, dict, dict, bytes, "127.0.0.1")
    port = int(first.address.rpartition(":")[2])

    second = HealthServer(port, dict, dict, bytes, "127.0.0.1")

    assert second.address != first.address


def test_a_probe_that_asks_by_head_is_answered_without_a_body():
    """Uptime checks and load balancers ask so; 501 would be an outage to them."""
    server = HealthServer(0, dict, lambda: {"redis": "Unavailable"}, bytes, "127.0.0.1")
    server.start()
    host, _, port = server.address.rpartition(":")
    found = {}
    try:
        for path in ("/health/live", "/health/ready", "/nothing"):
            with socket.create_connection((host, int(port)), 5) as probe:
                probe.sendall(f"HEAD {path} HTTP/1.1\r\n\r\n".encode())
                answer = b"".join(iter(lambda: probe.recv(4096), b""))
            head, _, body = answer.partition(b"\r\n\r\n")
            found[path] = (int(head.split()[1]), body)
    finally:
        server.stop()

    assert found["/health/live"] == (200, b"")
    assert found["/health/ready"] == (503, b"")
    assert found["/nothing"] == (404, b"")


def test_health_is_served_on_an_address_of_ipv6():
    """
    Pods of a cluster that has no other; its address is written as URLs take it.

    IPv4's loopback in IPv6's words is there on machines without an address of IPv6, too.
    """
    server = HealthServer(0, dict, dict, bytes, "::ffff:127.0.0.1")
    server.start()
    try:
        assert server.address.startswith("[::ffff:127.0.0.1]:")
        assert _get(server.address, "/health/live")[0] == 200
    finally:
        server.stop()


def test_a_probe_gets_in_beside_any_number_of_slow_clients():
    """Each of them held a thread for as long as it sent a byte now and then."""
    server = HealthServer(0, dict, dict, bytes, "127.0.0.1")
    server.start()
    host, _, port = server.address.rpartition(":")
    slow = []
    try:
        for _ in range(150):
            slow.append(socket.create_connection((host, int(port)), 5))
            slow[-1].sendall(b"GET /he")

        assert _get(server.address, "/health/live")[0] == 200
        assert slow[0].recv(1) == b""  # who has taken longest made room
        until = time.monotonic() + 10
        while threading.active_count() > 130 and time.monotonic() < until:
            time.sleep(0.05)
        assert threading.active_count() <= 130
    finally:
        for client in slow:
            client.close()
        server.stop()


def test_a_client_that_sends_its_question_drop_by_drop_is_cut_off():
    server = HealthServer(0, dict, dict, bytes, "127.0.0.1", longest_seconds=0.2)
    server.start()
    host, _, port = server.address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), 5) as client:
            for byte in b"GET /health/live HTTP/1.1\r\n" + b"X: y\r\n" * 10:
                try:
                    client.sendall(bytes([byte]))
                except OSError:
                    break
                time.sleep(0.05)
            else:
                pytest.fail("it was listened to for seconds")
    finally:
        server.stop()


def test_a_client_that_says_nothing_holds_up_no_end():
    """A worker told to end waited for whoever had asked half a question."""
    server = HealthServer(0, dict, dict, bytes, "127.0.0.1")
    server.start()
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), 5) as client:
        client.sendall(b"GET /he")
        assert _get(server.address, "/health/live")[0] == 200  # it is served by now

        server.stop()

        client.settimeout(0.01)
        with pytest.raises(TimeoutError):  # its thread waits for more still
            client.recv(1)


def test_a_loop_that_stands_still_is_not_alive():
    clock = iter([0.0, 10.0, 100.0])
    progress = Progress(60.0, now=lambda: next(clock))

    assert progress.problems() == {}
    assert progress.problems() == {"progress": "none for 100 s"}
