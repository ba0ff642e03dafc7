"""Projects, templates, project tasks, media and videos: what the API tells, what is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from claimx.sandbox.files import make


@dataclass(slots=True)
class Link:
    """
    How a media file's link behaves.

    The first *spoilt* answers carry a link that is expired or was revoked (*how*); *host* replaces
    the media host, *serves* is what the host answers, always: ``login``, ``missing`` or
    ``elsewhere`` (a redirect to a host that is not allowed).
    """

    style: str = "claimx"
    spoilt: int = 0
    how: str = ""
    host: str = ""
    serves: str = ""


@dataclass(slots=True)
class MediaFile:
    """
    One media file.

    *absent* answers do not know it yet, *link* None means that none carries one. *failure* lists
    the categories that its failed attachment row may have, empty when it must be completed; a
    *plain_name* must be kept as it is in the blob path. *likeness* names another file whose
    content this one has too: to make a large one costs more than to serve it.
    """

    media_id: int
    project_id: int
    name: str | None
    kind: str
    size: int
    raw: dict[str, Any] = field(default_factory=dict)
    row: dict[str, Any] = field(default_factory=dict)
    link: Link | None = field(default_factory=Link)
    absent: int = 0
    failure: tuple[str, ...] = ()
    plain_name: bool = True
    likeness: str = ""

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.media_id)

    def content(self) -> bytes:
        """Return the file; made anew each time, unless it is like another."""
        if self.likeness:
            return _alike(self.kind, self.likeness, self.size)
        return make(self.kind, self.key, self.size)


_alike = lru_cache(maxsize=256)(make)


@dataclass(slots=True)
class Project:
    """A project; *contacts* are rows by (e-mail, type), *customer_email* the policyholder's."""

    project_id: int
    raw: dict[str, Any]
    row: dict[str, Any]
    contacts: dict[tuple[str, str], dict[str, Any]]
    customer_email: str | None
    api_mfn: str | None
    status: int = 200
    answers_as: int | None = None
    wrapped: bool = False
    media_shape: str = "list"
    honours_filter: bool = True
    media: list[MediaFile] = field(default_factory=list)
    videos: list[Video] = field(default_factory=list)
    video_shape: str = "list"

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.project_id)


@dataclass(slots=True)
class Template:
    """What assignments are made from."""

    template_id: int
    raw: dict[str, Any]
    row: dict[str, Any]

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.template_id)


@dataclass(slots=True)
class ProjectTask:
    """An assignment with what hangs on it; *link_row* and *contact* are None without a link."""

    assignment_id: int
    project_id: int
    raw: dict[str, Any]
    row: dict[str, Any]
    template: Template | None
    link_row: dict[str, Any] | None = None
    contact: dict[str, Any] | None = None
    media: list[MediaFile] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.assignment_id)


@dataclass(slots=True)
class Video:
    """One video collaboration."""

    video_id: int
    claim_id: int
    raw: dict[str, Any]
    row: dict[str, Any]

    @property
    def key(self) -> str:
        """The id as stored."""
        return str(self.video_id)
