"""Tables too large for flushes to write them anew: what is said goes by way of a log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from claimx.adapters.lake.antijoin import Take
from claimx.adapters.lake.change_log import SUFFIX, ChangeLog
from claimx.adapters.lake.commit import Committer
from claimx.adapters.lake.creation import ensure_table
from claimx.adapters.lake.folding import Fold
from claimx.adapters.lake.handles import Handle, our_errors, read_newest
from claimx.adapters.lake.layout import Sizes
from claimx.adapters.lake.plan import Decide
from claimx.adapters.lake.scan import Span, actions_of
from claimx.adapters.lake.upkeep import Maintained, maintain_table
from claimx.domain.changes import Change
from claimx.domain.columns import Table
from claimx.domain.ports.lake import Backlog, Folded
from claimx.domain.tables import TABLES
from claimx.domain.times import Micros
from claimx.domain.upsert import Key, Said

_LOOK_SECONDS = 60.0  # tables grow slowly: so long their size is taken as known


class LargeTables:
    """
    All tables but those that only gain rows, with the port `claimx.domain.ports.lake.LargeTables`.

    *paths* says where tables lie, *make_handle* opens what lies there, *decider* gives what decides
    about changes of a table, *ensure* makes a log that is not there.
    """

    def __init__(
        self,
        paths: Mapping[str, str],
        make_handle: Callable[[str], Handle],
        committer: Committer,
        decider: Callable[[Table, Mapping[Key, Said]], Decide],
        *,
        ensure: Callable[[Handle, Table], None],
        clock: Callable[[], float],
        spill_folder: Path,
        sizes: Sizes,
    ) -> None:
        def log_of(name: str) -> ChangeLog:
            return ChangeLog(TABLES[name], make_handle(f"{paths[name]}{SUFFIX}"), ensure)

        names = [name for name in paths if not TABLES[name].insert_only]
        self._logs = {name: log_of(name) for name in names}
        # a fold has handles of its own: no flush waits for what it reads
        self._folds = {name: (log_of(name), make_handle(paths[name])) for name in names}
        self._committer = committer
        self._decider = decider
        self._clock = clock
        self._spill_folder = spill_folder
        self._sizes = sizes
        self._looked: dict[str, tuple[float, bool]] = {}

    def takes(self, table: Table, handle: Handle) -> bool:
        """Say whether changes of a table go by its log; raises when there is no table."""
        if table.name not in self._logs:
            return False
        at, large = self._looked.get(table.name, (-_LOOK_SECONDS, False))
        if self._clock() - at >= _LOOK_SECONDS:
            with our_errors(table.name, handle):
                large = handle.fresh().count() > self._sizes.direct
            self._looked[table.name] = self._clock(), large
        return large

    def append(self, table: Table, changes: Sequence[Change], now: Micros) -> int:
        """Append to the log; see `ChangeLog.append`."""
        return self._logs[table.name].append(changes, now)

    def said(
        self, table: Table, condition: Any, keys: Mapping[str, Sequence[str]] | None = None
    ) -> dict[Key, Said]:
        """Return what waits in the log of rows that meet a condition; see `ChangeLog.by_key`."""
        log = self._logs.get(table.name)
        return log.by_key(log.said(condition, keys)) if log else {}

    def read_ids(self, table: Table, condition: Any, take: Take, span: Span | None = None) -> None:
        """Give the first key parts of what waits to *take*; see `ChangeLog.read_ids`."""
        if table.name in self._logs:
            self._logs[table.name].read_ids(condition, take, span)

    def backlog(self, table: Table) -> Backlog:
        """Return what waits; costs a look at the log's commits, and at the table's if any do."""
        if table.name not in self._folds:
            return Backlog()
        log, handle = self._folds[table.name]
        pending = log.pending()
        if not pending.files:
            return Backlog()
        # somebody may have removed it: the fold makes it again
        actions = read_newest(table.name, handle, actions_of) or []
        rows = sum(int(action["num_records"] or 0) for action in actions)
        return Backlog(pending.rows, pending.oldest, rows)

    def fold(self, table: Table, go_on: Callable[[], bool] = lambda: True) -> Folded:
        """Bring what waits into the table; see `Fold`."""
        if table.name not in self._folds:
            return Folded(ended=True)
        log, handle = self._folds[table.name]
        pending = log.pending()
        if not pending.files:
            return Folded(ended=True)
        decider = partial(self._decider, table)
        folder = self._spill_folder
        with handle.lock:
            ensure_table(handle, table)
            return Fold(log, handle, self._committer, decider, folder, go_on, self._sizes).run(
                pending
            )

    def maintain(self, table: Table, *, full: bool) -> Maintained:
        """Look after the log, as `maintain_table` does."""
        log = self._logs.get(table.name)
        if log is None:
            return Maintained()
        return maintain_table(log.handle, log.log, full=full, folded=True)

    def forget(self, names: Collection[str]) -> None:
        """Forget what is known of tables that are gone."""
        for name in names:
            self._looked.pop(name, None)
