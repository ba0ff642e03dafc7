"""The local stack: Redis from a wheel, the sandbox, and the Procfile's own lines under honcho."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from claimx.cli.stack_processes import end
from claimx.cli.stack_redis import check_unused, redis_command, wait_for_redis
from claimx.domain.errors import Unavailable
from claimx.settings import Settings

ROOT = Path(__file__).parents[2]
PROCESS_TYPES = ("web", "beat", "worker", "writer")
STOP_SECONDS = 40.0  # a worker takes up to 20 s to give back its chunk
_START_SECONDS = 60.0
_OF_SETTINGS = ("CLAIMX_", "ONELAKE_", "EVENTHOUSE_", "FLOWER_", "AZURE_")

# honcho kills five seconds after asking; a worker is entitled to its grace
_HONCHO = "import honcho.manager as m; m.KILL_WAIT = 30; from honcho.command import main; main()"


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    """
    Local processes, started in order and stopped in reverse.

    Each runs in a session of its own, so that Ctrl-C reaches this program alone and it decides
    the order: pipeline, sandbox, Redis. Logs lie in *folder*/logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()  # what is started works in another folder
        # a developer's .env, or shell, may name real tables: nothing of the stack may read them
        theirs = _settings_of(os.environ).keys()
        self.environment = {
            name: value
            for name, value in os.environ.items()
            # no proxy leads to what runs here
            if name not in theirs and not name.lower().endswith("_proxy")
        }
        self.environment["ENV_FILE"] = os.devnull
        self.started: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._starting = self._interrupt_waits = self._ending = False
        (folder / "logs").mkdir(parents=True, exist_ok=True)

    def interrupted(self, *_: object) -> None:
        """Handle a signal that ends: KeyboardInterrupt, but not between a start and its note."""
        if self._starting:
            self._interrupt_waits = True
        elif not self._ending:
            raise KeyboardInterrupt

    def start_redis(self) -> str:
        """
        Start Redis (unless REDIS_URL names one already) and return its URL.

        Raises Unavailable for one that a pipeline works with: its records would be done here.
        """
        if url := os.environ.get("REDIS_URL"):
            check_unused(url)
            self.environment["REDIS_URL"] = url
            return url
        port = free_port()
        self._start("redis", redis_command(port, self.folder / "redis"))
        url = f"redis://127.0.0.1:{port}/0"
        self.environment["REDIS_URL"] = url
        wait_for_redis(url, self.check)
        return url

    def start_sandbox(self, arguments: list[str]) -> dict[str, Any]:
        """Start the sandbox and return what it says of itself: ``env`` and ``control``."""
        port_file = self.folder / "sandbox.json"
        port_file.unlink(missing_ok=True)
        process = self._start(
            "sandbox",
            [sys.executable, "-m", "claimx.sandbox", "--port-file", str(port_file), *arguments],
        )
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                break
            if port_file.exists() and port_file.stat().st_size:
                found: dict[str, Any] = json.loads(port_file.read_text())
                self.environment.update(found["environment"])
                return found
            time.sleep(0.05)
        raise Unavailable(f"the sandbox did not start; see {self.log_path('sandbox')}")

    def start_pipeline(self, types: tuple[str, ...] = PROCESS_TYPES) -> None:
        """Start the Procfile's process types by their own command lines."""
        environment = self.environment
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        environment["PYTHONUNBUFFERED"] = "1"
        environment.setdefault("PORT", str(free_port()))
        self._start(
            "pipeline",
            [sys.executable, "-c", _HONCHO, "start", "--no-colour", "-f", str(ROOT / "Procfile"),
             "-d", str(ROOT), "-e", os.devnull, *types],
        )  # fmt: skip

    def settings_file(self) -> Path:
        """
        Write what the pipeline is set to into a file for ENV_FILE, and return its path.

        The file is its owner's alone: a REDIS_URL that was given may hold a password.
        """
        path = self.folder / "env"
        path.touch(mode=0o600)
        with path.open("w", encoding="utf-8") as lines:
            for name, value in sorted(_settings_of(self.environment).items()):
                quoted = value.replace("\\", r"\\").replace("'", r"\'")
                lines.write(f"{name}='{quoted}'\n")
        return path

    def check(self) -> None:
        """Raise Unavailable, naming the log, when a process has ended by itself."""
        for name, process in self.started:
            if process.poll() is not None:
                raise Unavailable(
                    f"{name} ended with status {process.returncode}; see {self.log_path(name)}"
                )

    def log_path(self, name: str) -> Path:
        """Return the file that a process's output goes to."""
        return self.folder / "logs" / f"{name}.log"

    def stop(self) -> list[str]:
        """
        Stop everything in reverse order; returns the names of those that had to be killed.

        A second Ctrl-C does not cut this short: it would leave processes behind.
        """
        self._ending = True  # at once, for a second signal may come before the next line
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        killed = [name for name, one in reversed(self.started) if not end(one, STOP_SECONDS)]
        self.started.clear()
        return killed

    def _start(self, name: str, arguments: list[str]) -> subprocess.Popen[bytes]:
        self._starting = True
        output: IO[bytes] = self.log_path(name).open("wb")
        with output:
            process = subprocess.Popen(  # noqa: S603 - our own command lines
                arguments,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.started.append((name, process))
        self._starting = False
        if self._interrupt_waits:
            raise KeyboardInterrupt
        return process


def _settings_of(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what settings are read from, Azure's included."""
    ours = {field.alias for field in Settings.model_fields.values()}
    return {
        name: value
        for name, value in environment.items()
        if name in ours or name.startswith(_OF_SETTINGS)
    }
