"""claimx: ClaimX events from an Eventhouse, enriched, with their media, into nine Delta tables."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Build the Celery app when ``celery -A claimx`` asks for it, and not before."""
    if name in ("app", "celery"):
        from claimx.celery import app

        return app
    raise AttributeError(f"module 'claimx' has no attribute {name!r}")
