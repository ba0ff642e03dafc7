"""What enrichment asks of projects, how often, and whom the answer serves."""

from __future__ import annotations

import asyncio

import pytest
from enrich_world import World, a_world, event, event_row_of, project

from claimx.domain.errors import (
    NotFound,
)
from claimx.domain.events import EventType
from claimx.domain.ports.api import Answer
from claimx.services.calls import ProjectAnswers
from claimx.services.enrich import EnrichStage


@pytest.fixture
def world() -> World:
    return a_world()


def test_events_of_one_chunk_that_need_the_same_project_ask_once_and_each_write_it(world):
    world.api.latency = 0.01
    events = [event(str(n), EventType.POLICYHOLDER_INVITED) for n in range(10)]
    ids = world.admit(*events)

    world.enrich(ids)

    answers = [
        change.event_id
        for change in world.written(*ids)
        if change.table == "claimx_projects" and change.enriched_at is not None
    ]
    assert world.api.calls == [("project", "7")]
    assert sorted(set(answers)) == sorted(str(n) for n in range(10))


def test_an_answer_serves_later_chunks_of_its_process_while_it_is_fresh(world):
    """Until the project's row is committed each event brings it; none depends on another's fate."""
    stage = EnrichStage(world.runtime, world.api)
    ids = world.admit(*(event(str(n), EventType.POLICYHOLDER_INVITED) for n in range(3)))

    asyncio.run(stage.run(ids[:1]))
    asyncio.run(stage.run(ids[1:2]))
    while_fresh = list(world.api.calls)
    world.time += world.runtime.limits.project_fresh + 1
    asyncio.run(stage.run(ids[2:]))

    brought = [change.event_id for change in world.written(*ids) if change.enriched_at is not None]
    assert while_fresh == [("project", "7")]
    assert world.api.calls == [("project", "7")] * 2
    assert set(brought) == {"0", "1", "2"}


def test_what_a_created_event_was_told_serves_those_that_check_the_project(world):
    stage = EnrichStage(world.runtime, world.api)
    created, invited = world.admit(event("1"), event("2", EventType.POLICYHOLDER_INVITED))

    asyncio.run(stage.run([created]))
    asyncio.run(stage.run([invited]))

    assert world.api.calls == [("project", "7")]


def test_an_answer_that_could_not_be_read_is_asked_for_again(world):
    """Kept for the next chunks it would spend an event's attempts without a single call."""
    stage = EnrichStage(world.runtime, world.api)
    ids = world.admit(event("1", EventType.POLICYHOLDER_INVITED))
    world.api.projects["7"] = {"project": {}}
    unreadable = asyncio.run(stage.run(ids))
    world.api.projects["7"] = project()
    world.time += 60

    again = asyncio.run(stage.run(ids))

    assert (unreadable.retried, again.processed) == (1, 1)
    assert world.api.calls == [("project", "7")] * 2


def test_a_process_remembers_the_newest_answers_up_to_a_bound():
    answers = ProjectAnswers(lambda: 0.0, 300.0, most=2)

    for project_id in ("a", "b", "a", "c"):
        answers.keep(project_id, Answer({}, 0, {"rows": []}))

    assert [answers.of(one) is not None for one in "abc"] == [True, False, True]


def test_of_two_answers_the_one_that_was_asked_for_later_is_remembered():
    answers = ProjectAnswers(lambda: 0.0, 300.0)
    late, early = Answer("late", 9, {"rows": []}), Answer("early", 5, {"rows": []})

    answers.keep("a", late)
    answers.keep("a", early)

    assert answers.of("a") is late


def test_a_known_project_is_not_asked_for_again_except_by_created_and_mfn(world):
    world.gates.mark_known({"7": None}, 300)
    ids = world.admit(
        event("1", EventType.POLICYHOLDER_JOINED),
        event("2", EventType.PROJECT_CREATED),
        event("3", EventType.PROJECT_MFN_ADDED, master_file_name="M"),
    )

    world.enrich(ids[:1])
    while_known = list(world.api.calls)
    world.enrich(ids[1:])

    assert while_known == []
    assert world.api.calls == [("project", "7")] * 2


@pytest.mark.parametrize("known", [True, False])
def test_a_task_of_another_project_than_its_events_has_that_one_checked(world, known):
    """Nobody could look it up beforehand."""
    world.api.tasks["5"] = {"assignmentId": 5, "projectId": 8, "taskId": 4}
    if known:
        world.gates.mark_known({"8": None}, 300)
    ids = world.admit(event("1", EventType.CUSTOM_TASK_ASSIGNED, task_assignment_id="5"))

    world.enrich(ids)

    changes = world.written(*ids)
    assert world.api.calls == [("task_assignment", "5"), *[("project", "8")][known:]]
    assert [one.values["project_id"] for one in changes if one.table == "claimx_tasks"] == ["8"]
    assert event_row_of(changes, "1")["api_calls"] == 2 - known


def test_a_guest_has_the_name_that_a_known_project_was_committed_with(world):
    link = {"linkId": 9, "email": "guest@example.net"}
    world.api.tasks["5"] = {"assignmentId": 5, "projectId": 7, "externalLinkData": link}
    world.gates.mark_known({"7": "MFN-API"}, 300)
    ids = world.admit(event("1", EventType.CUSTOM_TASK_ASSIGNED, task_assignment_id="5"))

    world.enrich(ids)

    (guest,) = [one for one in world.written(*ids) if one.table == "claimx_contacts"]
    assert guest.values["master_file_name"] == "MFN-API"


def test_a_video_event_costs_its_report_and_the_project_check(world):
    world.api.videos["7"] = [{"videoCollaborationId": 3, "claimId": 7}]
    ids = world.admit(event("1", EventType.VIDEO_COLLABORATION_COMPLETED))

    world.enrich(ids)

    changes = world.written(*ids)
    assert world.api.calls == [("project", "7"), ("video_report", "7")]
    assert {one.table for one in changes} == {
        *("claimx_projects", "claimx_video_collaboration", "claimx_events")
    }
    assert event_row_of(changes, "1")["handler"] == "video"


def test_a_shared_project_fetch_that_fails_spends_an_attempt_of_each(world):
    world.api.latency = 0.01
    world.api.faults["project"].append(NotFound("gone", status=404))
    ids = world.admit(
        event("1", EventType.POLICYHOLDER_INVITED), event("2", EventType.POLICYHOLDER_JOINED)
    )

    counts = world.enrich(ids)

    assert counts.dead == 2
    assert world.api.calls == [("project", "7")]
