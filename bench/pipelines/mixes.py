"""What the worlds are like that contenders are measured in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from claimx.sandbox.mixes import EVEN

MEDIA, NO_MEDIA = "media", "no-media"
HEAD_EVENTS = 480  # whole extents of the stand-in Kusto; some for each child process


@dataclass(frozen=True)
class Mix:
    """
    A *world* of `claimx.sandbox.mixes`, whose files have *file_bytes* each.

    A *head* of so many events comes first for those who need one. *faults* are the sandbox's;
    *settings* what claimx is started with besides.
    """

    world: str
    file_bytes: int = 200_000
    head: int = HEAD_EVENTS
    faults: tuple[Mapping[str, Any], ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    def files(self, events: int) -> int:
        """Return how many of so many events have a file."""
        even = EVEN[self.world]
        return events * even.files // even.of

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the sandbox is started with."""
        size = str(self.file_bytes)
        faults = ("--faults", json.dumps([dict(one) for one in self.faults])) if self.faults else ()
        return ("--media-min", size, "--media-max", size, *faults)


MIXES: Mapping[str, Mix] = {
    MEDIA: Mix(MEDIA),
    NO_MEDIA: Mix(NO_MEDIA),
    "nothing": Mix("nothing"),
    "long": Mix("long", file_bytes=20_000),
    "small-media": Mix(MEDIA, file_bytes=5000),
    "large-media": Mix(MEDIA, file_bytes=20_000_000, head=40),
    "doubles": Mix("doubles"),
    # No path fails more than three times, and an event of this mix asks for two at the most: with
    # six retries none dies. By its default the circuit opens for a minute after five failures in a
    # row: here each 600 calls, and that minute would be all that is measured.
    "failing": Mix(
        NO_MEDIA,
        faults=({"where": "api", "kind": "error", "share": 0.3, "each": 3},),
        settings={"CLAIMX_CIRCUIT_FAILURES": "50", "CLAIMX_MAX_RETRIES": "6"},
    ),
}
