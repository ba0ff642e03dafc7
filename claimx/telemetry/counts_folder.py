"""Where the children of one worker keep their counts, for the parent to add up."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

_PREFIX = "claimx-metrics-"
_OWNED = re.compile(rf"{_PREFIX}(\d+)-\w+")


def made() -> Path:
    """
    Make this process's folder; those of processes that are gone are removed.

    A worker removes its own at its end, a killed one cannot.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        owner = _OWNED.fullmatch(left.name)
        if owner is not None and not _lives(int(owner[1])):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True
