"""Plays of the ordinary way, of leaving in the middle, of dead letters, and of a lost Redis."""

from __future__ import annotations

import dataclasses
import os
import shutil
from types import SimpleNamespace
from typing import Any

import points
from machine import Machine, command


def life(machine: Machine) -> None:
    """All goes well: tables, poll, every stage, the lake, what is left in the cache, the end."""
    machine.ensure_tables()
    writer = machine.writer()
    machine.poll_and_work()
    writer.step()
    machine.pass_(30)
    machine.poll_and_work()
    writer.step()
    machine.pass_(10)
    machine.forget_uploaded()
    writer.close()
    machine.close()


def leaving(machine: Machine) -> None:
    """A worker and a writer leave in the middle of their work, and give back what they hold."""
    from claimx import processes
    from claimx.adapters import leaving as flag
    from claimx.celery import app
    from claimx.startup import host_name
    from claimx.telemetry import counts_folder

    left = counts_folder.made(host_name())
    left = left.rename(left.with_name(left.name.replace(f"-{os.getpid()}-", "-999999999-")))
    os.utime(left, (0, 0))  # of a worker that was killed long ago
    processes._before_fork(sender=SimpleNamespace(app=app))
    shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])  # by whoever clears temporary folders
    counts_folder.there()
    machine.ensure_tables()
    machine.task("poll")
    machine.deliver("ingest")
    machine.runtime.limits = dataclasses.replace(machine.runtime.limits, lease_seconds=1.2)
    # the first answers are held back for longer than the worker may stay
    machine.fault(where="api", kind="slow", seconds=10.0)
    points.when("services.chunk:Chunk._keep_leases ledger.renew #1 after", flag.begin)
    machine.deliver("enrich")  # renews its leases, is told to leave, gives back

    flag.clean_up()
    machine.no_faults()
    machine.pass_(5)
    machine.task("redrive")
    machine.deliver("enrich")
    writer = machine.writer(batch_seconds=1000.0)
    writer.step()
    machine.pass_(12)
    writer.step()  # renews its leases
    machine.break_table("claimx_projects")
    writer.flush()
    writer.close()  # gives back what it could not write
    machine.mend_tables()
    machine.exit()


def letters(machine: Machine) -> None:
    """Dead letters of every kind are made, and brought back by command and by task."""
    machine.ensure_tables()
    machine.task("poll")
    an_older_release_ingested(machine, "POLICYHOLDER_INVITED")
    machine.deliver()
    unreadable_rows(machine)
    writer = machine.writer()
    machine.doubled_entry()
    writer.step()

    command("dlq", "requeue", "--stage", "write", "--from-stage", "enrich", "--yes")
    machine.task("admin.requeue_dead_letters", all=True)
    machine.pass_(10)
    machine.task("redrive")
    machine.deliver()
    writer.step()
    writer.close()


def an_older_release_ingested(machine: Machine, type_: str) -> None:
    """Admit the pages as a release did that took rows of *type_* for malformed."""
    from claimx.domain.errors import Malformed
    from claimx.domain.polling import TIME
    from claimx.domain.ports.ledger import DeadOnArrival
    from claimx.domain.records import Kind, NewRecord, Stage
    from claimx.domain.times import to_iso
    from claimx.services.ingest import why_malformed
    from claimx.services.source_rows import read_page

    for page in machine.ledger.claim(Stage.INGEST, machine.ids(Stage.INGEST), 30.0):
        events: dict[str, Any] = {}
        dead: dict[str, Any] = {}
        for record_id, data, wrong in read_page(page.data):
            row, refused = data, wrong
            if wrong is None and data["type"] == type_:
                times = {TIME: data["source_time"], "ingested_at": to_iso(data["time"])}
                row = {**data, "event_type": type_, **times}  # as the source had it
                refused = Malformed(f"{type_} is not known")
            if refused is None:
                events[record_id] = NewRecord(record_id, Kind.EVENT, Stage.ENRICH, data, "trace")
            else:
                new = NewRecord(record_id, Kind.EVENT, Stage.INGEST, row, "trace")
                dead[record_id] = DeadOnArrival(new, why_malformed(machine.runtime, refused))
        machine.ledger.admit(page, list(events.values()), list(dead.values()), 86_400.0)
    machine.drop_messages()
    machine.pass_(6)
    machine.task("redrive")


def unreadable_rows(machine: Machine) -> None:
    """Let one event come to the writer with rows that nobody can read."""
    from claimx.domain.records import Advance, Stage

    (record,) = machine.ledger.claim(Stage.WRITE, machine.ids(Stage.WRITE)[:1], 30.0)
    back = [Advance(record, Stage.WRITE, record.data, rows=b"no rows")]
    machine.ledger.settle(back)


def lost(machine: Machine) -> None:
    """Redis loses everything while media are on their way; the lake knows them."""
    machine.ensure_tables()
    writer = machine.writer()
    machine.task("poll")
    machine.deliver("ingest", "enrich")
    writer.step()
    machine.client.flushall()

    machine.pass_(60)
    machine.task("poll")
    machine.task("recover")
    machine.task("redrive")
    machine.deliver()
    writer.step()
    machine.pass_(40)
    machine.task("recover")
    writer.close()
