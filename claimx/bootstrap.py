"""
Settings to Runtime: with `redis_clients` and `workers`, the only maker of real adapters.

Entry points call it when their process starts; each thing is built once a process
(`claimx.startup.once`).
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from claimx.adapters import leaving
from claimx.domain.ports.hints import Hints
from claimx.domain.retry import RetryPolicy
from claimx.domain.tables import TABLES
from claimx.redis_clients import ask_redis, diagnose_redis, ledger_of, redis_of
from claimx.services.hinting import NoHints
from claimx.services.runtime import Limits, Runtime
from claimx.setting_errors import ConfigurationError
from claimx.settings import Settings
from claimx.startup import load_settings, once, process_name

if TYPE_CHECKING:
    from claimx.adapters.credentials import Credentials
    from claimx.adapters.gates import RedisGates
    from claimx.adapters.lake import DeltaLake
    from claimx.adapters.read_ahead import ReadAhead
    from claimx.telemetry.metrics import PrometheusMetrics

_SECONDS_PER_HOUR = 3600.0
_GIVE_UP_SECONDS = 10.0  # beyond the time in which a query to Kusto must have ended


def metrics_of() -> PrometheusMetrics:
    """Return this process's metrics."""
    from claimx.telemetry.metrics import PrometheusMetrics

    return once("metrics", PrometheusMetrics)


def gates_of(settings: Settings) -> RedisGates:
    """Return circuits, slots, locks and announcements."""
    from claimx.adapters.gates import RedisGates
    from claimx.domain.circuit import CircuitSettings

    return once(
        "gates",
        lambda: RedisGates(
            redis_of(settings, quick=True),
            circuit=CircuitSettings(
                failures=settings.circuit_failures,
                open_seconds=settings.circuit_open,
                trials=settings.circuit_trials,
                successes=settings.circuit_successes,
            ),
        ),
    )


def credentials_of(settings: Settings) -> Credentials:
    """Return this process's Azure credentials."""
    from claimx.adapters.credentials import Credentials

    return once(
        "credentials",
        lambda: Credentials([settings.kusto_url, settings.onelake_endpoint, settings.api_url]),
    )


def lake_of(settings: Settings) -> DeltaLake:
    """Return the nine tables; never in a process that forks later, whose children panic."""
    from claimx.adapters.lake import make_lake

    return once(
        "lake",
        lambda: make_lake(
            {name: settings.table_path(name) for name in TABLES},
            settings.onelake_endpoint,
            credentials_of(settings),
        ),
    )


def source_of(settings: Settings) -> ReadAhead:
    """Return the Eventhouse table; raises ConfigurationError when it is not set."""
    from claimx.adapters.kusto import KustoSource
    from claimx.adapters.kusto_client import ANSWER_SECONDS
    from claimx.adapters.read_ahead import ReadAhead

    def make() -> KustoSource:
        plain = settings.kusto_url.startswith("http:")
        try:
            return KustoSource(
                settings.kusto_url,
                settings.kusto_database,
                settings.kusto_table,
                None if plain else credentials_of(settings).token_credential(),
                settings.kusto_timeout,
                gates_of(settings),
            )
        except ValueError as error:
            raise ConfigurationError([str(error)]) from None

    patience = settings.kusto_timeout + ANSWER_SECONDS + _GIVE_UP_SECONDS
    return once("source", lambda: ReadAhead(make, patience))


def build_runtime(settings: Settings, hints: Hints | None = None) -> Runtime:
    """Return a runtime over *settings*; without *hints* the redriver alone sends them."""
    return Runtime(
        ledger=ledger_of(settings),
        gates=gates_of(settings),
        hints=hints or NoHints(),
        metrics=metrics_of(),
        retry=RetryPolicy(
            max_retries=settings.max_retries,
            base_seconds=settings.retry_base,
            max_seconds=settings.retry_max,
            wait_max_seconds=settings.wait_max_hours * _SECONDS_PER_HOUR,
        ),
        limits=Limits(
            poll_batch=settings.poll_batch,
            poll_overlap=settings.poll_overlap,
            poll_settle=settings.poll_settle,
            poll_interval=settings.poll_interval,
            poll_start=settings.poll_start,
            dedup_seconds=settings.dedup_hours * _SECONDS_PER_HOUR,
            max_in_flight=settings.max_in_flight,
            project_fresh=settings.project_fresh,
            api_concurrency=settings.api_concurrency,
            download_concurrency=settings.download_concurrency,
            upload_concurrency=settings.upload_concurrency,
            batch_rows=settings.batch_rows,
            batch_seconds=settings.batch_seconds,
        ),
        now=time.time,
        jitter=random.random,
        holder=process_name(),
        diagnose_store=lambda: diagnose_redis(settings),
        make_lake=lambda: lake_of(settings),
        make_source=lambda: source_of(settings),
        stopping=leaving.watch(),
    )


def runtime(app: Any = None) -> Runtime:
    """Return this process's runtime; with a Celery *app* it sends hints, else the redriver does."""

    def build() -> Runtime:
        settings = load_settings()
        hints: Hints = NoHints()
        if app is not None:
            from claimx.adapters.hints import CeleryHints

            hints = CeleryHints(app, redis_of(settings, quick=True))
        return build_runtime(settings, hints)

    return once("runtime", build)


def operator_runtime() -> Runtime:
    """
    Return the runtime of a command that changes something.

    Raises Unavailable, soon, when Redis does not answer, or takes no writes.
    """
    ask_redis(load_settings())
    return runtime()


def reader_runtime() -> Runtime:
    """Return the runtime of a command that looks; raises Unavailable when Redis does not answer."""
    ask_redis(load_settings(), reads_alone=True)
    return runtime()
