"""The whole sandbox as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from claimx.sandbox.server import START_SECONDS, STOP_SECONDS
from claimx.sandbox.world import World


class SandboxProcess:
    """
    ``python -m claimx.sandbox`` as a child with *arguments*; *environment* is there once started.

    The world it serves can be made again in the parent from `announced`: same seed, same moment.
    A world of 200,000 events takes minutes to make; *start_seconds* is what the child may take.
    """

    def __init__(
        self, arguments: Iterable[str], log: Path, start_seconds: float = START_SECONDS
    ) -> None:
        self.start_seconds = start_seconds
        self._arguments = list(arguments)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.announced: dict[str, Any] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The settings for the pipeline."""
        return dict(self.announced["environment"])

    def world(self) -> World:
        """Make the child's world again, to verify against."""
        return World(**self.announced["world"])

    def start(self) -> Self:
        """Start and wait for its line; raises RuntimeError with the log's end when it fails."""
        port_file = self._log.with_suffix(f".{os.getpid()}.json")
        port_file.unlink(missing_ok=True)
        # which parent is told, for we may be gone before the child comes to look
        command = [sys.executable, "-m", "claimx.sandbox", "--exit-with-parent", str(os.getpid())]
        command += ["--port-file", str(port_file)]
        with self._log.open("wb") as log:
            # Our own interpreter and arguments that the caller chose.
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, *self._arguments], stdout=log, stderr=log
            )
        deadline = time.monotonic() + self.start_seconds
        while not port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self._log.read_text(errors="replace")[-2000:]
                msg = f"the sandbox did not start:\n{tail}"
                raise RuntimeError(msg)
            time.sleep(0.02)
        self.announced = json.loads(port_file.read_text())
        port_file.unlink(missing_ok=True)
        return self

    def stop(self) -> None:
        """End the child."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
