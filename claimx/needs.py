"""Which settings a worker cannot do without, by the queues that it serves."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from claimx.adapters.api_token import TokenSource
from claimx.domain.tables import TABLES
from claimx.settings import Settings

SOURCE_QUEUES = frozenset({"poll", "maintenance"})
WORKSHOP_QUEUES = frozenset({"enrich", "download", "upload", "record"})


def missing_for(settings: Settings, queues: Collection[str]) -> list[str]:
    """Return a line for each setting that a worker of *queues* cannot do without."""
    found = []
    token = settings.api_token.get_secret_value() or settings.api_token_file
    for name, value, needed_by in (
        ("EVENTHOUSE_CLUSTER_URL", settings.kusto_url, SOURCE_QUEUES),
        ("CLAIMX_EVENTHOUSE_DATABASE", settings.kusto_database, SOURCE_QUEUES),
        ("CLAIMX_API_URL", settings.api_url, WORKSHOP_QUEUES),
        ("CLAIMX_API_TOKEN or CLAIMX_API_TOKEN_FILE", token, WORKSHOP_QUEUES),
        ("ONELAKE_CLAIMX_PATH", settings.media_path, WORKSHOP_QUEUES),
    ):
        if not value and (users := sorted(needed_by & set(queues))):
            found.append(f"{name} must be set for the queue {users[0]}")
    if SOURCE_QUEUES & set(queues):
        found += without_path(settings)
    return found


def unknown_queues(
    known: Collection[str], named: Mapping[str, Collection[str] | None]
) -> list[str]:
    """
    Return a line for each queue that an option of *named* names and that is none of *known*.

    Celery itself ends with a traceback for one to serve, and serves all for one to leave out.
    """
    return [
        f"{option} {name}: no such queue; there are {', '.join(sorted(known))}"
        for option, names in named.items()
        for name in names or ()
        if name not in known
    ]


def token_problem(settings: Settings) -> str | None:
    """Return what is wrong with the API token's file right now: no error, it may come later."""
    return TokenSource(file=settings.api_token_file).file_problem()


def without_path(settings: Settings) -> list[str]:
    """Return a line that names all tables without a path, none when each has one."""
    lacking = [
        f"CLAIMX_{table.setting}_TABLE_PATH"
        for name, table in TABLES.items()
        if not (settings.lake_path or settings.table_paths.get(name))
    ]
    if not lacking:
        return []
    each = "each CLAIMX_…_TABLE_PATH" if len(lacking) == len(TABLES) else ", ".join(lacking)
    return [f"CLAIMX_LAKE_PATH (or {each}) must be set"]
