"""Settings: what is accepted, and what is said about what is not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from claimx.adapters.api_token import TokenSource
from claimx.cli.config import settings_page
from claimx.domain.errors import TokenRejected
from claimx.domain.tables import TABLES
from claimx.knobs import knobs, unknown_names
from claimx.services.chunk import BOUND_SECONDS
from claimx.setting_checks import REDIS_OPTIONS, REDIS_TLS_OPTIONS
from claimx.setting_errors import ConfigurationError
from claimx.setting_types import LONGEST_CALL, LONGEST_QUERY
from claimx.settings import Settings

ROOT = Path(__file__).parents[2]


DEFAULTS = {
    "PIPELINE_DOMAIN": "claimx",
    "REDIS_URL": SecretStr("redis://127.0.0.1:6379/0"),
    "EVENTHOUSE_CLUSTER_URL": "",
    "CLAIMX_EVENTHOUSE_DATABASE": "",
    "CLAIMX_EVENTHOUSE_SOURCE_TABLE": "ClaimXEvents",
    "CLAIMX_EVENTHOUSE_QUERY_TIMEOUT": 120,
    "CLAIMX_POLL_INTERVAL_SECONDS": 30,
    "CLAIMX_POLL_BATCH_SIZE": 1000,
    "CLAIMX_POLL_OVERLAP_SECONDS": 300,
    "CLAIMX_POLL_SETTLE_SECONDS": 5,
    "CLAIMX_POLL_START": 3600,
    "CLAIMX_DEDUP_WINDOW_HOURS": 24,
    "CLAIMX_API_URL": "",
    "CLAIMX_API_TOKEN": SecretStr(""),
    "CLAIMX_API_TOKEN_FILE": "",
    "CLAIMX_PROJECT_FRESH_SECONDS": 300,
    "CLAIMX_API_TIMEOUT_SECONDS": 30,
    "CLAIMX_API_CONCURRENCY": 20,
    "CLAIMX_API_RATE_LIMIT_PER_SECOND": 0,
    "CLAIMX_API_MAX_ANSWER_BYTES": 20 * 1024**2,
    "CLAIMX_API_SENDER_USERNAME": "",
    "CLAIMX_API_MEDIA_FILTER": "mediaIds",
    "CLAIMX_LAKE_PATH": "",
    "ONELAKE_CLAIMX_PATH": "",
    "ONELAKE_ENDPOINT": "https://onelake.dfs.fabric.microsoft.com",
    "CACHE_DIR": "var/cache",
    "CLAIMX_CACHE_MAX_BYTES": 20 * 1024**3,
    "CLAIMX_MAX_MEDIA_BYTES": 5 * 1024**3,
    "CLAIMX_DOWNLOAD_CONCURRENCY": 10,
    "CLAIMX_UPLOAD_CONCURRENCY": 10,
    "ALLOWED_ATTACHMENT_DOMAINS": (
        "claimxperience.s3.amazonaws.com",
        "claimxperience.s3.us-east-1.amazonaws.com",
        "www.claimxperience.com",
        "claimxperience.com",
        "xactware-claimx-us-prod.s3.us-west-1.amazonaws.com",
    ),
    "CLAIMX_ALLOWED_EXTENSIONS": (
        *("pdf", "xml", "txt", "csv", "json", "html", "htm", "xls", "xlsx", "doc", "docx", "esx"),
        *("jpg", "jpeg", "png", "gif", "bmp", "tiff", "tif", "webp", "heic", "mov", "mp4"),
    ),
    "CLAIMX_ALLOW_LOOPBACK": False,
    "CLAIMX_BATCH_ROWS": 2000,
    "CLAIMX_BATCH_SECONDS": 5,
    "CLAIMX_MAX_RETRIES": 4,
    "CLAIMX_RETRY_BASE_SECONDS": 30,
    "CLAIMX_RETRY_MAX_SECONDS": 2400,
    "CLAIMX_WAIT_MAX_HOURS": 72,
    "CLAIMX_CIRCUIT_FAILURES": 5,
    "CLAIMX_CIRCUIT_OPEN_SECONDS": 60,
    "CLAIMX_CIRCUIT_TRIALS": 3,
    "CLAIMX_CIRCUIT_SUCCESSES": 2,
    "CLAIMX_MAX_IN_FLIGHT": 100_000,
    "FLOWER_BASIC_AUTH": SecretStr(""),
    "CLAIMX_HEALTH_PORT": None,
    "CLAIMX_METRICS_PORT": None,
    "LOG_LEVEL": "INFO",
    "CLAIMX_LOG_FORMAT": "auto",
}
"""What deployments rely on; a page that is written from the settings would follow any change."""


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_setting_has_its_default_when_it_is_unset_or_blank(name):
    (attribute,) = (
        attribute for attribute, field in Settings.model_fields.items() if field.alias == name
    )

    assert getattr(Settings.load({}), attribute) == DEFAULTS[name]
    assert getattr(Settings.load({name: "  "}), attribute) == DEFAULTS[name]


@pytest.mark.parametrize("text", ["true", "1", "YES", " True "])
def test_booleans_in_any_case(text):
    assert Settings.load({"CLAIMX_ALLOW_LOOPBACK": text}).allow_loopback is True


@pytest.mark.parametrize("text", ["false", "0", "NO"])
def test_and_those_that_say_no(text):
    assert Settings.load({"CLAIMX_ALLOW_LOOPBACK": text}).allow_loopback is False


def test_every_wrong_value_gets_a_line_that_names_it():
    """All errors at once: nobody wants to find them one start at a time."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(
            {
                "CLAIMX_BATCH_ROWS": "many",
                "CLAIMX_POLL_INTERVAL_SECONDS": "-1",
                "CLAIMX_ALLOW_LOOPBACK": "maybe",
                "PIPELINE_DOMAIN": "verisk",
            }
        )

    lines = caught.value.problems
    assert len(lines) == 4
    for name in (
        "CLAIMX_BATCH_ROWS",
        "CLAIMX_POLL_INTERVAL_SECONDS",
        "CLAIMX_ALLOW_LOOPBACK",
        "PIPELINE_DOMAIN",
    ):
        assert sum(line.startswith(name) for line in lines) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", 7200.0),
        ("3d", 3 * 86400.0),
        ("1.5m", 90.0),
        (" 30 s ", 30.0),
        ("2026-01-31T08:00:00Z", datetime(2026, 1, 31, 8, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("20260131", datetime(2026, 1, 31, tzinfo=UTC)),
        ("3600.0", 3600.0),
    ],
)
def test_poll_start_is_a_time_or_a_span_back(text, expected):
    assert Settings.load({"CLAIMX_POLL_START": text}).poll_start == expected


def test_lists_are_by_comma_and_blanks_do_not_matter():
    settings = Settings.load({"ALLOWED_ATTACHMENT_DOMAINS": " A.example , b.example, ,, "})

    assert settings.allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize("name", ["CLAIMX_API_URL", "EVENTHOUSE_CLUSTER_URL"])
@pytest.mark.parametrize(
    "host", ["api.example", "10.0.0.1", "localhost.example", "127.0.0.1.nip.io"]
)
def test_development_switch_refuses_a_real_address(name, host):
    """The switch lifts https for loopback only; beside a real address it is a mistake."""
    for scheme in ("https", "http"):
        with pytest.raises(ConfigurationError, match=f"{name} is not a loopback"):
            Settings.load({"CLAIMX_ALLOW_LOOPBACK": "true", name: f"{scheme}://{host}/rest"})


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:1", "127.8.0.1"])
def test_it_lets_plain_http_to_loopback_through(host):
    names = ("CLAIMX_API_URL", "EVENTHOUSE_CLUSTER_URL", "ONELAKE_ENDPOINT")

    settings = Settings.load(
        {"CLAIMX_ALLOW_LOOPBACK": "YES", **dict.fromkeys(names, f"http://{host}")}
    )

    assert settings.api_url == settings.kusto_url == settings.onelake_endpoint == f"http://{host}"


def test_it_lets_no_plain_http_elsewhere_through_and_leaves_a_real_onelake_alone():
    with pytest.raises(ConfigurationError, match="ONELAKE_ENDPOINT must be https"):
        Settings.load({"CLAIMX_ALLOW_LOOPBACK": "1", "ONELAKE_ENDPOINT": "http://onelake.example"})
    Settings.load({"CLAIMX_ALLOW_LOOPBACK": "1", "ONELAKE_ENDPOINT": "https://onelake.example"})
    Settings.load({"CLAIMX_API_URL": "https://127.0.0.1/rest"})


@pytest.mark.parametrize("name", ["CLAIMX_API_URL", "EVENTHOUSE_CLUSTER_URL", "ONELAKE_ENDPOINT"])
def test_plain_http_needs_the_switch(name):
    with pytest.raises(ConfigurationError, match=f"{name} must be https"):
        Settings.load({name: "http://127.0.0.1:8080"})


def test_a_table_path_overrides_the_lake():
    settings = Settings.load(
        {"CLAIMX_LAKE_PATH": "/lake/", "CLAIMX_EVENTS_TABLE_PATH": "/elsewhere/events"}
    )

    assert settings.table_path("claimx_events") == "/elsewhere/events"
    assert settings.table_path("claimx_media") == "/lake/claimx_media"


def test_a_missing_lake_names_both_ways_to_set_it():
    with pytest.raises(ConfigurationError, match=r"CLAIMX_LAKE_PATH \(or CLAIMX_MEDIA_TABLE_PATH"):
        Settings.load({}).table_path("claimx_media")


def test_an_unknown_name_suggests_the_nearest():
    assert unknown_names({"CLAIMX_BATCH_ROW": "1"}) == [
        "CLAIMX_BATCH_ROW is not a setting; did you mean CLAIMX_BATCH_ROWS?"
    ]


def test_secrets_are_not_shown():
    environment = {
        "CLAIMX_API_TOKEN": "s3cret-token",
        "REDIS_URL": "redis://user:hidden@127.0.0.1/0",
        "FLOWER_BASIC_AUTH": "me:hidden",
    }

    shown = str(knobs(Settings.load(environment), environment))

    assert "s3cret" not in shown
    assert "hidden" not in shown


@pytest.mark.parametrize("name", ["CLAIMX_API_TOKEN", "FLOWER_BASIC_AUTH"])
def test_a_secret_that_looks_like_an_address_is_one_all_the_same(name):
    environment = {name: "redis://hidden:6379"}

    assert "hidden" not in str(knobs(Settings.load(environment), environment))


def test_a_wrong_secret_is_not_repeated():
    """The line that refuses a value must not be the leak."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({"REDIS_URL": "redis://:hidden@h", "CLAIMX_BATCH_ROWS": "x"})

    assert "hidden" not in str(caught.value)


def test_every_setting_is_declared_with_a_meaning():
    for knob in knobs(Settings.load({}), {}):
        assert knob.meaning.endswith("."), knob.name


def test_every_number_has_a_greatest_value():
    """Accepted, ``CLAIMX_PROJECT_FRESH_SECONDS=1e20`` made Redis fail each step of the gates."""
    numbers = {
        field.alias: field
        for field in Settings.model_fields.values()
        if field.annotation in (int, float)
    }

    for name, field in numbers.items():
        whole = str(10**20) if field.annotation is int else "1e20"
        with pytest.raises(ConfigurationError, match=rf"^{name}='{whole}': .* less than or equal"):
            Settings.load({name: whole})
    assert len(numbers) > 20


def test_every_table_has_a_path_setting():
    names = {knob.name for knob in knobs(Settings.load({}), {})}

    for table in TABLES.values():
        assert f"CLAIMX_{table.setting}_TABLE_PATH" in names


def test_the_configuration_page_is_what_the_settings_declare():
    """docs/configuration.md is what deployments are written from; `make docs` writes it."""
    assert (ROOT / "docs/configuration.md").read_text() == settings_page()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ALLOWED_ATTACHMENT_DOMAINS", "example.com:8443"),
        ("ALLOWED_ATTACHMENT_DOMAINS", "https://example.com/"),
        ("ALLOWED_ATTACHMENT_DOMAINS", ","),
        ("CLAIMX_ALLOWED_EXTENSIONS", " , "),
        ("CLAIMX_ALLOWED_EXTENSIONS", "pdf;jpg"),
        ("CLAIMX_ALLOWED_EXTENSIONS", "pdf jpg"),
        ("CLAIMX_ALLOWED_EXTENSIONS", "pdf,*"),
        ("CLAIMX_ALLOWED_EXTENSIONS", "."),
        ("CLAIMX_ALLOWED_EXTENSIONS", "tar.gz"),
        ("CLAIMX_ALLOWED_EXTENSIONS", "123"),
        ("ONELAKE_CLAIMX_PATH", "https://onelake.example/x"),
        ("CLAIMX_LAKE_PATH", "s3://bucket/tables"),
        ("CLAIMX_LAKE_PATH", "abfss://nothing"),
        ("CLAIMX_MEDIA_TABLE_PATH", "abfss://nothing"),
        ("CLAIMX_EVENTHOUSE_SOURCE_TABLE", "A | drop"),
        ("CLAIMX_POLL_INTERVAL_SECONDS", "inf"),
        ("CLAIMX_POLL_INTERVAL_SECONDS", "1e300"),
        ("CLAIMX_POLL_INTERVAL_SECONDS", "0.000001"),
        ("CLAIMX_API_TIMEOUT_SECONDS", "nan"),
        ("CLAIMX_POLL_START", "9999999999d"),
        ("CLAIMX_API_URL", "https://user:secret@api.example/rest"),
        ("CLAIMX_API_URL", "https://api.example/rest?key=secret"),
        ("ONELAKE_ENDPOINT", "https://onelake.example/?sv=1&sig=secret"),
        ("CLAIMX_API_URL", "https://[::1"),
        ("CLAIMX_API_URL", "ftp://api.example"),
        ("CLAIMX_API_URL", "https:///rest"),
        ("ONELAKE_ENDPOINT", "https://onelake.example/#secret"),
        ("CLAIMX_POLL_START", "3651d"),
        ("CLAIMX_DEDUP_WINDOW_HOURS", "87601"),
        ("CLAIMX_RETRY_MAX_SECONDS", "86401"),
        ("CLAIMX_BATCH_SECONDS", "2592001"),
        ("CLAIMX_API_RATE_LIMIT_PER_SECOND", "1e-300"),
        ("EVENTHOUSE_CLUSTER_URL", "https://host:port"),
        ("EVENTHOUSE_CLUSTER_URL", "https://k.example;AppKey=secret"),
        ("CLAIMX_API_URL", "https://api example/rest"),
        ("CLAIMX_API_URL", "https://m\xfcller.example/rest"),
        ("FLOWER_BASIC_AUTH", "secret"),
        ("FLOWER_BASIC_AUTH", "secret:"),
        ("FLOWER_BASIC_AUTH", ":secret"),
        ("FLOWER_BASIC_AUTH", "me:secret,other:"),
        ("FLOWER_BASIC_AUTH", "me:s\xe9cret"),
        ("REDIS_URL", "http://h/secret"),
        ("REDIS_URL", "secret"),
        ("REDIS_URL", "redis://:secret@h:port/0"),
        ("REDIS_URL", "redis://:se/cret@h:6379/0"),
        ("REDIS_URL", "redis://h/secret"),
        ("REDIS_URL", "sentinel://h:1;other:2/0"),
        ("REDIS_URL", "REDIS://:secret@h/0"),
        ("REDIS_URL", "redis://:secret@h/0?ssl_cert_reqs=none"),
        ("REDIS_URL", "rediss://:secret@h/0?ssl_cert_reqs=never"),
        ("REDIS_URL", "redis://h/0?secret=1"),
        ("REDIS_URL", "rediss://:secret@h/0?ssl_min_version=771"),
        ("REDIS_URL", "sentinel://:p@a:26379;sentinel://b:26379/1?secret=1"),
        ("CLAIMX_POLL_START", "0001-01-01"),
        ("CLAIMX_POLL_START", "9999-12-31T23:59"),
    ],
)
def test_a_value_that_can_never_work_is_refused_before_anything_starts(name, text):
    """Found in the first task instead, it would fail every chunk of a worker that looks ready."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({name: text})

    (line,) = caught.value.problems
    assert line.startswith(name)
    assert "secret" not in line
    assert "cret@" not in line


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("REDIS_URL", "rediss://:p%2Fw@h:6380/2"),
        ("REDIS_URL", "redis:///0"),
        ("FLOWER_BASIC_AUTH", "me:a:colon,other:b"),
        ("REDIS_URL", "redis://h/0?protocol=3"),
        ("REDIS_URL", "rediss://h/0?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem"),
        ("REDIS_URL", "rediss://h/0?ssl_cert_reqs=required"),
        ("REDIS_URL", "rediss://h/0?ssl_cert_reqs=optional"),
        ("CLAIMX_POLL_START", "3650d"),
        ("CLAIMX_DEDUP_WINDOW_HOURS", "87600"),
        ("CLAIMX_RETRY_MAX_SECONDS", "86400"),
        ("CLAIMX_MAX_RETRIES", "0"),
        ("CLAIMX_POLL_OVERLAP_SECONDS", "0"),
        ("REDIS_URL", "sentinel://:p@a:26379;sentinel://b:26379/1"),
        ("ONELAKE_CLAIMX_PATH", "abfss://w@onelake.dfs.fabric.microsoft.com/l/Files/claimx"),
        ("CLAIMX_LAKE_PATH", "C:/lake"),
        ("CLAIMX_EVENTHOUSE_SOURCE_TABLE", "Claim Events--2"),
        ("CLAIMX_HEALTH_PORT", "off"),
        ("CLAIMX_METRICS_PORT", "OFF"),
        ("CLAIMX_API_RATE_LIMIT_PER_SECOND", "off"),
        ("CLAIMX_LOG_FORMAT", "JSON"),
        ("CLAIMX_POLL_START", "3600.0"),
        ("CLAIMX_POLL_START", "2H"),
        ("CLAIMX_ALLOWED_EXTENSIONS", ".PDF, jpg,mp4"),
    ],
)
def test_what_may_work_is_taken(name, text):
    Settings.load({name: text})


@pytest.mark.parametrize("option", sorted(REDIS_OPTIONS | REDIS_TLS_OPTIONS))
def test_each_option_of_redis_is_one_that_its_client_takes(option):
    """Others ended in a traceback at the first command."""
    numbers = {"protocol": "3", "ssl_cert_reqs": "none"}
    client = redis.Redis.from_url(f"rediss://h/0?{option}={numbers.get(option, '1')}")

    client.connection_pool.make_connection()


def test_wrong_addresses_get_a_line_each_beside_other_wrong_values():
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(
            {
                "ONELAKE_ENDPOINT": "onelake",
                "CLAIMX_API_URL": "http://api.example",
                "EVENTHOUSE_CLUSTER_URL": "kusto",
                "CLAIMX_BATCH_ROWS": "many",
            }
        )

    named = {line.split("=")[0].split()[0] for line in caught.value.problems}
    assert named == {
        *("ONELAKE_ENDPOINT", "CLAIMX_API_URL", "EVENTHOUSE_CLUSTER_URL", "CLAIMX_BATCH_ROWS")
    }


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0?password=hidden", "redis://host:6379/0"),
        ("redis://host/0?password=h@hidden", "***"),
        ("redis://:p@hidden@host/0", "redis://***@host/0"),
        ("sentinel://:hidden@a:1;sentinel://b:2/0", "sentinel://***@a:1;sentinel://b:2/0"),
    ],
)
def test_of_an_address_with_a_password_only_the_place_is_shown(url, shown):
    environment = {"REDIS_URL": url}

    (found,) = (
        k.value for k in knobs(Settings.load(environment), environment) if k.name == "REDIS_URL"
    )

    assert found == shown


@pytest.mark.parametrize("name", ["CLAIMX_LAKE_PATH", "ONELAKE_CLAIMX_PATH"])
@pytest.mark.parametrize(
    "path",
    [
        "abfss://w@onelake.example/l/Files?sv=1&sig=hidden",
        "abfss://w@onelake.example/l/Files?other=hidden",
        "abfss://w@onelake.example/l/Files#hidden",
        "https://onelake.example/l/Files?sv=1&sig=hidden",
        "https://onelake.example/l's/Files?other=hidden",
        "https://me:hidden@onelake.example/l",
        "https://me:hidden\u2100@onelake.example/l",
    ],
)
def test_a_signed_link_in_place_of_a_path_is_refused_without_its_secret(name, path):
    """People paste them; the refusal goes to logs that many read, and names what to mend."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.load({name: path})

    (line,) = caught.value.problems
    assert line.startswith(f"{name}: ")
    assert "hidden" not in line


def test_what_follows_a_path_is_named_as_what_to_leave_out():
    """Accepted, it would open nothing and be told by all who show the path."""
    with pytest.raises(ConfigurationError, match=r"CLAIMX_EVENTS_TABLE_PATH: leave out .* \? or #"):
        Settings.load({"CLAIMX_EVENTS_TABLE_PATH": "abfss://w@h/l/Tables/e?sig=hidden"})


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("abfss://w@onelake.example/l/Files", "abfss://w@onelake.example/l/Files"),
        ("abfss://w:hidden@onelake.example/l", "abfss://***@onelake.example/l"),
        ("onelake.example/l/Files?sig=hidden", "onelake.example/l/Files?sig=***"),
    ],
)
@pytest.mark.parametrize(
    "name", ["CLAIMX_LAKE_PATH", "ONELAKE_CLAIMX_PATH", "CLAIMX_MEDIA_TABLE_PATH"]
)
def test_of_a_path_all_but_secrets_is_shown(name, path, shown):
    """What is taken for a folder may be a link without its scheme; a workspace is no secret."""
    environment = {name: path}

    found = {knob.name: knob.value for knob in knobs(Settings.load(environment), environment)}

    assert found[name] == shown


@pytest.mark.parametrize(
    "token",
    ["dXNlcjpwYXNz", "two words", " padded\t", "line\nbreak", "hid\x07den", "hiddén", "\x7f"],
)
def test_a_token_is_refused_at_the_start_exactly_when_no_call_could_carry_it(token):
    """Each event would wait 72 hours for another one, and only its debug lines would say so."""
    try:
        TokenSource(token).current()
    except TokenRejected:
        with pytest.raises(ConfigurationError, match="CLAIMX_API_TOKEN") as caught:
            Settings.load({"CLAIMX_API_TOKEN": token})
        assert token not in str(caught.value)
    else:
        assert Settings.load({"CLAIMX_API_TOKEN": token}).api_token.get_secret_value()


@pytest.mark.parametrize(
    ("name", "longest"),
    [
        ("CLAIMX_API_TIMEOUT_SECONDS", LONGEST_CALL),
        ("CLAIMX_EVENTHOUSE_QUERY_TIMEOUT", LONGEST_QUERY),
    ],
)
def test_a_time_out_that_could_never_end_anything_is_refused(name, longest):
    """What ends first gives the work back without an attempt, again and again, in silence."""
    Settings.load({name: f"{longest}"})

    with pytest.raises(ConfigurationError, match=f"{name}=.* less than or equal to {longest:g}"):
        Settings.load({name: f"{longest + 1}"})


def test_a_call_that_hangs_ends_well_before_its_chunk():
    """A chunk that ends first gives its events back, and nobody hears of the API."""
    assert LONGEST_CALL <= BOUND_SECONDS - 30


def test_the_scheme_of_an_address_is_read_in_capitals_too():
    """HTTP:// passed the checks, and then a credential was looked for that a loopback has none of.

    What follows the scheme stays as it is: a path may have capitals.
    """
    settings = Settings.load(
        {
            "CLAIMX_ALLOW_LOOPBACK": "true",
            "EVENTHOUSE_CLUSTER_URL": "HTTP://127.0.0.1:1/Here",
            "CLAIMX_API_URL": "hTTp://127.0.0.1:2/API",
        }
    )

    assert settings.kusto_url == "http://127.0.0.1:1/Here"
    assert settings.api_url == "http://127.0.0.1:2/API"
