"""``claimx config``: what is set, to what, and whether it is right."""

from __future__ import annotations

import dataclasses

import click

from claimx import bootstrap
from claimx.cli.output import form_option, note, show
from claimx.settings import Settings, knobs, unknown_names


@click.group()
def config() -> None:
    """Show or check the settings."""


@config.command("show")
@form_option
def show_settings(form: str) -> None:
    """Print every setting with its value (secrets hidden), default and meaning."""
    environment = bootstrap.environment()
    settings = Settings.load(environment)
    rows = [dataclasses.asdict(knob) for knob in knobs(settings, environment)]
    for row in rows:
        row["set"] = "yes" if row.pop("is_set") else ""
    show("settings", rows, ["name", "value", "set", "default", "meaning"], form)


@config.command()
def validate() -> None:
    """Check the settings; exit 4 with a line for each error."""
    environment = bootstrap.environment()
    Settings.load(environment)
    for warning in unknown_names(environment):
        note(f"warning: {warning}")
    note("settings are valid")
