"""Hosts and addresses that media may come from (domain page, sections 3 and 6)."""

import ipaddress

import pytest

from claimx.domain.addresses import AllowList, is_public
from claimx.domain.errors import NotAllowed

ALLOWED = AllowList.of(["www.ClaimXperience.com", "münchen.example", "xn--strae-oqa.example"])
LOCAL = AllowList.of(["127.0.0.1", "localhost", "[::1]", "media.test"], allow_loopback=True)


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://www.claimxperience.com/a?b=c#d", "https://www.claimxperience.com/a?b=c"),
        ("HTTPS://WWW.CLAIMXPERIENCE.COM", "https://www.claimxperience.com/"),
        ("https://www.claimxperience.com./x", "https://www.claimxperience.com/x"),
        ("https://www.claimxperience.com:8443/x", "https://www.claimxperience.com:8443/x"),
        ("https://www.claimxperience.com:443/x", "https://www.claimxperience.com/x"),
        ("https://münchen.example/ä b", "https://xn--mnchen-3ya.example/%C3%A4%20b"),
        ("https://straße.example/", None),
        (
            "https://www.claimxperience.com/a%2Fb?sign=x%2By+z==&e=%C3%A4",
            "https://www.claimxperience.com/a%2Fb?sign=x%2By+z==&e=%C3%A4",
        ),
    ],
)
def test_an_allowed_host_passes_in_its_ascii_form(url, checked):
    if checked is None:
        with pytest.raises(NotAllowed):
            ALLOWED.check_url(url)  # IDNA makes it strasse.example, another host
        return

    assert ALLOWED.check_url(url).url == checked


@pytest.mark.parametrize(
    "url",
    [
        "http://www.claimxperience.com/",
        "ftp://www.claimxperience.com/",
        "file:///etc/passwd",
        "//www.claimxperience.com/",
        "www.claimxperience.com/a.jpg",
        "",
        "https://",
        "https://claimxperience.com.evil.example/",
        "https://evil.example/www.claimxperience.com",
        "https://sub.www.claimxperience.com/",
        "https://www.claimxperience.com@evil.example/",
        "https://user:pw@www.claimxperience.com/",
        "https://@www.claimxperience.com/",
        "https://evil.example\\@www.claimxperience.com/",
        "https://www.claimxperience.com\t/x",
        "https://www.claimxperience.com:99999/",
        "https://[::1/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://www.claimxperience.com/" + "a" * 20_000,
        "https://www.claimxperience.com/\ud800",
    ],
)
def test_anything_else_is_refused(url):
    with pytest.raises(NotAllowed):
        ALLOWED.check_url(url)


def test_a_refusal_does_not_quote_the_link():
    """Links are bearer secrets, and messages go into logs and dead letters."""
    with pytest.raises(NotAllowed) as refused:
        ALLOWED.check_url("https://evil.example/photo.jpg?sign=SECRET")

    assert "SECRET" not in str(refused.value)
    assert "evil.example" in str(refused.value)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080/a", "https://localhost/a", "http://localhost:1/a", "http://[::1]:99/"],
)
def test_the_development_switch_lets_loopback_through(url):
    assert LOCAL.check_url(url).url == url


def test_the_allow_list_holds_for_loopback_too():
    with pytest.raises(NotAllowed, match=r"127\.0\.0\.2"):
        LOCAL.check_url("http://127.0.0.2/")


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[fe80::1]"])
def test_an_address_in_the_allow_list_is_checked_as_any(host):
    """No name is looked up for it, so nothing else would see where it leads."""
    with pytest.raises(NotAllowed, match="not public"):
        AllowList.of([host]).check_url(f"https://{host}/x")


def test_a_public_address_in_the_allow_list_passes_by_https_alone():
    allowed = AllowList.of(["93.184.216.34"], allow_loopback=True)

    assert allowed.check_url("https://93.184.216.34/x").host == "93.184.216.34"
    with pytest.raises(NotAllowed, match="loopback"):
        allowed.check_url("http://93.184.216.34/x")


def test_without_the_switch_loopback_is_no_public_address():
    with pytest.raises(NotAllowed, match="not public"):
        ALLOWED.check_address(ipaddress.ip_address("127.0.0.1"), "a.example", plain=False)


def test_plain_http_is_for_loopback_addresses_alone():
    public = ipaddress.ip_address("93.184.216.34")

    with pytest.raises(NotAllowed, match="loopback"):
        LOCAL.check_address(public, "media.test", plain=True)

    LOCAL.check_address(public, "media.test", plain=False)
    LOCAL.check_address(ipaddress.ip_address("127.0.0.1"), "media.test", plain=True)


def test_the_switch_lifts_nothing_for_private_addresses():
    with pytest.raises(NotAllowed):
        LOCAL.check_address(ipaddress.ip_address("10.0.0.1"), "media.test", plain=False)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1",
        "255.255.255.255 192.0.2.1 198.18.0.1 168.63.129.16 ::1 :: fe80::1 fc00::1 ff02::1",
        "::ffff:10.0.0.1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1:: ::7f00:1 fec0::1",
        "2001:db8::1 2001::1 64:ff9b:1::1",
    ],
)
def test_no_address_of_our_own_network_is_public(address):
    assert not [one for one in address.split() if is_public(ipaddress.ip_address(one))]


@pytest.mark.parametrize("address", ["93.184.216.34", "::ffff:8.8.8.8", "2600:1f18::1"])
def test_addresses_of_the_internet_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["https://a.example", "a.example:80", "a/b", "", "a b"])
def test_an_entry_that_is_no_host_is_named(host):
    with pytest.raises(ValueError, match="not a host name"):
        AllowList.of([host])
