"""
Which URLs and addresses may be connected to: for media by the domain page, section 3.

Two gates, both needed: the host of every URL, redirects included, must stand in the allow-list,
and whatever address its name resolves to must be public. Pure: resolving is the adapter's.

Also how an address in OneLake is written.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import quote, unquote, urlsplit

from claimx.domain.errors import NotAllowed
from claimx.domain.redaction import mask

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_MAX_URL_LENGTH = 16_384
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))  # what a signed link holds stays as it is
_ALL_PRINTABLE = re.compile(r"[!-~]*")
_BEHIND_PATH = re.compile(r"[?#]")  # a query or a fragment
_PORTS = {"https": 443, "http": 80}

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        # not left to `is_global`, which differs between versions of Python
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12"
        " 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15"
        " 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
        " 168.63.129.16/32"  # Azure's own services, reachable from inside a virtual machine
        " ::/96 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16"
        " fc00::/7 fe80::/10 fec0::/10 ff00::/8"
    ).split()
)


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that passed: *url* in ASCII without user or fragment, *host* as it is compared."""

    url: str
    scheme: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class AllowList:
    """
    The hosts media may come from, compared exactly, in any case, by their IDNA form.

    *allow_loopback* lifts https and the public address for loopback, and nothing else.
    """

    hosts: frozenset[str]
    allow_loopback: bool = False

    @classmethod
    def of(cls, hosts: Iterable[str], *, allow_loopback: bool = False) -> AllowList:
        """Build it from the setting's host names; raises ValueError naming a bad one."""
        known = set()
        for host in hosts:
            try:
                known.add(ascii_host(host.strip().strip("[]")))
            except ValueError:
                msg = f"{host!r} is not a host name; list hosts without scheme, port or path"
                raise ValueError(msg) from None
        return cls(frozenset(known), allow_loopback)

    def check_url(self, url: str) -> Target:
        """Return what to connect to; raises NotAllowed, whose message never quotes the URL."""
        if len(url) > _MAX_URL_LENGTH or _FORBIDDEN.search(url):
            raise NotAllowed("the link holds characters that no link may hold, or is too long")
        try:
            parts = urlsplit(url.strip())
            host = ascii_host(parts.hostname or "")
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError:
            raise NotAllowed("the link has no host, or one that is not valid") from None
        if parts.scheme not in _PORTS:
            raise NotAllowed("the link is not https", host=host)
        if parts.username is not None or parts.password is not None:
            raise NotAllowed("the link carries a user", host=host)
        if host not in self.hosts:
            raise NotAllowed(f"{host} is not among the allowed hosts", host=host)
        if parts.scheme == "http" and not self.allow_loopback:
            raise NotAllowed("the link is not https", host=host)
        literal = address_of(host)
        if literal is not None:
            self.check_address(literal, host, plain=parts.scheme == "http")
        name = f"[{host}]" if ":" in host else host
        authority = name if port == _PORTS[parts.scheme] else f"{name}:{port}"
        path = _quoted(parts.path) or "/"
        query = f"?{_quoted(parts.query)}" if parts.query else ""
        return Target(f"{parts.scheme}://{authority}{path}{query}", parts.scheme, host, port)

    def check_address(self, address: Address, host: str, *, plain: bool) -> None:
        """
        Raise NotAllowed unless *host* may be connected to at *address*.

        *plain* is a connection without TLS, which is for loopback alone.
        """
        if self.allow_loopback and embedded(address).is_loopback:
            return
        if plain:
            raise NotAllowed("plain http is for loopback in development only", host=host)
        if not is_public(address):
            raise NotAllowed(f"{host} is at an address that is not public", host=host)


@lru_cache(maxsize=256)  # media come from few hosts
def ascii_host(host: str) -> str:
    """
    Return *host* lower-case, in IDNA form, without a trailing dot.

    Raises ValueError when it can be no host.
    """
    host = host.lower().removesuffix(".")
    if address_of(host) is not None:
        return host
    encoded = host.encode("idna").decode("ascii").lower() if host else ""
    if not encoded or not all(c.isalnum() or c in "-._" for c in encoded):
        msg = "not a host"
        raise ValueError(msg)
    return encoded


@lru_cache(maxsize=256)
def address_of(host: str) -> Address | None:
    """Return the address that *host* literally is, None when it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _quoted(text: str) -> str:
    """Return *text* with only those characters quoted that no URL may hold."""
    return text if _ALL_PRINTABLE.fullmatch(text) else quote(text, safe=_PRINTABLE)


def on_loopback(url: str) -> bool:
    """Say whether the URL's host is this machine by name or literal address, without a look-up."""
    try:
        host = (urlsplit(url).hostname or "").lower()
    except ValueError:
        return False
    address = address_of(host)
    return host == "localhost" if address is None else address.is_loopback


def is_public(address: Address) -> bool:
    """Say whether anybody on the internet could be meant by *address*."""
    inner = embedded(address)
    return inner.is_global and not any(
        inner in network for network in _NEVER if network.version == inner.version
    )


def embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for (mapped, NAT64), else itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def split_root(root: str) -> tuple[str, str]:
    """
    Return (file system, folder) of an abfss:// URI; raises ValueError for another one.

    One with a query or fragment is refused, too: nothing would use it, and all who show the path
    would tell it. The message holds no user, password or query.
    """
    try:
        parts = urlsplit(root)
    except ValueError:  # its message may hold a part of the URI
        parts = urlsplit("")
    if parts.scheme not in ("abfss", "abfs") or not parts.username or not parts.hostname:
        place = _BEHIND_PATH.split(mask(root), maxsplit=1)[0]  # people paste signed links
        msg = (
            f"{place!r} is not abfss://<workspace>@<host>/<lakehouse>/...;"
            " give such a URI or a folder"
        )
        raise ValueError(msg)
    if _BEHIND_PATH.search(root):
        msg = (
            "leave out what stands from ? or # on; a signature is not used,"
            " an Azure identity opens the path"
        )
        raise ValueError(msg)
    return unquote(parts.netloc.rsplit("@", 1)[0]), unquote(parts.path.strip("/"))
