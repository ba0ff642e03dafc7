"""A Redis of the run's own, which can be killed, frozen, filled, emptied and put back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from claimx.cli.stack_redis import redis_command

START_SECONDS = 30.0


class RedisServer:
    """
    Redis on *port*, with its file in *folder*; started again it reads that file.

    *log* takes what it prints. Copies of its file lie beside the folder.
    """

    def __init__(self, folder: Path, port: int, log: Path) -> None:
        self.folder = folder
        self.port = port
        self._log = log
        self._copies = folder.with_name(f"{folder.name}-copies")
        self._process: subprocess.Popen[bytes] | None = None
        # the run itself must not stand still with a frozen server
        patience = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
        self.client: redis.Redis = redis.Redis(port=port, retry=Retry(NoBackoff(), 0), **patience)

    def start(self) -> None:
        """Start, and return when it answers."""
        command = redis_command(self.port, self.folder)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError):
                if self.client.ping():
                    return
            time.sleep(0.02)
        raise TimeoutError(f"Redis was not up within {START_SECONDS:g} s; see {self._log}")

    def kill(self) -> None:
        """End it as a crash does; its file stays as it is."""
        if self._process is not None:
            self._signal(signal.SIGCONT)
            self._signal(signal.SIGKILL)
            self._process.wait(10)
            self._process = None

    def freeze(self) -> None:
        """Stop its clock hand, so to speak: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def copy(self) -> None:
        """Keep a copy of its file as it is at this moment; the last three are kept."""
        taken = self._copies / f"{time.time():.3f}"
        self.freeze()
        try:
            # what the server is writing anew beside its file comes and goes
            shutil.copytree(self.folder, taken, ignore=shutil.ignore_patterns("temp-*"))
        finally:
            self.thaw()
        for old in self.copies()[:-3]:
            shutil.rmtree(old)

    def copies(self) -> list[Path]:
        """Return the copies, the oldest first."""
        return sorted(self._copies.iterdir()) if self._copies.exists() else []

    def put_back(self, copy: Path) -> None:
        """Start it from an older file."""
        self.kill()
        shutil.rmtree(self.folder)
        shutil.copytree(copy, self.folder)
        self.start()

    def empty(self) -> None:
        """Start it without a file."""
        self.kill()
        shutil.rmtree(self.folder)
        self.start()

    def refuse_writes(self) -> None:
        """Fill its memory, so to speak."""
        self.client.config_set("maxmemory", "1mb")

    def accept_writes(self) -> None:
        """Give it room again."""
        self.client.config_set("maxmemory", "0")

    def cut_connections(self) -> None:
        """Close every client's connection."""
        self.client.client_kill_filter(_type="normal", skipme=True)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)
