"""The stand-in servers of a round, in a process of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claimx.sandbox.server import SandboxProcess

API_LATENCY_MS = 50
FILE_BYTES = 200_000
START_SECONDS = 120.0
HEAD_EVENTS = 480  # whole extents of the stand-in Kusto; some for each child process


@contextmanager
def sandbox(folder: Path, events: int, mix: str, *more: str) -> Iterator[dict[str, Any]]:
    """
    Serve *events* of an even mix (`claimx.sandbox.mixes`); gives what the sandbox says of itself.

    The API answers after 50 ms, files have 200 KB and come at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = str(FILE_BYTES)
    arguments = ["--events", str(events), "--mix", mix, "--no-specials", "--data", str(folder),
                 "--api-latency-ms", str(API_LATENCY_MS), "--media-min", size, "--media-max", size,
                 *more]  # fmt: skip
    with SandboxProcess(arguments, folder / "sandbox.log", START_SECONDS) as process:
        yield process.announced
