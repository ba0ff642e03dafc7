"""A world of about a dozen events: one of each kind that takes a way of its own."""

from __future__ import annotations

from typing import Any

from claimx.sandbox.entities import Link, MediaFile, Project
from claimx.sandbox.rows import Schedule
from claimx.sandbox.world import FEWEST_EVENTS, World

SEED = 11
EXTENT = 4  # rows of one ingestion time, so that there are several pages
BIG = 1_200_000  # bytes: written to the cache in two pieces


class TinyWorld(World):
    """Two projects with everything on them, and one of each end that is no success."""

    def __init__(self, at: float) -> None:
        super().__init__(SEED, FEWEST_EVENTS, at, smallest=1000, largest=3000, specials=False)
        self.schedule = Schedule(self.at, extent=EXTENT)
        self.rows = self.schedule.spread(self.events, self.rng)

    def _populate(self, _events: int) -> None:
        self.templates = [self.maker.template(4100)]
        first, second = self.add_project(), self.add_project()
        for project in (first, second):
            project.wrapped, project.honours_filter = False, True
        self._successes(first, second)
        self._failures(first)

    def _successes(self, first: Project, second: Project) -> None:
        number = first.project_id
        self.plan("PROJECT_CREATED", number, calls=1, copies=1)
        files = [self._file(first, "small.jpg"), self._file(first, "big.bin.txt", "txt", BIG)]
        ids = [one.media_id for one in files]
        self.plan("PROJECT_FILE_ADDED", number, media_list=ids, calls=1)
        self.plan("PROJECT_MFN_ADDED", number, mfn="MFN-TINY", calls=1)
        self.plan("POLICYHOLDER_INVITED", number)
        self.plan("PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL", second.project_id)
        task = self.add_task(second)
        self.maker.answers(task, [self._file(second, "answer.png", "png")])
        self.plan("CUSTOM_TASK_COMPLETED", second.project_id, task=task.assignment_id, calls=1)
        video = self.add_video(second)
        self.plan("VIDEO_COLLABORATION_COMPLETED", second.project_id, video=video.video_id, calls=1)
        self.plan("PROJECT_NOTE_ADDED", number, outcome="unhandled")

    def _failures(self, project: Project) -> None:
        nowhere = self.add_project()
        nowhere.status = 404
        self.plan(
            "PROJECT_CREATED",
            nowhere.project_id,
            outcome="dead",
            categories=("PERMANENT",),
            note="project 404",
        )
        self.plan(
            None,
            project.project_id,
            outcome="dead",
            categories=("PERMANENT",),
            stages=("ingest",),
            note="no type",
        )
        gone = self._file(project, "gone.jpg")
        gone.link = Link(style="open", serves="missing")
        gone.failure = ("PERMANENT",)
        self.plan("PROJECT_FILE_ADDED", project.project_id, media_id=gone.media_id, calls=1)

    def _file(self, project: Project, name: str, kind: str = "jpg", size: int = 2000) -> MediaFile:
        item = MediaFile(self.number("media"), project.project_id, name, kind, size)
        item.link = Link(style="claimx")
        self.maker.describe(item)
        self.media[item.media_id] = item
        project.media.append(item)
        return item

    def planned(self, type_: str, **more: Any) -> Any:
        """Return the event of a type."""
        return next(
            one
            for one in self.events
            if one.type == type_ and all(getattr(one, k) == v for k, v in more.items())
        )
