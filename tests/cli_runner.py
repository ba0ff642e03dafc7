"""The command line as a user runs it: a process of its own, and what it answered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]


class Answer(NamedTuple):
    """What a command said, and the status it ended with."""

    status: int
    out: str
    err: str

    def rows(self, name: str) -> list[dict[str, Any]]:
        """Return what its JSON document has under *name*."""
        found: list[dict[str, Any]] = json.loads(self.out)[name]
        return found


def claimx(*words: str, given: str = "", **settings: str) -> Answer:
    """Run ``claimx`` with these words and settings, *given* on its standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "claimx", *words],
        env=os.environ | settings,
        cwd=ROOT,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)
