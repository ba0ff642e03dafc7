"""
Every metric, declared once: name, type, labels and meaning.

Instruments are made when a process starts, not at import, because prometheus_client decides
between one process and many (a Celery worker and its children) by the environment it finds.
Ids never become labels: their number has no bound.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from claimx.domain.ports.telemetry import Metric
from claimx.telemetry import counts_folder

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


@dataclass(frozen=True, slots=True)
class Declaration:
    """A metric as people read it; the exported name is ``claimx_`` + name (+ ``_total``)."""

    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


METRICS: Mapping[Metric, Declaration] = {
    "processed": Declaration("counter", ("stage",), "Records that a stage finished."),
    "failed": Declaration("counter", ("stage", "category"), "Runs that failed, by category."),
    "retried": Declaration("counter", ("stage",), "Records sent to a later try."),
    "dead": Declaration("counter", ("stage", "category"), "Records given up on."),
    "dead_letters": Declaration("gauge", ("kind",), "Dead letters that nobody has requeued."),
    "admitted": Declaration("counter", ("kind",), "Events that ingest admitted."),
    "duplicates": Declaration("counter", ("layer",), "Events dropped as known, by dedup layer."),
    "unhandled": Declaration("counter", ("type",), "Events of a type that has no handler."),
    "unconverted": Declaration("counter", ("table", "column"), "Values that became null."),
    "api_calls": Declaration("counter", ("call", "outcome"), "Calls of the ClaimX API."),
    "media_bytes": Declaration("counter", ("direction",), "Bytes of media moved."),
    "poll_rows": Declaration("counter", ("cursor",), "Rows that the source returned."),
    "poll_lag_seconds": Declaration("gauge", ("cursor",), "How far behind the source is read."),
    "poll_until_seconds": Declaration("gauge", (), "Ingestion time up to which it is read."),
    "catch_up_seconds": Declaration(
        "gauge", (), "Source time that the live poll set aside and that is not read yet."
    ),
    "catch_up_rows": Declaration("gauge", (), "About how many rows are in it."),
    "stage_seconds": Declaration("histogram", ("stage",), "Time a chunk took in a stage."),
    "flush_seconds": Declaration("histogram", ("table",), "Time a flush of a table took."),
    "flush_rows": Declaration("counter", ("table",), "Rows flushed."),
    "fold_seconds": Declaration(
        "histogram", ("table",), "Time a large table took to take in what waited beside it."
    ),
    "fold_changes": Declaration("gauge", ("table",), "Changes that wait beside a large table."),
    "fold_wait_seconds": Declaration("gauge", ("table",), "How long the oldest of them has."),
    "event_lag_seconds": Declaration("histogram", (), "An event's own time to its commit."),
    "depth": Declaration("gauge", ("stage",), "Active records of a stage."),
    "redriven": Declaration("counter", ("stage",), "Hints sent again by the redriver."),
    "reconcile_missing": Declaration("gauge", ("table",), "Rows found missing, not yet mended."),
    "reconcile_extra": Declaration("gauge", ("table",), "Rows found that nothing accounts for."),
    "reconcile_doubled": Declaration("gauge", ("table",), "Keys found in more than one row."),
    "reconcile_until_seconds": Declaration("gauge", (), "Ingestion time that beat has reconciled."),
}
if set(METRICS) != set(get_args(Metric)):  # a typo in either list fails at the first import
    raise AssertionError(set(METRICS) ^ set(get_args(Metric)))


def checked(name: Metric, labels: Mapping[str, str]) -> Declaration:
    """Return the declaration; raises ValueError when the labels are not the declared ones."""
    declaration = METRICS[name]
    if set(labels) != set(declaration.labels):
        raise ValueError(f"metric {name} has labels {declaration.labels}, not {tuple(labels)}")
    return declaration


class RecordedMetrics:
    """Metrics kept in memory, for tests."""

    def __init__(self) -> None:
        self.values: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.observed: dict[tuple[str, tuple[str, ...]], list[float]] = {}

    def add(self, name: Metric, value: float = 1, **labels: str) -> None:
        """Count up."""
        checked(name, labels)
        self.values[name, tuple(labels.values())] += value  # type: ignore[assignment]  # a Counter of floats

    def observe(self, name: Metric, value: float, **labels: str) -> None:
        """Put a value into a histogram; the newest 1000 are kept."""
        checked(name, labels)
        kept = self.observed.setdefault((name, tuple(labels.values())), [])
        kept.append(value)
        del kept[:-1000]

    def observe_all(self, name: Metric, values: Sequence[float], **labels: str) -> None:
        """Put values into a histogram, each as `observe` does."""
        for value in values:
            self.observe(name, value, **labels)

    def set(self, name: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        checked(name, labels)
        self.values[name, tuple(labels.values())] = value  # type: ignore[assignment]  # a Counter of floats


class PrometheusMetrics:
    """The declared metrics as Prometheus instruments of one process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        import prometheus_client
        from prometheus_client import values

        # Celery's command line may have imported prometheus_client (through Flower's plug-in)
        # before the worker set its folder, so the choice is made again here.
        counts_folder.there()
        values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]  # the library is untyped there
        self.registry = registry or prometheus_client.CollectorRegistry()
        self._seen: dict[tuple[str, str], set[str]] = {}
        self._instruments: dict[str, Any] = {}
        self._children: dict[tuple[Any, ...], Any] = {}
        self._unset: dict[str, Any] = {}  # a gauge tells nothing before it is set, not a 0
        for name, declaration in METRICS.items():
            arguments: dict[str, Any] = {"registry": self.registry}
            match declaration.type:
                case "counter":
                    kind: Any = prometheus_client.Counter
                case "gauge":
                    kind = prometheus_client.Gauge
                    arguments["multiprocess_mode"] = "mostrecent"
                    if not declaration.labels:
                        arguments["registry"] = None
                case "histogram":
                    kind = prometheus_client.Histogram
                    arguments["buckets"] = _SECONDS
            self._instruments[name] = kind(
                f"claimx_{name}", declaration.meaning, declaration.labels, **arguments
            )
            if arguments["registry"] is None:
                self._unset[name] = self._instruments[name]

    def add(self, name: Metric, value: float = 1, **labels: str) -> None:
        """Count up."""
        self._labelled(name, labels).inc(value)

    def observe(self, name: Metric, value: float, **labels: str) -> None:
        """Put a value into a histogram."""
        self._labelled(name, labels).observe(value)

    def observe_all(self, name: Metric, values: Sequence[float], **labels: str) -> None:
        """Put values into a histogram: what the library's `observe` does to each, once a bucket."""
        histogram = self._labelled(name, labels)
        histogram._sum.inc(sum(values))  # noqa: SLF001 - it has no way for many
        bounds, buckets = histogram._upper_bounds, histogram._buckets  # noqa: SLF001 - as above
        for at, many in Counter(bisect_left(bounds, value) for value in values).items():
            buckets[at].inc(many)

    def set(self, name: Metric, value: float, **labels: str) -> None:
        """Set a gauge."""
        self._labelled(name, labels).set(value)

    def _labelled(self, name: Metric, labels: dict[str, str]) -> Any:
        key = (name, *labels.items())
        found = self._children.get(key)
        if found is None:
            checked(name, labels)
            found = self._instruments[name]
            if unset := self._unset.pop(name, None):
                self.registry.register(unset)
            bounded = {key: self._bounded(name, key, value) for key, value in labels.items()}
            if bounded:
                found = found.labels(**bounded)
            if bounded == labels:  # as many as there may be; what is told as "other" has no bound
                self._children[key] = found
        return found

    def _bounded(self, name: str, label: str, value: str) -> str:
        seen = self._seen.setdefault((name, label), set())
        if value in seen or len(seen) < counts_folder.MOST_VALUES:
            seen.add(value)
            return value
        return counts_folder.OTHER


_reading = threading.Lock()  # probes and the cycle line read the children's files


def exposition(metrics: PrometheusMetrics) -> bytes:
    """Return what a scrape gets: this process's metrics, and its children's where there are any."""
    import prometheus_client
    from prometheus_client import multiprocess

    if folder := counts_folder.there():
        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]  # the library is untyped there
        with _reading:
            counts_folder.merge_ended(folder)
            return prometheus_client.generate_latest(registry)
    return prometheus_client.generate_latest(metrics.registry)


def totals(metrics: PrometheusMetrics) -> dict[str, float]:
    """Return the sums of all counters by metric name, children included, for the cycle line."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, float] = {}
    for family in text_string_to_metric_families(exposition(metrics).decode()):
        if family.type == "counter":
            name = family.name.removeprefix("claimx_")
            found[name] = found.get(name, 0.0) + sum(
                sample.value for sample in family.samples if sample.name.endswith("_total")
            )
    return found
