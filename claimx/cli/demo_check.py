"""
The demo's check, in a process of its own: the lake against what the sandbox knows.

``python -m claimx.cli.demo_check SANDBOX_JSON LAKE_FOLDER`` prints a JSON report and ends with 1
when there are differences.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from claimx.domain.tables import TABLES
from claimx.sandbox.truth import as_json, compare, read_lake, verify_files
from claimx.sandbox.world import World

_EXAMPLES = 20


def main(described: dict[str, Any], lake: str) -> dict[str, Any]:
    """Compare and count."""
    world = World(**described["world"])
    truth = world.truth
    tables = read_lake(lake)
    differences = compare(truth.tables, tables)
    of_files = verify_files(world, tables, Path(described["media_folder"]))
    by_table = Counter(difference.table for difference in differences)
    p50, p95 = median_and_p95(_lags(world, tables["claimx_events"]))
    completed = [row for row in tables["claimx_attachments"] if row["status"] == "completed"]
    told = as_json(truth)
    return {
        "ok": not differences and not of_files,
        "tables": {
            name: {
                "rows": len(tables[name]),
                "expected": len(truth.tables.get(name, {})),
                "differences": by_table[name],
            }
            for name in TABLES
        },
        "files": len(completed),
        "files_expected": len(truth.stored),
        "file_differences": len(of_files),
        "bytes": sum(row["bytes"] or 0 for row in completed),
        "lag_p50": p50,
        "lag_p95": p95,
        "dead_events": told["dead"],
        "dead_expected": len(truth.dead),
        "failed_media": told["failed_media"],
        "examples": [str(d)[:400] for d in (differences + of_files)[:_EXAMPLES]],
    }


def _lags(world: World, events: list[dict[str, Any]]) -> list[float]:
    """Return the seconds from source row to committed row, of events with an id of their own."""
    visible: dict[str, float] = {}
    for row in world.rows:
        key = str(row.values.get("event_id") or row.values.get("eventId") or "")
        visible[key] = min(row.visible_at, visible.get(key, row.visible_at))
    return [
        event["created_at"].timestamp() - visible[event["event_id"]]
        for event in events
        if event["event_id"] in visible
    ]


def median_and_p95(values: list[float]) -> tuple[float, float]:
    """Return p50 and p95; zeros for nothing."""
    if not values:
        return 0.0, 0.0
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]


if __name__ == "__main__":
    report = main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
    print(json.dumps(report, default=str))  # noqa: T201 - its output is its answer
    sys.exit(0 if report["ok"] else 1)
