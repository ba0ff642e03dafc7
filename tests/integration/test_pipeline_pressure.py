"""A stage that stands still, and a source that is far behind: on the pipeline's own processes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pipeline_rig import Rig, assert_as_it_must_be

from claimx.domain.polling import LIVE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("pipeline"),
]

MARK = 100


def lines_about(rig: Rig, words: str) -> list[dict[str, Any]]:
    return [line for line in rig.log_lines("worker") if words in str(line.get("event"))]


def polls(rig: Rig) -> int:
    """How often beat has sent the poll, as its schedule in Redis says."""
    return int(json.loads(rig.client.hget("claimx:redbeat:poll", "meta"))["total_run_count"])


def test_without_a_writer_the_poll_stops_at_its_mark_and_goes_on_when_one_comes(tmp_path):
    """One line says so, with the stage and what to do; the status shows it; nothing is lost."""
    settings = {"CLAIMX_MAX_IN_FLIGHT": str(MARK), "CLAIMX_POLL_BATCH_SIZE": "20"}
    with Rig(tmp_path, "--events", "300", "--seed", "21", settings=settings) as rig:
        rig.processes("beat", "worker")
        rig.until("the line", lambda: lines_about(rig, "back-pressure: the poll pauses"))
        rig.until("everything at the writer", lambda: at_the_writer(rig))
        sent = polls(rig)
        rig.until("three polls more", lambda: polls(rig) >= sent + 3)
        admitted = rig.status().counters["event"]["admitted"]
        shown = rig.claimx("status", "-o", "json")

        rig.process("writer")
        rig.until_done(120)

        [line] = lines_about(rig, "back-pressure: the poll pauses")
        assert line["advice"]
        assert line["limit"] == MARK
        assert admitted <= MARK + 20 + 20, "a page beyond the mark, and one in work"
        assert shown.status == 7
        problem = next(one for one in shown.document["problems"] if one.startswith("the poll"))
        assert problem.startswith("the poll pauses since ")
        assert "the stage write holds things up" in problem
        assert problem.endswith("no writer is running: start one with its Procfile line")
        assert lines_about(rig, "back-pressure: the poll still pauses") == []
        rig.until("its end", lambda: lines_about(rig, "back-pressure is over"))
        assert_as_it_must_be(rig)


def at_the_writer(rig: Rig) -> bool:
    """Say whether all that is in flight waits for a writer, and the poll is held."""
    found = rig.status()
    elsewhere = sum(
        row[state]
        for row in found.stages
        for state in ("ready", "leased")
        if row["stage"] != "write"
    )
    return not elsewhere and any(one.startswith("the poll pauses") for one in found.problems)


def test_a_first_start_far_back_ends_with_the_truth(tmp_path):
    """
    More rows than are read in one go: they are set aside, in small pages, and caught up.

    The sandbox' late rows show up to 40 s after their ingestion: only within the overlap are they
    promised, and the sooner the gap is caught up the more of them come after that.
    """
    settings = {"CLAIMX_POLL_BATCH_SIZE": "20", "CLAIMX_POLL_OVERLAP_SECONDS": "45"}
    with Rig(tmp_path, "--events", "600", "--seed", "22", settings=settings) as rig:
        rig.processes()
        rig.until("a gap", lambda: rig.runtime.ledger.gaps(LIVE))

        rig.until_done(150)

        rig.until("the gap's end", lambda: not rig.status().catch_up)
        assert lines_about(rig, "far behind: a gap is set aside")
        assert_as_it_must_be(rig)
