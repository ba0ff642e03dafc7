"""Plays around the source: it fails, lies far behind, and has rows that nobody has read."""

from __future__ import annotations

from dataclasses import replace

from machine import Machine, command

OFF = 7


def source(machine: Machine) -> None:
    """The source fails, refuses, does not answer; then a backfill takes the range."""
    for kind in ("error", "forbidden"):
        machine.fault(where="kusto", kind=kind, count=1)
        machine.task("poll")
        machine.pass_(90)
    machine.fault(where="kusto", kind="slow", seconds=10.0, count=1)
    with machine.interrupted():
        machine.task("poll")
    machine.pass_(90)
    limits = machine.runtime.limits
    machine.runtime.limits = replace(limits, reader_lease=0.03)  # shorter than the source takes
    machine.fault(where="kusto", kind="slow", seconds=0.3, count=1)
    machine.task("poll")
    machine.runtime.limits = limits
    machine.pass_(90)
    command("backfill", "--from", "3h", "--rate", "100000")
    machine.deliver("ingest")
    machine.pass_(30)
    machine.task("poll")


def behind(machine: Machine) -> None:
    """What lies far back is set aside and caught up; then the poll is held at its mark."""
    machine.ensure_tables()
    limits = machine.runtime.limits
    machine.runtime.limits = replace(limits, far_seconds=60.0, far_pages=1)
    machine.task("poll")
    machine.pass_(90)
    far = machine.runtime.limits
    machine.runtime.limits = replace(far, max_in_flight=0)
    machine.task("catch_up")  # finds no room, and notes how much is left
    machine.runtime.limits = far
    machine.deliver("ingest")
    machine.task("catch_up")
    machine.runtime.limits = replace(limits, max_in_flight=1)
    machine.task("poll")
    machine.runtime.limits = limits
    machine.deliver("ingest")
    machine.task("poll")
    machine.deliver()
    machine.writer().step()


def reconciled(machine: Machine) -> None:
    """Rows from before the first poll are found missing, and brought back."""
    from claimx.domain.times import from_seconds, to_iso

    machine.ensure_tables()
    writer = machine.writer()
    machine.poll_and_work()
    writer.step()
    machine.pass_(60)
    machine.task("reconcile")
    since = to_iso(from_seconds(machine.runtime.now() - 3 * 3600.0))
    look = ("reconcile", "--from", since, "--to", "1s")
    command(*look, code=OFF)
    command(*look, "--fix", "--yes")
    command(*look)
    machine.pass_(10)
    machine.task("redrive")
    machine.deliver()
    writer.step()
    writer.close()
