"""
What a flush of 2000 changes costs beside a plain MERGE: ``make bench-lake ROWS=10000000``.

A table of media is made by plain appends, in no order, with keys spread evenly. One process plays
the lake writer: flush after flush, and a fold whenever one is due by its changes. The first fold
lays the table out and is counted apart; then come as many flushes as lead to *folds* more. Another
process merges 2000 rows of the same mix into a table like it with delta-rs alone.

Amortised is all the time that flushes and folds took, for each flush; one line of JSON ends it.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from large_table import T0, answer, generate, media

from claimx.adapters.lake import DeltaLake
from claimx.domain.changes import Change
from claimx.domain.folding import SHARE_OF_ROWS
from claimx.domain.tables import MEDIA

FLUSH_ROWS = 2000
NEW_SHARE = 0.2
FLUSH_SECONDS = 5  # of the source's time from one flush to the next


def main() -> None:
    """Measure one size."""
    options = _arguments()
    if options.play:
        print(json.dumps(PLAYS[options.play](options)))
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-lake-", dir=options.folder))
    try:
        path = folder / MEDIA.name
        _tell(f"making {options.rows:,} rows")
        generate(str(path), options.rows)
        size = sum(file.stat().st_size for file in path.rglob("*.parquet")) / 1e6
        _tell(f"  {size:.0f} MB in {DeltaTable(str(path)).count():,} rows")
        merge: dict[str, Any] = {"ms": None, "peak_mb": None}
        if options.merges:
            try:
                merge = _child("merge", options, folder)
            except subprocess.CalledProcessError as error:  # of 100 M rows 24 GB are not enough
                _tell(f"plain MERGE did not end: {error}")
            _tell(f"plain MERGE: {merge}")
        writer = _child("writer", options, folder)
        _tell(f"writer: {writer}")
        print(
            json.dumps(
                {
                    "rows": options.rows,
                    "flush_ms_amortised": writer["amortised_ms"],
                    "flush_ms_p95": writer["p95_ms"],
                    "merge_ms": merge["ms"],
                    "peak_mb": writer["peak_mb"],
                    "flush_ms_p50": writer["p50_ms"],
                    "fold_s": writer["fold_s"],
                    "layout_s": writer["layout_s"],
                    "cpu_ms_amortised": writer["cpu_ms"],
                    "flushes": writer["flushes"],
                    "merge_peak_mb": merge["peak_mb"],
                }
            )
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def play_writer(options: argparse.Namespace) -> dict[str, Any]:
    """Flush and fold as the writer's process does."""
    lake = DeltaLake({MEDIA.name: str(options.folder / MEDIA.name)}, spill_folder=options.folder)
    source = Source(options.rows)
    lake.upsert(MEDIA, source.changes(), source.now)
    started = time.monotonic()
    lake.large.fold(MEDIA)  # lays it out
    layout = time.monotonic() - started

    times: list[float] = []
    folds: list[float] = []
    begun_cpu = time.process_time()
    most = max(1, int(options.rows * SHARE_OF_ROWS / FLUSH_ROWS))
    for _ in range(options.folds):
        for _ in range(min(most, options.flushes)):
            changes = source.changes()
            started = time.monotonic()
            lake.upsert(MEDIA, changes, source.now)
            times.append(time.monotonic() - started)
        started = time.monotonic()
        lake.large.fold(MEDIA)
        folds.append(time.monotonic() - started)
    cpu = time.process_time() - begun_cpu
    table = DeltaTable(str(options.folder / MEDIA.name))
    if table.count() != options.rows + source.inserted:
        raise SystemExit(f"{table.count()} rows for {options.rows + source.inserted} keys")
    return {
        "amortised_ms": round(1000 * (sum(times) + sum(folds)) / len(times), 1),
        "p50_ms": round(1000 * statistics.median(times), 1),
        "p95_ms": round(1000 * sorted(times)[int(len(times) * 0.95)], 1),
        "fold_s": round(statistics.median(folds), 1),
        "layout_s": round(layout, 1),
        "cpu_ms": round(1000 * cpu / len(times), 1),
        "flushes": len(times),
        "peak_mb": _peak_mb(),
    }


def play_merge(options: argparse.Namespace) -> dict[str, Any]:
    """Merge with delta-rs alone, by the key; the table is put back to what it was."""
    path = str(options.folder / MEDIA.name)
    first, times = DeltaTable(path).version(), []
    for at in range(options.merges):
        low = random.Random(at).randrange(options.rows - FLUSH_ROWS)
        numbers = int(FLUSH_ROWS * (1 - NEW_SHARE))
        rows = pa.concat_tables(
            [
                media(low, low + numbers),
                media(options.rows + at * FLUSH_ROWS, options.rows + at * FLUSH_ROWS + 400),
            ]
        )
        started = time.monotonic()
        table = DeltaTable(path)
        table.merge(
            rows,
            "t.media_id = s.media_id",
            source_alias="s",
            target_alias="t",
            streamed_exec=False,
        ).when_matched_update_all().when_not_matched_insert_all().execute()
        times.append(time.monotonic() - started)
        DeltaTable(path).restore(first)
    return {"ms": round(1000 * statistics.median(times), 1), "peak_mb": _peak_mb()}


PLAYS = {"writer": play_writer, "merge": play_merge}


class Source:
    """What answers say, flush by flush: four fifths of rows that are there, evenly spread."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._rng = random.Random(7)
        self.inserted = 0
        self.now = T0 + 10**12

    def changes(self) -> list[Change]:
        """Return the next flush."""
        self.now += FLUSH_SECONDS * 1_000_000
        new = int(FLUSH_ROWS * NEW_SHARE)
        first = self._rows + self.inserted
        self.inserted += new
        known = (self._rng.randrange(self._rows) for _ in range(FLUSH_ROWS - new))
        return [answer(number, self.now) for number in (*known, *range(first, first + new))]


def _child(play: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--play", play, "--folder", str(folder)]
    for name in ("rows", "folds", "flushes", "merges"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(  # noqa: S603 - this very file
        command, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--flushes", type=int, default=10_000, help="at the most, before a fold")
    parser.add_argument("--merges", type=int, default=3, help="0 where memory is too small")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--play", choices=["writer", "merge"], help=argparse.SUPPRESS)
    return parser.parse_args()


def _peak_mb() -> int:
    """Return this process's own greatest size; what `getrusage` says begins with its parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
