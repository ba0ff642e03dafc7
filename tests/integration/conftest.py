"""What several suites of the integration tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import self_signed
from http_echo import LOOPS, Running


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for loopback, with its key."""
    return self_signed(tmp_path_factory.mktemp("tls") / "server.pem")


@pytest.fixture(params=["asyncio", "uvloop", "uvloop tls"])
def running(request: pytest.FixtureRequest, certificate: Path) -> Iterator[Running]:
    """The sandbox's HTTP over a service that repeats what it was asked."""
    loop, _, tls = request.param.partition(" ")
    it = Running(LOOPS[loop], certificate if tls else None)
    yield it
    it.stop()
