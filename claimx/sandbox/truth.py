"""What must lie in the nine tables when every event of a world is through (domain page, sections 4 and 6)."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from claimx.domain.tables import TABLES
from claimx.sandbox.entities import MediaFile, Project, ProjectTask
from claimx.sandbox.files import KINDS, digest
from claimx.sandbox.matchers import (
    ANY,
    PRESENT,
    Matcher,
    between,
    json_ids,
    matches,
    one_of,
    safe_path,
)
from claimx.sandbox.rows import Planned

if TYPE_CHECKING:
    from claimx.sandbox.world import World

Key: TypeAlias = tuple[str, ...]
Row: TypeAlias = dict[str, Any]
MAX_REFRESHES = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the lake is not the truth; *column* is empty when it is about a whole row."""

    table: str
    key: Key
    column: str
    expected: Any
    actual: Any
    problem: str

    def __str__(self) -> str:
        where = f"{self.table}[{', '.join(self.key)}]" + (f".{self.column}" if self.column else "")
        if not self.column:
            return f"{where}: {self.problem}"
        return f"{where}: {self.problem}: expected {self.expected!r}, found {self.actual!r}"


@dataclass(frozen=True, slots=True)
class DeadEvent:
    """An event that must end among the dead letters; *event_id* as stored."""

    event_id: str
    categories: tuple[str, ...]
    stages: tuple[str, ...]
    note: str


@dataclass(slots=True)
class Truth:
    """
    The truth about a world.

    *tables* is table -> key -> column -> value or matcher; *unhandled* and *enriched* are event
    ids, *dead* the events and *failed* the media (with their possible categories) that fail,
    *stored* the files that must lie in OneLake by media id.
    """

    tables: dict[str, dict[Key, Row]] = field(default_factory=dict)
    enriched: set[str] = field(default_factory=set)
    unhandled: set[str] = field(default_factory=set)
    shadowed: set[str] = field(default_factory=set)
    dead: dict[str, DeadEvent] = field(default_factory=dict)
    failed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    stored: dict[str, MediaFile] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return how many rows each table must have, and how many events end in each way."""
        return {
            **{name: len(rows) for name, rows in self.tables.items()},
            "events enriched": len(self.enriched),
            "events unhandled": len(self.unhandled),
            "events dead": len(self.dead),
            "media completed": len(self.stored),
            "media failed": len(self.failed),
        }


def tell(world: World, *, faults: bool = True) -> Truth:
    """Work out the truth; see `World.expected` for *faults*."""
    return _Teller(world, faults=faults).truth


class _Teller:
    """Goes through the events once, then writes the rows of what they reached."""

    def __init__(self, world: World, *, faults: bool) -> None:
        self.world = world
        self.faults = faults
        self.truth = Truth(tables={name: {} for name in TABLES})
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
        for event in world.events:
            self._follow(event)
        for number, keys in self.died.items():
            if number in self.asked:  # it may have asked for its project before it died
                self.touched[number] |= keys
        for number in sorted(self.touched):
            self._project(world.projects[number])
        for number in sorted(self.tasks):
            self._task(world.tasks[number])
        for number in sorted(self.videos):
            video = world.videos[number]
            self._put(
                "claimx_video_collaboration",
                {**video.row, **_tail(self.videos[number])},
            )
        for number in sorted(self.media):
            self._media(world.media[number])

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
                    self.died[event.project].add(key)
                return
            case "unhandled":
                self.truth.unhandled.add(key)
            case _:
                self.truth.enriched.add(key)
                self._effects(event, key)
        self._put("claimx_events", self._event_row(event, key))

    def _event_row(self, event: Planned, key: str) -> Row:
        handled = event.outcome == "enriched"
        ids = [str(one) for one in event.media_list] if event.media_list is not None else None
        single = None if event.media_id is None else str(event.media_id)
        tries: Any = between(1)
        if not self.faults and not event.delays:
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

    def _effects(self, event: Planned, key: str) -> None:
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

    # The rows.

    def _project(self, project: Project) -> None:
        number, events = project.project_id, self.touched[project.project_id]
        asked = number in self.asked
        row: Row = dict(project.row) if asked else {"project_id": project.key}
        row |= self.facts[number]
        if number in self.names:
            row["master_file_name"] = self.names[number][1]
        row |= _tail(events)
        row["last_enriched_at"] = PRESENT if asked else None
        self._put("claimx_projects", row)
        if not asked:
            return
        holders = [project.api_mfn, *sorted(self.named[number])]
        links = self._links(project)
        for (email, kind), contact in project.contacts.items():
            full = {
                **contact,
                "project_id": project.key,
                "contact_email": email,
                "contact_type": kind,
            }
            if kind == "POLICYHOLDER":
                full["master_file_name"] = one_of(holders)
                _fill(full, links.pop(email, []))
            self._put("claimx_contacts", {**full, **_tail(events)})
        for email, guests in links.items():
            self._put("claimx_contacts", self._guest(project, email, guests, holders))

    def _links(self, project: Project) -> dict[str, list[ProjectTask]]:
        links: defaultdict[str, list[ProjectTask]] = defaultdict(list)
        for number in sorted(self.tasks):
            task = self.world.tasks[number]
            if task.project_id == project.project_id and task.contact is not None:
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
        return {**row, **_tail(self.touched[project.project_id])}

    def _task(self, task: ProjectTask) -> None:
        events = self.tasks[task.assignment_id]
        self._put("claimx_tasks", {**task.row, **_tail(events)})
        if task.link_row is not None:
            self._put("claimx_external_links", {**task.link_row, **_tail(events)})
        if task.template is not None:
            everyone = (
                {
                    key
                    for number, keys in self.tasks.items()
                    if self.world.tasks[number].template is task.template
                    for key in keys
                }
                if (task.template.key,) not in self.truth.tables["claimx_task_templates"]
                else None
            )
            if everyone is not None:
                self._put("claimx_task_templates", {**task.template.row, **_tail(everyone)})

    def _media(self, item: MediaFile) -> None:
        events, tasks = self.media[item.media_id], self.through[item.media_id]
        row = dict(item.row)
        if row["task_assignment_id"] is None and tasks:
            row["task_assignment_id"] = one_of(sorted(tasks))
        row["downloadable"] = item.link is not None
        if item.link is not None and item.link.style != "open":
            row["expires_at"] = PRESENT
        self._put("claimx_media", {**row, **_tail(events)})
        if item.link is None:
            return
        attachment: Row = {
            "media_id": item.key,
            "project_id": str(item.project_id),
            "file_name": item.row["file_name"],
            "file_type": item.row["file_type"],
            "event_id": one_of(sorted(events)),
            "refreshes": between(0, MAX_REFRESHES),
        }
        if item.failure:
            self.truth.failed[item.key] = item.failure
            attachment |= {
                "status": "failed",
                "error_category": one_of(item.failure),
                "error": PRESENT,
            }
            for name in (
                "content_type",
                "blob_path",
                "bytes",
                "sha256",
                "downloaded_at",
                "uploaded_at",
            ):
                attachment[name] = ANY
        else:
            self.truth.stored[item.key] = item
            content = item.content()
            types = KINDS[item.kind].content_types
            attachment |= {
                "status": "completed",
                "content_type": one_of(types) if types else ANY,
                "blob_path": blob_path(item),
                "bytes": len(content),
                "sha256": digest(content),
                "downloaded_at": PRESENT,
                "uploaded_at": PRESENT,
            }
        self._put("claimx_attachments", attachment)


def blob_path(item: MediaFile) -> Any:
    """Return where the file must lie below ``ONELAKE_CLAIMX_PATH``: exact for a harmless name."""
    folder = f"{item.project_id}/media"
    extension = KINDS[item.kind].extension
    endings = {"jpg": (".jpg", ".jpeg"), "html": (".html", ".htm"), "heic": (".heic", ".heif")}.get(
        item.kind, (f".{extension}",)
    )
    if item.name is None:
        return one_of(f"{folder}/{item.key}{ending}" for ending in endings)
    tidy = unicodedata.normalize("NFC", item.name).strip()
    if item.plain_name:
        return f"{folder}/{item.key}_{tidy}"
    return safe_path(folder, item.key, ("",))


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


def compare(
    expected: Mapping[str, Mapping[Key, Row]], tables: Mapping[str, list[Row]]
) -> list[Difference]:
    """Compare rows with the truth: missing, surplus and doubled rows, missing columns, wrong values."""
    found: list[Difference] = []
    for name, wanted in expected.items():
        found.extend(_compare_table(name, wanted, tables.get(name, [])))
    return found


def _compare_table(name: str, wanted: Mapping[Key, Row], rows: list[Row]) -> Iterator[Difference]:
    key_columns = TABLES[name].key
    actual: dict[Key, Row] = {}
    for row in rows:
        key = tuple(str(row.get(column)) for column in key_columns)
        if key in actual:
            yield Difference(name, key, "", None, None, "doubled row")
        actual[key] = row
    for key in sorted(wanted.keys() - actual.keys()):
        yield Difference(name, key, "", wanted[key], None, "missing row")
    for key in sorted(actual.keys() - wanted.keys()):
        yield Difference(name, key, "", None, actual[key], "surplus row")
    for key in sorted(wanted.keys() & actual.keys()):
        for column, value in wanted[key].items():
            if column not in actual[key]:
                yield Difference(name, key, column, value, None, "missing column")
            elif not matches(value, actual[key][column]):
                yield Difference(name, key, column, value, actual[key][column], "wrong value")


def verify_files(world: World, tables: Mapping[str, list[Row]], root: Path) -> list[Difference]:
    """Check the stored media below *root*: each completed file is there whole, and no other file is."""
    found: list[Difference] = []
    table, seen = "claimx_attachments", set()
    for row in tables.get(table, []):
        key = (str(row["media_id"]),)
        item = world.truth.stored.get(key[0])
        if row["status"] != "completed" or item is None:
            continue
        path = root / str(row["blob_path"])
        seen.add(path)
        if not path.is_file():
            found.append(Difference(table, key, "blob_path", str(path), None, "missing file"))
        elif path.read_bytes() != item.content():
            found.append(
                Difference(table, key, "blob_path", item.size, path.stat().st_size, "wrong file")
            )
    for path in sorted(root.rglob("*")) if root.is_dir() else ():
        if path.is_file() and path not in seen:
            found.append(Difference(table, (path.name,), "", None, None, f"surplus file {path}"))
    return found


def read_lake(
    folder: Path | str, storage_options: dict[str, str] | None = None
) -> dict[str, list[Row]]:
    """
    Read the nine tables below *folder* (or an ``abfss://`` address) with deltalake.

    A table that does not exist is empty. Never call it in a process that forks later.
    """
    from deltalake import DeltaTable

    tables: dict[str, list[Row]] = {}
    for name in TABLES:
        place = f"{str(folder).rstrip('/')}/{name}"
        if not DeltaTable.is_deltatable(place, storage_options):
            tables[name] = []
            continue
        tables[name] = (
            DeltaTable(place, storage_options=storage_options).to_pyarrow_table().to_pylist()
        )
    return tables


def as_json(truth: Truth) -> dict[str, Any]:
    """Return the truth for ``GET /sandbox/truth``: matchers as their names."""
    return {
        "counts": truth.counts(),
        "dead": {
            key: {"categories": dead.categories, "stages": dead.stages, "note": dead.note}
            for key, dead in truth.dead.items()
        },
        "unhandled": sorted(truth.unhandled),
        "failed_media": truth.failed,
        "tables": {
            name: [
                {
                    column: repr(value) if isinstance(value, Matcher) else value
                    for column, value in row.items()
                }
                for row in rows.values()
            ]
            for name, rows in truth.tables.items()
        },
    }
