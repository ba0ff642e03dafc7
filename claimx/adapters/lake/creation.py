"""Creating a table, and adding the columns that were declared after it was created."""

from __future__ import annotations

import re

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import TableNotFoundError

from claimx.adapters.lake.exchangeable import check_declared
from claimx.adapters.lake.files import HOOKS
from claimx.adapters.lake.handles import NOT_FOUND, Conflict, Handle, our_errors
from claimx.adapters.lake.schema import arrow_schema, properties
from claimx.domain.columns import Table
from claimx.domain.errors import NotAllowed, Unavailable

_TRIES = 5
_DECODED = re.compile(r"%[0-9A-Fa-f]{2}")


def ensure_table(handle: Handle, table: Table) -> None:
    """
    Create *table* unless it is there; give it the declared columns that it lacks.

    Safe against others doing the same: whoever loses looks again. Raises NotAllowed when what
    is there is another table (a column of another type, another partition).
    """
    if handle.folder and _DECODED.search(str(handle.folder)):
        raise NotAllowed(
            f"{table.name}: {handle.folder} holds a % and two hex digits, which readers of Delta "
            "tables decode: choose another folder"
        )
    for _ in range(_TRIES):
        try:
            with our_errors(table.name, handle):
                _evolve(handle.fresh(), table)
            return
        except TableNotFoundError:
            _create(handle, table)
        except Unavailable as error:
            if error.status != NOT_FOUND or handle.make_container is None:
                raise
            handle.make_container(handle.uri)
            _create(handle, table)
        except Conflict:
            continue
    raise Unavailable(f"{table.name}: others keep changing the table's columns")


def _create(handle: Handle, table: Table) -> None:
    options = handle.options()
    try:
        with our_errors(table.name, handle):
            if handle.folder:
                handle.folder.mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                handle.uri,
                Schema.from_arrow(arrow_schema(table)),
                partition_by=list(table.partition_by),
                name=table.name.rpartition("/")[2],
                description=table.doc,
                configuration=properties(table),
                storage_options=options,
                post_commithook_properties=HOOKS,
            )
    except (Conflict, Unavailable) as lost:
        # either another creator was faster, and looking again finds its table, or it never works
        # (by opening it: `is_deltatable` keeps to no bound of retries and waits for minutes)
        try:
            with our_errors(table.name, handle):
                handle.fresh()
        except TableNotFoundError:
            raise Unavailable(f"{lost}; no table can be made at {handle.uri}") from lost


def _evolve(snapshot: DeltaTable, table: Table) -> None:
    check_declared(snapshot, table)
    stored = {field.name for field in snapshot.schema().fields}
    if missing := [field for field in arrow_schema(table) if field.name not in stored]:
        snapshot.alter.add_columns(
            Schema.from_arrow(pa.schema(missing)).fields, post_commithook_properties=HOOKS
        )
