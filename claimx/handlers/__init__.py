"""From an event to rows and media, one module a family of event types; importing registers all."""

from claimx.handlers import media, project, task, update, video

__all__ = ["media", "project", "task", "update", "video"]
