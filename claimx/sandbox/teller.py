"""Works out the truth about a world from its plan, never from the pipeline's code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from claimx.domain.tables import TABLES
from claimx.sandbox.attachments import attachment_row
from claimx.sandbox.entities import MediaFile, Project, ProjectTask
from claimx.sandbox.matchers import PRESENT, between, json_ids, one_of
from claimx.sandbox.reached import Reached
from claimx.sandbox.rows import Planned
from claimx.sandbox.truth import DeadEvent, Row, Truth

if TYPE_CHECKING:
    from claimx.sandbox.world import World


def tell(world: World, *, faults: bool = True) -> Truth:
    """Work out the truth; see `World.expected` for *faults*."""
    return _Teller(world, faults=faults).truth


class _Teller:
    """Goes through the events once, then writes the rows of what they have reached."""

    def __init__(self, world: World, *, faults: bool) -> None:
        self.world = world
        self.faults = faults
        self.truth = Truth(tables={name: {} for name in TABLES})
        self.reached = Reached(world)
        for event in world.events:
            self._follow(event)
        reached = self.reached
        reached.end()
        # looked up by project and by template: a world of 200,000 events has tens of thousands
        self.linking = _grouped(self._told_tasks(), lambda task: task.project_id)
        self.made_from = _grouped(self._told_tasks(), lambda task: id(task.template))
        for number in sorted(reached.touched):
            self._project(world.projects[number])
        for number in sorted(reached.tasks):
            self._task(world.tasks[number])
        for number in sorted(reached.videos):
            video = world.videos[number]
            self._put(
                "claimx_video_collaboration",
                {**video.row, **_tail(reached.videos[number])},
            )
        for number in sorted(reached.media):
            self._media(world.media[number])

    def _told_tasks(self) -> list[ProjectTask]:
        return [self.world.tasks[number] for number in sorted(self.reached.tasks)]

    def _put(self, table: str, row: Row) -> None:
        declared = TABLES[table]
        full = {name: row.get(name) for name in declared.column_names}
        full["created_at"] = full["updated_at"] = PRESENT
        unknown = set(row) - set(declared.column_names)
        if unknown:
            msg = f"{table} has no columns {sorted(unknown)}"
            raise KeyError(msg)
        self.truth.tables[table][tuple(str(row[name]) for name in declared.key)] = full

    # The events.

    def _follow(self, event: Planned) -> None:
        key = event.key
        match event.outcome:
            case "shadowed":
                self.truth.shadowed.add(key)
                return
            case "dead":
                dead = DeadEvent(key, event.categories, event.stages, event.note)
                self.truth.dead[key] = dead
                if isinstance(event.project, int):
                    self.reached.died[event.project].add(key)
                return
            case "unhandled":
                self.truth.unhandled.add(key)
            case _:
                self.truth.enriched.add(key)
                self.reached.follow(event, key)
        self._put("claimx_events", self._event_row(event, key))

    def _event_row(self, event: Planned, key: str) -> Row:
        handled = event.outcome == "enriched"
        ids = [str(one) for one in event.media_list] if event.media_list is not None else None
        single = None if event.media_id is None else str(event.media_id)
        tries: Any = between(1)
        if not self.faults and not self._waits(event):
            tries = 1
        calls: Any = between(event.calls) if handled and not _free(event) else 0
        return {
            "event_id": key,
            "event_type": str(event.type).strip().upper(),
            "project_id": None if event.project is None else str(event.project),
            "media_id": single if ids is None else one_of([None, *ids]),
            "media_ids": json_ids(ids)
            if ids is not None
            else json_ids(None, [single] if single else None),
            "task_assignment_id": None if event.task is None else str(event.task),
            "video_collaboration_id": None if event.video is None else str(event.video),
            "master_file_name": event.mfn,
            "ingested_at": event.time,
            "event_date": event.time.date(),
            "status": "enriched" if handled else "unhandled",
            "handler": PRESENT if handled else None,
            "api_calls": calls,
            "attempts": tries,
            "processed_at": PRESENT,
        }

    def _waits(self, event: Planned) -> bool:
        """Say whether the event names media that the first answers do not know."""
        named = event.media_list or [event.media_id]
        return any(one in self.world.media and self.world.media[one].absent for one in named)

    # The rows.

    def _project(self, project: Project) -> None:
        number, events = project.project_id, self.reached.touched[project.project_id]
        asked = number in self.reached.asked
        row: Row = dict(project.row) if asked else {"project_id": project.key}
        row |= self.reached.facts[number]
        if number in self.reached.names:
            row["master_file_name"] = self.reached.names[number][1]
        row |= _tail(events)
        row["last_enriched_at"] = PRESENT if asked else None
        self._put("claimx_projects", row)
        if not asked:
            return
        holders = [project.api_mfn, *sorted(self.reached.named[number])]
        links = self._links(project)
        for (email, kind), contact in project.contacts.items():
            full = {
                **contact,
                "project_id": project.key,
                "contact_email": email,
                "contact_type": kind,
            }
            if kind == "POLICYHOLDER":
                named = self.reached.names.get(number)
                full["master_file_name"] = named[1] if named else project.api_mfn
                _fill(full, links.pop(email, []))
            self._put("claimx_contacts", {**full, **_tail(events)})
        for email, guests in links.items():
            self._put("claimx_contacts", self._guest(project, email, guests, holders))

    def _links(self, project: Project) -> dict[str, list[ProjectTask]]:
        links: defaultdict[str, list[ProjectTask]] = defaultdict(list)
        for task in self.linking.get(project.project_id, ()):
            if task.contact is not None:
                links[task.contact["contact_email"].lower()].append(task)
        return links

    def _guest(
        self, project: Project, email: str, guests: list[ProjectTask], holders: list[Any]
    ) -> Row:
        row: Row = {
            "project_id": project.key,
            "contact_email": email,
            "contact_type": "POLICYHOLDER",
            "is_primary_contact": False,
            "master_file_name": one_of([None, *holders, *(guest.row["mfn"] for guest in guests)]),
        }
        _fill(row, guests)
        return {**row, **_tail(self.reached.touched[project.project_id])}

    def _task(self, task: ProjectTask) -> None:
        events = self.reached.tasks[task.assignment_id]
        self._put("claimx_tasks", {**task.row, **_tail(events)})
        if task.link_row is not None:
            self._put("claimx_external_links", {**task.link_row, **_tail(events)})
        if task.template is not None:
            if (task.template.key,) in self.truth.tables["claimx_task_templates"]:
                return
            siblings = self.made_from[id(task.template)]
            everyone = {key for one in siblings for key in self.reached.tasks[one.assignment_id]}
            self._put("claimx_task_templates", {**task.template.row, **_tail(everyone)})

    def _media(self, item: MediaFile) -> None:
        events, tasks = self.reached.media[item.media_id], self.reached.through[item.media_id]
        row = dict(item.row)
        if row["task_assignment_id"] is None and tasks:
            row["task_assignment_id"] = one_of(sorted(tasks))
        row["downloadable"] = item.link is not None
        if item.link is not None and item.link.style != "open":
            row["expires_at"] = PRESENT
        self._put("claimx_media", {**row, **_tail(events)})
        if item.link is None:
            return
        if item.failure:
            self.truth.failed[item.key] = item.failure
        else:
            self.truth.stored[item.key] = item
        attachment = {**attachment_row(item), "event_id": one_of(sorted(events))}
        self._put("claimx_attachments", attachment)


def _grouped(
    tasks: Iterable[ProjectTask], by: Callable[[ProjectTask], int]
) -> dict[int, list[ProjectTask]]:
    groups: defaultdict[int, list[ProjectTask]] = defaultdict(list)
    for task in tasks:
        groups[by(task)].append(task)
    return groups


def _free(event: Planned) -> bool:
    return str(event.type).strip().upper() == "PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL"


def _tail(events: Iterable[str]) -> Row:
    return {"event_id": one_of(sorted(events)), "last_enriched_at": PRESENT}


def _fill(row: Row, tasks: list[ProjectTask]) -> None:
    """Fill what is null from the contacts of external links, and name the task."""
    contacts = [task.contact for task in tasks if task.contact is not None]
    if not contacts:
        return
    for column in ("first_name", "last_name", "phone_number", "phone_country_code"):
        if row.get(column) is None:
            said = [contact[column] for contact in contacts if contact[column] is not None]
            row[column] = one_of(said or [None])
    row["task_assignment_id"] = one_of(task.key for task in tasks)
