"""The end of a program: everybody is well again, all is worked off, and the lake is the truth."""

from __future__ import annotations

from claimx.domain.records import DeadFilter, Kind, Stage
from claimx.services.ingest import ingest
from claimx.services.poll import poll_once
from claimx.services.recover import SETTLE_SECONDS, recover_media
from claimx.services.redrive import redrive_once
from claimx.services.source_rows import read_page
from protocol.lake import COMPLETED
from protocol.workers import STAGES, Worker, forward
from protocol.world import World
from protocol.writer import Writer

ROUND_SECONDS = 61.0  # leases, locks and the redriver's patience are over
ROUNDS = 4
ROUNDS_OF_RECOVERY = 2 + round(SETTLE_SECONDS / ROUND_SECONDS)


class Ending:
    """*forgot*: Redis was put back or emptied, so the lake may know more than the ledger."""

    def __init__(self, world: World, *, forgot: bool = False) -> None:
        self._world = world
        self._forgot = forgot
        self._rounds = ROUNDS_OF_RECOVERY if forgot else ROUNDS
        self._worker = Worker(world, "last")
        self._writer = Writer(world, "last")

    def check(self) -> None:
        """Work off what there is; then once more what the operator sends back."""
        self._world.lake.refused = set()
        self._work_off()
        self._nothing_is_lost()
        letters = [letter.id for letter in self._world.ledger.dead_letters(DeadFilter())]
        assert self._world.ledger.requeue(letters) == len(letters)
        self._work_off()
        self._nothing_is_lost()
        self._everything_is_in_the_lake()

    def _work_off(self) -> None:
        for _ in range(self._rounds):
            self._world.pass_(ROUND_SECONDS)
            poll_once(self._world.runtime("last"))
            if self._forgot:
                recover_media(self._world.runtime("last"))
            self._serve()
        problems = self._world.problems()
        book = self._world.ledger.book
        problems += [
            f"{record_id} is left over: {unit.line()}"
            for record_id, unit in book.units.items()
            if not unit.dead or unit.owed
        ]
        assert not problems, "\n".join(problems)

    def _serve(self) -> None:
        """One round of every stage, as hints ask for it."""
        world, queues = self._world, self._world.queues
        queues.waiting = []
        redrive_once(world.runtime("last"))
        for _ in range(len(STAGES) + 1):
            hints, queues.waiting = queues.waiting, []
            for stage, ids in hints:
                if stage is Stage.INGEST:
                    ingest(world.runtime("last"), ids)
                else:
                    got = self._worker.take(stage, ids)
                    self._worker.settle([forward(record, world.clock.now) for record in got])
            self._writer.write_all()

    def _nothing_is_lost(self) -> None:
        """Every event of the source is in the lake or a dead letter, and none twice."""
        world, units = self._world, self._world.ledger.book.units
        letters = [(i, unit) for i, unit in units.items() if unit.dead]
        dead = {i for i, unit in letters if unit.kind is Kind.EVENT}
        pages = [unit.data for _, unit in letters if unit.kind is Kind.PAGE]
        within = {record_id for page in pages for record_id, _, _ in read_page(page)}
        written = {f"e:{event_id}" for event_id in world.lake.events}
        wanted, found = world.told.keys() | world.malformed, written | dead | within
        assert wanted == found, f"lost: {wanted - found}, from nowhere: {found - wanted}"
        if not self._forgot:
            # unless writers died between the commit and its being settled, until it was put aside
            both = [i for i in written & dead if not units[i].died_writing]
            assert not both, f"in the lake, and dead: {both}"
            doubled = [i for i, n in world.ledger.book.finished.items() if n > 1 and i[0] == "e"]
            assert not doubled, f"finished twice: {doubled}"

    def _everything_is_in_the_lake(self) -> None:
        """Each event with one of its contents, and each of its files."""
        world = self._world
        assert {f"e:{event_id}" for event_id in world.lake.events} == world.told.keys()
        for record_id, events in world.told.items():
            content = world.lake.events[events[0].event_id]
            (stands,) = [one for one in events if one.master_file_name == content][:1]
            lacking = set(stands.media_ids) - world.lake.attachments.keys()
            assert not lacking, f"{record_id} ({content}) lacks the files {sorted(lacking)}"
        assert world.lake.media.keys() == world.lake.attachments.keys()
        if not self._forgot:
            assert set(world.lake.attachments.values()) <= {COMPLETED}
