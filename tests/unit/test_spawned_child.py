"""Where workers spawn their children instead of forking them, these can do the work as well."""

from __future__ import annotations

import billiard
import pytest
from spawned_child import tell_what_tasks_have

from claimx.celery import app


@pytest.mark.timeout(60)
def test_the_tasks_of_a_spawned_child_have_what_they_work_with(monkeypatch):
    """On macOS no task was done: the child's copy of the app is made from its settings alone."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")  # nobody is asked
    spawning = billiard.get_context("spawn")
    here, there = spawning.Pipe()
    child = spawning.Process(target=tell_what_tasks_have, args=(app, there))
    child.start()
    try:
        assert here.poll(40)
        assert here.recv() == ["claimx_runtime", "claimx_workshop", "claimx_sweeper"]
    finally:
        child.terminate()
        child.join(10)
