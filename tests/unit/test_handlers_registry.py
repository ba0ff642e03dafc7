"""The registry of handlers."""

from __future__ import annotations

import pytest

from claimx.domain.events import EventType
from claimx.handlers.registry import Registry, handler_for, registry


def test_every_event_type_has_a_handler():
    assert registry.event_types == set(EventType)


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        ("PROJECT_CREATED", "project"),
        ("PROJECT_MFN_ADDED", "project"),
        ("PROJECT_FILE_ADDED", "media"),
        ("CUSTOM_TASK_ASSIGNED", "project task"),
        ("CUSTOM_TASK_COMPLETED", "project task"),
        ("POLICYHOLDER_INVITED", "project update"),
        ("POLICYHOLDER_JOINED", "project update"),
        ("VIDEO_COLLABORATION_INVITE_SENT", "video"),
        ("VIDEO_COLLABORATION_COMPLETED", "video"),
        ("PROJECT_AUTO_XA_LINKING_UNSUCCESSFUL", "project update"),
    ],
)
def test_a_handler_has_the_name_that_its_events_are_recorded_with(type_, name):
    found = handler_for(type_)

    assert found is not None
    assert found[0] == name


def test_an_unknown_type_has_none():
    assert handler_for("SOMETHING_NEW") is None


def test_a_type_is_handled_once():
    twice = Registry()

    async def handle(event, api, out):
        """Do nothing."""

    twice.handles(EventType.PROJECT_CREATED, name="one")(handle)

    with pytest.raises(ValueError, match="PROJECT_CREATED is already handled by 'one'"):
        twice.handles(EventType.PROJECT_CREATED, name="two")(handle)
