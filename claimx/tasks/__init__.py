"""Thin Celery shells around the services, and the one base class."""
