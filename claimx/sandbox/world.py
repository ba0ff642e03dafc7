"""A whole ClaimX tenant from one seed: projects, tasks, media, events, and the truth about them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from claimx.sandbox.entities import MediaFile, Project, ProjectTask, Video
from claimx.sandbox.items import ItemAuthor
from claimx.sandbox.mixes import EVEN, EVEN_SPAN, HEAD, ORDINARY, plan_even
from claimx.sandbox.ordinary import plan_ordinary
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

    def _populate(self, events: int) -> None:
        """Plan the events of the ordinary mix; a smaller world than any plans its own here."""
        plan_ordinary(self, events)

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
