"""The Procfile's processes, each of which dies at a crash point when it is told to."""

from __future__ import annotations

import json
import marshal
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery_message import message
from pipeline_rig import PIPELINE, ROOT, Rig, Running, procfile
from sites import code_of, sources

HERE = Path(__file__).parent
MEET_SECONDS = 40.0


class DyingRig(Rig):
    """A rig whose processes of type beat, worker and writer have crash points."""

    def __init__(self, folder: Path, *world: str, **more: Any) -> None:
        super().__init__(folder, *world, **more)
        self.orders = folder / "orders"
        (self.orders / "code").mkdir(parents=True)
        for _, path in sources():
            name = path.relative_to(ROOT).as_posix().replace("/", ".")
            (self.orders / "code" / f"{name}.code").write_bytes(marshal.dumps(code_of(path)))
        self.alive: dict[str, Running] = {}
        self._deaths = 0

    def begin(self, *roles: str) -> None:
        """Start processes that obey orders."""
        for role in roles or PIPELINE:
            self.alive[role] = self._dying(role)

    def _dying(self, role: str) -> Running:
        words = shlex.split(procfile()[role])
        own = {}
        while "=" in words[0]:
            key, _, value = words.pop(0).partition("=")
            own[key] = value
        log = self._log(role)
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, str(HERE / "dying.py"), str(self.orders), role, *words],
                cwd=ROOT,
                env=self.environment | own,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        running = Running(role, process)
        self.running.append(running)
        return running

    def die(self, role: str, point: str, *, group: bool, poke: Callable[[], None]) -> bool:
        """
        Let a process of *role* die at *point* and put another in its place; False if none came by.

        With *group* its children and parent die with it. *poke* makes it come by.
        """
        self._deaths += 1
        mark = self.orders / f"died{self._deaths}"
        order = self.orders / f"{role}.order"
        fresh = order.with_suffix(".new")
        fresh.write_text(json.dumps({"point": point, "group": group, "mark": str(mark)}))
        fresh.replace(order)
        poke()
        try:
            died = self.until(f"{role} at {point}", lambda: _text(mark), MEET_SECONDS)
        except AssertionError:
            return False
        finally:
            order.unlink()
        found = self.alive[role]
        if group or int(died) == found.pid:
            found.kill()  # what an orphaned child would still do is not awaited
            self.running.remove(found)
            self.alive[role] = self._dying(role)
        return True

    def push(self, queue: str, task: str, **kwargs: Any) -> None:
        """Send a task that beat sends rarely, or an operator."""
        body = json.dumps([[], kwargs, {}]).encode()
        self.client.lpush(queue, json.dumps(message(body, task=task)))

    def met(self, role: str) -> list[str]:
        """Return the points that processes of *role* have met."""
        found = self.orders / f"{role}.met"
        return list(dict.fromkeys(found.read_text().splitlines())) if found.exists() else []


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
