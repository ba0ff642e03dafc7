"""How a trouble ends, and a run."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeAlias

End: TypeAlias = Callable[[], None]
"""Ends a trouble; it may raise while something else is away, and is then called again."""


class NoVictim(Exception):
    """No process lives just now that could be killed; a moment later there is one."""


def over() -> None:
    """End what is over already."""


def interruptible() -> None:
    """Let TERM and a closed terminal end a run as Ctrl-C does: with all its processes."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
