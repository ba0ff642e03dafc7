"""What befalls a machine and what lies around it: faults, interruptions."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis

ASIDE = ".aside"


class Mishaps:
    """For a machine that has a *client* of Redis and its tables in *lake_folder*."""

    client: redis.Redis
    lake_folder: Path

    def ids(self, stage: str) -> list[str]:
        """Return the ids of the records in a stage."""
        found = self.client.zrange(f"{{claimx:0}}:look:{stage}", 0, -1)
        return [one.decode() for one in found]

    def doubled_entry(self) -> None:
        """Put a second entry of a record on the lake stream, as a late redriver does."""
        ((_, fields),) = self.client.xrange("{claimx:0}:rows", count=1)
        self.client.xadd("{claimx:0}:rows", fields)

    def fault(self, **rule: Any) -> None:
        """Let the stand-ins fail."""
        self._control("POST", "faults", rule)

    def no_faults(self) -> None:
        """Let the stand-ins be well."""
        self._control("DELETE", "faults")

    def accept_token(self, token: str) -> None:
        """Let the API accept another token, and no more the one before."""
        self._control("POST", "token", {"token": token})

    def once(self, look: Callable[[], bool], act: Callable[[], None]) -> None:
        """Have a thread act as soon as *look* says so."""

        def wait() -> None:
            wait_until(look)
            act()

        threading.Thread(target=wait, daemon=True).start()

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Interrupt the main thread, as a time limit does, once a fault has a request in hand."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        def hit() -> bool:
            return bool(self._control("GET", "faults")[-1]["hits"])

        before = signal.signal(signal.SIGALRM, interrupt)
        self.once(hit, lambda: os.kill(os.getpid(), signal.SIGALRM))
        try:
            with suppress(KeyboardInterrupt):
                yield
        finally:
            signal.signal(signal.SIGALRM, before)
            self.no_faults()

    def _control(self, method: str, path: str, body: Any = None) -> Any:
        import requests

        url = f"{os.environ['CRASH_CONTROL']}/sandbox/{path}"
        answer = requests.request(method, url, json=body, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def break_table(self, name: str) -> None:
        """Put something in a table's place that is none."""
        place = self.lake_folder / name
        place.rename(place.with_suffix(ASIDE))
        place.write_text("no table")

    def mend_tables(self) -> None:
        """Put what was set aside back into its place."""
        for aside in self.lake_folder.glob(f"*{ASIDE}"):
            place = aside.with_suffix("")
            place.unlink(missing_ok=True)
            aside.rename(place)


def wait_until(look: Callable[[], Any], seconds: float = 50.0) -> None:
    """Return once *look* says so; an error when it does not for that long."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise AssertionError("waited in vain")
        time.sleep(0.01)
