"""Rows of some keys in a version of a table: which files may hold one, and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from deltalake import DeltaTable

from claimx.adapters.lake.exchangeable import check_names
from claimx.adapters.lake.handles import Handle
from claimx.adapters.lake.keys import wanted_of
from claimx.adapters.lake.scan import actions_of, filesystem_of, may_hold, one_of, scan
from claimx.adapters.lake.schema import from_arrow
from claimx.domain.changes import Values
from claimx.domain.columns import Table
from claimx.domain.upsert import Key

Files: TypeAlias = dict[str, Mapping[str, Any]]
"""Files by their paths, entries of `actions_of`."""

Choose: TypeAlias = Callable[[Sequence[Mapping[str, Any]]], Collection[str]]
"""Gives the paths of the files that are to be searched for keys, of all that a version has."""


def files_with(
    handle: Handle,
    snapshot: DeltaTable,
    table: Table,
    keys: Collection[Key],
    choose: Choose | None = None,
) -> Files:
    """
    Return the files of *snapshot* (those of *choose*, if given) that may hold one of *keys*.

    The snapshot is the newest of *handle*, which knows the keys of most files. Of a table whose
    files are replaced, raises NotAllowed as `check_names` does.
    """
    if not keys:
        return {}
    wanted = wanted_of(table, keys)
    actions = actions_of(snapshot)
    chosen = None if choose is None else choose(actions)
    candidates: Files = {
        action["path"]: action
        for action in actions
        if may_hold(action, wanted) and (chosen is None or action["path"] in chosen)
    }
    if not candidates:
        return {}
    if not table.insert_only:
        check_names(table, candidates)
    rows = {path: action.get("num_records") for path, action in candidates.items()}
    there = handle.known_keys.files_with(filesystem_of(snapshot), rows, wanted)
    return {path: candidates[path] for path in there}


def read_keys(
    handle: Handle,
    snapshot: DeltaTable,
    table: Table,
    keys: Collection[Key],
    choose: Choose | None = None,
) -> dict[Key, Values]:
    """
    Return the rows of *keys*; see `files_with`.

    Of an insert-only table only the keys are read: what stands there stays.
    """
    there = files_with(handle, snapshot, table, keys, choose)
    if not there:
        return {}
    columns = table.key if table.insert_only else table.column_names
    condition: Any = None
    for name, values in wanted_of(table, keys).items():
        part = one_of(name, values)
        condition = part if condition is None else condition & part
    found = scan(snapshot, table, columns=columns, condition=condition, files=there)
    rows = {tuple(row[name] for name in table.key): row for row in from_arrow(table, found)}
    return {key: rows[key] for key in keys if key in rows}
