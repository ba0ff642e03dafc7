"""The pipeline behind a real Sentinel: the URL's form is Celery's, RedBeat's and our own."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress

import pytest
import redis
import requests
from pipeline_rig import Rig

from claimx.cli.stack import free_port
from claimx.cli.stack_redis import redis_command

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(120),
    pytest.mark.xdist_group("waiting pipeline"),
]

PASSWORD = "p/w@1"


@pytest.fixture
def sentinel(tmp_path):
    """A master with a password, and one Sentinel that watches it; returns the Sentinel's port."""
    master, port = free_port(), free_port()
    command = redis_command(master, tmp_path / "master")
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n"
        f"sentinel monitor claims 127.0.0.1 {master} 1\n"
        f"sentinel auth-pass claims {PASSWORD}\n"
    )
    started = [
        subprocess.Popen(line, stdout=subprocess.DEVNULL)
        for line in ([*command, "--requirepass", PASSWORD], [command[0], str(config), "--sentinel"])
    ]
    try:
        wait_for(redis.Redis(port=master, password=PASSWORD))
        wait_for(redis.Redis(port=port))
        yield port
    finally:
        for one in reversed(started):
            one.kill()
            one.wait(10)


def wait_for(client: redis.Redis) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(redis.RedisError):
            client.ping()
            return
        time.sleep(0.05)
    raise AssertionError(client)


def test_a_tick_of_beat_reaches_a_worker_behind_a_sentinel(tmp_path, sentinel):
    """
    One of the Sentinels is away, and what the master is opened with stands at the last of them.

    Celery wants the master's name beside the URL, and RedBeat reads no such URL.
    """
    port = str(free_port())
    settings = {
        "REDIS_URL": f"sentinel://127.0.0.1:{free_port()};"
        f"sentinel://:p%2Fw%401@127.0.0.1:{sentinel}/2",
        "CLAIMX_REDIS_SENTINEL_MASTER": "claims",
        "PORT": port,
    }
    rig = Rig(tmp_path, "--events", "100", settings=settings)
    try:
        rig.start(with_redis=False)
        rig.processes("worker", "beat", "web")

        rig.until_announced("worker", "beat", "web")
        rig.until("a poll", lambda: rig.status().counters.get("event"))
        page = f"http://127.0.0.1:{port}/workers"
        rig.until("Flower to see it", lambda: "celery@" in requests.get(page, timeout=20).text)
    finally:
        rig.stop()
