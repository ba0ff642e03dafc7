"""What is set is what a process does: the settings on their way into what `bootstrap` builds."""

from __future__ import annotations

import contextlib
import json
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from claimx import bootstrap, startup, workers
from claimx.domain.errors import Unavailable, Unreadable
from claimx.domain.retry import RetryPolicy
from claimx.redis_clients import redis_of
from claimx.services.runtime import Limits
from claimx.settings import Settings

pytestmark = pytest.mark.integration

PACKAGE = Path(bootstrap.__file__).parent


@pytest.fixture(autouse=True)
def anew():
    """What a process builds it keeps; no other test may meet it."""
    startup.forget_everything()
    yield
    workers.close_workshop()
    startup.forget_everything()


class Vendor(ThreadingHTTPServer):
    """An API that answers everything with a list of blanks after *pause*, and keeps what it got."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Asked)
        self.pause = 0.0
        self.blanks = 0
        self.requests = []


class _Asked(BaseHTTPRequestHandler):
    server: Vendor

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, self.headers["Authorization"], body))
        time.sleep(self.server.pause)
        if self.server.pause:  # nobody waits any more
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.server.blanks + 2))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # of an answer that is too long nothing is read
            self.wfile.write(b"[" + b" " * self.server.blanks + b"]")

    do_GET = do_POST  # noqa: N815 - the name that is looked for

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def vendor():
    with Vendor() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_every_setting_is_read_somewhere():
    """One that is only declared would be printed, documented, and do nothing."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "settings.py"]
    sources.append((PACKAGE.parent / "celeryconfig.py").read_text())
    read = set(re.findall(r"settings(?:\(\))?\.(\w+)", " ".join(sources)))

    assert set(Settings.model_fields) - read - {"domain"} == set()


def test_limits_and_back_off_are_as_they_were_set():
    said = {
        "CLAIMX_POLL_BATCH_SIZE": "11",
        "CLAIMX_POLL_OVERLAP_SECONDS": "12",
        "CLAIMX_POLL_SETTLE_SECONDS": "13",
        "CLAIMX_POLL_INTERVAL_SECONDS": "14",
        "CLAIMX_POLL_START": "15m",
        "CLAIMX_DEDUP_WINDOW_HOURS": "16",
        "CLAIMX_MAX_IN_FLIGHT": "17",
        "CLAIMX_PROJECT_FRESH_SECONDS": "18",
        "CLAIMX_API_CONCURRENCY": "19",
        "CLAIMX_DOWNLOAD_CONCURRENCY": "20",
        "CLAIMX_UPLOAD_CONCURRENCY": "21",
        "CLAIMX_BATCH_ROWS": "22",
        "CLAIMX_BATCH_SECONDS": "23",
        "CLAIMX_MAX_RETRIES": "1",
        "CLAIMX_RETRY_BASE_SECONDS": "2",
        "CLAIMX_RETRY_MAX_SECONDS": "3",
        "CLAIMX_WAIT_MAX_HOURS": "4",
    }

    runtime = bootstrap.build_runtime(Settings.load(said))

    assert runtime.retry == RetryPolicy(1, 2.0, 3.0, 4 * 3600.0)
    assert runtime.limits == Limits(
        poll_batch=11,
        poll_overlap=12.0,
        poll_settle=13.0,
        poll_interval=14.0,
        poll_start=15 * 60.0,
        dedup_seconds=16 * 3600.0,
        max_in_flight=17,
        project_fresh=18.0,
        api_concurrency=19,
        download_concurrency=20,
        upload_concurrency=21,
        batch_rows=22,
        batch_seconds=23.0,
    )


def test_a_circuit_opens_and_closes_as_it_was_set(redis_url):
    said = {
        "REDIS_URL": redis_url,
        "CLAIMX_CIRCUIT_FAILURES": "2",
        "CLAIMX_CIRCUIT_OPEN_SECONDS": "0.5",
        "CLAIMX_CIRCUIT_TRIALS": "4",
        "CLAIMX_CIRCUIT_SUCCESSES": "3",
    }
    circuit = bootstrap.gates_of(Settings.load(said)).circuit("api")

    circuit.report(0, 1)
    before = circuit.permit(1)[0]
    circuit.report(0, 1)
    opened = circuit.permit(1)[0]
    time.sleep(0.51)
    trials = circuit.permit(9)[0]
    circuit.report(2, 0)
    after_two = circuit.permit(9)[0]
    circuit.report(1, 0)

    assert (before, opened, trials, after_two) == (1, 0, 4, 0)
    assert circuit.permit(9) == (9, 0.0)


def test_the_api_is_called_as_it_was_set(redis_url, vendor, tmp_path):
    said = {
        "REDIS_URL": redis_url,
        "CLAIMX_ALLOW_LOOPBACK": "yes",
        "CLAIMX_API_URL": f"http://127.0.0.1:{vendor.server_port}/rest",
        "CLAIMX_API_TOKEN": "c2VjcmV0",
        "CLAIMX_API_SENDER_USERNAME": "sender",
        "CLAIMX_API_MEDIA_FILTER": "mediaId",
        "CLAIMX_API_TIMEOUT_SECONDS": "1.5",
        "CLAIMX_API_MAX_ANSWER_BYTES": str(1024**2),
        "CLAIMX_API_RATE_LIMIT_PER_SECOND": "200",
        "ONELAKE_CLAIMX_PATH": str(tmp_path / "media"),
        "CACHE_DIR": str(tmp_path / "cache"),
    }
    settings = Settings.load(said)
    workshop = workers.build_workshop(settings, bootstrap.build_runtime(settings))
    startup.keep("workshop", workshop)

    workshop._loop.run(workshop._api.media("7", ["1", "2"]))
    rates = list(redis_of(settings).scan_iter("*tokens*"))  # at once, for they live for a second
    workshop._loop.run(workshop._api.video_report("7"))
    vendor.blanks = 1024**2
    with pytest.raises(Unreadable, match="CLAIMX_API_MAX_ANSWER_BYTES"):
        workshop._loop.run(workshop._api.media("7"))
    vendor.pause = 10.0
    with pytest.raises(Unavailable, match="in time"):
        workshop._loop.run(workshop._api.project("7"))

    (media, token, _), (_, _, report), _, _ = vendor.requests
    assert media == "/rest/export/project/7/media?mediaId=1,2"
    assert token == "Basic c2VjcmV0"
    assert json.loads(report)["senderUsername"] == "sender"
    assert rates, "the rate is kept in Redis"
