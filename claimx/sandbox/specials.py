"""One of everything that goes wrong in the field, planted into every world."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from claimx.sandbox.entities import Link, MediaFile, Project
from claimx.sandbox.forms import LONE_SURROGATE
from claimx.sandbox.rows import Planned

if TYPE_CHECKING:
    from claimx.sandbox.world import World

FILE_ADDED = "PROJECT_FILE_ADDED"
_INGEST = ("ingest",)
_EITHER = ("ingest", "enrich")


def add_specials(world: World) -> None:
    """Add the special projects, media and events."""
    _dead_events(world)
    _malformed(world)
    _unhandled(world)
    _names(world)
    _links(world)
    _contents(world)
    _consistency(world)
    _tasks(world)
    _videos(world)
    _ids(world)
    _texts(world)


def _created(world: World) -> Project:
    project = world.add_project()
    world.plan("PROJECT_CREATED", project.project_id, calls=1)
    return project


def _dead(world: World, type_: str | None, project: Any, **more: Any) -> Planned:
    more.setdefault("categories", ("PERMANENT",))
    return world.plan(type_, project, outcome="dead", **more)


def _dead_events(world: World) -> None:
    missing, forbidden, other = (world.add_project() for _ in range(3))
    missing.status, forbidden.status = 404, 403
    other.answers_as = other.project_id + 500_000
    _dead(world, "PROJECT_CREATED", missing.project_id, note="project 404")
    _dead(world, "POLICYHOLDER_INVITED", forbidden.project_id, note="project 403")
    _dead(world, "PROJECT_CREATED", other.project_id, note="another project answers")
    project = _created(world)
    nowhere = world.number("task") + 900_000
    _dead(world, "CUSTOM_TASK_ASSIGNED", project.project_id, task=nowhere, note="task 404")
    never = world.number("media") + 900_000
    world.never.add(never)
    _dead(
        world,
        FILE_ADDED,
        project.project_id,
        media_id=never,
        categories=("TRANSIENT",),
        note="media never there",
    )
    for task, why in ((None, "no assignment id"), ("abc", "assignment id is no number")):
        _dead(
            world, "CUSTOM_TASK_COMPLETED", project.project_id, task=task, stages=_EITHER, note=why
        )


def _malformed(world: World) -> None:
    project = _created(world).project_id
    _dead(world, None, project, stages=_INGEST, note="no type")
    _dead(world, FILE_ADDED, None, media_id=5, stages=_INGEST, note="no project")
    _dead(world, "PROJECT_CREATED", {"id": project}, stages=_INGEST, note="id is an object")
    _dead(world, FILE_ADDED, project, raw_media_ids={"a": 1}, stages=_INGEST, note="ids no list")
    _dead(world, FILE_ADDED, project, raw_media_ids="not json", stages=_INGEST, note="ids no JSON")


def _unhandled(world: World) -> None:
    project = _created(world).project_id
    for type_ in (
        "PROJECT_NOTE_ADDED",
        "POLICYHOLDER_REMINDED",
        "INVOICE_PAID",
        "project_note_added",
    ):
        world.plan(type_, project, outcome="unhandled")
    world.plan("TENANT_RENAMED", None, outcome="unhandled", note="needs no project")


def _special(world: World, project: Project, name: str | None, kind: str = "jpg") -> MediaFile:
    item = MediaFile(world.number("media"), project.project_id, name, kind, 3000)
    item.link = Link()
    item.plain_name = False
    world.maker.describe(item)
    world.media[item.media_id] = item
    project.media.append(item)
    return item


def _plain(world: World, project: Project, stem: str, kind: str = "jpg") -> MediaFile:
    item = _special(world, project, f"{stem}.{kind}", kind)
    item.plain_name = True
    return item


def _added(world: World, project: Project, *items: MediaFile, **more: Any) -> Planned:
    ids = [item.media_id for item in items]
    return world.plan(FILE_ADDED, project.project_id, media_list=ids, calls=1, **more)


def _names(world: World) -> None:
    project = _created(world)
    names = (
        None,
        "../../etc/passwd.jpg",
        "..",
        "ü" * 250 + ".jpg",
        "a" * 500 + ".jpg",
        "evil\u202egpj.jpg",
        "left\u200eright\u2066iso\u2069.jpg",
        "dir/sub\\file.jpg",
        'what? a:b*c|d<e>f"g%h.jpg',
        "CON.jpg",
        "tab\tand\x01control.jpg",
        "e\u0301cole.jpg",
        "trailing dots...jpg",
        "  spaces  .jpg ",
    )
    items = [_special(world, project, name) for name in names]
    for item in items:
        if item.name is not None:
            item.row["file_name"] = _stored_name(item.name)
    for start in range(0, len(items), 4):
        _added(world, project, *items[start : start + 4])
    twins = _created(world)
    _added(world, twins, _plain(world, twins, "same name"), _plain(world, twins, "same name"))


def _stored_name(name: str) -> Any:
    import unicodedata

    from claimx.sandbox.matchers import one_of

    tidy = unicodedata.normalize("NFC", name).strip()
    return one_of([tidy, tidy.replace("\x01", "")])


def _links(world: World) -> None:
    project = _created(world)
    project.honours_filter = True  # or asking for one would use up the spoilt links of the others
    for how, spoilt in (("expired", 1), ("expired", 2), ("revoked", 1), ("revoked", 2)):
        item = _plain(world, project, f"{how}{spoilt}")
        item.link = Link(style="claimx" if spoilt == 1 else "s3", spoilt=spoilt, how=how)
        _added(world, project, item)
    unlinked = _plain(world, project, "unlinked")
    unlinked.link = None
    stranger = _plain(world, project, "stranger")
    stranger.link = Link(style="open", host="https://files.not-allowed.example")
    stranger.failure = ("PERMANENT",)
    logs_in = _plain(world, project, "always log in")
    logs_in.link = Link(serves="login")
    logs_in.failure = ("AUTH", "PERMANENT", "TRANSIENT")
    gone = _plain(world, project, "gone")
    gone.link = Link(style="open", serves="missing")
    gone.failure = ("PERMANENT",)
    elsewhere = _plain(world, project, "elsewhere")
    elsewhere.link = Link(serves="elsewhere")
    elsewhere.failure = ("AUTH", "PERMANENT", "TRANSIENT")
    _added(world, project, unlinked, stranger, logs_in, gone, elsewhere)
    moved = _plain(world, project, "moved", "pdf")
    moved.link = Link(style="moved")
    _added(world, project, moved)


def _contents(world: World) -> None:
    project = _created(world)
    empty = _special(world, project, "empty.txt", "empty")
    empty.plain_name = True
    swapped = _special(world, project, "really a png.jpg", "png")
    swapped.plain_name = True
    page = _special(world, project, "page.jpg", "html")
    page.failure = ("AUTH", "PERMANENT", "TRANSIENT")
    program = _special(world, project, "setup.exe", "exe")
    program.failure = ("PERMANENT",)
    _added(world, project, empty, swapped, page, program)
    several = [_plain(world, project, f"of seven {n}") for n in range(7)]
    _added(world, project, *several)
    whole = _created(world)
    for kind in ("jpg", "pdf", "mp4"):
        _plain(world, whole, f"all of it {kind}", kind)
    world.plan(FILE_ADDED, whole.project_id, calls=1, note="all the project's media")


def _consistency(world: World) -> None:
    project = _created(world)
    project.honours_filter = False
    for absent in (1, 2):
        item = _plain(world, project, f"late {absent}")
        item.absent = absent
        _added(world, project, item)


def _tasks(world: World) -> None:
    own, events = _created(world), _created(world)
    task = world.add_task(own)
    item = _plain(world, own, "of the task")
    world.maker.answers(task, [item])
    for type_ in ("CUSTOM_TASK_ASSIGNED", "CUSTOM_TASK_COMPLETED"):
        world.plan(
            type_, events.project_id, task=task.assignment_id, calls=1, note="its own project wins"
        )


def _videos(world: World) -> None:
    named = _created(world)
    for _ in range(3):
        world.add_video(named)
    named.video_shape = "collaborations"
    chosen = named.videos[2]
    world.plan("VIDEO_COLLABORATION_COMPLETED", named.project_id, video=chosen.video_id, calls=1)
    unnamed = _created(world)
    world.add_video(unnamed)
    unnamed.video_shape = "data"
    world.plan("VIDEO_COLLABORATION_INVITE_SENT", unnamed.project_id, calls=1)
    for shape in ("none:{}", "none:[]", "none:null", "none:data"):
        empty = _created(world)
        empty.video_shape = shape
        world.plan(
            "VIDEO_COLLABORATION_INVITE_SENT", empty.project_id, video=7, calls=1, note=shape
        )


def _ids(world: World) -> None:
    project = _created(world)
    item = _plain(world, project, "no id")
    world.plan(
        FILE_ADDED,
        project.project_id,
        event_id=None,
        media_id=item.media_id,
        calls=1,
        copy_in_extent=True,
        note="equal rows without an id in one extent are one event",
    )
    world.plan("POLICYHOLDER_INVITED", project.project_id, event_id="twice-told", note="pair:told")
    world.plan(
        "PROJECT_NOTE_ADDED",
        project.project_id,
        event_id="twice-told",
        outcome="shadowed",
        note="pair:told",
    )
    lonely = world.add_project()
    world.plan("PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL", lonely.project_id, note="facts alone")


def _texts(world: World) -> None:
    project = _created(world)
    project.raw["project"]["lossDescription"] = f"nul\x00 and{LONE_SURROGATE} inner\ttab"
    project.row["loss_description"] = "nul and inner\ttab"
