"""Redis that is away, or answers nobody: processes end when they are told to, and say how it is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests
from pipeline_rig import Rig, assert_as_it_must_be

from claimx.cli.stack import free_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(150),
    pytest.mark.xdist_group("waiting pipeline"),
]

GRACE = 25.0  # what hosts give at least


@contextmanager
def without_redis(rig: Rig, how: str) -> Iterator[None]:
    """Let Redis be gone, or frozen: connections stay open then, and nothing answers."""
    if how == "gone":
        rig.stop_redis()
        yield
        return
    pid = rig.client.info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def probe(address: str, what: str, seconds: float = 20.0) -> int:
    return requests.get(f"http://{address}/health/{what}", timeout=seconds).status_code


@pytest.mark.parametrize("how", ["frozen", "gone"])
def test_beat_ends_when_it_is_told_to_without_redis(tmp_path, how):
    """Its lock cannot be given back then, and ends by itself; nobody asks a second time."""
    with Rig(tmp_path, "--events", "100") as rig:
        beat = rig.process("beat")
        rig.until_announced("beat")
        with without_redis(rig, how):
            time.sleep(3)  # in the midst of a tick that waits

            beat.terminate()
            status = beat.wait(GRACE)

        assert status == 0, rig.tails()
        assert "Traceback" not in rig.text_of_log("beat")


@pytest.mark.parametrize("how", ["frozen", "gone"])
def test_web_ends_when_it_is_told_to_without_redis(tmp_path, how):
    """Flower's threads ask for the broker for ever, and Python waits for threads."""
    port = str(free_port())
    with Rig(tmp_path, "--events", "100", settings={"PORT": port}) as rig:
        web = rig.process("web")
        announced = rig.until_announced("web")["web"]["health"]
        rig.until("Flower to be up", lambda: probe(announced, "live") == 200)
        with without_redis(rig, how):
            with suppress(requests.RequestException):  # it asks the workers
                requests.get(f"http://127.0.0.1:{port}/workers?refresh=1", timeout=3)

            web.terminate()
            status = web.wait(GRACE)

        assert status == 0, rig.tails()


def test_a_redis_that_hangs_is_told_of_within_seconds(tmp_path):
    """Work waits for minutes; whoever asks how things are must not."""
    with Rig(tmp_path, "--events", "100", settings={"PORT": str(free_port())}) as rig:
        rig.processes("worker", "beat", "writer", "web")
        found = rig.until_announced("worker", "beat", "writer", "web")
        rig.until("Flower to be up", lambda: probe(found["web"]["health"], "live") == 200)
        with without_redis(rig, "frozen"):
            for role, one in found.items():
                assert (role, probe(one["health"], "ready")) == (role, 503)
                assert (role, probe(one["health"], "live")) == (role, 200)
            for words in (("status",), ("dlq", "ls"), ("doctor", "--only", "redis")):
                began = time.monotonic()
                answer = rig.claimx(*words)
                assert time.monotonic() - began < 30, words
                assert answer.status == (7 if "doctor" in words else 5), answer
                assert "Redis at 127.0.0.1" in answer.err + answer.out

        for one in found.values():
            rig.until("Redis to be back", lambda: probe(one["health"], "ready") == 200)  # noqa: B023


def test_processes_that_wait_for_redis_at_their_start_answer_probes(tmp_path):
    """Otherwise a probe restarts them for as long as Redis is away."""
    ports = {name: str(free_port()) for name in ("worker", "beat", "writer")}
    rig = Rig(tmp_path, "--events", "100")
    try:
        rig.start(with_redis=False)
        for name, port in ports.items():
            rig.process(name, CLAIMX_HEALTH_PORT=port)
        for name, port in ports.items():
            address = f"127.0.0.1:{port}"
            rig.until(f"{name} to live", lambda: probe(address, "live") == 200)  # noqa: B023
            assert probe(address, "ready") == 503
            assert requests.get(f"http://{address}/metrics", timeout=20).status_code == 200

        rig.start_redis()

        found = rig.until_announced(*ports)
        for name, port in ports.items():
            assert found[name]["health"] == f"127.0.0.1:{port}"
            assert probe(found[name]["health"], "ready") == 200
    finally:
        rig.stop()


def test_a_primary_that_is_a_replica_for_a_while_ends_no_worker(tmp_path):
    """In a failover workers ended of the first refused write; one that stayed took nothing more."""
    with Rig(tmp_path, "--events", "300", "--rate", "60") as rig:
        rig.processes("worker", "beat", "writer")
        rig.until("work to be under way", lambda: rig.status().active["event"])

        rig.client.replicaof("127.0.0.1", free_port())
        time.sleep(5)
        rig.client.replicaof("NO", "ONE")

        rig.until_done()
        assert [one.status for one in rig.running] == [None] * 3, rig.tails()
        assert_as_it_must_be(rig)
