"""The guard: which URLs are read, and which addresses may be reached."""

import asyncio
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pinvault.notify.guard import (
    BadUrl,
    Forbidden,
    NameUnknown,
    Target,
    judged,
    may_reach,
    read_network,
    read_url,
    system_resolve,
)

GOOD = {
    "https://hooks.example": Target("https", "hooks.example", 443, "/"),
    "https://hooks.example/": Target("https", "hooks.example", 443, "/"),
    "https://a-b.c1.example:8443/p/q?r=%20s": Target(
        "https", "a-b.c1.example", 8443, "/p/q?r=%20s"
    ),
    "https://localhost:1024/": Target("https", "localhost", 1024, "/"),
    "http://localhost/": Target("http", "localhost", 80, "/"),
    "https://93.184.215.14/": Target("https", "93.184.215.14", 443, "/"),
    "https://[2606:4700::1111]:443/": Target("https", "2606:4700::1111", 443, "/"),
}


@pytest.mark.parametrize("url", GOOD)
def test_plain_urls_are_read(url: str) -> None:
    assert read_url(url) == GOOD[url]


def test_a_target_says_what_stands_in_host() -> None:
    assert read_url("https://hooks.example/").authority == "hooks.example"
    assert read_url("https://hooks.example:443/").authority == "hooks.example"
    assert read_url("https://hooks.example:8443/").authority == "hooks.example:8443"
    assert read_url("https://[2606:4700::1111]/").authority == "[2606:4700::1111]"
    at = read_url("https://hooks.example/p?q").url_at(IPv6Address("2606:4700::1111"))
    assert at == "https://[2606:4700::1111]:443/p?q"


@given(st.text())
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(BadUrl):
        read_url(text)


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_host_is_a_name_or_an_address_and_nothing_else(host: str) -> None:
    try:
        target = read_url(f"https://{host}/")
    except BadUrl:
        return
    assert target.host in host
    assert set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-:[]/")


@given(st.integers(0, 2**32 - 1))
def test_an_address_is_read_in_one_spelling(number: int) -> None:
    address = IPv4Address(number)
    assert read_url(f"https://{address}/").host == str(address)
    for spelling in (
        str(number),
        hex(number),
        f"0{number:o}",
        f"{number >> 24}.{number & 0xFFFFFF}",
    ):
        with pytest.raises(BadUrl):
            read_url(f"https://{spelling}/")


@given(st.ip_addresses(v=4))
def test_v4_is_public_or_refused(address: IPv4Address) -> None:
    assert not may_reach(address) or (address.is_global and not address.is_multicast)


@given(st.ip_addresses(v=6))
def test_v6_is_global_unicast_or_refused(address: IPv6Address) -> None:
    unicast = address in IPv6Network("2000::/3")
    nat64 = address in IPv6Network("64:ff9b::/96")
    assert not may_reach(address) or unicast or nat64


@given(st.ip_addresses(v=4))
def test_a_v4_address_inside_a_v6_one_is_never_more_than_itself(inner: IPv4Address) -> None:
    number = int(inner)
    wrapped = [
        IPv6Address(0xFFFF << 32 | number),  # IPv4-mapped
        IPv6Address(number),  # IPv4-compatible
        IPv6Address(0x2002 << 112 | number << 80),  # 6to4
        IPv6Address(0x20010000 << 96 | number),  # Teredo
        IPv6Address(0x0064FF9B0001 << 80 | number),  # local NAT64
    ]
    assert not any(map(may_reach, wrapped))
    assert may_reach(IPv6Address(0x0064FF9B << 96 | number)) == may_reach(inner)


@given(st.ip_addresses(), st.sampled_from(["10.0.0.0/8", "192.168.7.0/24", "fd12:3456::/32"]))
def test_a_private_network_lets_its_own_in_and_nobody_else(address, network: str) -> None:
    private = read_network(network)
    assume(address not in private)
    assert may_reach(address, [private]) == may_reach(address)
    assert may_reach(private[5], [private])


NEVER = ["169.254.169.254", "168.63.129.16", "100.100.100.200", "192.0.0.192", "0.0.0.0"]
NEVER += ["fd00:ec2::254", "fd20:ce::254", "fe80::1", "ff02::1", "224.0.0.1", "255.255.255.255"]


@pytest.mark.parametrize("address", NEVER)
def test_metadata_is_never_reached(address: str) -> None:
    everything = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert not may_reach(ip_address(address), everything)


BAD_NETWORKS = ["0.0.0.0/0", "::/0", "8.8.8.0/24", "10.0.0.0/7", "169.254.0.0/16", "10.0.0.1/8"]
BAD_NETWORKS += ["fe80::/64", "2000::/3", "::ffff:0:0/96", "10", "", "ten"]


@pytest.mark.parametrize("text", BAD_NETWORKS)
def test_only_private_networks_can_be_given(text: str) -> None:
    with pytest.raises(ValueError, match=r"write networks as|none that is private"):
        read_network(text)


def judge(url: str, *found: str, private: tuple[str, ...] = ()) -> list[str]:
    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return found

    networks = [read_network(each) for each in private]
    return list(map(str, asyncio.run(judged(read_url(url), networks, resolve=resolve))))


def test_every_address_of_a_name_is_judged() -> None:
    assert judge("https://h.example", "1.1.1.1", "1.1.1.1", "9.9.9.9") == ["1.1.1.1", "9.9.9.9"]
    for found in (("1.1.1.1", "10.0.0.1"), ("10.0.0.1", "1.1.1.1"), ("fe80::1%eth0",), ("x",)):
        with pytest.raises(Forbidden):
            judge("https://h.example", *found)
    with pytest.raises(NameUnknown):
        judge("https://h.example")
    assert judge("https://h.example", "10.0.0.1", private=("10.0.0.0/8",)) == ["10.0.0.1"]


def test_an_address_is_not_asked_for() -> None:
    assert judge("https://1.1.1.1/", "10.0.0.1") == ["1.1.1.1"]
    assert judge("https://[2606:4700::1111]/") == ["2606:4700::1111"]


def test_http_stays_on_this_host() -> None:
    assert judge("http://localhost/", "127.0.0.1", private=("127.0.0.0/8",)) == ["127.0.0.1"]
    with pytest.raises(Forbidden):
        judge("http://localhost/", "1.1.1.1")
    with pytest.raises(Forbidden):
        judge("http://localhost/", "10.0.0.1", private=("10.0.0.0/8",))


def test_the_system_is_asked() -> None:
    assert "127.0.0.1" in asyncio.run(system_resolve("localhost", 443))
    assert asyncio.run(system_resolve("nowhere.invalid", 443)) == []
