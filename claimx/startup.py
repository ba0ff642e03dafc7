"""
How a process begins.

Its settings come from the environment, or from a ``.env`` file beside it. What is built is kept
for the process that built it: a forked child builds its own, because connections, event loops and
deltalake's threads do not survive a fork.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from claimx.setting_errors import ConfigurationError
from claimx.settings import Settings

T = TypeVar("T")

_EXIT_CONFIGURATION = 4
_LIBRARIES = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # its own keeps what a look into a table took: 80 MB
    # deltalake's: a twentieth of a flush's CPU went into waking a second one
    "TOKIO_WORKER_THREADS": "1",
}
_THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
_NO_PROXY = ("no_proxy", "NO_PROXY")  # some clients read the one, some the other
_M_ARENA_MAX = -8  # malloc.h
_ARENAS = 2
_built: dict[tuple[int, str], Any] = {}


def environment() -> Mapping[str, str]:
    """
    Return the process's environment over what a ``.env`` file in the working folder says.

    A variable that is blank is not set: the file's stands. A ``$`` in the file is a ``$``: tokens
    are sent as they are. Raises ConfigurationError for a file that is named by ENV_FILE and not
    there or a folder, and for one that is no text.
    """
    from dotenv import dotenv_values

    named = os.environ.get("ENV_FILE", "").strip()
    path = Path(named or ".env")
    if named and not path.exists():
        raise ConfigurationError([f"ENV_FILE={named}: there is no such file"])
    if named and path.is_dir():  # what Docker mounts for a file that is not there
        raise ConfigurationError([f"ENV_FILE={named} is a folder"])
    try:
        from_file = dotenv_values(path, interpolate=False) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        what = "is not UTF-8" if isinstance(error, UnicodeDecodeError) else "cannot be read"
        raise ConfigurationError([f"the file {path} {what}"]) from None
    said = {name: value for name, value in os.environ.items() if value.strip()}
    return dict(os.environ) | {k: v for k, v in from_file.items() if v is not None} | said


def load_settings() -> Settings:
    """
    Return the settings; wrong ones end the process with a line for each error (status 4).

    What a ``.env`` file adds becomes part of the process's environment, because azure-identity and
    Flower read their own variables there; so does Arrow, which is therefore imported after this.
    """
    try:
        for name, value in (_LIBRARIES | dict(environment())).items():
            if not os.environ.get(name, "").strip():
                os.environ[name] = value
        _keep_this_machine_from_proxies()
        _bound_arenas()
        return once("settings", lambda: Settings.load(os.environ))
    except ConfigurationError as error:
        refuse(error.problems)


def _keep_this_machine_from_proxies() -> None:
    """
    Have no client ask a proxy of the environment for what is on loopback.

    It would answer that nothing is there: its own loopback is another.
    """
    if not any(name.lower().endswith("_proxy") and name not in _NO_PROXY for name in os.environ):
        return
    said = [os.environ.get(name, "").strip() for name in _NO_PROXY]
    for name, own in zip(_NO_PROXY, said, strict=True):
        listed = own or "".join(said)
        known = {one.strip() for one in listed.split(",")}
        missing = [one for one in _THIS_MACHINE if not known & {one, "*"}]
        os.environ[name] = ",".join([listed, *missing] if listed else missing)


def _bound_arenas() -> None:
    """
    Have few heaps of the C library, unless the environment says how many.

    It makes one for nearly every thread, and each keeps what its threads freed: in half a million
    events a quarter more memory for a lake writer. Only glibc has them; elsewhere nothing happens.
    """
    if "arena_max" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    # glibc itself has read the environment before a ``.env`` file was
    with suppress(OSError, AttributeError, ValueError):
        arenas = int(os.environ.get("MALLOC_ARENA_MAX", _ARENAS))
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, arenas)


def refuse(problems: Sequence[str]) -> NoReturn:
    """End the process with a line for each problem of its settings (status 4)."""
    for line in problems:
        print(f"claimx: {line}", file=sys.stderr)  # noqa: T201 - before logging is set up
    sys.stderr.flush()
    sys.exit(_EXIT_CONFIGURATION)


def end_when_told() -> None:
    """
    Let SIGTERM end this process, with status 0, until its work takes the signal over.

    The first process of a container ignores a signal that it has no handler for: it would wait for
    Redis, or import, until it is killed. In a thread, which has no signals, nothing happens.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def host_name() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def process_name() -> str:
    """Return what this process is called where all see it: in leases and announcements."""
    return f"{host_name()}:{os.getpid()}"


def once(name: str, build: Callable[[], T]) -> T:
    """Return what this process built under *name*, building it the first time."""
    key = (os.getpid(), name)
    if key not in _built:
        _built[key] = build()
    found: T = _built[key]
    return found


def keep(name: str, built: object) -> None:
    """Let *built* be what this process has under *name*."""
    _built[os.getpid(), name] = built


def forget(name: str) -> Any:
    """Return what this process built under *name*, None when it did not, and build it anew next."""
    return _built.pop((os.getpid(), name), None)


def forget_everything() -> None:
    """Build all anew: what there is belongs to other settings."""
    _built.clear()
