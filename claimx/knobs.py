"""The settings as people see them: what is set, to what, and names that are none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from claimx.domain.redaction import mask
from claimx.setting_checks import ADDRESSES, PATHS
from claimx.settings import TABLE_PATHS, Settings

_PLACE = re.compile(
    r"(?P<scheme>\w+://)(?:.*@)?(?P<host>[\w.-]*(?::\d+)?)(?P<path>/\w*)?", re.ASCII
)
_WORKSPACE = re.compile(r"abfss?://([^@/:?#\s]+@)")


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting for people: as `claimx config show` prints it."""

    name: str
    value: str
    default: str
    meaning: str
    is_set: bool
    at_most: str = ""


def knobs(settings: Settings, environment: Mapping[str, str]) -> list[Knob]:
    """Return every setting with value (secrets hidden), default and whether it was set."""
    found = []
    for attribute, field in Settings.model_fields.items():
        if field.alias is None:
            continue
        found.append(
            Knob(
                name=field.alias,
                value=_shown(field.alias, getattr(settings, attribute)),
                default=_shown(field.alias, field.default),
                meaning=field.description or "",
                is_set=bool(environment.get(field.alias, "").strip()),
                at_most=_most(field),
            )
        )
    found.extend(
        Knob(
            name,
            _path(settings.table_paths.get(table, "")),
            "",
            f"Own path of {table}.",
            table in settings.table_paths,
        )
        for name, table in TABLE_PATHS.items()
    )
    return found


def unknown_names(environment: Mapping[str, str]) -> list[str]:
    """Return a warning, with the nearest name, for each ``CLAIMX_*`` variable that is none."""
    known = {field.alias for field in Settings.model_fields.values() if field.alias}
    known |= set(TABLE_PATHS)
    warnings = []
    for name in sorted(environment):
        if name.startswith("CLAIMX_") and name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"{name} is not a setting{hint}")
    return warnings


def _most(field: FieldInfo) -> str:
    """Return the greatest value that a number may have; ports have one that everybody knows."""
    bounds = [bound for one in field.metadata if (bound := getattr(one, "le", None)) is not None]
    return f"{bounds[0]:.0f}" if bounds and field.annotation in (int, float) else ""


def _shown(name: str, value: Any) -> str:
    if isinstance(value, SecretStr):
        secret = value.get_secret_value()
        if name == "REDIS_URL":
            return ";".join(map(_place, secret.split(";")))
        return "***" if secret else ""
    if name in PATHS or name in ADDRESSES:
        return _path(value)
    if isinstance(value, tuple):
        return ",".join(value)
    return "" if value is None else str(value)


def _path(text: str) -> str:
    """Return a path or an address with secrets as ``***``; a workspace before @ is none."""
    found = _WORKSPACE.match(text)
    return mask(text).replace("***@", found[1], 1) if found else mask(text)


def _place(url: str) -> str:
    """Return scheme, host and path of a URL: a password may stand before them, or in a query."""
    address, _, query = url.partition("?")
    if "@" in query or not (found := _PLACE.fullmatch(address)):
        return "***"  # nobody can tell where the password ends
    hidden = "***@" if "@" in address else ""
    return f"{found['scheme']}{hidden}{found['host']}{found['path'] or ''}"
