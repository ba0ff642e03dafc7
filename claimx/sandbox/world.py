"""A whole ClaimX tenant from one seed: projects, tasks, media, events, and the truth about them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from claimx.sandbox.entities import MediaFile, Project, ProjectTask, Video
from claimx.sandbox.items import ItemAuthor
from claimx.sandbox.mixes import EVEN, EVEN_SPAN, HEAD, MIX, ORDINARY, plan_even
from claimx.sandbox.projects import ProjectAuthor
from claimx.sandbox.rows import Planned, Schedule, SourceRow
from claimx.sandbox.specials import add_specials
from claimx.sandbox.tasks import TaskAuthor
from claimx.sandbox.teller import tell
from claimx.sandbox.truth import Difference, Truth, compare

FEWEST_EVENTS = 100


class Maker(ProjectAuthor, TaskAuthor, ItemAuthor):
    """Makes every kind of entity from one generator."""


class World:
    """
    Deterministic from *seed*, *events* and *at* (epoch seconds, now when None).

    *events* counts different events, at least 100; duplicates come on top. *smallest* and
    *largest* bound the media files in bytes; *rate* releases events over time (0: all at once);
    *specials* adds one of everything that goes wrong; *mix* is the ordinary one or an even one
    (`claimx.sandbox.mixes`), which may have a *head* of more events, in projects of their own: the
    others are seen when the sandbox is told to release them. Read-only once made.
    """

    def __init__(
        self,
        seed: int = 7,
        events: int = 5000,
        at: float | None = None,
        *,
        rate: float = 0.0,
        smallest: int = 1_000,
        largest: int = 64_000,
        specials: bool = True,
        mix: str = ORDINARY,
        head: int = 0,
    ) -> None:
        if events < FEWEST_EVENTS:
            msg = f"events={events}: a world needs at least {FEWEST_EVENTS}"
            raise ValueError(msg)
        if not 300 <= smallest <= largest:
            msg = f"smallest={smallest}, largest={largest}: 300 <= smallest <= largest (bytes)"
            raise ValueError(msg)
        if mix != ORDINARY and mix not in EVEN:
            msg = f"mix={mix!r}: one of {', '.join((ORDINARY, *EVEN))}"
            raise ValueError(msg)
        moment = time.time() if at is None else at
        self.seed = seed
        self.at = datetime.fromtimestamp(int(moment), UTC)
        self.rng = Random(seed)
        self.maker = Maker(self.rng, self.at, smallest, largest)
        self.projects: dict[int, Project] = {}
        self.tasks: dict[int, ProjectTask] = {}
        self.media: dict[int, MediaFile] = {}
        self.videos: dict[int, Video] = {}
        self.events: list[Planned] = []
        self.never: set[int] = set()
        self._numbers = Counter(
            {"project": 700_000, "task": 300_000, "media": 5_000_000, "video": 40_000, "event": 0}
        )
        self.templates = [self.maker.template(4100 + n) for n in range(20)]
        if mix == ORDINARY:
            self._populate(events)
        else:
            plan_even(self, events, EVEN[mix], head)
        if specials:
            add_specials(self)
        self._shuffle()
        self.events.sort(key=lambda event: event.note != HEAD)
        self.schedule = Schedule(self.at, rate, head=head)
        if mix != ORDINARY:
            self.schedule.span = EVEN_SPAN
        self.rows: list[SourceRow] = self.schedule.spread(self.events, self.rng)
        self.by_number: dict[str, Project] = {
            project.row["project_number"]: project
            for project in self.projects.values()
            if project.row["project_number"]
        }
        self._truth: Truth | None = None

    # What the generator and the specials build with.

    def number(self, kind: str) -> int:
        """Return the next id of a kind, with gaps."""
        self._numbers[kind] += self.rng.randrange(1, 4)
        return self._numbers[kind]

    def add_project(self) -> Project:
        """Make and keep a project."""
        project = self.maker.project(self.number("project"))
        self.projects[project.project_id] = project
        return project

    def add_media(self, project: Project) -> MediaFile:
        """Make and keep an ordinary media file."""
        item = self.maker.media(self.number("media"), project)
        self.media[item.media_id] = item
        return item

    def add_task(self, project: Project) -> ProjectTask:
        """Make and keep an assignment."""
        number = self.number("task")
        template = self.rng.choice(self.templates)
        task = self.maker.task(number, project, template, 900_000 + number)
        self.tasks[number] = task
        return task

    def add_video(self, project: Project) -> Video:
        """Make and keep a video collaboration."""
        video = self.maker.video(self.number("video"), project)
        self.videos[video.video_id] = video
        project.videos.append(video)
        return video

    def plan(self, type_: str | None, project: Any, **more: Any) -> Planned:
        """Plan an event; without an ``event_id`` in *more* it gets one of its own."""
        if "event_id" not in more:
            number = self.number("event")
            digest = self.rng.randrange(16**12)
            more["event_id"] = (
                str(10**9 + number) if number % 11 == 0 else f"ev-{number:07d}-{digest:012x}"
            )
        event = Planned(type_, project, **more)
        self.events.append(event)
        return event

    # The ordinary mix.

    def _populate(self, events: int) -> None:
        rng, weight = self.rng, sum(MIX.values())
        for _ in range(max(8, events * 14 // weight)):
            self.add_project()
        projects = list(self.projects.values())
        counts = {name: events * share // weight for name, share in MIX.items()}
        counts["PROJECT_FILE_ADDED"] += events - sum(counts.values())
        for project in projects[: counts["PROJECT_CREATED"]]:
            self._dress(self.plan("PROJECT_CREATED", project.project_id, calls=1))
        for name, count in counts.items():
            made = len(projects) if name == "PROJECT_CREATED" else 0
            for _ in range(max(0, count - made)):
                self._dress(self._event(name, rng.choice(projects)))
        for project in projects:
            if rng.random() < 0.1:
                self.add_media(project)  # nobody names it

    def _event(self, name: str, project: Project) -> Planned:  # noqa: PLR0911 - one a type
        match name:
            case "PROJECT_FILE_ADDED":
                return self._files_added(project)
            case "CUSTOM_TASK_ASSIGNED":
                task = self.add_task(project)
                return self.plan(name, project.project_id, task=task.assignment_id, calls=1)
            case "CUSTOM_TASK_COMPLETED":
                return self._task_completed(project)
            case "PROJECT_CREATED":
                return self.plan(name, project.project_id, calls=1)
            case "PROJECT_MFN_ADDED":
                mfn = None if self.rng.random() < 0.1 else f"MFN-EV-{self.rng.randrange(10**6)}"
                return self.plan(name, project.project_id, mfn=mfn, calls=1)
            case "VIDEO_COLLABORATION_INVITE_SENT" | "VIDEO_COLLABORATION_COMPLETED":
                video = (
                    self.rng.choice(project.videos) if project.videos else self.add_video(project)
                )
                if project.videos and self.rng.random() < 0.15:
                    video = self.add_video(project)
                return self.plan(name, project.project_id, video=video.video_id, calls=1)
            case _:
                return self.plan(name, project.project_id)

    def _files_added(self, project: Project) -> Planned:
        rng = self.rng
        chance = rng.random()
        if chance < 0.01 and len(project.media) < 12:
            return self.plan("PROJECT_FILE_ADDED", project.project_id, calls=1)
        if chance < 0.08 and project.media:
            items = [rng.choice(project.media)]
        elif chance < 0.085:
            items = [self.add_media(project) for _ in range(rng.randrange(6, 9))]
        else:
            items = [self.add_media(project) for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3)))]
        for item in items:
            if rng.random() < 0.004:
                item.absent = rng.choice((1, 1, 2))
        ids: list[Any] = [item.media_id for item in items]
        if len(ids) == 1 and rng.random() < 0.6:
            return self.plan("PROJECT_FILE_ADDED", project.project_id, media_id=ids[0], calls=1)
        return self.plan("PROJECT_FILE_ADDED", project.project_id, media_list=ids, calls=1)

    def _task_completed(self, project: Project) -> Planned:
        rng = self.rng
        mine = [task for task in self._open_tasks(project) if not task.media]
        task = rng.choice(mine) if mine and rng.random() < 0.8 else self.add_task(project)
        named: list[Any] | None = None
        chance = rng.random()
        if chance < 0.3 and not task.media:
            self.maker.answers(task, [self.add_media(project)])
        elif chance < 0.4:
            item = self.add_media(project)
            named = [item.media_id]
        return self.plan(
            "CUSTOM_TASK_COMPLETED",
            project.project_id,
            task=task.assignment_id,
            media_list=named,
            calls=1,
        )

    def _open_tasks(self, project: Project) -> Iterable[ProjectTask]:
        tail = list(self.tasks.values())[-400:]
        return (task for task in tail if task.project_id == project.project_id)

    def _dress(self, event: Planned) -> None:
        """Add the source's habits: camelCase, no id, no time, duplicates, late rows, odd case."""
        rng = self.rng
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

    def _shuffle(self) -> None:
        """Mix the order, most CREATED events early; of a pair one comes first and one last."""
        order = {
            id(event): (0.3 if event.type == "PROJECT_CREATED" else 1.0) * self.rng.random()
            for event in self.events
        }
        first: set[str] = set()
        for event in self.events:
            if event.note.startswith("pair:"):
                order[id(event)] = 2.0 if event.note in first else -1.0
                first.add(event.note)
        self.events.sort(key=lambda event: order[id(event)])

    # What is promised about it.

    @property
    def truth(self) -> Truth:
        """The truth, worked out on first use."""
        if self._truth is None:
            self._truth = tell(self)
        return self._truth

    def expected(self, *, faults: bool = True) -> dict[str, dict[tuple[str, ...], dict[str, Any]]]:
        """
        Return table -> key -> column -> value or matcher, for all nine tables.

        Without *faults* the numbers of tries are exact where nothing of the world itself delays.
        """
        if faults:
            return self.truth.tables
        return tell(self, faults=False).tables

    def verify(
        self, tables: Mapping[str, list[dict[str, Any]]], *, faults: bool = True
    ) -> list[Difference]:
        """Compare the lake's rows (times as aware datetimes) with the truth; empty when equal."""
        return compare(self.expected(faults=faults), tables)

    @property
    def begins(self) -> datetime:
        """The moment before which nothing of it was ingested."""
        return self.at - timedelta(seconds=self.schedule.span)

    @property
    def first_visible(self) -> float:
        """Epoch seconds from which some row can be seen."""
        return self.rows[0].visible_at

    @property
    def last_visible(self) -> float:
        """Epoch seconds from which every row can be seen."""
        return self.rows[-1].visible_at
