"""The lake of a process from plain settings; a stand-in's file system is made when it is missing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from claimx.adapters.credentials import Credentials, on_loopback
from claimx.adapters.lake.delta import DeltaLake


def make_lake(paths: Mapping[str, str], endpoint: str, credentials: Credentials) -> DeltaLake:
    """
    Return the lake whose tables lie at *paths*; URIs among them are reached at *endpoint*.

    On loopback a missing file system is created (domain page, section 6, *Settings*); in
    production it is the workspace, and must exist.
    """

    def make_file_system(path: str) -> None:
        from azure.core.exceptions import ResourceExistsError
        from azure.storage.filedatalake import DataLakeServiceClient

        name = urlsplit(path).username or ""
        credential = credentials.storage_credential(endpoint)
        with (
            DataLakeServiceClient(endpoint, credential=credential) as service,
            suppress(ResourceExistsError),  # a process beside this one was faster
        ):
            service.create_file_system(name)

    return DeltaLake(
        paths,
        lambda: credentials.storage_options(endpoint),
        make_container=make_file_system if on_loopback(endpoint) else None,
    )
