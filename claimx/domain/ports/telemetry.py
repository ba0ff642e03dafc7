"""Measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

Metric: TypeAlias = Literal[
    "processed",
    "failed",
    "retried",
    "dead",
    "dead_letters",
    "admitted",
    "duplicates",
    "unhandled",
    "unconverted",
    "api_calls",
    "media_bytes",
    "poll_rows",
    "poll_lag_seconds",
    "poll_until_seconds",
    "stage_seconds",
    "flush_seconds",
    "flush_rows",
    "fold_seconds",
    "fold_changes",
    "fold_wait_seconds",
    "event_lag_seconds",
    "catch_up_seconds",
    "catch_up_rows",
    "depth",
    "redriven",
    "reconcile_missing",
    "reconcile_extra",
    "reconcile_doubled",
    "reconcile_until_seconds",
]


class Metrics(Protocol):
    """Measurements, declared once in `claimx.telemetry.metrics` with type, labels and meaning."""

    def add(self, name: Metric, value: float = 1, **labels: str) -> None:
        """Count up."""

    def observe(self, name: Metric, value: float, **labels: str) -> None:
        """Put a value into a histogram."""

    def observe_all(self, name: Metric, values: Sequence[float], **labels: str) -> None:
        """Put many values into a histogram, for a fraction of what one costs each."""

    def set(self, name: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
