"""
A week of commits into all nine tables, compressed in time: ``make bench-week``.

The writer commits to each table every five seconds, and beat looks after the tables every ten
minutes, which is every 120 commits. Here a day has a few such rounds, and nothing waits.
Upkeep goes by the age of files, so the tables' retention is shortened by what the first day took.
At each day's end: how long an append takes, how long a table takes to be opened and to be counted
by DuckDB, and how many files there are. It ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from claimx.adapters.lake import DeltaLake
from claimx.domain.changes import Change, Source
from claimx.domain.columns import Table
from claimx.domain.tables import ATTACHMENTS, EVENTS, TABLES

ROOT = Path(__file__).parents[1]
READER = ROOT / ".venv-reader" / "bin" / "python"
DAYS = 7
ROWS = 5  # a commit
OLD_SHARE = 0.6  # of them are of rows that are there
TICK = 5_000_000  # of the source's time
T0 = 1_790_000_000_000_000
COUNT = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import duckdb
from read_delta import extension_path
connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
connection.load_extension(extension_path())
found = {}
for folder in sys.argv[2:]:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        asked = "SELECT count(*), max(epoch_us(created_at)) FROM delta_scan(?)"
        rows = connection.execute(asked, [folder])
        count = rows.fetchone()[0]
        times.append(time.perf_counter() - started)
    found[folder] = [count, sorted(times)[1]]
json.dump(found, sys.stdout)
"""


def main() -> None:
    """Live through the week."""
    options = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="bench-week-", dir=options.folder))
    try:
        days = list(_week(folder, options))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    names = ("append_ms_p50", "append_ms_p95", "open_ms", "query_ms", "files", "log_files")
    line: dict[str, Any] = {name: [day[name] for day in days] for name in names}
    line["last_to_second"] = {
        name: round(days[-1][name] / max(1e-9, days[1][name]), 2) for name in names
    }
    print(
        json.dumps(
            {
                "days": len(days),
                "commits_a_day": options.commits * options.rounds * len(TABLES),
                **line,
            }
        )
    )


def _week(folder: Path, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    lake = DeltaLake({name: str(folder / name) for name in TABLES}, spill_folder=folder)
    for table in TABLES.values():
        lake.ensure(table)
    saying = Saying()
    for day in range(options.days):
        started = time.monotonic()
        times: list[float] = []
        for number in range(options.rounds):
            for _ in range(options.commits):
                saying.now += TICK
                for table in TABLES.values():
                    changes = saying.of(table)
                    begun = time.monotonic()
                    lake.upsert(table, changes, saying.now)
                    times.append(time.monotonic() - begun)
            for table in TABLES.values():
                problems = lake.maintain(table, full=number == options.rounds - 1).problems
                if problems:
                    raise SystemExit("\n".join(problems))
        if day == 0:
            _shorten(folder, time.monotonic() - started)
        found = _look(folder, times[-options.commits * len(TABLES) :])
        print(f"day {day + 1}: {found}", file=sys.stderr, flush=True)
        yield found


class Saying:
    """What events say of all tables, tick by tick."""

    def __init__(self) -> None:
        self.now = T0
        self._rng = random.Random(3)
        self._numbers = dict.fromkeys(TABLES, 0)

    def of(self, table: Table) -> list[Change]:
        """Return a flush."""
        return [self._one(table) for _ in range(ROWS)]

    def _one(self, table: Table) -> Change:
        made = self._numbers[table.name]
        old = made and not table.insert_only and self._rng.random() < OLD_SHARE
        number = self._rng.randrange(made) if old else made
        self._numbers[table.name] = max(made, number + 1)
        values: dict[str, Any] = {name: f"{name}-{number}" for name in table.key}
        if table is EVENTS:
            values |= {"ingested_at": self.now, "status": "enriched"}
            return Change(table.name, values, Source.RESULT, values["event_id"], self.now)
        if table is ATTACHMENTS:
            values |= {"status": "completed", "bytes": number, "uploaded_at": self.now}
            return Change(table.name, values, Source.RESULT, "e", self.now, self.now)
        return Change(table.name, values, Source.ANSWER, "e", self.now, self.now)


def _shorten(folder: Path, day_seconds: float) -> None:
    """Give every table the retention that it has, by a day of this length."""
    for name in TABLES:
        DeltaTable(str(folder / name)).alter.set_table_properties(
            {
                "delta.logRetentionDuration": f"interval {int(2 * day_seconds)} seconds",
                "delta.deletedFileRetentionDuration": f"interval {int(day_seconds / 2)} seconds",
            }
        )


def _look(folder: Path, times: list[float]) -> dict[str, Any]:
    opens = []
    for name in TABLES:
        started = time.monotonic()
        DeltaTable(str(folder / name))
        opens.append(time.monotonic() - started)
    done = subprocess.run(  # noqa: S603 - the reader's own environment
        [READER, "-c", COUNT, str(ROOT / "tests" / "reader"), *(str(folder / n) for n in TABLES)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    counted = json.loads(done.stdout)
    return {
        "rows": sum(count for count, _ in counted.values()),
        "append_ms_p50": round(1000 * statistics.median(times), 1),
        "append_ms_p95": round(1000 * sorted(times)[int(0.95 * len(times))], 1),
        "open_ms": round(1000 * sum(opens), 1),
        "query_ms": round(1000 * sum(seconds for _, seconds in counted.values()), 1),
        "files": sum(DeltaTable(str(folder / name)).get_add_actions().num_rows for name in TABLES),
        "log_files": sum(1 for name in TABLES for _ in (folder / name / "_delta_log").iterdir()),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--rounds", type=int, default=4, help="a day")
    parser.add_argument("--commits", type=int, default=120, help="a round and table")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    return parser.parse_args()


if __name__ == "__main__":
    main()
