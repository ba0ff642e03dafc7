"""Draw what ``bench/pipeline.py`` has written: ``python plot.py RESULTS.json PLOT.svg``."""

from __future__ import annotations

import json
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt

MIXES = ("media", "no-media")


def main(source: Path, target: Path) -> None:
    """Draw events/s of all contenders for each mix, and the lag where it was measured."""
    found = json.loads(source.read_text())
    mpl.rcParams["svg.hashsalt"] = "claimx"  # the same figures give the same file
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    for axis, mix in zip(axes, MIXES, strict=False):
        _rates(axis, mix, found["rounds"])
    _lags(axes[2], found["lag"])
    figure.savefig(target, metadata={"Date": None})


def _rates(axis: Any, mix: str, rounds: list[list[dict[str, Any]]]) -> None:
    rates: dict[str, list[float]] = defaultdict(list)
    for run in (run for one in rounds for run in one if run["mix"] == mix):
        rates[run["name"]].append(run["rate"])
    middles = [statistics.median(values) for values in rates.values()]
    below = [middle - min(values) for middle, values in zip(middles, rates.values(), strict=True)]
    above = [max(values) - middle for middle, values in zip(middles, rates.values(), strict=True)]
    bars = axis.bar(list(rates), middles, yerr=[below, above], color="#5b7fa6", capsize=4)
    axis.bar_label(bars, labels=[f"{middle:.0f}" for middle in middles], padding=6)
    axis.set_title(f"events/s, {mix.replace('-', ' ')}")
    axis.margins(y=0.2)


def _lags(axis: Any, lags: list[dict[str, Any]]) -> None:
    for name in ("p50", "p95", "p99"):
        axis.plot(
            [f"{lag['rate']:g}" for lag in lags], [lag[name] for lag in lags], "o-", label=name
        )
    axis.set_title("claimx: lag in seconds, at events/s")
    axis.set_ylim(bottom=0)
    if lags:
        axis.legend()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
