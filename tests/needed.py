"""Settings that a process does not begin without, of services that it never comes to ask."""

from __future__ import annotations

import os
from pathlib import Path

NOBODY = "http://127.0.0.1:1"


def needed(redis_url: str, folder: Path) -> dict[str, str]:
    """Return a process's environment that is complete, with what it writes below *folder*."""
    return {
        "ENV_FILE": os.devnull,
        "REMAP_SIGTERM": "SIGQUIT",  # as the Procfile has it
        "REDIS_URL": redis_url,
        "EVENTHOUSE_CLUSTER_URL": NOBODY,
        "CLAIMX_EVENTHOUSE_DATABASE": "d",
        "CLAIMX_EVENTHOUSE_SOURCE_TABLE": "t",
        "CLAIMX_API_URL": NOBODY,
        "CLAIMX_API_TOKEN": "t",
        "CLAIMX_ALLOW_LOOPBACK": "true",
        "ONELAKE_CLAIMX_PATH": str(folder / "media"),
        "CLAIMX_LAKE_PATH": str(folder / "lake"),
        "CACHE_DIR": str(folder / "cache"),
    }
