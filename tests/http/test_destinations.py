"""Which hosts and addresses a server may call for somebody else (server-side request forgery)."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_ml.http.destinations import Destinations, ForbiddenDestinationError, is_public

NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104  an address that is refused
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:7f00:1::1",
    "2002:808:808::1",
    "2600::5efe:10.0.0.1",
    "2600::200:5efe:10.0.0.1",
    "3fff::1",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_known(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_a_public_address_is_known(address):
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_public_only_if_python_says_so_too(address):
    assert not is_public(address) or (address.is_global and not address.is_multicast)


@given(st.ip_addresses(v=6) | st.ip_addresses(network="2000::/3"))
def test_an_ipv6_address_is_public_only_if_python_says_so_too(address):
    embedded = address.ipv4_mapped is not None or address in ipaddress.ip_network("64:ff9b::/96")
    assert not is_public(address) or embedded or address.is_global


NUMBERS = ["127.0.0.1", "127.1", "2130706433", "0x7f.0.0.1", "0x7f000001", "0177.0.0.1", "017700000001", "::1", "0"]
NUMBERS += ["10.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1", "169.254.169.254", "2852039166", "fe80::1%lo"]


@pytest.mark.parametrize("host", NUMBERS)
def test_a_number_that_is_no_public_address_is_refused_without_asking_anybody(host):
    with pytest.raises(ForbiddenDestinationError, match=r"does not call|is no host name"):
        Destinations(["*"]).check_host(host)


@pytest.mark.parametrize(
    "host", ["", ".", "a b", "a%2eb", "a/b", "a@b", "a\nb", "-a", "a..b", "[::1]", "a\\b", "*", "ex\x00ample"]
)
def test_what_is_no_host_is_refused(host):
    with pytest.raises(ForbiddenDestinationError):
        Destinations(["*", "*.example", "a*"]).check_host(host)


def test_every_host_is_called_where_it_is_public():
    anywhere = Destinations(["*"])
    anywhere.check_addresses("hooks.example", ["8.8.8.8", "2606:4700::1111"])
    with pytest.raises(ForbiddenDestinationError, match="not public"):
        anywhere.check_addresses("hooks.example", ["10.0.0.1"])


def test_one_private_address_among_public_ones_is_enough_to_refuse():
    with pytest.raises(ForbiddenDestinationError):
        Destinations(["*"]).check_addresses("hooks.example", ["8.8.8.8", "127.0.0.1"])


def test_a_listed_host_is_called_wherever_it_is():
    listed = Destinations(["*", "*.corp.example", "10.0.0.7"])
    listed.check_addresses("hooks.corp.example", ["10.0.0.1"])
    listed.check_addresses("HOOKS.corp.example.".lower(), ["10.0.0.1"])
    listed.check_host("10.0.0.7")
    with pytest.raises(ForbiddenDestinationError):
        listed.check_host("10.0.0.8")
    with pytest.raises(ForbiddenDestinationError):
        listed.check_addresses("corp.example.evil.test", ["10.0.0.1"])


def test_without_the_star_only_listed_hosts_are_called():
    with pytest.raises(ForbiddenDestinationError):
        Destinations(["hooks.example"]).check_addresses("other.example", ["8.8.8.8"])
    with pytest.raises(ForbiddenDestinationError):
        Destinations([]).check_host("hooks.example")


def test_where_a_name_leads_is_not_told():
    with pytest.raises(ForbiddenDestinationError) as refused:
        Destinations(["*"]).check_addresses("secret.corp.example", ["10.11.12.13"])
    assert "10.11" not in str(refused.value)
