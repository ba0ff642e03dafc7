"""
The Celery application: ``celery -A claimx worker``.

Importing this module builds the app and connects its process signals; settings are read when
Celery loads ``celeryconfig`` (a wrong value ends the start with a line for each error).
"""

from __future__ import annotations

from celery import Celery

from claimx import processes

app = Celery("claimx")
app.config_from_object("celeryconfig")
processes.connect(app)
