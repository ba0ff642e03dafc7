"""The flag by which a worker tells its children, which may be in the middle of work, to end it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_FLAG = "_CLAIMX_LEAVING"  # in the environment: children that are spawned see it as well
_PARENT = "_CLAIMX_WORKER"
LOOK_SECONDS = 0.05
"""How long a raised flag may go unnoticed by whoever asks for every record."""


def prepare(folder: Path) -> None:
    """Keep the flag of this process and its children in *folder*; call it before forking."""
    os.environ[_FLAG] = str(folder / "leaving")
    os.environ[_PARENT] = str(os.getpid())


def clean_up() -> None:
    """Remove the folder, where exit hooks will not run."""
    if flag := os.environ.get(_FLAG):
        shutil.rmtree(Path(flag).parent, ignore_errors=True)


def begin() -> None:
    """Raise the flag; raises nothing itself, since the handler of a signal calls it."""
    if flag := os.environ.get(_FLAG):
        with suppress(OSError):  # a full disk: then the worker's end is bounded all the same
            # whoever clears old folders for temporary files may have taken it away
            Path(flag).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            Path(flag).touch()


def begun() -> bool:
    """
    Say whether this process is about to end (a look at the file system: microseconds).

    A child whose worker was killed is: it has nobody to tell what it did, and what it holds is
    better given back than worked on to the end.
    """
    flag = os.environ.get(_FLAG, "")
    if flag == "":
        return False
    return _orphaned() or os.path.exists(flag)  # noqa: PTH110 - asked often


def watch(now: Callable[[], float] = time.monotonic) -> Callable[[], bool]:
    """
    Return `begun` for whoever asks for every record: it looks every twentieth of a second.

    Until the flag is up, that is; then each time.
    """
    found, look_at = False, now()

    def stopping() -> bool:
        nonlocal found, look_at
        if found or now() >= look_at:
            found, look_at = begun(), now() + LOOK_SECONDS
        return found

    return stopping


def _orphaned() -> bool:
    worker = os.environ.get(_PARENT, "")
    return worker not in {"", str(os.getpid()), str(os.getppid())}
