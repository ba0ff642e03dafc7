"""How a worker ends: in time whatever it does, and what it did not finish goes on elsewhere."""

from __future__ import annotations

import os
import signal

import pytest
from pipeline_rig import Rig, assert_as_it_must_be

from claimx.domain.records import State

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(150),
    pytest.mark.xdist_group("waiting pipeline"),
]

GRACE = 25.0  # what hosts give at least


def leased(rig: Rig, stage: str) -> int:
    return sum(row[State.LEASED] for row in rig.status().stages if row["stage"] == stage)


def test_an_idle_worker_ends_at_once(tmp_path):
    with Rig(tmp_path, "--events", "100") as rig:
        worker = rig.process("worker")
        rig.until_announced("worker")

        worker.terminate()

        assert worker.wait(GRACE) == 0, rig.tails()
        assert "was still busy" not in rig.text_of_logs()  # it ended by itself


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM], ids=lambda one: one.name)
def test_a_worker_that_is_to_end_is_not_started_anew(tmp_path, first):
    """SIGHUP restarts it; whoever stops a service may send both, in any order, and then kill."""
    other = signal.SIGTERM if first is signal.SIGHUP else signal.SIGHUP
    with Rig(tmp_path, "--events", "100") as rig:
        worker = rig.process("worker")
        rig.until_announced("worker")

        os.kill(worker.pid, first)
        os.kill(worker.pid, other)

        assert worker.wait(GRACE) == 0, rig.tails()
        assert "was still busy" not in rig.text_of_logs()


@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "parent only"])
def test_a_busy_worker_gives_back_its_work_and_ends_within_its_grace(tmp_path, whole_group):
    """Heroku signals every process, Docker only the first."""
    settings = {"CLAIMX_API_TIMEOUT_SECONDS": "60", "CLAIMX_CIRCUIT_FAILURES": "1000"}
    world = ("--events", "100", "--no-specials")
    with Rig(tmp_path, *world, settings=settings) as rig:
        # every answer takes longer than the grace
        rig.control("POST", "faults", {"where": "api", "kind": "slow", "seconds": 50})
        worker = rig.process("worker")
        rig.process("beat")
        rig.until("calls under way", lambda: leased(rig, "enrich"))

        if whole_group:
            worker.terminate()
        else:
            os.kill(worker.pid, signal.SIGTERM)
        status = worker.wait(GRACE)

        assert status == 0, f"{status}\n{rig.tails()}"
        (row,) = (row for row in rig.status().stages if row["stage"] == "enrich")
        assert row[State.LEASED] == row[State.RETRYING] == 0, rig.tails()  # no attempt was spent
        assert "was still busy" not in rig.text_of_logs()
        rig.control("DELETE", "faults")
        rig.process("worker", as_="second worker")
        rig.process("writer")
        rig.until_done(60)
        assert_as_it_must_be(rig)


def test_what_does_not_end_by_itself_is_ended(tmp_path):
    """A poll that hangs in a query looks at no flag. No folder of counts stays, either."""
    with Rig(tmp_path, "--events", "100", settings={"TMPDIR": str(tmp_path)}) as rig:
        rig.control("POST", "faults", {"where": "kusto", "kind": "slow", "seconds": 100})
        worker = rig.process("worker")
        rig.process("beat")
        lines = lambda: rig.control("GET", "stats")["services"]["kusto"]  # noqa: E731
        rig.until("a query under way", lambda: str(lines()) if "slow" in str(lines()) else "")

        worker.terminate()

        assert worker.wait(GRACE) == 0, rig.tails()
        assert "was still busy" in rig.text_of_logs()
        assert not list(tmp_path.glob("claimx-metrics-*"))
