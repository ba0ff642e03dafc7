"""What happens at a crash point while a test runs: it is noted, or the process dies there."""

from __future__ import annotations

import builtins
import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

HOOK = "__crash_site__"
CodeOf = Callable[[Path], CodeType | None]
Arrive = Callable[[str], None]
"""Told of each point by its name, the moment before the code goes on."""

_arrive: Arrive = lambda _: None  # noqa: E731 - replaced by `watch`


def watch(arrive: Arrive) -> None:
    """Let *arrive* be told of every point from now on."""
    global _arrive  # noqa: PLW0603 - one process, one watch
    _arrive = arrive


def when(point: str, act: Callable[[], None]) -> None:
    """Do *act* as well, the first time that *point* is met; what a play needs to be on time."""
    told, done = _arrive, threading.Event()

    def arrive(met: str) -> None:
        told(met)
        if met == point and not done.is_set():
            done.set()
            act()

    watch(arrive)


class Watched:
    """An effect's function that passes its two points."""

    def __init__(self, function: Callable[..., Any], site: str) -> None:
        self._function = function
        self._site = site

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _arrive(f"{self._site} before")
        awaited = False
        try:
            found = self._function(*args, **kwargs)
            if awaited := inspect.iscoroutine(found):
                return self._awaited(found)
            return found
        finally:  # also when it raised: it may have happened all the same
            if not awaited:
                _arrive(f"{self._site} after")

    async def _awaited(self, running: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await running
        finally:
            _arrive(f"{self._site} after")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def crash_site(value: Any, site: str) -> Any:
    """Return what stands at a site, watched when it is a function."""
    return Watched(value, site) if callable(value) and not isinstance(value, type) else value


class Recorder:
    """Notes the points in the order in which they are met, with the thread that met them."""

    def __init__(self) -> None:
        self.met: list[tuple[str, int]] = []

    def __call__(self, point: str) -> None:
        self.met.append((point, threading.get_ident()))


class Dying:
    """Ends the process at the *nth* meeting of one point, by a signal that nobody can catch."""

    def __init__(self, point: str, nth: int = 1, *, die: Callable[[], None] | None = None) -> None:
        self._point = point
        self._left = nth
        self._die = die or (lambda: os.kill(os.getpid(), signal.SIGKILL))
        self._lock = threading.Lock()

    def __call__(self, point: str) -> None:
        if point != self._point:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                self._die()


class _Loader(SourceFileLoader):
    """Takes a module's code from elsewhere; its cached bytecode is neither read nor written."""

    def __init__(self, fullname: str, path: str, code: CodeType) -> None:
        super().__init__(fullname, path)
        self._code = code

    def get_code(self, _fullname: str) -> CodeType:
        return self._code


class _Finder(MetaPathFinder):
    def __init__(self, code_of: CodeOf) -> None:
        self._code_of = code_of

    def find_spec(
        self, fullname: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "claimx":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or not spec.origin:
            return spec
        if (code := self._code_of(Path(spec.origin))) is not None:
            spec.loader = _Loader(fullname, spec.origin, code)
        return spec


def install(code_of: CodeOf) -> None:
    """
    Let every module of the pipeline that this process imports from now on have its crash points.

    *code_of* gives a file's code with its sites hooked, None for a file that has none.
    """
    early = sorted(name for name in sys.modules if name.partition(".")[0] == "claimx")
    if early:
        msg = f"imported before its crash points were installed: {early}"
        raise RuntimeError(msg)
    setattr(builtins, HOOK, crash_site)
    sys.meta_path.insert(0, _Finder(code_of))
