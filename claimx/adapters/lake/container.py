"""The lake of a process, from plain values."""

from __future__ import annotations

from collections.abc import Mapping

from claimx.adapters.credentials import Credentials
from claimx.adapters.lake.delta import DeltaLake
from claimx.adapters.lake.layout import Sizes
from claimx.adapters.own_authorization import transport
from claimx.domain.addresses import on_loopback, split_root
from claimx.domain.errors import Unavailable


def make_lake(
    paths: Mapping[str, str],
    endpoint: str,
    credentials: Credentials,
    *,
    sizes: Sizes | None = None,
) -> DeltaLake:
    """
    Return the lake whose tables lie at *paths*; URIs among them are reached at *endpoint*.

    On loopback a missing file system is created (domain page, section 6, *Settings*); in
    production it is the workspace, and must exist.
    """

    def make_file_system(path: str) -> None:
        from azure.core.credentials import AzureNamedKeyCredential
        from azure.core.exceptions import AzureError, ResourceExistsError
        from azure.storage.filedatalake import DataLakeServiceClient

        name, _ = split_root(path)
        options = credentials.storage_access(endpoint).options
        credential = AzureNamedKeyCredential(
            options["azure_storage_account_name"], options["azure_storage_account_key"]
        )
        try:
            with DataLakeServiceClient(
                endpoint,
                credential=credential,
                retry_total=0,
                transport=transport(connect_seconds=5.0, answer_seconds=60.0),
            ) as service:
                service.create_file_system(name)
        except ResourceExistsError:
            return  # a process beside this one was faster
        except AzureError as error:
            raise Unavailable(f"file system {name}: {type(error).__name__}") from error

    return DeltaLake(
        paths,
        lambda: credentials.storage_access(endpoint),
        make_container=make_file_system if on_loopback(endpoint) else None,
        sizes=sizes,
    )
