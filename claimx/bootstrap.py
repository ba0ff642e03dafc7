"""
Settings to Runtime: the only module that constructs real adapters.

Entry points call it when their process starts. What is built is kept for the process that built
it: a forked child builds its own, because connections, event loops and deltalake's threads do not
survive a fork.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from claimx.adapters.redis_client import connect, with_tls_checked
from claimx.domain.retry import RetryPolicy
from claimx.services.runtime import Limits, Runtime
from claimx.settings import ConfigurationError, Settings, host_name

if TYPE_CHECKING:
    from claimx.adapters.gates import RedisGates
    from claimx.adapters.ledger import RedisLedger
    from claimx.telemetry.metrics import PrometheusMetrics

T = TypeVar("T")

_EXIT_CONFIGURATION = 4
_built: dict[tuple[int, str], Any] = {}


def environment() -> Mapping[str, str]:
    """Return the process's environment over what a ``.env`` file in the working folder says."""
    from dotenv import dotenv_values

    path = Path(".env")
    from_file = dotenv_values(path) if path.is_file() else {}
    return {**{k: v for k, v in from_file.items() if v is not None}, **os.environ}


def load_settings() -> Settings:
    """Return the settings; wrong ones end the process with a line for each error (status 4)."""
    try:
        return _once("settings", lambda: Settings.load(environment()))
    except ConfigurationError as error:
        for line in error.problems:
            print(f"claimx: {line}", file=sys.stderr)  # noqa: T201 - before logging is set up
        sys.exit(_EXIT_CONFIGURATION)


def broker_url_of(settings: Settings) -> str:
    """Return the broker's URL as Celery wants it."""
    return with_tls_checked(settings.redis_url.get_secret_value())


def metrics_of() -> PrometheusMetrics:
    """Return this process's metrics."""
    from claimx.telemetry.metrics import PrometheusMetrics

    return _once("metrics", PrometheusMetrics)


def _once(name: str, build: Callable[[], T]) -> T:
    """Return what this process built under *name*, building it the first time."""
    key = (os.getpid(), name)
    if key not in _built:
        _built[key] = build()
    found: T = _built[key]
    return found
