"""Which events a world is made of: the field's own mix, or an even one for measuring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claimx.sandbox.entities import Project
    from claimx.sandbox.rows import Planned
    from claimx.sandbox.world import World

MIX = {
    "PROJECT_FILE_ADDED": 50,
    "CUSTOM_TASK_ASSIGNED": 30,
    "CUSTOM_TASK_COMPLETED": 30,
    "PROJECT_CREATED": 15,
    "POLICYHOLDER_INVITED": 15,
    "POLICYHOLDER_JOINED": 15,
    "PROJECT_MFN_ADDED": 5,
    "VIDEO_COLLABORATION_INVITE_SENT": 5,
    "VIDEO_COLLABORATION_COMPLETED": 5,
    "PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL": 2,
}
"""Shares of the ordinary mix, which also has the source's habits (see `World`)."""

FILE_ADDED = "PROJECT_FILE_ADDED"
HEAD = "head"
LIKENESSES = 8  # different files of a kind in an even mix
NOTHING = "SANDBOX_NOTHING"
"""A type that no handler knows."""


@dataclass(frozen=True, slots=True)
class Even:
    """
    A mix without chance: every event has an id of its own, comes in time, and succeeds.

    *files* of *of* events are one new media file each; the others are shared out as in `MIX`.
    With *copies*, each row comes so often again.
    """

    files: int
    of: int = 2
    shares: Mapping[str, int] | None = None
    copies: int = 0


ORDINARY = "ordinary"
EVEN_SPAN = 300.0
"""Seconds that the rows lie in without a rate: however many, a poll is not far behind them."""

EVEN = {
    "media": Even(files=1),  # one file for every second event
    "no-media": Even(files=0),
    "long": Even(files=1, of=20),  # for hours of it: some files, but no disk full of them
    "doubles": Even(files=0, copies=19),  # a source that sends everything twenty times
    "nothing": Even(files=0, shares={NOTHING: 1}),  # framework alone: no call, no row but its own
}


def plan_even(world: World, events: int, mix: Even, head: int = 0) -> None:
    """
    Plan *events* of an even mix; there are as many projects as in the ordinary one.

    A *head* comes before, of the same mix and noted as such.
    """
    if head:
        plan_even(world, head, mix)
        for event in world.events:
            event.note = HEAD
    projects = [world.add_project() for _ in range(max(8, events * 14 // sum(MIX.values())))]
    files = events * mix.files // mix.of
    shares = mix.shares or {name: share for name, share in MIX.items() if name != FILE_ADDED}
    types = [name for name, share in shares.items() for _ in range(share)]
    others = list(islice(cycle(types), events - files))
    for name in [FILE_ADDED] * files + others:
        _plan(world, name, world.rng.choice(projects)).copies = mix.copies


def _plan(world: World, name: str, project: Project) -> Planned:
    more: dict[str, Any] = {"calls": 1}
    match name:
        case "PROJECT_FILE_ADDED":
            item = world.add_media(project)
            item.likeness = str(item.media_id % LIKENESSES)
            more["media_id"] = item.media_id
        case "CUSTOM_TASK_ASSIGNED" | "CUSTOM_TASK_COMPLETED":
            more["task"] = world.add_task(project).assignment_id
        case "VIDEO_COLLABORATION_INVITE_SENT" | "VIDEO_COLLABORATION_COMPLETED":
            more["video"] = world.add_video(project).video_id
        case "PROJECT_MFN_ADDED":
            more["mfn"] = f"MFN-EV-{world.rng.randrange(10**6)}"
        case "PROJECT_CREATED":
            pass
        case "SANDBOX_NOTHING":
            more = {"outcome": "unhandled"}
        case _:  # only a project check, if that
            more = {}
    return world.plan(name, project.project_id, **more)
