"""
What a value must be beside its type: addresses and paths, checked before anything starts.

Each check looks at the text that was set and says what is wrong with it, so that all problems of an
environment are told at once. None is connected to: whether something is there is `claimx doctor`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import SplitResult, parse_qsl, urlsplit

from claimx.domain.addresses import on_loopback, split_root
from claimx.domain.ports.source import TABLE_NAME

PATHS = ("CLAIMX_LAKE_PATH", "ONELAKE_CLAIMX_PATH")
ADDRESSES = ("CLAIMX_API_URL", "EVENTHOUSE_CLUSTER_URL", "ONELAKE_ENDPOINT")

_NOT_BESIDE_THE_SWITCH = ("CLAIMX_API_URL", "EVENTHOUSE_CLUSTER_URL")
_REDIS_SCHEMES = ("redis", "rediss", "sentinel")
REDIS_OPTIONS = frozenset(
    "client_name db health_check_interval max_connections password protocol retry_on_timeout"
    " socket_connect_timeout socket_keepalive socket_timeout username".split()
)
REDIS_TLS_OPTIONS = frozenset(  # no ssl_min_version, which Celery reads as text
    "ssl_ca_certs ssl_ca_data ssl_ca_path ssl_cert_reqs ssl_certfile ssl_check_hostname"
    " ssl_ciphers ssl_keyfile ssl_password".split()
)
_CERTIFICATES = ("none", "optional", "required")
_LOGINS = re.compile(r"[^:,]+:[^,]+(,[^:,]+:[^,]+)*")
# Kusto's client would read keys, secrets too, behind a ; and letters are for xn-- to tell
_NOT_OF_AN_ADDRESS = re.compile(r"[?#;]|[^!-~]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def problems_of(texts: Mapping[str, str], paths: Mapping[str, str], *, loopback: bool) -> list[str]:
    """
    Return a line for each text that cannot be what its setting takes; secrets are not repeated.

    *texts* are those set, by name; *paths* those that are folders or ``abfss://`` addresses.
    *loopback* says whether plain http to loopback is let through, and nothing but loopback.
    """
    found = [
        problem
        for name in ADDRESSES
        if name in texts and (problem := _of_address(name, texts[name], loopback=loopback))
    ]
    found += [problem for name, path in paths.items() if (problem := _of_path(name, path))]
    table = texts.get("CLAIMX_EVENTHOUSE_SOURCE_TABLE", "")
    if table and not TABLE_NAME.fullmatch(table):
        found.append(f"CLAIMX_EVENTHOUSE_SOURCE_TABLE={table!r} is no table name")
    if "REDIS_URL" in texts:
        found += list(dict.fromkeys(_of_redis(texts["REDIS_URL"])))
    token = texts.get("CLAIMX_API_TOKEN", "").strip()
    if not token.isascii() or not token.isprintable():
        found.append(
            "CLAIMX_API_TOKEN holds characters that a header cannot carry;"
            " it must be printable ASCII in one line"
        )
    logins = texts.get("FLOWER_BASIC_AUTH", "a:b")
    if not _LOGINS.fullmatch(logins):
        found.append("FLOWER_BASIC_AUTH: must be user:password, several by commas")
    elif not logins.isascii():  # Flower answers each request with 500
        found.append("FLOWER_BASIC_AUTH: must be ASCII, which is all that Flower can compare")
    return found


def _of_address(name: str, url: str, *, loopback: bool) -> str | None:
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return f"{name} must be an http(s) URL"
    if "@" in parts.netloc:
        return f"{name} must hold no user and no password"
    if _NOT_OF_AN_ADDRESS.search(url):
        return f"{name} must end before its ?, # or ; and hold printable ASCII, no blanks"
    if loopback and name in _NOT_BESIDE_THE_SWITCH and not on_loopback(url):
        return (
            f"CLAIMX_ALLOW_LOOPBACK is for development only, but {name} is not a"
            " loopback address; unset one of them"
        )
    if parts.scheme == "http" and not (loopback and on_loopback(url)):
        return f"{name} must be https (http is for loopback with CLAIMX_ALLOW_LOOPBACK=true)"
    return None


def _of_path(name: str, path: str) -> str | None:
    if not _SCHEME.match(path):
        return None
    try:
        split_root(path)
    except ValueError as error:
        return f"{name}: {error}"
    return None


def _of_redis(url: str) -> Iterator[str]:
    for node in url.split(";"):
        parts = _split(node)
        if parts is None:
            yield "REDIS_URL must be a URL whose port is a number; encode / ? # @ of a password"
            continue
        scheme = node.partition("://")[0]  # as it is written: clients know no capitals
        if scheme not in _REDIS_SCHEMES:
            yield "REDIS_URL must begin redis://, rediss:// or sentinel://"
        elif parts.path.strip("/") and not parts.path.strip("/").isdecimal():
            yield "REDIS_URL must end with the number of a database, or nothing"
        options = dict(parse_qsl(parts.query))
        if options and scheme == "sentinel":
            yield "REDIS_URL: sentinel:// takes no options behind a ?"
        elif scheme == "redis" and (idle := [one for one in options if one.startswith("ssl_")]):
            yield f"REDIS_URL: {idle[0]} goes with rediss:// alone"
        elif any(one not in REDIS_OPTIONS | REDIS_TLS_OPTIONS for one in options):
            # what stands there is not repeated: it may be a part of a password
            yield f"REDIS_URL: the options behind a ? are {', '.join(sorted(REDIS_OPTIONS))}"
        if options.get("ssl_cert_reqs", "none") not in _CERTIFICATES:
            yield f"REDIS_URL: ssl_cert_reqs must be one of {', '.join(_CERTIFICATES)}"


def _split(url: str) -> SplitResult | None:
    """Return the parts, None for what is no URL: brackets that do not fit, a port that is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
