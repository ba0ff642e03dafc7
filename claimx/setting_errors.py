"""Settings that nobody can start with; apart, because a command's help needs no settings."""

from __future__ import annotations


class ConfigurationError(Exception):
    """The settings are wrong; *problems* has one line for each error, naming variable and value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
