"""A whole pipeline in memory, run by hand, and its lake damaged at will, for reconcile's tests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from polling_world import World, event_row

from claimx.adapters.memory.claimx_api import MemoryClaimXApi
from claimx.domain.codec import encode_changes
from claimx.domain.columns import Table
from claimx.domain.errors import NotAllowed
from claimx.domain.ports.ledger import Ledger
from claimx.domain.ports.media import CachedFile
from claimx.domain.records import Advance, Stage, media_record_id
from claimx.domain.tables import TABLES
from claimx.domain.times import Micros, from_seconds
from claimx.services.attachments import COMPLETED, cached_to_json, completed_row, failed
from claimx.services.enrich import EnrichStage
from claimx.services.poll import poll_once
from claimx.services.reconcile import Found, ReconcileReport, reconcile
from claimx.services.write import LakeWriter

PROJECT = "7"


class Pipeline(World):
    """Every stage's own code over ports in memory; only a file's way is cut short."""

    def __init__(self, **limits: Any) -> None:
        super().__init__(**limits)
        self.api = MemoryClaimXApi(self.now)
        self.api.projects[PROJECT] = {"project": {"projectId": PROJECT}}
        self.api.media_items[PROJECT] = []
        self.told: list[tuple[Found, bool]] = []
        self.on_sleep: Callable[[], None] = lambda: None
        self._writers = 0

    # the source

    def created(self, *event_ids: str | None, ago: float = 1800.0, **more: Any) -> None:
        """Events whose own time is the ingestion's, a second apart."""
        for number, event_id in enumerate(event_ids):
            at = from_seconds(self.clock - ago + number)
            self.source.add([event_row(event_id, **more)], at)

    def added(self, event_id: str | None, *media_ids: str, ago: float = 1800.0) -> None:
        """An event that names media which the API has."""
        items = self.api.media_items[PROJECT]
        known = {item["mediaID"] for item in items}
        items += [
            {"mediaID": one, "mediaName": f"{one}.jpg", "fullDownloadLink": f"https://h/{one}"}
            for one in media_ids
            if one not in known
        ]
        self.created(event_id, ago=ago, event_type="PROJECT_FILE_ADDED", media_ids=list(media_ids))

    # the stages

    def poll(self) -> None:
        poll_once(self.runtime("poller"))

    def enrich(self) -> None:
        self.clock += 6
        asyncio.run(EnrichStage(self.runtime("worker"), self.api).run(self.due(Stage.ENRICH)))

    def fetch(self, *media_ids: str, dies: bool = False) -> None:
        """Bring media to the stage WRITE, all that are due when none is named."""
        self.clock += 6
        at = from_seconds(self.clock)
        ids = [*map(media_record_id, media_ids)] or self.due(Stage.DOWNLOAD)
        for record in self.ledger.claim(Stage.DOWNLOAD, ids, 60):
            if dies:
                error = NotAllowed("files of this kind are not taken in")
                self.ledger.settle([failed(record, error, self.runtime("worker"), record.data)])
                continue
            cached = CachedFile("n", "f", 3, "ab", "image/jpeg", "jpg", at)
            data = {**record.data, "cached": cached_to_json(cached), "blob_path": "b"}
            data |= {"uploaded_at": at, "status": COMPLETED}
            rows = encode_changes([completed_row(data)])
            self.ledger.settle([Advance(record, Stage.WRITE, data, rows)])

    def write(self) -> None:
        self._writers += 1
        writer = LakeWriter(
            self.ledger,
            self.lake,
            self.gates,
            self.metrics,
            self.now,
            sleep=lambda _: None,
            consumer=f"writer{self._writers}",
            batch_seconds=0.0,
        )
        writer.step()
        writer.close()

    def due(self, stage: Stage) -> list[str]:
        self.hints.taken(stage)
        found = self.ledger.due(10_000)
        return [one for (at, _), ids in found.items() if at is stage for one in ids]

    def through(self) -> None:
        """Poll and bring everything to its end."""
        self.poll()
        self.finish()

    def finish(self) -> None:
        self.clock += 6
        self.redrive()
        self.ingest()
        self.enrich()
        self.fetch()
        self.write()

    # damage

    def lose(self, table: Table, *keys: str) -> None:
        for key in keys:
            del self.lake.tables[table.name][(key,)]

    def double(self, table: Table, key: str, **changed: Any) -> None:
        row = self.lake.tables[table.name][(key,)]
        self.lake.strays.setdefault(table.name, []).append(row | changed)

    def stray(self, table: Table, **values: Any) -> None:
        row = dict.fromkeys(table.column_names) | values
        self.lake.strays.setdefault(table.name, []).append(row)

    # looking

    def reconcile(
        self,
        ago: float = 7200.0,
        until: float = 0.0,
        *,
        ledger: Ledger | None = None,
        **options: Any,
    ) -> ReconcileReport:
        """Hold the last two hours against each other, or what *ago* and *until* say."""

        def sleep(seconds: float) -> None:
            self.clock += seconds
            self.on_sleep()

        self.told.clear()
        runtime = self.runtime("reconciler", ledger=ledger or self.ledger)
        return reconcile(
            runtime,
            self.moment(ago),
            self.moment(until),
            sleep=sleep,
            told=self.tell,
            **options,
        )

    def tell(self, found: Found, admitted: bool) -> None:
        self.told.append((found, admitted))

    def moment(self, ago: float) -> Micros:
        return from_seconds(self.clock - ago)

    @property
    def found(self) -> list[tuple[str, str, str]]:
        """What the last reconcile told, as (table, finding, id) in order of these."""
        return sorted((one.table[7:], one.finding.value, one.id) for one, _ in self.told)

    @property
    def admitted(self) -> list[str]:
        return sorted({one.record.id for one, done in self.told if done and one.record})

    def rows(self) -> dict[str, Counter[str]]:
        """Return how often each key is in each table."""
        return {
            name: Counter(str(row[table.key[0]]) for row in self.lake.rows(table))
            for name, table in TABLES.items()
        }


def named(*parts: Iterable[str]) -> list[tuple[str, ...]]:
    """Return what `Pipeline.found` should be."""
    return sorted(tuple(part) for part in parts)
