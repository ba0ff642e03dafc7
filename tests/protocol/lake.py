"""A lake that fails and refuses when told, beside plain dicts of what its tables must hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from claimx.adapters.memory.lake import MemoryLake
from claimx.domain.changes import Change
from claimx.domain.columns import Table
from claimx.domain.errors import Unavailable
from claimx.domain.ports.lake import Written
from claimx.domain.tables import ATTACHMENTS, EVENTS, MEDIA

COMPLETED = "completed"


class ModelLake:
    """
    `Lake` that keeps its newest state whatever becomes of Redis.

    *refused* holds ids of events whose rows no table takes for now. The next upsert fails with
    *failing*: "before" anything is written, or "after" it was, which its caller cannot tell.
    """

    def __init__(self) -> None:
        self.lake = MemoryLake()
        self.refused: set[str] = set()
        self.failing = ""
        self.events: dict[str, str | None] = {}
        self.media: dict[str, Any] = {}
        self.attachments: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        """Read as the lake is read."""
        return getattr(self.lake, name)

    def upsert(self, table: Table, changes: Sequence[Change], now: int) -> Written:
        failing, self.failing = self.failing, ""
        if failing == "before":
            raise Unavailable("the lake is away")
        taken = [one for one in changes if one.event_id not in self.refused]
        refused = tuple((one, "not now") for one in changes if one.event_id in self.refused)
        written = self.lake.upsert(table, taken, now)
        for change in taken:
            self._note(table, change)
        if failing == "after":
            raise Unavailable("nobody knows whether it was written")
        return Written(written.inserted, written.updated, written.unchanged, refused=refused)

    def _note(self, table: Table, change: Change) -> None:
        values = change.values
        if table is EVENTS:  # the first stands
            self.events.setdefault(values["event_id"], values["master_file_name"])
        elif table is MEDIA:
            self.media[values["media_id"]] = values["downloadable"]
        else:  # what is completed stays so
            before = self.attachments.get(values["media_id"])
            status = COMPLETED if before == COMPLETED else values["status"]
            self.attachments[values["media_id"]] = status

    def differences(self) -> list[str]:
        """Where the tables are not as they must be: a row more, a row less, another content."""
        told = {
            EVENTS.name: {
                row["event_id"]: row["master_file_name"] for row in self.lake.rows(EVENTS)
            },
            MEDIA.name: {row["media_id"]: row["downloadable"] for row in self.lake.rows(MEDIA)},
            ATTACHMENTS.name: {
                row["media_id"]: row["status"] for row in self.lake.rows(ATTACHMENTS)
            },
        }
        booked = {
            EVENTS.name: self.events,
            MEDIA.name: self.media,
            ATTACHMENTS.name: self.attachments,
        }
        rows = {name: len(self.lake.tables.get(name, {})) for name in told}
        return [
            f"{name}: {rows[name]} rows, {told[name]}, not {booked[name]}"
            for name in told
            if told[name] != booked[name] or rows[name] != len(booked[name])
        ]
