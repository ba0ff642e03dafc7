"""The Procfile's own processes die at crash points under load; one comparison at the end."""

from __future__ import annotations

import pytest
from dying_rig import DyingRig
from pipeline_rig import assert_as_it_must_be
from sites import all_sites

pytestmark = [
    pytest.mark.long,
    pytest.mark.integration,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("pipeline"),
]

# One death for each part, by the beginning of its site's name; with its whole group every other.
PARTS = (
    ("worker", "services.pages:store ledger.store_page", "after"),  # the poller
    ("worker", "services.ingest:_admit ledger.admit", "after"),
    ("worker", "adapters.api_gate:APIGate.succeeded circuit.report", "before"),  # enrich
    ("writer", "services.flush:TableWriter._write_table lake.upsert", "after"),
    ("worker", "services.download:DownloadStage._download fetcher.fetch", "after"),
    # upload
    ("worker", "adapters.onelake_upload:OneLakeUpload._flush target.flush_data", "before"),
    ("worker", "services.chunk:Chunk._carry_out ledger.settle", "after"),
    ("writer", "services.settle_rows:Settler._finish ledger.finish", "before"),
    ("worker", "services.redrive:redrive_once ledger.due", "after"),
    ("worker", "services.maintain:maintain_lake lake.maintain", "after"),
    ("worker", "services.dead_letters:requeue_selected ledger.requeue", "after"),
    ("beat", "adapters.ticking:outliving scheduler.tick", "after"),
)


def poke(rig: DyingRig, site: str) -> None:
    """Ask for what does not come by itself within seconds."""
    if site.startswith("services.maintain"):
        rig.push("maintenance", "claimx.maintain")
    if site.startswith("services.dead_letters"):
        rig.push("control", "claimx.admin.requeue_dead_letters", all=True)


def test_processes_that_die_between_two_effects_lose_and_double_nothing(tmp_path):
    sites = [site.name for site in all_sites()]
    world = ("--events", "400", "--seed", "21", "--rate", "6", "--latency-ms", "40")
    with DyingRig(tmp_path, *world) as rig:
        rig.begin()
        rig.until_announced()

        unmet = []
        for number, (role, beginning, phase) in enumerate(PARTS):
            site = next(name for name in sites if name.startswith(beginning))
            died = rig.die(
                role,
                f"{site} {phase}",
                group=number % 2 == 0,
                poke=lambda site=site: poke(rig, site),
            )
            unmet += [] if died else [site]
        assert unmet == []
        rig.until_done(120)

        assert_as_it_must_be(rig)
