"""
What lasts, in the words of libraries: the doors through which an effect leaves the process.

The words are found by introspection: whatever a library offers is an effect unless it is listed
here as a look, so a call that is new in the code is an effect until somebody says otherwise.
"""

from __future__ import annotations

import inspect
import io
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import aiohttp
import azure.storage.filedatalake as datalake
import celery
import deltalake
import kombu
import kombu.message
import pyarrow.fs
import redbeat
import redis.lock
import requests
import urllib3
from celery.worker.consumer import Consumer
from deltalake.table import TableAlterer, TableMerger, TableOptimizer
from effects import words


@dataclass(frozen=True, slots=True)
class Door:
    """A library whose *things* (classes, modules, or single functions) may change what lasts."""

    library: str
    things: tuple[Any, ...]
    looks: frozenset[str]

    @property
    def words(self) -> frozenset[str]:
        """What it offers, but the looks."""
        return frozenset(name for one in self.things for name in _offered(one)) - self.looks


CLOSING = words("close closed")  # what is not flushed before has no promise

DOORS = (
    Door(
        "redis",
        (redis.Redis, redis.lock.Lock),
        CLOSING
        | words(
            "get mget hget hmget hgetall llen lrange smembers exists keys ttl pttl type time info",
            "echo config_get scan zscore zrange xlen client command from_url",
            "register_script pipeline lock wait acl_list parse_response sentinel",
        ),
    ),
    Door(
        "deltalake",
        (
            deltalake.DeltaTable,
            TableOptimizer,
            TableAlterer,
            TableMerger,
            deltalake.write_deltalake,
            deltalake.convert_to_deltalake,
        ),
        words(
            "alter optimize count deletion_vectors file_uris get_add_actions history",
            "is_deltatable load_as_version load_cdf metadata partitions protocol scan schema",
            "table_config table_uri to_pandas to_pyarrow_dataset to_pyarrow_table",
            "transaction_version update_incremental version",
            # a merge is built with these, and done by `execute`
            "merge when_matched_delete when_matched_update when_matched_update_all",
            "when_not_matched_by_source_delete when_not_matched_by_source_update",
            "when_not_matched_insert when_not_matched_insert_all",
        ),
    ),
    Door(
        "pyarrow.fs",
        (pyarrow.fs.FileSystem,),
        words(
            "equals from_uri get_file_info normalize_path open_input_file open_input_stream",
            "type_name",
        ),
    ),
    Door(
        "azure.storage.filedatalake",
        (
            datalake.DataLakeServiceClient,
            datalake.FileSystemClient,
            datalake.DataLakeDirectoryClient,
            datalake.DataLakeFileClient,
            datalake.DataLakeLeaseClient,
        ),
        CLOSING
        | words(
            "exists from_connection_string download_file query_file list_file_systems",
            "list_deleted_paths get_paths get_access_control get_directory_client",
            "get_directory_properties get_file_client get_file_properties get_service_properties",
            "get_file_system_access_policy get_file_system_client get_file_system_properties",
            "get_sub_directory_client get_tags get_user_delegation_key",
        ),
    ),
    Door(
        "celery",
        (celery.Celery, celery.Task, Consumer),
        CLOSING
        | words(
            "Pickler SYSTEM Task add_around add_defaults annotate app apply bind chunks",
            "config_from_object connection connection_for_read connection_for_write",
            "connection_or_acquire control events from_config log map now on_bound on_init",
            "producer_or_acquire producer_pool register_task run s si signature start starmap",
            "subtask task tasks after_return before_start on_failure on_retry on_success",
            "create_task_handler shutdown stop Strategies connect perform_pending_operations",
            "on_connection_error_after_connected",
            "WorkController Worker Beat AsyncResult ResultSet GroupResult amqp_cls loader_cls",
        ),
    ),
    Door(
        "kombu",
        (kombu.message.Message, kombu.Producer),
        CLOSING | words("decode errors MessageStateError accept"),
    ),
    Door(
        "redbeat",
        (redbeat.RedBeatScheduler,),
        CLOSING | words("info is_due get_schedule schedules_equal should_sync Entry adjust"),
    ),
    Door(
        "os",
        (os,),
        words(
            "close fdopen fspath fstat getcwd getenv getpid getppid kill listdir lstat scandir",
            "lseek pread readv stat statvfs strerror urandom walk cpu_count read isatty access",
            "wait times error DirEntry PathLike Mapping MutableMapping GenericAlias stat_result",
        ),
    ),
    Door("shutil", (shutil,), words("disk_usage which get_terminal_size Error")),
    Door(
        "pathlib",
        (pathlib.Path,),
        words(
            "absolute as_posix as_uri cwd exists expanduser glob group home is_absolute",
            "is_block_device is_char_device is_dir is_fifo is_file is_mount is_relative_to",
            "is_reserved is_socket is_symlink iterdir joinpath lstat match owner read_bytes",
            "read_text readlink relative_to resolve rglob samefile stat walk with_name with_stem",
            "with_suffix with_segments from_uri full_match",
        ),
    ),
    Door("tempfile", (tempfile,), words("gettempdir gettempdirb gettempprefix")),
    Door(
        "io",
        (io.FileIO, io.BufferedWriter, io.TextIOWrapper),
        CLOSING
        | words(
            "detach fileno isatty read read1 readable readall readinto readinto1 readline",
            "readlines seek seekable tell writable reconfigure",
        ),
    ),
    Door("subprocess", (subprocess,), words("list2cmdline")),
    Door(
        "requests",
        (requests.Session,),
        CLOSING | words("get head options mount prepare_request get_adapter get_redirect_target"),
    ),
    Door(
        "urllib3",
        (urllib3.PoolManager,),
        CLOSING
        | words("clear connection_from_context connection_from_host connection_from_pool_key")
        | words("connection_from_url"),
    ),
    Door(
        "aiohttp", (aiohttp.ClientSession,), CLOSING | words("get head options detach ws_connect")
    ),
)

# Modules that change nothing that lasts, by why; whatever is imported and stands neither here nor
# among the doors must be put into one of the two.
HARMLESS = {
    "asyncio concurrent.futures contextvars threading queue": "runs what is given to it",
    "signal atexit billiard gc ctypes": "the process's own life",
    "pycurl": "questions to the vendor, who keeps nothing of them; what `adapters.datalake` asks of"
    " OneLake has the names that the storage client above gives it",
    "certifi ssl": "whom to trust",
    "__future__ abc base64 binascii bisect codecs collections contextlib dataclasses datetime"
    " decimal difflib email.utils enum errno functools hashlib hmac importlib importlib.resources"
    " ipaddress itertools json math operator random re secrets stat statistics string struct sys"
    " time types typing unicodedata urllib.parse uuid zlib": "computes, or names things",
    "hiredis msgspec orjson pyarrow pydantic yarl click rich dotenv": "computes, or shows",
    "uvloop": "an event loop",
    "fcntl": "says of a folder where others in it are placed; asked again, it says the same",
    "socket": "the name of this host, and an end for slow probes",
    "http http.server socketserver": "answers probes",
    "logging structlog": "the log is told, never asked",
    "prometheus_client": "a process's own numbers",
    "azure.core azure.identity": "tokens, conditions, errors",
    "azure.kusto.data": "queries",
}


def _offered(thing: Any) -> Iterable[str]:
    if inspect.isfunction(thing):
        return (thing.__name__,)
    found = (name for name in dir(thing) if not name.startswith("_"))
    return (name for name in found if _is_function(inspect.getattr_static(thing, name, None)))


def _is_function(raw: Any) -> bool:
    """Say whether what stands in a class or module can be called, without waking it up."""
    if isinstance(raw, ModuleType):
        return False
    return callable(raw) or isinstance(raw, classmethod | staticmethod)


def is_classified(module: str) -> bool:
    """Say whether somebody has said of an imported module what it can do to the outside."""
    known = {door.library for door in DOORS} | words(*HARMLESS)
    parts = module.split(".")
    return any(".".join(parts[:end]) in known for end in range(1, len(parts) + 1))


FOREIGN_WORDS = {door.library: door.words for door in DOORS}
# a module's functions are used through its name, or imported; methods through any receiver
METHOD_WORDS = frozenset(
    word
    for door in DOORS
    for thing in door.things
    if inspect.isclass(thing)
    for word in frozenset(_offered(thing)) - door.looks
)
