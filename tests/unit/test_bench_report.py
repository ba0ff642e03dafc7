"""From runs to the line that a benchmark ends with."""

from __future__ import annotations

from pipelines.framework import Cost
from pipelines.lag import Lag
from pipelines.measure import Run
from pipelines.report import MEDIA, NO_MEDIA, Results, summary, table


def a_run(name, rate, cpu=1.0, redis_cpu=0.0, **more):
    return Run(name, 1000, files=0, rate=rate, cpu=cpu, redis_cpu=redis_cpu, seconds=1.0, more=more)


def a_round(mix, **rates):
    return {(mix, name): a_run(name, rate) for name, rate in rates.items()}


def test_a_ratio_is_taken_within_each_round():
    """A machine at half its pace slows both, and says nothing of either."""
    rounds = [
        a_round(NO_MEDIA, floor=1000.0, claimx=900.0),
        a_round(NO_MEDIA, floor=500.0, claimx=450.0),
        a_round(NO_MEDIA, floor=100.0, claimx=200.0),
    ]

    assert summary(Results(rounds))["ratio_floor_nomedia"] == 0.9


def test_what_was_not_measured_is_null():
    assert set(summary(Results([a_round(MEDIA, floor=1.0)])).values()) == {None}


def test_cpu_is_compared_with_media_redis_apart_and_with_it():
    """Redis works for claimx alone; the issue's figure has it apart."""
    one = {
        (MEDIA, "floor"): a_run("floor", 1.0, cpu=2.0),
        (MEDIA, "claimx"): a_run("claimx", 1.0, cpu=3.0, redis_cpu=0.5),
    }

    assert summary(Results([one]))["cpu_ratio_floor_media"] == 1.5
    assert "CPU of the floor's with media: 1.5, with Redis' 1.75" in table(Results([one]))


def test_the_lag_is_that_at_300_events_a_second():
    lags = [Lag(rate, p50=1.0, p95=rate / 100, p99=9.0, most=9.0, cores=1.0) for rate in (100, 300)]

    assert summary(Results(lags=lags))["lag_p95_s"] == 3.0


def test_the_table_has_a_line_for_each_mix_and_contender():
    results = Results(
        [a_round(MEDIA, floor=10.0, claimx=9.0), a_round(MEDIA, floor=12.0)],
        costs=[Cost(10, 99.6, 120.0, redis_us_per_event=50.0, idle_cores=0.1, rate=1.0)],
        failures=["round 2: claimx is late"],
    )

    lines = table(results).splitlines()

    assert lines[2].startswith("| media | floor | 1000 | 11 (10 to 12) | 1.00 (1.00 to 1.00) |")
    assert lines[3].startswith("| media | claimx | 1000 | 9 |")
    assert "framework: 100 µs CPU an event" in table(results)
    assert lines[-1] == "FAILED: round 2: claimx is late"


def test_what_redis_held_in_flight_is_told():
    held = {"redis_bytes_in_flight": 940.0, "most_in_flight": 700, "redis_peak_mb": 12.5}
    rounds = [{(MEDIA, "claimx"): a_run("claimx", 1.0, **held)}, a_round(MEDIA, floor=1.0)]

    lines = table(Results(rounds)).splitlines()

    assert lines[-1].startswith("media: Redis holds 940 bytes for each record in flight")
