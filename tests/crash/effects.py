"""
What lasts, in our own words: the methods of the ports, and the steps inside Redis.

A method that is in neither list fails a test, so whoever adds one says what it does.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def words(*texts: str) -> frozenset[str]:
    """Return the words of several texts."""
    return frozenset(" ".join(texts).split())


def _steps() -> frozenset[str]:
    """Return the names of Redis's scripts, read without importing what is to be instrumented."""
    adapters = ROOT / "claimx" / "adapters"
    found = {path.stem for path in (adapters / "ledger" / "lua").glob("*.lua")} - {"common"}
    for node in ast.walk(ast.parse((adapters / "gates" / "store.py").read_text())):
        match node:
            case ast.AnnAssign(target=ast.Name(id="_SCRIPTS"), value=ast.Dict(keys=keys)):
                found |= {str(key.value) for key in keys if isinstance(key, ast.Constant)}
    return frozenset(found)


PORT_EFFECTS: dict[str, frozenset[str]] = {
    "Ledger": words(
        "ping store_page note_read set_aside recount_gap close_gap admit readmit claim renew",
        "release settle",
        "due read_rows forget_entries finish fail_rows requeue",
    ),
    "Circuit": words("permit report give_back"),
    "Gates": words(
        "take_slots renew_slots free_slots take_tokens lock unlock mark_known beat",
        "put_note drop_notes",
        "circuits fair_share processes",  # these forget what has ended while they look
    ),
    "MediaCache": words("remove sweep"),
    "MediaFetcher": words("fetch"),
    "BlobStore": words("put"),
    "Lake": words("ensure upsert"),
    "LargeTables": words("fold"),
    "Hints": words("send"),
    "Upkeep": words("maintain"),
}

PORT_LOOKS: dict[str, frozenset[str]] = {
    "Ledger": words(
        "now checkpoint noted_read gaps seen active_media states active waiting_pages",
        "dead_letters find census",
    ),
    "Gates": words("circuit known_projects notes"),
    # the vendor keeps nothing of a question
    "ClaimXApi": words("project media task_assignment video_report"),
    "EventApi": words(
        "project project_unless_known name_of_known media task_assignment video_report"
    ),
    "MediaCache": words("node path entries"),
    "BlobStore": words("close"),
    "LargeTables": words("backlog"),
    "Lake": words("audit large known_events recent_events unattached_media rows"),
    "LakeAudit": words("events other_events repeated media_in attachments_without_media"),
    "Read": words("__call__"),
    "ClosableSource": words("close"),
    "EventSource": words("page count nameless having oldest"),
    "Metrics": words("add observe observe_all set"),  # a process's own numbers, gone with it
    "Hints": words("backlog"),
    "Judging": words("retry now jitter"),
    "TokenCredential": words("get_token close"),
}

# The adapters' own doors take the name of an atomic step: these of Redis's scripts only look.
LOOKING_SCRIPTS = words("active_media census dead_letters find gaps seen states waiting_pages")
STEPS = _steps()
STEP_DOORS = words("run _ask")

PORT_WORDS = frozenset(word for found in PORT_EFFECTS.values() for word in found)
