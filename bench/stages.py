"""
What each stage costs an event: ``make bench-stages``, or ``ARGS="--events 20000"``.

Prints a table and ends with one line of JSON, in microseconds of CPU and counts an event.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

from pipelines.stage_costs import Bench, StageCost

from claimx.cli.stack import Stack
from claimx.telemetry import logs

EVENTS = 8000


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--events", type=int, default=EVENTS)
    options = parser.parse_args(arguments)
    logs.configure("WARNING", "json", process="bench")
    with tempfile.TemporaryDirectory(prefix="claimx-stages-") as folder:
        stack = Stack(Path(folder))
        try:
            costs = Bench(Path(folder), stack.start_redis(), options.events).run()
        finally:
            stack.stop()
    names = [one.name for one in fields(StageCost) if one.name not in ("bytes", "calls")]
    print(f"{'':9}", *(f"{name:>10}" for name in names))
    total = {name: sum(getattr(cost, name) for cost in costs.values()) for name in names}
    for stage, values in [*((s, asdict(cost)) for s, cost in costs.items()), ("all", total)]:
        print(f"{stage:9}", *(f"{values[name]:10.2f}" for name in names))
    print(json.dumps({name: round(value, 3) for name, value in total.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
