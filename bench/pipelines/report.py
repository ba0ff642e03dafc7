"""From runs to the table and to the line that both benchmarks end with."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pipelines.framework import Cost
from pipelines.lag import Lag
from pipelines.measure import Run
from pipelines.mixes import MEDIA, MIXES, NO_MEDIA

Round: TypeAlias = dict[tuple[str, str], Run]
"""One run for each mix and contender."""

LAG_RATE = 300
_OF_REDIS = ("redis_bytes_in_flight", "most_in_flight", "redis_peak_mb")
_HEADS = (
    "mix",
    "contender",
    "events",
    "events/s",
    "CPU s/1000 events",
    "Redis CPU s/1000 events",
    "sandbox's cores",
    "calls/event",
    "peak MB by process",
    "s to first call",
    "s from it to the last commit",
)


@dataclass
class Results:
    """All that was measured; what failed is missing."""

    rounds: list[Round] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    lags: list[Lag] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def summary(results: Results) -> dict[str, float | None]:
    """
    Return the medians over rounds, None where nothing was measured.

    A ratio is taken within each round, because this machine's pace drifts from one to the next.
    """
    lags = [lag.p95 for lag in results.lags if lag.rate == LAG_RATE]
    return {
        "ratio_floor_media": _ratio(results, MEDIA, "floor", _rate),
        "ratio_floor_nomedia": _ratio(results, NO_MEDIA, "floor", _rate),
        "ratio_naive": _ratio(results, NO_MEDIA, "naive", _rate),
        "ratio_dlt": _ratio(results, NO_MEDIA, "dlt", _rate),
        "cpu_ratio_floor_media": _ratio(results, MEDIA, "floor", _cpu),
        "framework_us_per_event": _median([cost.us_per_event for cost in results.costs], 1),
        "lag_p95_s": _median(lags, 2),
    }


def table(results: Results) -> str:
    """Return the figures as Markdown, medians with the least and the greatest."""
    lines = [f"| {' | '.join(_HEADS)} |", "| --- " * len(_HEADS) + "|"]
    for mix in MIXES:
        for name in dict.fromkeys(n for one in results.rounds for m, n in one if m == mix):
            runs = [one[mix, name] for one in results.rounds if (mix, name) in one]
            lines.append(f"| {mix} | {name} | {_cells(runs)} |")
    lines += _redis(results)
    if (beside := _ratio(results, MEDIA, "floor", _whole_cpu)) is not None:
        apart = _ratio(results, MEDIA, "floor", _cpu)
        lines.append(f"\nCPU of the floor's with media: {apart}, with Redis' {beside}")
    lines += [
        f"\nframework: {cost.us_per_event:.0f} µs CPU an event"
        f" ({cost.gross_us_per_event:.0f} with the {cost.idle_cores:.2f} cores of idle processes),"
        f" Redis {cost.redis_us_per_event:.0f}, {cost.rate:.0f} events/s, {cost.events} events"
        for cost in results.costs
    ]
    lines += [
        f"\nlag at {lag.rate:g} events/s: p50 {lag.p50:.1f} s, p95 {lag.p95:.1f} s,"
        f" p99 {lag.p99:.1f} s, at most {lag.most:.1f} s, on {lag.cores:.2f} cores"
        for lag in results.lags
    ]
    lines += [f"\nFAILED: {failure}" for failure in results.failures]
    return "\n".join(lines)


def _redis(results: Results) -> list[str]:
    """Return what Redis held while most was in flight, of each mix."""
    lines = []
    for mix in MIXES:
        runs = [one[mix, "claimx"] for one in results.rounds if (mix, "claimx") in one]
        told = [run.more for run in runs if all(name in run.more for name in _OF_REDIS)]
        if told:
            size, most, peak = (
                _spread([float(one[name]) for one in told], 0) for name in _OF_REDIS
            )
            lines.append(
                f"\n{mix}: Redis holds {size} bytes for each record in flight (an event or a file),"
                f" with {most} of them; {peak} MB at the most"
            )
    return lines


def _cells(runs: Sequence[Run]) -> str:
    peaks: dict[str, float] = {}
    for run in runs:
        for name, peak in run.peaks.items():
            if name not in ("sandbox", "others"):
                peaks[name] = max(peak, peaks.get(name, 0.0))
    counts = runs[-1].counts
    memory = ", ".join(
        f"{name}{f' (of {counts[name]})' if counts.get(name, 1) > 1 else ''} {peak:.0f}"
        for name, peak in sorted(peaks.items())
    )
    return " | ".join(
        [
            str(runs[-1].events),
            _spread([run.rate for run in runs], 0),
            _spread([_cpu(run) for run in runs], 2),
            _spread([1000 * run.redis_cpu / run.events for run in runs], 2),
            _spread([run.sandbox_cpu / run.seconds for run in runs], 2),
            _spread([run.calls / run.events for run in runs], 2),
            memory,
            _spread([run.started for run in runs], 1),
            _spread([run.seconds for run in runs], 1),
        ]
    )


def _spread(values: Sequence[float], digits: int) -> str:
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _ratio(results: Results, mix: str, other: str, of: Callable[[Run], float]) -> float | None:
    return _median(
        [
            of(one[mix, "claimx"]) / of(one[mix, other])
            for one in results.rounds
            if {(mix, "claimx"), (mix, other)} <= one.keys()
        ],
        3,
    )


def _median(values: Sequence[float], digits: int) -> float | None:
    return round(statistics.median(values), digits) if values else None


def _rate(run: Run) -> float:
    return run.rate


def _cpu(run: Run) -> float:
    """CPU seconds for 1000 events, Redis apart."""
    return 1000 * run.cpu / run.events


def _whole_cpu(run: Run) -> float:
    """The same over all processes: who needs a Redis pays for it."""
    return 1000 * (run.cpu + run.redis_cpu) / run.events


def as_json(results: Results) -> dict[str, Any]:
    """Return everything as JSON values."""
    return {
        "rounds": [
            [{"mix": mix, **vars(run)} for (mix, _), run in one.items()] for one in results.rounds
        ],
        "framework": [vars(cost) for cost in results.costs],
        "lag": [vars(lag) for lag in results.lags],
        "failures": results.failures,
        "summary": summary(results),
    }
