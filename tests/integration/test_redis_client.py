"""Clients of Redis: what they are given, and what they say of how it is set up."""

from __future__ import annotations

import ssl
import time

import kombu
import pytest
import redis

from claimx.adapters.redis_client import (
    broker_url,
    clock_diagnoses,
    connect,
    diagnoses,
    with_tls_checked,
)
from claimx.domain.errors import Malformed
from claimx.setting_checks import REDIS_OPTIONS, REDIS_TLS_OPTIONS


def test_a_redis_as_it_must_be_gets_no_complaint(redis_client):
    assert diagnoses(redis_client) == []


def test_eviction_and_a_missing_file_are_complained_about(redis_client):
    """Both lose records in silence, long after whoever set it up has forgotten."""
    before = redis_client.config_get("maxmemory-policy") | redis_client.config_get("appendonly")
    try:
        redis_client.config_set("maxmemory-policy", "allkeys-lru")
        redis_client.config_set("appendonly", "no")

        found = diagnoses(redis_client)
    finally:
        for name, value in before.items():
            redis_client.config_set(name, value)

    assert len(found) == 2
    assert "noeviction" in found[0].remedy
    assert "appendonly yes" in found[1].remedy


@pytest.mark.parametrize(("off", "said"), [(600, "behind"), (-600, "ahead of")])
def test_a_clock_far_from_this_hosts_is_complained_about(redis_client, off, said):
    """With a slow one each event is read that much later, and the lag is told by the same clock."""
    (found,) = clock_diagnoses(redis_client, lambda: time.time() + off)

    assert f"{said} this host's" in found.wrong
    assert "600 s" in found.wrong
    assert clock_diagnoses(redis_client, time.time) == []


def test_a_redis_that_does_not_tell_is_not_called_well(redis_client):
    """Managed ones forbid CONFIG."""
    with redis_client.client() as client:
        redis_client.acl_setuser("mute", enabled=True, nopass=True, commands=["+@all", "-config"])
        try:
            client.auth("", "mute")
            assert diagnoses(client) is None
        finally:
            redis_client.acl_deluser("mute")


def test_tls_is_checked_unless_the_url_says_otherwise():
    """Celery refuses a bare rediss:// URL, and without the word it would not check."""
    assert with_tls_checked("rediss://h:1/0") == "rediss://h:1/0?ssl_cert_reqs=required"
    assert with_tls_checked("rediss://h/0?ssl_cert_reqs=none") == "rediss://h/0?ssl_cert_reqs=none"
    assert with_tls_checked("redis://h/0") == "redis://h/0"


def test_another_scheme_names_the_three_that_work():
    with pytest.raises(Malformed, match="redis://, rediss:// or sentinel://"):
        connect("http://h/0", "mymaster")


def test_every_client_has_time_outs(redis_url):
    """A call without one can hang a worker for ever."""
    for quick in (False, True):
        options = connect(redis_url, "mymaster", quick=quick).connection_pool.connection_kwargs

        assert 0 < options["socket_timeout"] <= 30
        assert 0 < options["socket_connect_timeout"] <= 5


def test_sentinel_urls_take_celerys_form():
    client = connect("sentinel://:pw@s1:26379;sentinel://s2:26380/3", "claims")

    pool = client.connection_pool
    assert pool.service_name == "claims"
    assert pool.connection_kwargs["db"] == 3
    assert pool.connection_kwargs["password"] == "pw"


def test_celery_is_told_the_master_s_password_and_database_at_every_sentinel():
    """It goes by the node that it is at: of a list it would read database 0 without a password."""
    url = "sentinel://u:p%2F%40w@s1;sentinel://[::1]:26380/3"

    assert broker_url(url) == (
        "sentinel://u:p%2F%40w@s1:26379/3;sentinel://u:p%2F%40w@[::1]:26380/3"
    )
    assert broker_url("sentinel://s1") == "sentinel://s1:26379/0"


@pytest.mark.parametrize("option", sorted(REDIS_OPTIONS | REDIS_TLS_OPTIONS))
def test_celery_takes_a_url_with_each_option_that_the_settings_take(option):
    """It ended with a traceback for all but those of TLS, of settings that had been found well."""
    url = f"rediss://h/0?{option}={'none' if option == 'ssl_cert_reqs' else '1'}"

    with kombu.Connection(broker_url(url)) as connection:
        assert connection.hostname == "h"
        assert connection.ssl["ssl_cert_reqs"] in (ssl.CERT_NONE, ssl.CERT_REQUIRED)


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:1/3?protocol=3&socket_timeout=5",
        "redis://h?db=3",
        "redis://h/1?db=3&password=p%2Fw",
        "redis://h/3?username=u&password=p",
        "redis://x:y@h/3?username=u&password=p",
        "rediss://:y@h/3?max_connections=2",
    ],
)
def test_celery_reads_the_same_database_with_the_same_login_as_redis_py(url):
    theirs = connect(url, "").connection_pool.connection_kwargs

    with kombu.Connection(broker_url(url)) as connection:
        found = (connection.userid or None, connection.password, connection.virtual_host or "0")

    assert found == (theirs.get("username"), theirs.get("password"), str(theirs.get("db", 0)))


def test_a_command_is_packed_as_the_library_packs_it():
    """Its own packing also looks at each argument's type, of thousands in one step."""
    url = "redis://localhost"
    own, theirs = (
        client.connection_pool.make_connection() for client in (connect(url, ""), redis.Redis())
    )

    for command in (
        ("CONFIG GET", "maxmemory"),
        ("EVALSHA", "f" * 40, 1, "{claimx:0}", b"\x00\xff", "é", 3, 0.1, -1e300),
        ("PING",),
    ):
        assert own.pack_command(*command) == theirs.pack_command(*command)


def test_what_is_no_argument_is_refused_before_it_is_sent():
    with pytest.raises(redis.DataError):
        connect("redis://localhost", "").connection_pool.make_connection().pack_command("SET", None)
