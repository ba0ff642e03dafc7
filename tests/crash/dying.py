"""
Runs a process of the pipeline that dies when it is told to: ``dying.py FOLDER ROLE command ...``.

``FOLDER/code`` holds the pipeline's modules with their crash points, ``FOLDER/ROLE.order`` may name
one: whichever process of the group meets it first dies there, alone or with the whole group, and
leaves its number in the order's mark. What was met is noted in ``FOLDER/ROLE.met``.
"""

from __future__ import annotations

import json
import marshal
import os
import runpy
import signal
import sys
import threading
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parents[2]

import points  # noqa: E402 - beside this file


class Orders:
    """Does as the order says that stands in a file at the moment; for forked children as well."""

    def __init__(self, order: Path, met: Path) -> None:
        self._order = order
        self._met = met
        self._noted: set[str] = set()
        self._read_at = 0
        self._point = ""
        self._mark = ""
        self._group = False
        self._lock = threading.Lock()

    def __call__(self, point: str) -> None:
        if point not in self._noted:
            self._note(point)
        self._look()
        if point == self._point:
            self._die()

    def _note(self, point: str) -> None:
        self._noted.add(point)
        descriptor = os.open(self._met, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{point}\n".encode())
        os.close(descriptor)

    def _look(self) -> None:
        try:
            written = self._order.stat().st_mtime_ns
        except FileNotFoundError:
            return
        with self._lock:
            if written != self._read_at:
                order = json.loads(self._order.read_text())
                self._point, self._mark = order["point"], order["mark"]
                self._group, self._read_at = order["group"], written

    def _die(self) -> None:
        try:
            mark = os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            self._point = ""  # somebody has died of this order
            return
        os.write(mark, str(os.getpid()).encode())
        if self._group:
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, role: str, command: list[str]) -> None:
    """Become the command's process, with its crash points."""
    sys.path[0] = str(ROOT)

    def code_of(path: Path) -> CodeType | None:
        code = folder / "code" / f"{path.relative_to(ROOT).as_posix().replace('/', '.')}.code"
        # written by the test that started this
        return marshal.loads(code.read_bytes()) if code.exists() else None  # noqa: S302

    points.install(code_of)
    points.watch(Orders(folder / f"{role}.order", folder / f"{role}.met"))
    sys.argv = command
    if command[0] == "celery":
        from celery.__main__ import main as celery

        celery()
    sys.argv = command[2:]
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)  # python -m module


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
