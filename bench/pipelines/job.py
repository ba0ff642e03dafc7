"""What a contender is asked to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

EVENTS, ATTACHMENTS = "claimx_events", "claimx_attachments"


@dataclass(frozen=True)
class Job:
    """
    All *events* of the source, and the *files* media files among them.

    *environment* are the stand-in servers as the settings name them, *control* is the sandbox's own
    port and *sandbox_pid* its process. At most *in_flight* API calls run at a time, whoever makes
    them. Media go to a folder below *folder*, or with *onelake* to the stand-in of OneLake. After
    *seconds* it has failed.

    *world* is what the sandbox made its world of, so that the truth can be worked out.

    With a *head*, so many events and *head_files* more come first, to warm processes that live for
    days, and the others only when they are released. *settings* are for claimx alone.
    """

    environment: Mapping[str, str]
    control: str
    sandbox_pid: int
    folder: Path
    events: int
    files: int
    in_flight: int = 200
    seconds: float = 120.0
    onelake: bool = False
    head: int = 0
    head_files: int = 0
    settings: Mapping[str, str] = field(default_factory=dict)
    world: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def on(cls, told: Mapping[str, Any], folder: Path, **more: Any) -> Self:
        """Return a job on a sandbox, from what that says of itself."""
        return cls(
            environment=told["environment"],
            control=str(told["control"]).rstrip("/"),
            sandbox_pid=int(told["pid"]),
            world=told["world"],
            folder=folder,
            **more,
        )

    @property
    def lake(self) -> Path:
        """Where the tables lie."""
        return self.folder / "lake"

    @property
    def files_folder(self) -> Path:
        """Where media go without *onelake*."""
        return self.folder / "files"

    @property
    def cache(self) -> Path:
        """Where a downloaded file lies until it is copied."""
        return self.folder / "cache"

    def save(self) -> Path:
        """Write the job where a process of the contender's can `load` it; returns the path."""
        path = self.folder / "job.json"
        path.write_text(json.dumps(asdict(self) | {"folder": str(self.folder)}))
        return path

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote."""
        values = json.loads(Path(path).read_text())
        return cls(**(values | {"folder": Path(values["folder"])}))
