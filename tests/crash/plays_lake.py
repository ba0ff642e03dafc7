"""Plays of the tables: upkeep, a table that cannot be written, a lake and media elsewhere."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import points
from machine import Machine


def upkeep(machine: Machine) -> None:
    """A table of an older release gets its column; small files, stale ones and the cache go."""
    a_table_of_an_older_release(machine, "claimx_tasks")
    machine.ensure_tables()
    writer = machine.writer()
    machine.task("poll")
    pages = machine.ids("ingest")
    for page in pages:  # a commit for each
        machine.task("ingest", [page])
        machine.deliver("enrich")
        writer.step()
    machine.deliver()
    writer.step()
    machine.pass_(70)
    machine.task("sweep")  # what its process forgot
    stale = machine.lake_folder / "claimx_media" / "part-0.parquet#1"
    stale.write_bytes(b"unfinished")
    leave_in_the_cache(machine.cache.folder)
    machine.pass_(25 * 3600.0)
    machine.task("sweep")
    machine.task("maintain", full=True)
    writer.close()


def leave_in_the_cache(folder: Path) -> None:
    """Leave what a killed process, an earlier release and one of a lost identity have left."""
    part, name = f".{'0' * 32}.part", "i39.0123456789abcdef"
    lost = folder.parent / ("0" * 32)
    lost.mkdir()
    for left in (folder / part, folder.parent / part, folder.parent / name, lost / name):
        left.write_bytes(b"half")


def a_table_of_an_older_release(machine: Machine, name: str) -> None:
    """Create a table without its last declared column."""
    import pyarrow as pa
    from deltalake import DeltaTable, Schema

    from claimx.adapters.lake.schema import arrow_schema, properties
    from claimx.domain.tables import TABLES

    table = TABLES[name]
    fields = list(arrow_schema(table))
    dropped = [one for one in fields if one.name != "task_url"]
    DeltaTable.create(
        str(machine.lake_folder / name),
        Schema.from_arrow(pa.schema(dropped)),
        name=name,
        configuration=properties(table),
    )


def refusing(machine: Machine) -> None:
    """The attachments cannot be written: their records wait in the ledger."""
    import claimx.services.settle_rows

    claimx.services.settle_rows.MAX_FAILURES = 1
    machine.ensure_tables()
    machine.poll_and_work()
    machine.break_table("claimx_attachments")
    writer = machine.writer()
    writer._tables._keep_seconds = 0.001  # a flush that takes longer than this is a long one
    writer.step()
    machine.mend_tables()
    machine.pass_(40)
    machine.task("redrive")
    writer.step()
    writer.close()


def large(machine: Machine) -> None:
    """Tables outgrow a merge for each flush: they are laid out anew, and folds bring changes in."""
    from claimx.adapters.lake import Sizes

    machine.ensure_tables()
    writer = machine.writer()
    machine.task("poll")
    first, *others = machine.ids("ingest")
    work_on(machine, writer, first)
    tables = machine.runtime.lake.large
    tables._sizes = Sizes(direct=-1, piece=1, most_of_piece=1, changes=4)
    tables._looked.clear()
    tables._spill_folder = left = Path(os.environ["CACHE_DIR"]).parent / "spill"
    (left / "spill-left").mkdir(parents=True)
    os.utime(left / "spill-left", (0, 0))
    for page in others[:-1]:
        work_on(machine, writer, page)
    machine.pass_(40)
    first_range = "adapters.lake.spill:Spill.read path.unlink #1 after"
    points.when(first_range, lambda: machine.keeper.stop())  # noqa: PLW0108 - the fold makes it
    machine.fold("claimx_media")  # is told to stop, and takes away what nobody was given
    written = "adapters.lake.files:write_file filesystem.open_output_stream #1 after"
    points.when(written, lambda: somebody_commits(machine))
    machine.fold()
    work_on(machine, writer, others[-1])
    machine.deliver()
    writer.step()
    machine.task("maintain")
    machine.pass_(40)
    machine.fold()
    writer.close()


def work_on(machine: Machine, writer: Any, page: str) -> None:
    """Bring what one page holds into the lake, but its media."""
    machine.task("ingest", [page])
    machine.deliver("enrich")
    writer.step()


def somebody_commits(machine: Machine) -> None:
    """Let another writer be faster, at every table."""
    from deltalake import CommitProperties, DeltaTable, Transaction

    from claimx.adapters.lake.commit import APP
    from claimx.domain.tables import ENTITY_TABLES

    for table in ENTITY_TABLES:
        there = DeltaTable(str(machine.lake_folder / table.name))
        number = (there.transaction_version(APP) or 0) + 1
        there.create_write_transaction(
            [],
            mode="append",
            schema=there.schema(),
            commit_properties=CommitProperties(app_transactions=[Transaction(APP, number)]),
        )


def elsewhere(machine: Machine) -> None:
    """Tables in OneLake, media in a folder, a cache on a disk without links."""
    os.link = no_links
    cache = Path(os.environ["CACHE_DIR"])
    cache.mkdir(parents=True)
    (cache / ".node").write_text("cut sho")
    left = Path(os.environ["ONELAKE_CLAIMX_PATH"]) / ".parts" / "left"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half a file")
    os.utime(left, (0, 0))
    machine.ensure_tables()
    machine.poll_and_work()
    writer = machine.writer()
    writer.step()
    writer.close()


def no_links(*_: Any, **__: Any) -> NoReturn:
    """Refuse, as some file systems do."""
    raise OSError(errno.EPERM, "no links here")
