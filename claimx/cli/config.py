"""``claimx config``: what is set, to what, and whether it is right."""

from __future__ import annotations

import dataclasses

import click

from claimx import startup
from claimx.cli.output import form_option, note, show
from claimx.knobs import knobs, unknown_names
from claimx.needs import token_problem
from claimx.settings import Settings


@click.group()
def config() -> None:
    """Show or check the settings."""


@config.command("show")
@form_option
def show_settings(form: str) -> None:
    """
    Print every setting; secrets are hidden.

    With its value, whether it is set, its default and its meaning.
    """
    environment = startup.environment()
    settings = Settings.load(environment)
    rows = [dataclasses.asdict(knob) for knob in knobs(settings, environment)]
    for row in rows:
        row["set"] = "yes" if row.pop("is_set") else ""
    show("settings", rows, ["name", "value", "set", "default", "meaning"], form)


@config.command()
def validate() -> None:
    """
    Check the settings, and warn of what may be an error.

    Exit 4 with a line for each error. What a process needs is checked when it starts.
    """
    environment = startup.environment()
    settings = Settings.load(environment)
    for warning in unknown_names(environment):
        note(f"warning: {warning}")
    if problem := token_problem(settings):
        note(f"warning: CLAIMX_API_TOKEN_FILE {problem}: events wait until it is there")
    note("settings are valid")


@config.command("page", hidden=True)
def page() -> None:
    """Print docs/configuration.md; a test holds the file to it (`make docs`)."""
    click.echo(settings_page(), nl=False)


def settings_page() -> str:
    """Return the settings as a Markdown page."""
    lines = [
        "# Configuration",
        "",
        "Generated from `claimx/settings.py` by `make docs`.",
        "Settings come from the environment, or from a `.env` file in the working folder.",
        "`ENV_FILE` names another file, which must be there. A blank variable is not set.",
        "A `$` in the file is a `$`: nothing is put in its place.",
        "Durations are seconds, fractions allowed; lists are separated by commas.",
        "`claimx config show` prints what is in force, `claimx config validate` checks it.",
        "",
        "| name | default | at most | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for knob in knobs(Settings.load({}), {}):
        default = f"`{knob.default}`" if knob.default else ""
        lines.append(f"| `{knob.name}` | {default} | {knob.at_most} | {knob.meaning} |")
    return "\n".join(lines) + "\n"
