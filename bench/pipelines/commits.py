"""When the rows of a Delta table were committed, from its log alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class CommitLog:
    """
    The log of the table in a local folder, read on from version to version.

    It works for every writer alike, and touches nothing. What a compaction rewrites is no new row.
    """

    table: Path
    points: list[tuple[float, int]] = field(default_factory=list)
    """Epoch seconds of a commit, and the rows that the table had then."""
    files: dict[str, float] = field(default_factory=dict)
    """Data file -> epoch seconds of the commit that brought its rows."""
    _rows: dict[str, int] = field(default_factory=dict)
    _version: int = 0

    def read(self) -> int:
        """Take in the commits since the last call; returns the rows by now."""
        while True:
            path = self.table / "_delta_log" / f"{self._version:020d}.json"
            try:
                lines, at = path.read_text().splitlines(), path.stat().st_mtime
            except FileNotFoundError:
                return self.rows
            self._version += 1
            before = self.rows
            for line in lines:
                self._take(json.loads(line), at)
            if self.rows != before:
                self.points.append((at, self.rows))

    @property
    def data_files(self) -> list[Path]:
        """The files that hold the rows after the last commit that was read."""
        return [self.table / path for path in self._rows]

    @property
    def rows(self) -> int:
        """The rows after the last commit that was read."""
        return sum(self._rows.values())

    def _take(self, action: dict[str, dict[str, object]], at: float) -> None:
        if add := action.get("add"):
            path = str(add["path"])
            self._rows[path] = int(json.loads(str(add["stats"]))["numRecords"])
            if add.get("dataChange", True):
                self.files[path] = at
        elif remove := action.get("remove"):
            self._rows.pop(str(remove["path"]), None)
