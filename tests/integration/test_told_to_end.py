"""A process that has not begun its work ends when it is told to, with nothing to clean up."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from needed import needed

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("waiting pipeline")]

ROOT = Path(__file__).parents[2]
WRITER = ("claimx.writer",)
WORKER = ("celery", "-A", "claimx", "worker")
BEAT = ("celery", "-A", "claimx", "beat")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (WRITER, signal.SIGTERM),
        (WRITER, signal.SIGINT),
        (WORKER, signal.SIGTERM),
        (BEAT, signal.SIGTERM),
    ],
    ids=["writer", "writer by hand", "worker", "beat"],
)
def test_a_process_that_waits_for_redis_ends_well_when_it_is_told_to(tmp_path, words, told):
    """
    It waits for ten minutes; a host that stops it would kill it after half a one.

    So would a container's, whose first process hears no signal that it has no handler for. That it
    cannot listen for probes is told, and stops nothing.
    """
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        environment = {
            **os.environ,
            **needed(f"redis://127.0.0.1:{taken.getsockname()[1]}/0", tmp_path),
            "PYTHONPATH": str(ROOT),
            "CLAIMX_HEALTH_HOST": "192.0.2.1",  # nobody's (RFC 5737): it cannot listen there
            "CLAIMX_HEALTH_PORT": "0",
        }
        with subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                said = []
                for line in process.stdout:
                    said.append(line)
                    if "waiting for Redis" in line:
                        break
                process.send_signal(told)
                assert process.wait(timeout=60) == 0, said
                assert any("cannot listen" in line for line in said)
            finally:
                process.kill()
