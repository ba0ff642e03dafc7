"""The stand-in servers of a round, in a process of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from claimx.sandbox.process import SandboxProcess
from pipelines.mixes import MIXES

API_LATENCY_MS = 50
START_SECONDS = 120.0


@contextmanager
def sandbox(folder: Path, events: int, mix: str, *more: str) -> Iterator[dict[str, Any]]:
    """
    Serve *events* of a mix (`pipelines.mixes`); gives what the sandbox says of itself.

    The API answers after 50 ms, files come at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    served = MIXES[mix]
    arguments = ["--events", str(events), "--mix", served.world, "--no-specials",
                 "--data", str(folder), "--api-latency-ms", str(API_LATENCY_MS),
                 *served.arguments, *more]  # fmt: skip
    with SandboxProcess(arguments, folder / "sandbox.log", START_SECONDS) as process:
        yield process.announced
