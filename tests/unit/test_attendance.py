"""What probes hear of a process that stands still: it depends on what it waits for."""

from __future__ import annotations

import os
import signal

import pytest

from claimx import startup
from claimx.attendance import Attendance
from claimx.cli.stack import free_port
from claimx.settings import Settings

LONG = 100.0  # longer than a loop may stand still


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def attended():
    """Makes what stands beside a process; the first thing its loop does is to stand still."""

    def make(url: str) -> tuple[Attendance, Clock]:
        startup.forget_everything()
        clock = Clock()
        return Attendance("test", Settings.load({"REDIS_URL": url}), now=clock), clock

    yield make
    startup.forget_everything()


def test_who_stands_still_is_restarted(attended, redis_url):
    one, clock = attended(redis_url)

    clock.now += LONG

    assert one.live() == {"progress": "none for 100 s"}


def test_who_waits_for_redis_is_alive_and_has_its_time_anew_when_it_is_back(
    attended, redis_server, redis_client
):
    """A restart would not bring Redis back, and all workers would begin anew in each outage."""
    one, clock = attended(redis_server.connection_url)
    server = redis_client.info("server")["process_id"]
    os.kill(server, signal.SIGSTOP)
    try:
        clock.now += LONG
        during = one.live()
    finally:
        os.kill(server, signal.SIGCONT)
    clock.now += 50
    after = one.live()
    clock.now += LONG

    assert (during, after) == ({}, {})
    assert one.live()


def test_a_redis_that_refuses_is_away_as_well(attended):
    one, clock = attended(f"redis://127.0.0.1:{free_port()}/0")

    clock.now += LONG

    assert one.live() == {}


def test_a_beat_that_waits_for_the_lock_of_another_is_alive(attended, redis_url):
    """It takes over when the other is gone, which may be never."""
    one, clock = attended(redis_url)
    waits = [True, False]
    one.excuse(lambda: waits.pop(0))

    clock.now += LONG
    waiting = one.live()
    clock.now += LONG

    assert waiting == {}
    assert one.live()
