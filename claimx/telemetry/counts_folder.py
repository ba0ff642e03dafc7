"""Where the children of one worker keep their counts, for the parent to add up."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

_OLD_SECONDS = 3600.0  # children whose parent was killed end their chunks first, and count


def made(host: str) -> Path:
    """
    Make this process's folder on *host*, and remove those that its killed workers left.

    A worker removes its own at its end.
    """
    prefix = f"claimx-metrics-{re.sub(r'[^A-Za-z0-9]+', '-', host)}-"
    owned = re.compile(rf"{prefix}(\d+)-\w+")
    for left in Path(tempfile.gettempdir()).iterdir():
        owner = owned.fullmatch(left.name)
        if owner is not None and not _lives(int(owner[1])) and _is_old(left):
            shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-"))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def _is_old(folder: Path) -> bool:
    with suppress(FileNotFoundError):  # another worker was faster
        return time.time() - folder.stat().st_mtime > _OLD_SECONDS
    return False
