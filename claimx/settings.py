"""
Every knob: environment name, type, unit, default and meaning, in one place.

`Settings.load` reads a mapping (an entry point passes ``os.environ``); nothing here reads the
environment by itself. Names are fixed by the contract with deployments: an existing one is never
renamed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from claimx.domain.tables import TABLES
from claimx.setting_checks import PATHS, problems_of
from claimx.setting_errors import ConfigurationError
from claimx.setting_types import (
    TRUE,
    Address,
    AnswerBytes,
    Bytes,
    CallSeconds,
    Count,
    CountOrNone,
    DelaySeconds,
    Extensions,
    Flag,
    Hosts,
    Hours,
    PollSeconds,
    PollStart,
    QuerySeconds,
    Rate,
    Records,
    Seconds,
    SecondsOrNone,
)

DEFAULT_HOSTS = (
    "claimxperience.s3.amazonaws.com",
    "claimxperience.s3.us-east-1.amazonaws.com",
    "www.claimxperience.com",
    "claimxperience.com",
    "xactware-claimx-us-prod.s3.us-west-1.amazonaws.com",
)
DEFAULT_EXTENSIONS = tuple(
    (
        "pdf xml txt csv json html htm xls xlsx doc docx esx jpg jpeg png gif bmp tiff tif webp"
        " heic mov mp4"
    ).split()
)
_MAY_BE_OFF = (
    "CLAIMX_API_RATE_LIMIT_PER_SECOND",
    "CLAIMX_HEALTH_PORT",
    "CLAIMX_METRICS_PORT",
)
TABLE_PATHS = {f"CLAIMX_{table.setting}_TABLE_PATH": name for name, table in TABLES.items()}


def _knob(name: str, default: Any, meaning: str) -> Any:
    return Field(default, alias=name, description=meaning)


class Settings(BaseModel):
    """All settings of one process; frozen. Field names are short, aliases are the contract."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=False, allow_inf_nan=False
    )

    domain: Literal["claimx"] = _knob("PIPELINE_DOMAIN", "claimx", "Must be claimx when set.")
    redis_url: SecretStr = _knob(
        "REDIS_URL",
        SecretStr("redis://127.0.0.1:6379/0"),
        "Broker, ledger, streams, dead letters: redis://, rediss:// or sentinel://.",
    )

    redis_master: str = _knob(
        "CLAIMX_REDIS_SENTINEL_MASTER", "mymaster", "Master's name behind sentinel://."
    )

    kusto_url: Address = _knob("EVENTHOUSE_CLUSTER_URL", "", "Kusto cluster of the events.")
    kusto_database: str = _knob("CLAIMX_EVENTHOUSE_DATABASE", "", "Its database.")
    kusto_table: str = _knob("CLAIMX_EVENTHOUSE_SOURCE_TABLE", "ClaimXEvents", "Its table.")
    kusto_timeout: QuerySeconds = _knob(
        "CLAIMX_EVENTHOUSE_QUERY_TIMEOUT", 120.0, "Seconds a query may take."
    )
    poll_interval: PollSeconds = _knob(
        "CLAIMX_POLL_INTERVAL_SECONDS", 30.0, "Seconds between polls, 0.1 at least."
    )
    poll_batch: Count = _knob("CLAIMX_POLL_BATCH_SIZE", 1000, "Rows a page.")
    poll_overlap: SecondsOrNone = _knob(
        "CLAIMX_POLL_OVERLAP_SECONDS", 300.0, "Seconds looked at again for rows that come late."
    )
    poll_settle: SecondsOrNone = _knob(
        "CLAIMX_POLL_SETTLE_SECONDS", 5.0, "Seconds a row may need to become visible."
    )
    poll_start: PollStart = _knob(
        "CLAIMX_POLL_START", 3600.0, "Where the first poll begins: a time, or 2h / 3d back."
    )
    dedup_hours: Hours = _knob(
        "CLAIMX_DEDUP_WINDOW_HOURS",
        24.0,
        "Hours that an event id is remembered.",
    )

    api_url: Address = _knob("CLAIMX_API_URL", "", "Base URL of the ClaimX REST API.")
    api_token: SecretStr = _knob("CLAIMX_API_TOKEN", SecretStr(""), "Sent after 'Basic ' as it is.")
    api_token_file: str = _knob(
        "CLAIMX_API_TOKEN_FILE", "", "File with the token; read again after a 401."
    )
    project_fresh: SecondsOrNone = _knob(
        "CLAIMX_PROJECT_FRESH_SECONDS", 300.0, "Seconds that a fetched project is not asked again."
    )
    api_timeout: CallSeconds = _knob("CLAIMX_API_TIMEOUT_SECONDS", 30.0, "Seconds a call.")
    api_concurrency: Count = _knob(
        "CLAIMX_API_CONCURRENCY", 20, "Calls in flight over all workers."
    )
    api_rate: Rate = _knob(
        "CLAIMX_API_RATE_LIMIT_PER_SECOND", 0.0, "Calls a second over all workers; 0 is off."
    )
    api_max_bytes: AnswerBytes = _knob(
        "CLAIMX_API_MAX_ANSWER_BYTES",
        20 * 1024**2,
        "Bytes an answer of the API may have, decompressed; from 1 MiB to 1 GiB. A call under way"
        " may take several times as many of memory.",
    )
    api_sender: str = _knob("CLAIMX_API_SENDER_USERNAME", "", "senderUsername of video reports.")
    api_media_filter: str = _knob(
        "CLAIMX_API_MEDIA_FILTER", "mediaIds", "Query name of the media filter."
    )

    lake_path: str = _knob("CLAIMX_LAKE_PATH", "", "Folder or abfss:// URI above the tables.")
    media_path: str = _knob("ONELAKE_CLAIMX_PATH", "", "Where media go: abfss:// URI or folder.")
    onelake_endpoint: Address = _knob(
        "ONELAKE_ENDPOINT",
        "https://onelake.dfs.fabric.microsoft.com",
        "The file endpoint that abfss:// paths are reached at.",
    )

    cache_dir: str = _knob("CACHE_DIR", "var/cache", "Media between download and upload.")
    cache_max_bytes: Bytes = _knob(
        "CLAIMX_CACHE_MAX_BYTES", 20 * 1024**3, "Bytes the cache may hold."
    )
    max_media_bytes: Bytes = _knob(
        "CLAIMX_MAX_MEDIA_BYTES",
        5 * 1024**3,
        "Bytes a media file may have. A try of its download, and of its upload to OneLake, has"
        " 230 s; the next goes on where it ended.",
    )
    download_concurrency: Count = _knob(
        "CLAIMX_DOWNLOAD_CONCURRENCY", 10, "Downloads side by side in a worker process."
    )
    upload_concurrency: Count = _knob(
        "CLAIMX_UPLOAD_CONCURRENCY", 10, "Uploads side by side in a worker process."
    )
    allowed_hosts: Hosts = _knob(
        "ALLOWED_ATTACHMENT_DOMAINS", DEFAULT_HOSTS, "Hosts media may come from (no ports)."
    )
    allowed_extensions: Extensions = _knob(
        "CLAIMX_ALLOWED_EXTENSIONS", DEFAULT_EXTENSIONS, "Kinds of files taken in."
    )
    allow_loopback: Flag = _knob(
        "CLAIMX_ALLOW_LOOPBACK", False, "Development: plain http to loopback."
    )

    batch_rows: Count = _knob("CLAIMX_BATCH_ROWS", 2000, "Rows that make a flush due.")
    batch_seconds: Seconds = _knob("CLAIMX_BATCH_SECONDS", 5.0, "Age that makes it due.")

    max_retries: CountOrNone = _knob(
        "CLAIMX_MAX_RETRIES", 4, "Retries before a record is given up on."
    )
    retry_base: DelaySeconds = _knob("CLAIMX_RETRY_BASE_SECONDS", 30.0, "First back-off.")
    retry_max: DelaySeconds = _knob("CLAIMX_RETRY_MAX_SECONDS", 2400.0, "Greatest back-off.")
    wait_max_hours: Hours = _knob(
        "CLAIMX_WAIT_MAX_HOURS",
        72.0,
        "Hours to wait for a token, an open circuit, or room in the cache.",
    )
    circuit_failures: Count = _knob(
        "CLAIMX_CIRCUIT_FAILURES", 5, "Consecutive failures that open a circuit."
    )
    circuit_open: DelaySeconds = _knob(
        "CLAIMX_CIRCUIT_OPEN_SECONDS", 60.0, "Seconds it stays open."
    )
    circuit_trials: Count = _knob("CLAIMX_CIRCUIT_TRIALS", 3, "Trial calls when half-open.")
    circuit_successes: Count = _knob(
        "CLAIMX_CIRCUIT_SUCCESSES", 2, "Trial successes that close it."
    )
    max_in_flight: Records = _knob(
        "CLAIMX_MAX_IN_FLIGHT", 100_000, "Active records above which the poller stops admitting."
    )

    health_port: Annotated[int, Field(ge=0, le=65535)] | None = _knob(
        "CLAIMX_HEALTH_PORT", None, "Port of the health server; 0 is any free one; off when unset."
    )
    metrics_port: Annotated[int, Field(ge=0, le=65535)] | None = _knob(
        "CLAIMX_METRICS_PORT", None, "Port of the metrics; 0 is any free one; off when unset."
    )
    health_host: str = _knob(
        "CLAIMX_HEALTH_HOST",
        "127.0.0.1",
        "Address that health and metrics listen on; 0.0.0.0 in a container.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = _knob(
        "LOG_LEVEL", "INFO", "Lowest level that is logged."
    )
    log_format: Literal["json", "console", "auto"] = _knob(
        "CLAIMX_LOG_FORMAT", "auto", "json, console, or auto: console on a terminal."
    )
    web_port: Annotated[int, Field(ge=0, le=65535)] = _knob("PORT", 5555, "Port of Flower (`web`).")
    flower_auth: SecretStr = _knob(
        "FLOWER_BASIC_AUTH", SecretStr(""), "user:password; without it Flower stays on loopback."
    )
    table_paths: Annotated[dict[str, str], Field(description="Table name -> its own path.")] = {}

    @classmethod
    def load(cls, environment: Mapping[str, str]) -> Self:
        """
        Build the settings from environment variables; blank ones count as unset.

        Raises ConfigurationError with a line for each wrong value.
        """
        values: dict[str, Any] = {}
        for field in cls.model_fields.values():
            if field.alias and (text := environment.get(field.alias, "").strip()):
                values[field.alias] = text
        for name, change in (("LOG_LEVEL", str.upper), ("CLAIMX_LOG_FORMAT", str.lower)):
            if name in values:
                values[name] = change(values[name])
        for name in _MAY_BE_OFF:
            if values.get(name, "").lower() == "off":
                del values[name]
        paths = {
            name: text
            for name in (*PATHS, *TABLE_PATHS)
            if (text := environment.get(name, "").strip())
        }
        loopback = values.get("CLAIMX_ALLOW_LOOPBACK", "").lower() in TRUE
        problems = problems_of(values, paths, loopback=loopback)
        values["table_paths"] = {
            TABLE_PATHS[name]: text for name, text in paths.items() if name in TABLE_PATHS
        }
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            problems = [*(_line(e, values) for e in error.errors()), *problems]
        if problems:
            raise ConfigurationError(problems)
        return settings

    def table_path(self, table_name: str) -> str:
        """Return the table's own folder or URI; raises ConfigurationError when there is none."""
        if own := self.table_paths.get(table_name):
            return own.rstrip("/")
        if not self.lake_path:
            setting = TABLES[table_name].setting
            raise ConfigurationError(
                [f"CLAIMX_LAKE_PATH (or CLAIMX_{setting}_TABLE_PATH) must be set"]
            )
        return f"{self.lake_path.rstrip('/')}/{table_name}"


def _line(error: Any, values: Mapping[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    if not name:
        return message
    secret = any(word in name for word in ("TOKEN", "AUTH", "REDIS_URL"))
    shown = "" if secret or name not in values else f"={values[name]!r}"
    return f"{name}{shown}: {message}"
