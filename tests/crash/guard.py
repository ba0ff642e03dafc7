"""
A guard at the last door before the outside: an effect that no crash point leads to is told.

While a play is recorded, whatever leaves the process to last (a command of Redis that writes, a
Delta commit, a file opened for writing, a request that is no question) is traced back to the code
of the pipeline that wanted it. Between the two there must be a watched site.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttp
import deltalake
import redis
import requests
from deltalake.table import TableAlterer, TableMerger, TableOptimizer
from doors import FOREIGN_WORDS
from effects import LOOKING_SCRIPTS
from points import Watched
from redis.utils import str_if_bytes
from sites import NOT_THE_PIPELINE, ROOT

QUESTIONS = frozenset(("GET", "HEAD", "OPTIONS"))
ASKING_PATHS = ("/v1/rest/query", "/v2/rest/query", "/data")  # Kusto's queries, the video report
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
FILE_EVENTS = frozenset(
    "os.rename os.remove os.mkdir os.rmdir os.link os.symlink os.truncate os.chmod os.chown"
    " os.utime shutil.rmtree shutil.move tempfile.mkstemp tempfile.mkdtemp".split()
)
# what the broker's library does in the pipeline's name, with hints, which may be lost
THE_LIBRARYS_OWN = {
    "claimx/adapters/transport.py:_brpop_read": "hands a message to Celery, which acknowledges it",
    "claimx/adapters/transport.py:_put": "puts a message that a watched site sends into its queue",
}
_HERE = str(Path(__file__).parent)
_WATCHED = (Watched.__call__.__code__, Watched._awaited.__code__)


class Guard:
    """Collects, as sentences, the effects that nobody listed."""

    def __init__(self) -> None:
        self.found: set[str] = set()
        self.on = False
        self._writing: frozenset[str] = frozenset()
        self._looks: frozenset[str] = frozenset()

    # where the doors are

    def post(self) -> None:
        """Stand at the libraries' doors, before the pipeline takes hold of them."""
        self._around(redis.Redis, "execute_command", self._command)
        self._around(redis.client.Pipeline, "execute", lambda *_, **__: "Redis: a pipeline")
        for kind in (deltalake.DeltaTable, TableAlterer, TableMerger, TableOptimizer):
            for word in FOREIGN_WORDS["deltalake"] & set(vars(kind)):
                self._around(kind, word, lambda *_, word=word, **__: f"Delta: {word}")
        self._around(deltalake, "write_deltalake", lambda *_, **__: "Delta: write_deltalake")
        self._around(requests.Session, "send", self._request)
        self._around(aiohttp.ClientSession, "_request", self._asynchronous_request)

    def stand(self, client: redis.Redis) -> None:
        """Begin to look, in the process that is to be guarded."""
        writing = {str_if_bytes(name).partition("|")[0].upper() for name in client.acl_cat("write")}
        self._writing = frozenset(writing) | {"EVAL", "EVALSHA", "FCALL"}
        from claimx.adapters.ledger.scripts import source_of

        self._looks = frozenset(
            hashlib.sha1(source_of(name).encode()).hexdigest()  # noqa: S324 - as Redis names them
            for name in LOOKING_SCRIPTS
        )
        sys.addaudithook(self._audit)
        self.on = True

    def _around(self, owner: Any, name: str, what: Callable[..., str]) -> None:
        raw = vars(owner)[name]
        function = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw

        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if self.on and (effect := what(*args, **kwargs)):
                self._trace(effect, sys._getframe(1))
            return function(*args, **kwargs)

        kept = type(raw)(guarded) if isinstance(raw, classmethod | staticmethod) else guarded
        setattr(owner, name, kept)

    # what passes them

    def _command(self, _client: Any, *args: Any, **_: Any) -> str:
        name = str(args[0]).upper()
        if name not in self._writing:
            return ""
        if name == "EVALSHA" and str(args[1]) in self._looks:
            return ""
        return f"Redis: {name}"

    def _request(self, _session: Any, request: Any, **_: Any) -> str:
        if request.method in QUESTIONS or request.path_url.split("?")[0].endswith(ASKING_PATHS):
            return ""
        return f"HTTP: {request.method}"

    def _asynchronous_request(self, _session: Any, method: str, url: Any, **_: Any) -> str:
        if method in QUESTIONS or str(url).split("?")[0].endswith(ASKING_PATHS):
            return ""
        return f"HTTP: {method}"

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = args
            if isinstance(path, int) or not flags & WRITING or str(path).startswith("/dev/"):
                return
        elif event not in FILE_EVENTS:
            return
        self._trace(f"files: {event}", sys._getframe(1))

    def _trace(self, effect: str, frame: FrameType | None) -> None:
        """Go outwards until a watched site or code of the pipeline is met."""
        while frame is not None:
            code = frame.f_code
            if code in _WATCHED or code.co_filename.startswith(_HERE):
                return  # a crash point, or a play's own doing
            place = Path(code.co_filename)
            if place.is_relative_to(ROOT / "claimx"):
                below = place.relative_to(ROOT).as_posix()
                if f"{below}:{code.co_name}" in THE_LIBRARYS_OWN:
                    return
                if not below.startswith(NOT_THE_PIPELINE):
                    self.found.add(f"{effect} at {below}:{frame.f_lineno} ({code.co_name})")
                    return
            frame = frame.f_back
