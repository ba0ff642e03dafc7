"""The ordinary mix of events, as the field knows it."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from claimx.sandbox.mixes import MIX

if TYPE_CHECKING:
    from claimx.sandbox.entities import Project, ProjectTask
    from claimx.sandbox.rows import Planned
    from claimx.sandbox.world import World


def plan_ordinary(world: World, events: int) -> None:
    """Plan *events* of the ordinary mix, with the source's habits; duplicates come on top."""
    rng, weight = world.rng, sum(MIX.values())
    for _ in range(max(8, events * 14 // weight)):
        world.add_project()
    projects = list(world.projects.values())
    counts = {name: events * share // weight for name, share in MIX.items()}
    counts["PROJECT_FILE_ADDED"] += events - sum(counts.values())
    for project in projects[: counts["PROJECT_CREATED"]]:
        _dress(world.plan("PROJECT_CREATED", project.project_id, calls=1), rng)
    for name, count in counts.items():
        made = len(projects) if name == "PROJECT_CREATED" else 0
        for _ in range(max(0, count - made)):
            _dress(_event(world, name, rng.choice(projects)), rng)
    for project in projects:
        if rng.random() < 0.1:
            world.add_media(project)  # nobody names it


def _event(world: World, name: str, project: Project) -> Planned:  # noqa: PLR0911 - one a type
    match name:
        case "PROJECT_FILE_ADDED":
            return _files_added(world, project)
        case "CUSTOM_TASK_ASSIGNED":
            task = world.add_task(project)
            return world.plan(name, project.project_id, task=task.assignment_id, calls=1)
        case "CUSTOM_TASK_COMPLETED":
            return _task_completed(world, project)
        case "PROJECT_CREATED":
            return world.plan(name, project.project_id, calls=1)
        case "PROJECT_MFN_ADDED":
            mfn = None if world.rng.random() < 0.1 else f"MFN-EV-{world.rng.randrange(10**6)}"
            return world.plan(name, project.project_id, mfn=mfn, calls=1)
        case "VIDEO_COLLABORATION_INVITE_SENT" | "VIDEO_COLLABORATION_COMPLETED":
            video = world.rng.choice(project.videos) if project.videos else world.add_video(project)
            if project.videos and world.rng.random() < 0.15:
                video = world.add_video(project)
            return world.plan(name, project.project_id, video=video.video_id, calls=1)
        case _:
            return world.plan(name, project.project_id)


def _files_added(world: World, project: Project) -> Planned:
    rng = world.rng
    chance = rng.random()
    if chance < 0.01 and len(project.media) < 12:
        return world.plan("PROJECT_FILE_ADDED", project.project_id, calls=1)
    if chance < 0.08 and project.media:
        items = [rng.choice(project.media)]
    elif chance < 0.085:
        items = [world.add_media(project) for _ in range(rng.randrange(6, 9))]
    else:
        items = [world.add_media(project) for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3)))]
    for item in items:
        if rng.random() < 0.004:
            item.absent = rng.choice((1, 1, 2))
    ids: list[Any] = [item.media_id for item in items]
    if len(ids) == 1 and rng.random() < 0.6:
        return world.plan("PROJECT_FILE_ADDED", project.project_id, media_id=ids[0], calls=1)
    return world.plan("PROJECT_FILE_ADDED", project.project_id, media_list=ids, calls=1)


def _task_completed(world: World, project: Project) -> Planned:
    rng = world.rng
    mine = [task for task in _open_tasks(world, project) if not task.media]
    task = rng.choice(mine) if mine and rng.random() < 0.8 else world.add_task(project)
    named: list[Any] | None = None
    chance = rng.random()
    if chance < 0.3 and not task.media:
        world.maker.answers(task, [world.add_media(project)])
    elif chance < 0.4:
        item = world.add_media(project)
        named = [item.media_id]
    return world.plan(
        "CUSTOM_TASK_COMPLETED",
        project.project_id,
        task=task.assignment_id,
        media_list=named,
        calls=1,
    )


def _open_tasks(world: World, project: Project) -> Iterable[ProjectTask]:
    tail = list(world.tasks.values())[-400:]
    return (task for task in tail if task.project_id == project.project_id)


def _dress(event: Planned, rng: Random) -> None:
    """Add the source's habits: camelCase, no id, no time, duplicates, late rows, odd case."""
    event.camel = rng.random() < 0.15
    event.late = rng.random() < 0.01
    chance = rng.random()
    if chance < 0.03:
        event.copies = rng.choice((1, 1, 2))
    elif chance < 0.04:
        event.without_time = True
    elif chance < 0.05:
        event.event_id = None
    if rng.random() < 0.01 and event.type is not None:
        event.type = rng.choice((f" {event.type} ", event.type.lower()))
