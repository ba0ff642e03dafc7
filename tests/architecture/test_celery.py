"""Celery's settings and tasks are what the design needs; a misspelt option would be silent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from claimx.domain.records import Stage
from claimx.setting_types import LONGEST_QUERY
from claimx.tasks.base import ClaimXTask

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def app():
    from claimx.celery import app

    app.loader.import_default_modules()
    return app


def test_every_task_is_a_claimx_task(app):
    """Options stand on the base class; a task beside it would run with Celery's defaults."""
    ours = {name: task for name, task in app.tasks.items() if name.startswith("claimx.")}

    assert ours
    assert all(isinstance(task, ClaimXTask) for task in ours.values())
    assert all(task.acks_late and task.ignore_result for task in ours.values())


def test_every_stage_has_a_task_and_a_queue(app):
    """The lake writer's stage is a stream; all others are queues of their own."""
    queues = set(app.amqp.queues)

    for stage in set(Stage) - {Stage.WRITE}:
        assert f"claimx.{stage.value}" in app.tasks
        assert stage.value in queues


def test_every_task_is_routed_to_a_declared_queue(app):
    """Missing queues are not created, so a task without a route could never be sent."""
    for name in app.tasks:
        if name.startswith("claimx."):
            route = app.amqp.router.route({}, name)
            assert route["queue"].name in set(app.amqp.queues), name


def test_a_running_chunk_is_never_handed_out_twice(app):
    """Soft limit < hard limit < visibility time-out."""
    conf = app.conf

    assert conf.task_soft_time_limit < conf.task_time_limit
    assert conf.task_time_limit < conf.broker_transport_options["visibility_timeout"]


def test_a_query_ends_before_its_task_must(app):
    """Its answer has a minute more; an end by the task's limit would tell nobody of the source."""
    assert app.conf.task_soft_time_limit > LONGEST_QUERY + 60


def test_only_json_is_accepted(app):
    """Nothing is unpickled that comes from the broker."""
    assert app.conf.accept_content == ["json"]


def test_every_setting_in_celeryconfig_is_one_of_celerys():
    """Celery ignores names that it does not know; RedBeat's own begin with its name."""
    from celery.app.defaults import NAMESPACES, flatten

    known = {name for name, _ in flatten(NAMESPACES)}
    text = (ROOT / "celeryconfig.py").read_text()
    names = set(re.findall(r"^([a-z]\w+) = ", text, flags=re.MULTILINE)) - {"settings"}

    unknown = {n for n in names if n not in known and not n.startswith("redbeat_")}

    assert unknown == set()


def test_beat_names_tasks_that_exist(app):
    """A beat entry for a task that nobody has fills a queue with rejects."""
    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in app.tasks


def test_the_procfile_has_the_four_process_types():
    """These four are the whole pipeline on one machine."""
    lines = dict(
        line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line
    )

    assert {"web", "beat", "worker", "writer"} <= set(lines)
    assert all("REMAP_SIGTERM=SIGQUIT" in lines[name] for name in ("beat", "worker"))
