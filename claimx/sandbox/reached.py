"""What the events of a world reach: which projects, tasks, media and videos, by which events."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from claimx.sandbox.entities import MediaFile, Project
from claimx.sandbox.rows import Planned
from claimx.sandbox.truth import Row

if TYPE_CHECKING:
    from claimx.sandbox.world import World


class Reached:
    """
    By number, the keys of the events that reached it; of projects, what the events said, too.

    *names* has a project's newest file name with its time, *named* all that it was given.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.touched: defaultdict[int, set[str]] = defaultdict(set)  # project -> events
        self.died: defaultdict[int, set[str]] = defaultdict(set)
        self.asked: set[int] = set()  # projects whose answer was taken
        self.facts: defaultdict[int, Row] = defaultdict(dict)
        self.names: dict[int, tuple[Any, str]] = {}
        self.named: defaultdict[int, set[str]] = defaultdict(set)
        self.tasks: defaultdict[int, set[str]] = defaultdict(set)
        self.videos: defaultdict[int, set[str]] = defaultdict(set)
        self.media: defaultdict[int, set[str]] = defaultdict(set)
        self.through: defaultdict[int, set[str]] = defaultdict(set)  # media -> tasks

    def follow(self, event: Planned, key: str) -> None:  # noqa: C901 - one case a type
        """Note what an event that was enriched, *key*, reaches."""
        world, type_ = self.world, str(event.type).strip().upper()
        project = world.projects[event.project]
        number = project.project_id
        match type_:
            case "PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL":
                self._fact(number, "xa_autolink_fail_at", event.time)
                self.facts[number]["xa_autolink_fail"] = True
                self.touched[number].add(key)
                return
            case "CUSTOM_TASK_ASSIGNED" | "CUSTOM_TASK_COMPLETED":
                task = world.tasks[event.task]
                number = task.project_id
                self.tasks[task.assignment_id].add(key)
                named = [world.media[one] for one in event.media_list or ()]
                for item in [*task.media, *named]:
                    self.media[item.media_id].add(key)
                    self.through[item.media_id].add(task.key)
            case "VIDEO_COLLABORATION_INVITE_SENT" | "VIDEO_COLLABORATION_COMPLETED":
                self._video(project, event, key)
            case "PROJECT_FILE_ADDED":
                for item in self._files(project, event):
                    self.media[item.media_id].add(key)
            case "POLICYHOLDER_INVITED":
                self._fact(number, "policyholder_invited_at", event.time)
            case "POLICYHOLDER_JOINED":
                self._fact(number, "policyholder_joined_at", event.time)
            case "PROJECT_MFN_ADDED" if event.mfn is not None:
                self.named[number].add(event.mfn)
                if number not in self.names or self.names[number][0] < event.time:
                    self.names[number] = (event.time, event.mfn)
            case _:
                pass
        self.asked.add(number)
        self.touched[number].add(key)

    def _files(self, project: Project, event: Planned) -> list[MediaFile]:
        if event.media_list is not None:
            return [self.world.media[one] for one in event.media_list]
        if event.media_id is not None:
            return [self.world.media[event.media_id]]
        return project.media

    def _video(self, project: Project, event: Planned, key: str) -> None:
        if project.video_shape.startswith("none:"):
            return
        found = next((v for v in project.videos if v.video_id == event.video), project.videos[0])
        self.videos[found.video_id].add(key)

    def _fact(self, number: int, column: str, moment: Any) -> None:
        known = self.facts[number].get(column)
        self.facts[number][column] = moment if known is None else max(known, moment)

    def end(self) -> None:
        """Add the events that died to their projects: one may have asked for it before."""
        for number, keys in self.died.items():
            if number in self.asked:
                self.touched[number] |= keys
