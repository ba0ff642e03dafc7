"""What an event itself says of its project (domain page, section 1)."""

from __future__ import annotations

from claimx.domain.changes import Enrichment
from claimx.domain.events import Event, EventType
from claimx.domain.ports.api import EventApi
from claimx.handlers.project import check_project, project_of
from claimx.handlers.registry import registry
from claimx.handlers.rows import fact

NAME = "project update"


@registry.handles(EventType.POLICYHOLDER_INVITED, name=NAME)
async def note_invitation(event: Event, api: EventApi, out: Enrichment) -> None:
    """Note when the policyholder was invited; the project is checked first."""
    project_id = project_of(event)
    await check_project(project_id, event, api, out)
    out.changes.append(fact(event, project_id, policyholder_invited_at=event.time))


@registry.handles(EventType.POLICYHOLDER_JOINED, name=NAME)
async def note_joining(event: Event, api: EventApi, out: Enrichment) -> None:
    """Note when the policyholder joined; the project is checked first."""
    project_id = project_of(event)
    await check_project(project_id, event, api, out)
    out.changes.append(fact(event, project_id, policyholder_joined_at=event.time))


@registry.handles(EventType.PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL, name=NAME)
async def note_failed_link(event: Event, api: EventApi, out: Enrichment) -> None:
    """Note that the project could not be linked by itself; nothing is asked of the API."""
    del api
    project_id = project_of(event)
    out.changes.append(
        fact(event, project_id, xa_autolink_fail=True, xa_autolink_fail_at=event.time)
    )
