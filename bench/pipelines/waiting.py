"""Waiting for a server that writes its port into a file."""

from __future__ import annotations

import time
from pathlib import Path

START_SECONDS = 30.0
_LOOK_SECONDS = 0.05


def port_in(path: Path) -> int:
    """Return the port once it is there; raises TimeoutError when the server does not start."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if path.exists() and (text := path.read_text()):
            return int(text)
        time.sleep(_LOOK_SECONDS)
    raise TimeoutError(f"a server did not start: {path} is missing")
