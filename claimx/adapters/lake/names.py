"""Who named a project: the guard that keeps an MFN event's name above the API's."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError

from claimx.adapters.lake.commit import Committer
from claimx.adapters.lake.creation import ensure_table
from claimx.adapters.lake.handles import ColumnsGone, Handle, our_errors
from claimx.adapters.lake.known_names import KnownNames
from claimx.adapters.lake.lookup import read_keys
from claimx.adapters.lake.plan import Plan
from claimx.domain.changes import Values
from claimx.domain.columns import Column, ColumnType, Rule, Table
from claimx.domain.upsert import Key, NamedBy

NAMES = Table(
    name="claimx_projects/_names",
    setting="",
    doc="The MFN event that named each project; Delta ignores folders that begin with _.",
    key=("project_id",),
    columns=(
        Column("project_id", rule=Rule.KEY),
        Column("master_file_name"),
        Column("event_time", ColumnType.TIME),
        Column("event_id"),
    ),
)


class Names:
    """
    A small table inside the projects table's own folder.

    It is written before the projects are. A crash between the two leaves a name that the next
    delivery of the same event brings into its row; the other order could lose the name to an
    answer of the API.
    """

    def __init__(
        self, handle: Handle, committer: Committer, ensure: Callable[[Handle, Table], None]
    ) -> None:
        self._handle = handle
        self._committer = committer
        self._ensure = ensure
        self._known = KnownNames()

    def record(self, named: Mapping[str, NamedBy]) -> dict[str, NamedBy]:
        """Store names that are newer than the stored ones; returns the names that were stored."""
        before: dict[str, NamedBy] = {}

        def decide(stored: Mapping[Key, Values]) -> Plan:
            plan = Plan()
            before.clear()
            for project_id, name in named.items():
                row = stored.get((project_id,))
                if row is None:
                    plan.inserted.append(_to_row(project_id, name))
                    continue
                before[project_id] = _from_row(row)
                if name > before[project_id]:
                    plan.updated.append(_to_row(project_id, name))
                else:
                    plan.unchanged += 1
            return plan

        with self._handle.lock:
            self._ensure(self._handle, NAMES)
            keys = [(project_id,) for project_id in named]
            try:
                plan, version = self._committer.commit(self._handle, NAMES, keys, decide)
            except (ColumnsGone, TableNotFoundError):
                # somebody removed it, or a part; a fold, unlike a flush, has nobody who sees to it
                ensure_table(self._handle, NAMES)
                plan, version = self._committer.commit(self._handle, NAMES, keys, decide)
            if not plan.empty:
                self._known.committed(
                    version, {one: max(name, before.get(one, name)) for one, name in named.items()}
                )
        return before

    def of(self, project_ids: Collection[str]) -> dict[str, NamedBy]:
        """Return the MFN events known for these projects."""
        with self._handle.lock:
            try:
                with our_errors(NAMES.name, self._handle):
                    snapshot = self._handle.fresh()
                    known = self._known.at(self._table(snapshot), snapshot.version())
                    names = {one: known[one] for one in project_ids if one in known}
                    keys = [(one,) for one in project_ids if one not in names]
                    stored = read_keys(self._handle, snapshot, NAMES, keys)
            except TableNotFoundError:  # no MFN event has come yet
                return {}
            read = {one: _from_row(stored[(one,)]) if (one,) in stored else None for (one,) in keys}
            self._known.learn(read)
        return {one: name for one, name in (names | read).items() if name is not None}

    def _table(self, snapshot: DeltaTable) -> str:
        """Return what tells the table from others in its place; one put back has its id again."""
        return f"{snapshot.metadata().id} {self._handle.tables_seen}"

    def reopen(self) -> None:
        """Open the table anew at the next use: the one that was open may be gone."""
        with self._handle.lock:
            self._handle.drop()


def _from_row(row: Values) -> NamedBy:
    return NamedBy(row["event_time"], row["event_id"], row["master_file_name"])


def _to_row(project_id: str, name: NamedBy) -> Values:
    return {
        "project_id": project_id,
        "master_file_name": name.name,
        "event_time": name.event_time,
        "event_id": name.event_id,
    }
