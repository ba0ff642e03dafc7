"""A Celery message as kombu writes it, of any content, for a queue in Redis."""

from __future__ import annotations

import base64
from typing import Any
from uuid import uuid4


def message(
    body: bytes, *, content_type: str = "application/json", **headers: Any
) -> dict[str, Any]:
    """Return an item of a queue; *headers* join the usual ones, without `task` it names no task."""
    tag = str(uuid4())
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": content_type,
        "headers": {
            "lang": "py",
            "id": tag,
            "root_id": tag,
            "parent_id": None,
            "group": None,
            "argsrepr": "()",
            "kwargsrepr": "{}",
            **headers,
        },
        "properties": {
            "correlation_id": tag,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": "enrich"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }
