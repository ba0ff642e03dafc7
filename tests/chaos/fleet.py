"""The processes of a run, started again when they have ended, as hosts do."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_rig import Rig, Running

RESTART_SECONDS = 1.0  # from an end to the next start
SKEW_SECONDS = 600
SKEWED = Path(__file__).parent / "skewed"


@dataclass(slots=True)
class Post:
    """A place in the fleet that is always filled again; *name* is its log's, too."""

    name: str
    type: str
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    running: Running | None = None
    starts: int = 0
    due: float = 0.0

    @property
    def alive(self) -> bool:
        """Say whether its process runs."""
        return self.running is not None and self.running.status is None


def posts(rig: Rig) -> list[Post]:
    """
    Return two of everything, and more workers than needed.

    Worker b has a cache of its own, as on another machine. Worker c and writer b have clocks that
    are ten minutes off, one fast and one slow.
    """
    clocks = {"fast": SKEW_SECONDS, "slow": -SKEW_SECONDS}

    def skewed(which: str) -> dict[str, str]:
        return {"PYTHONPATH": str(SKEWED), "CHAOS_CLOCK_SECONDS": str(clocks[which])}

    def worker(name: str, **settings: str) -> Post:
        return Post(f"worker {name}", "worker", ("-c", "2", "-n", f"{name}@%h"), settings)

    return [
        Post("beat a", "beat"),
        Post("beat b", "beat"),
        worker("a"),
        worker("b", CACHE_DIR=str(rig.folder / "cache-b")),
        worker("c", **skewed("fast")),
        Post("writer a", "writer"),
        Post("writer b", "writer", (), skewed("slow")),
        Post("web", "web"),
    ]


class Fleet:
    """*posts* over a rig; `look_after` must be called again and again."""

    def __init__(
        self, rig: Rig, posts: Sequence[Post], restart_seconds: float = RESTART_SECONDS
    ) -> None:
        self._rig = rig
        self._restart_seconds = restart_seconds
        self.posts = list(posts)
        self.closed = False  # true: nobody is started again

    def look_after(self) -> None:
        """Start what has ended *restart_seconds* ago."""
        now = time.monotonic()
        for post in self.posts if not self.closed else ():
            if post.alive:
                continue
            if post.running is not None and post.due == 0.0:
                post.due = now + self._restart_seconds
            if now >= post.due:
                self._start(post)

    def of_type(self, type_: str) -> list[Post]:
        """Return the posts of a process type that are filled."""
        return [post for post in self.posts if post.type == type_ and post.alive]

    def pids(self, post: Post) -> list[int]:
        """Return the process ids of a post: its process first, then those below."""
        if post.running is None:
            return []
        return [post.running.pid, *children(post.running.pid)]

    def kill(self, pids: Sequence[int]) -> None:
        """End processes at once."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def signal(self, pids: Sequence[int], number: int) -> None:
        """Signal processes."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _start(self, post: Post) -> None:
        post.due = 0.0
        post.starts += 1
        if post.running is not None:
            self._rig.running.remove(post.running)
        post.running = self._rig.process(
            post.type, as_=post.name, arguments=post.arguments, **post.settings
        )


def children(pid: int) -> list[int]:
    """Return the children of a process, oldest first; none once it is gone."""
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
