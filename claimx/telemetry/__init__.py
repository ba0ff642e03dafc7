"""Logging, metrics and health: how a process is seen from outside."""
