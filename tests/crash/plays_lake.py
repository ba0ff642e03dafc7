"""Plays of the tables: upkeep, a table that cannot be written, a lake and media elsewhere."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

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
    (machine.cache.root / f".{'0' * 32}.part").write_bytes(b"half")
    machine.pass_(25 * 3600.0)
    machine.task("sweep")
    machine.task("maintain", full=True)
    writer.close()


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
    import claimx.services.write

    claimx.services.write.MAX_FAILURES = 1
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
