"""What a spawned child of a worker does first; imports nothing of the application by itself."""

from __future__ import annotations

from typing import Any

from celery.concurrency.prefork import process_initializer


def tell_what_tasks_have(child_app: Any, answer: Any) -> None:
    """Be initialised as a pool's child is, and look at the app of a task."""
    process_initializer(child_app, "worker@here")
    lent = child_app.tasks["claimx.poll"].app
    names = ("claimx_runtime", "claimx_workshop", "claimx_sweeper")
    answer.send([name for name in names if hasattr(lent, name)])
