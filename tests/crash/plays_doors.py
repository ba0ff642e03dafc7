"""Plays in which the API, the media host, OneLake and Kusto refuse, fail or do not answer."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from machine import Machine, command

RIGHT = "c2FuZGJveDpzYW5kYm94"  # the stand-in's own
UNHEALTHY = 7
NEXT = "bmV4dA=="


def api(machine: Machine) -> None:
    """No token, a wrong one, one that is replaced, one refusal, an open circuit, and an end."""
    token = Path(os.environ["CLAIMX_API_TOKEN_FILE"])
    machine.task("poll")
    machine.deliver("ingest")
    machine.deliver("enrich")  # there is no token
    token.write_text("d3Jvbmc=")
    again(machine, "enrich")  # it is not accepted
    token.write_text(RIGHT)
    machine.pass_(90)
    machine.task("redrive")
    first, *others = machine.ids("enrich")
    machine.task("enrich", [first])
    machine.accept_token(NEXT)
    token.write_text(NEXT)
    machine.task("enrich", others[:1])  # the old one is refused, and the file has another
    machine.pass_(120)
    machine.task("enrich", others[:1])
    machine.fault(where="api", kind="unauthorized", count=1)
    machine.task("enrich", others[1:2])  # it may be the token's
    machine.pass_(120)
    machine.task("enrich", others[2:3])  # but that is accepted
    machine.fault(where="api", kind="unauthorized", count=1)
    machine.task("enrich", others[1:2])  # so it is of this one alone
    machine.pass_(120)
    machine.fault(where="api", kind="error")
    for one in machine.ids("enrich"):  # not side by side: a success between them would count
        machine.task("enrich", [one])  # two fail, the circuit opens, and the others meet it
    machine.no_faults()
    command("status", code=UNHEALTHY)  # no process is announced
    machine.fault(where="api", kind="slow", seconds=0.2, count=1)
    again(machine, "enrich", 120)
    machine.close()


def media(machine: Machine) -> None:
    """Downloads and uploads fail in each way that counts, and in each that does not."""
    machine.fault(where="media", kind="error", count=1)
    machine.fault(where="media", kind="login", count=1)
    machine.poll_and_work(without="upload")
    again(machine, "download")
    machine.fault(where="onelake", kind="slow", seconds=10.0, count=1, path="/Files/")
    with machine.interrupted():
        put_by_hand(machine)
    cached = sorted(machine.cache.folder.glob("i*"))
    cached[0].write_bytes(b"\0" * cached[0].stat().st_size)  # of its length, but not itself
    machine.fault(where="onelake", kind="error", count=1, path="/Files/")
    machine.deliver("upload", machine.own_uploads)
    machine.fault(where="onelake", kind="forbidden", count=1, path="/Files/")
    again(machine, "upload", 120)
    again(machine, "upload", 120)
    begin_by_hand(machine)
    machine.close()


def beside(machine: Machine) -> None:
    """
    Media get a second name in a folder beside the cache; one had it from an earlier try.

    The cache is one that was removed, and whose files others may not read yet.
    """
    machine.ensure_tables()
    shutil.rmtree(machine.cache.folder.parent)  # by somebody, while it runs
    machine.poll_and_work(without="upload")
    for file in machine.cache.folder.iterdir():
        file.chmod(0o600)  # as a cache makes them that others may enter
    put_by_hand(machine)
    machine.deliver()
    machine.close()


def put_by_hand(machine: Machine) -> None:
    """Send a file where the pipeline will send it, in the main thread, where signals arrive."""
    from claimx.domain.names import blob_path
    from claimx.services.attachments import cached_of, item_of

    record, _ = machine.ledger.find(machine.ids("upload")[0])
    item, cached = item_of(record.data), cached_of(record.data)
    path = blob_path(item.project_id, item.media_id, item.file_name, cached.extension)
    file = machine.cache.path(cached.name)
    shop = machine.workshop
    put = shop._upload._store.put
    shop._loop.run(put(path, file, cached.bytes, cached.sha256, cached.content_type))


def begin_by_hand(machine: Machine) -> None:
    """Leave a large file to its next try, twice; go on with it, find one no good, make room."""
    from claimx.adapters.cache_begun import WORTH_BYTES, Begun
    from claimx.domain.errors import DiskFull

    cache = machine.cache
    begun = Begun(WORTH_BYTES, 2 * WORTH_BYTES, '"v1"', None)
    incoming = cache.begin(begun.total)
    incoming.write(bytes(WORTH_BYTES))
    for _ in range(2):
        incoming.leave(cache.begun("large"), begun)
        incoming, _ = cache.go_on("large")
    incoming.leave(cache.begun("large"), begun)
    Path(cache.begun("other")).write_bytes(b"no mark")
    assert cache.go_on("other") is None
    with suppress(DiskFull):  # of the disk, where it is a small one
        cache.begin(machine.settings.cache_max_bytes).discard()  # so what was begun gives way


def again(machine: Machine, queue: str, seconds: float = 61.0) -> None:
    """Let what waits in a stage come again."""
    machine.pass_(seconds)
    machine.task("redrive")
    machine.deliver(queue, *([machine.own_uploads] if queue == "upload" else []))
