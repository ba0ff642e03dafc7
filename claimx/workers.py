"""What a worker process has beside its runtime: a workshop, the cache, what keeps that small."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from claimx.bootstrap import credentials_of, gates_of, runtime
from claimx.needs import SOURCE_QUEUES, WORKSHOP_QUEUES, missing_for
from claimx.redis_clients import ledger_of
from claimx.services.runtime import Runtime
from claimx.setting_errors import ConfigurationError
from claimx.settings import Settings
from claimx.startup import forget, load_settings, once

if TYPE_CHECKING:
    from claimx.adapters.cache import DiskCache
    from claimx.adapters.claimx_api import HTTPClaimXApi
    from claimx.services.sweep import CacheSweeper
    from claimx.tasks.workshop import Workshop


def workshop() -> Workshop:
    """Return what this worker process does its chunks with: a loop, the API, downloads, uploads."""
    return once("workshop", lambda: build_workshop(load_settings(), runtime()))


def build_workshop(settings: Settings, runtime: Runtime) -> Workshop:
    """Return a workshop over *settings*; raises ConfigurationError where it cannot be made."""
    from claimx.adapters.media_http import HTTPMediaFetcher
    from claimx.adapters.onelake import make_store
    from claimx.tasks.loop import ProcessLoop
    from claimx.tasks.workshop import Workshop

    if problems := missing_for(settings, WORKSHOP_QUEUES):
        raise ConfigurationError(problems)
    gates = gates_of(settings)
    api = _api_of(settings, runtime)
    cache = cache_of(settings)
    try:
        fetcher = HTTPMediaFetcher(
            cache,
            gates,
            runtime.metrics,
            allowed_hosts=settings.allowed_hosts,
            allowed_extensions=settings.allowed_extensions,
            max_bytes=settings.max_media_bytes,
            allow_loopback=settings.allow_loopback,
        )
        store = make_store(
            settings.media_path,
            settings.onelake_endpoint,
            lambda: credentials_of(settings).storage_access(settings.onelake_endpoint),
            gates,
            connections=max(16, settings.upload_concurrency),
        )
    except ValueError as error:
        raise ConfigurationError([str(error)]) from None
    return Workshop(ProcessLoop(), runtime, api, fetcher, cache, store)


def cache_of(settings: Settings) -> DiskCache:
    """Return the cache of this machine (of CACHE_DIR)."""
    from claimx.adapters.blob_folder import is_folder
    from claimx.adapters.cache import DiskCache

    def make() -> DiskCache:
        shared = is_folder(settings.media_path)
        return DiskCache(settings.cache_dir, settings.cache_max_bytes, shared=shared)

    return once("cache", make)


def sweeper() -> CacheSweeper:
    """Return what keeps this machine's cache to what is needed."""
    from claimx.services.sweep import CacheSweeper

    settings = load_settings()
    return once("sweeper", lambda: CacheSweeper(cache_of(settings), ledger_of(settings), time.time))


def preload(queues: Collection[str]) -> None:
    """
    Import what a worker of *queues* uses, once for all its children.

    That saves each half a second and tens of MB. Nothing is connected, and no table is touched:
    deltalake may be imported before a fork, but not used. Settings must have been loaded.
    """
    if SOURCE_QUEUES & set(queues):
        import claimx.adapters.lake
    import claimx.adapters.claimx_api
    import claimx.adapters.kusto
    import claimx.adapters.media_http
    import claimx.adapters.onelake
    import claimx.tasks.workshop  # noqa: F401 - for what importing does


def _api_of(settings: Settings, runtime: Runtime) -> HTTPClaimXApi:
    from claimx.adapters.api_token import TokenSource
    from claimx.adapters.claimx_api import HTTPClaimXApi

    return HTTPClaimXApi(
        settings.api_url,
        TokenSource(settings.api_token.get_secret_value(), settings.api_token_file),
        gates_of(settings),
        runtime.metrics,
        holder=runtime.holder,
        concurrency=settings.api_concurrency,
        rate=settings.api_rate,
        timeout=settings.api_timeout,
        max_body_bytes=settings.api_max_bytes,
        media_filter=settings.api_media_filter,
        sender_username=settings.api_sender,
    )


def close_workshop() -> None:
    """Close what this process opened, before it ends."""
    found = forget("workshop")
    if found is not None:
        found.close()
