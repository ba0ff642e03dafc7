"""The Lua scripts, each behind the part that all of them share."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

NAMES = (
    "active_media",
    "admit",
    "census",
    "change_gap",
    "claim",
    "dead_letters",
    "due",
    "fail_rows",
    "find",
    "finish",
    "forget_entries",
    "gaps",
    "note_read",
    "read_rows",
    "readmit",
    "release",
    "renew",
    "requeue",
    "seen",
    "set_aside",
    "settle",
    "states",
    "store_page",
    "waiting_pages",
)


@cache
def source_of(name: str) -> str:
    """Return the text of one of `NAMES`, ready to be loaded."""
    folder = files(__package__) / "lua"
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name))
